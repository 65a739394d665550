"""The folder of a run: best.pth, last.pth, log.csv, run.json and curves.png."""

import errno
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, TYPE_CHECKING, Any

import torch

from engine import checkpoint, report
from engine.calibration import fit_temperature
from engine.checks import check_tensors
from engine.device import describe, kind
from engine.distributed import broadcast_object, gather_rows, is_main
from engine.errors import UserError, quote
from engine.files import write_json
from engine.writer import Writer

if TYPE_CHECKING:
    from engine.trainer import Trainer

# In the order of writing: last.pth records which epoch is in best.pth, and log.csv must not be
# ahead of last.pth.
FILES = ("best.pth", "last.pth", "log.csv", "run.json", "curves.png")
DRAW_EVERY = 10  # minimum number of seconds between two drawings of the curves


class RunFolder:
    """Writes a run's files and prints its progress, in the main process only.

    Args:
        folder: where the files go.
        metadata: the content of every checkpoint of the run, except for weights and progress.
        dry_run: write the files to a temporary folder instead.
    """

    def __init__(self, folder: Path, metadata: dict[str, Any], dry_run: bool = False) -> None:
        self.folder, self.metadata, self.dry_run = folder, metadata, dry_run
        self.writer = Writer(FILES, background=False)  # until ``begin`` knows the device
        self.lock: IO[bytes] | None = None
        self.drawn = -math.inf  # time of the last drawing of curves.png
        self.undrawn: list[dict[str, float]] = []  # the history, if curves.png is out of date
        if dry_run:
            self.temporary = TemporaryDirectory()  # removed with this object
            self.folder = Path(self.temporary.name)

    def take(self) -> None:
        """Create the folder and lock it for this run, unless that is already done.

        Raises:
            UserError: it cannot be created or written to, or another run is writing to it.
        """
        if is_main() and not self.dry_run and self.lock is None:
            make_output_dir(self.folder)
            self.lock = lock(self.folder)

    def begin(self, trainer: "Trainer", batch_size: int, steps_per_epoch: int) -> None:
        """Prepare the folder for this run, and print a line about the network and the device.

        Args:
            batch_size: images per batch; fewer than --batch-size if there are too few images.
            steps_per_epoch: optimizer steps per epoch.

        Raises:
            UserError: another run is writing to the folder.
        """
        if is_main():
            self.prepare(trainer, batch_size, steps_per_epoch)
        # All processes must agree on it: when an epoch beats it, save_best gathers their logits.
        trainer.best = broadcast_object(trainer.best)

    def prepare(self, trainer: "Trainer", batch_size: int, steps_per_epoch: int) -> None:
        """Make room or find best.pth, and print the line (in the main process)."""
        self.writer = Writer(FILES, kind(trainer.device).background)
        self.take()
        if self.dry_run:
            print("dry run: one batch (--epochs and --limit are ignored); no files are kept")
        for name in FILES:  # temporary files of a run that was killed
            for path in self.folder.glob(f".{name}-*"):
                path.unlink(missing_ok=True)
        if trainer.epoch == trainer.step == 0:
            self.make_room(FILES)
        else:
            self.find_best(trainer)
            if trainer.epoch >= trainer.settings.epochs:  # a full disk may have prevented these
                self.write_history(trainer)
        asked = self.metadata["config"]["batch_size"]
        if batch_size < asked:
            print(f"note: too few images for --batch-size {asked}: batches of {batch_size}")
        count = sum(p.numel() for p in trainer.model.parameters())
        precision = str(trainer.settings.amp or torch.float32).removeprefix("torch.")
        precision += ", compiled," if trainer.settings.compile else ""
        print(
            f"{self.metadata['model']}: {count:,} parameters, {self.metadata['image_size']} px, "
            f"{precision} on {describe(trainer.device)}, steps an epoch: {steps_per_epoch}"
        )

    def make_room(self, names: Iterable[str]) -> None:
        """Move an earlier run's files of these names to the subfolder previous-N/."""
        left = [self.folder / name for name in names if (self.folder / name).exists()]
        if left:
            number = 1
            while (self.folder / f"previous-{number}").exists():
                number += 1
            previous = self.folder / f"previous-{number}"
            previous.mkdir()
            for path in left:
                path.rename(previous / path.name)
            print(f"moved the earlier run in {self.folder} to {previous}")

    def find_best(self, trainer: "Trainer") -> None:
        """Check that best.pth is still in the same folder as the last.pth that is resumed.

        Otherwise the final message would name a file that does not exist. Another run's best.pth
        and its other files are moved aside.

        Raises:
            UserError: best.pth is missing, and no epoch is left in which to write another one.
        """
        path = self.folder / "best.pth"
        try:
            metrics = checkpoint.load(path)["metrics"]
        except UserError:
            metrics = {}
        if trainer.best and metrics == trainer.best:
            return
        if trainer.best:
            lost = f"{path}: missing, or not from this run (epoch {trainer.best['epoch']})"
            if trainer.epoch >= trainer.settings.epochs:
                raise UserError(f"{lost}: put it beside last.pth; there is no epoch left to train")
            print(f"note: {lost}: the best of the remaining epochs will be kept")
            trainer.best = {}
        if path.exists():
            self.make_room(name for name in FILES if name != "last.pth")

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Wait until all files are written, except after a second Ctrl-C."""
        try:
            if error is not KeyboardInterrupt:
                self.draw()
                self.writer.flush()
        finally:
            if self.lock:
                self.lock.close()

    def save_best(self, trainer: "Trainer", logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Write best.pth: the weights that were validated, for testing and predicting.

        Args:
            logits, labels: of this process's validation images, N x classes and N, computed with
                these weights. The temperature is fitted to the images of all processes.
        """
        temperature = fit_temperature(gather_rows(logits), gather_rows(labels))
        best = {"state_dict": trainer.eval_model.state_dict(), "temperature": temperature}
        self.save(trainer, "best.pth", best)

    def save_last(self, trainer: "Trainer") -> None:
        """Write last.pth: everything needed to resume."""
        self.save(trainer, "last.pth")

    def save(self, trainer: "Trainer", name: str, part: dict[str, Any] | None = None) -> None:
        """Write a checkpoint: metadata, progress, and the trainer's state or this part of it.

        Raises:
            UserError: the state is not finite. The existing file is kept.
        """
        state = trainer.state_dict()
        check_tensors(state)  # the whole state for best.pth, too, so that both files agree
        if is_main():
            metrics = trainer.history[-1] if trainer.history else {}
            progress = {"epoch": trainer.epoch, "metrics": metrics}
            saved = self.metadata | progress | (part or state)
            if self.writer.background:  # training changes the tensors meanwhile
                saved = checkpoint.to_host(saved, trainer.device)
            self.writer.put(name, partial(checkpoint.save, saved, self.folder / name))

    def log(self, trainer: "Trainer") -> None:
        """Write log.csv, run.json and curves.png, and print a line for the last epoch."""
        if not is_main():
            return
        last = trainer.history[-1]
        report.print_epoch(last, trainer.settings.epochs, trainer.best is last)
        self.write_history(trainer)
        if time.monotonic() - self.drawn > DRAW_EVERY:
            self.draw()

    def write_history(self, trainer: "Trainer") -> None:
        """Write log.csv and run.json; ``draw`` writes curves.png."""
        history, folder = list(trainer.history), self.folder
        self.writer.put(
            "log.csv", partial(unless_open, report.write_log, history, folder / "log.csv")
        )
        seconds = sum(row["seconds"] for row in history)
        summary = self.metadata | {"best": trainer.best, "training_seconds": seconds}
        self.writer.put("run.json", partial(unless_open, write_json, summary, folder / "run.json"))
        self.undrawn = history

    def draw(self) -> None:
        """Draw the epochs that curves.png does not show yet."""
        if self.undrawn:
            path = self.folder / "curves.png"
            draw = partial(unless_open, report.draw_curves, self.undrawn, path)
            self.writer.put("curves.png", draw)
            self.drawn, self.undrawn = time.monotonic(), []

    def print_results(self, trainer: "Trainer", test_options: str = "") -> None:
        """Print the best epoch's accuracy, the files written, and the next commands.

        Args:
            test_options: more options for test.py, such as " --sample".
        """
        if self.dry_run or not is_main():
            return
        best, minutes = trainer.best, sum(row["seconds"] for row in trainer.history) / 60
        path = quote(self.folder / "best.pth")
        print(
            f"\nBest: {best['val_accuracy']:.2%} validation accuracy in epoch {best['epoch']}, "
            f"after {minutes:.1f} minutes of training in total.\n"
            f"{self.folder}/: best.pth (weights), last.pth (to resume), {', '.join(FILES[2:])}\n"
            f"\nNext:\n  python test.py --checkpoint {path}{test_options}\n"
            f"  python predict.py PHOTO --checkpoint {path}"
        )


def unless_open(write: Callable[[Any, Path], None], content: object, path: Path) -> None:
    """Write a file, or print a note if another program has it open, such as Excel on Windows.

    For files that the next epoch rewrites and that the run does not need.
    """
    try:
        write(content, path)
    except PermissionError as error:
        print(
            f"note: {path}: not written: {error.strerror}: close it in the other program",
            file=sys.stderr,
        )


def make_output_dir(folder: Path) -> None:
    """Create a folder for results, unless it exists, and check that it is writable.

    Raises:
        UserError: it is not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{folder}: cannot write there ({reason}): name another --output-dir"
        ) from None


def lock(folder: Path) -> IO[bytes]:
    """Lock the folder for this process; the system unlocks it when the process ends or crashes.

    Returns the open file that holds the lock.

    Raises:
        UserError: another process holds it.
    """
    file = (folder / ".lock").open("ab")
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP):
            return file  # a network disk that does not support locks: continue without one
        file.close()
        raise UserError(
            f"{folder}: another run is writing there: wait for it, or name another --output-dir"
        ) from None
    return file
