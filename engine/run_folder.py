"""The folder of a run: best.pth, last.pth, log.csv and curves.png."""

import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from engine import checkpoint, report
from engine.distributed import is_main

if TYPE_CHECKING:
    from engine.trainer import Trainer

FILES = ("best.pth", "last.pth", "log.csv", "curves.png")


class RunFolder:
    """Writes down a run and says how it goes, in the main process alone.

    Args:
        folder: where the files go.
        metadata: what every checkpoint of the run says beside weights and progress.
        dry_run: write the files to a temporary folder instead.
    """

    def __init__(self, folder: Path, metadata: dict[str, Any], dry_run: bool = False) -> None:
        self.folder, self.metadata, self.dry_run = folder, metadata, dry_run
        if dry_run:
            self.temporary = TemporaryDirectory()  # removed with this object
            self.folder = Path(self.temporary.name)

    def begin(self, trainer: "Trainer", steps_per_epoch: int) -> None:
        """Make room for a new run, and print a line on what is trained, and where."""
        if not is_main():
            return
        if trainer.epoch == trainer.step == 0:
            self.make_room()
        count = sum(p.numel() for p in trainer.model.parameters())
        precision = str(trainer.settings.amp or torch.float32).removeprefix("torch.")
        print(
            f"{self.metadata['model']}: {count:,} parameters, {self.metadata['image_size']} px, "
            f"{precision} on {trainer.device}, {steps_per_epoch} steps an epoch"
        )

    def make_room(self) -> None:
        """Make the folder; what an earlier run left there moves to previous-N/ in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        left = [self.folder / name for name in FILES if (self.folder / name).exists()]
        if left:
            number = 1
            while (self.folder / f"previous-{number}").exists():
                number += 1
            previous = self.folder / f"previous-{number}"
            previous.mkdir()
            for path in left:
                path.rename(previous / path.name)
            print(f"the run that was in {self.folder} is now in {previous}")

    def save_best(self, trainer: "Trainer") -> None:
        """Write best.pth: the weights that validation judged, for testing and predicting."""
        self.save(trainer, "best.pth", {"state_dict": trainer.eval_model.state_dict()})

    def save_last(self, trainer: "Trainer") -> None:
        """Write last.pth: all that it takes to go on."""
        self.save(trainer, "last.pth", trainer.state_dict())

    def save(self, trainer: "Trainer", name: str, state: dict[str, Any]) -> None:
        """Write a checkpoint: metadata, progress and this state."""
        if is_main():
            metrics = trainer.history[-1] if trainer.history else {}
            progress = {"epoch": trainer.epoch, "metrics": metrics}
            checkpoint.save(self.metadata | progress | state, self.folder / name)

    def log(self, trainer: "Trainer") -> None:
        """Write log.csv and curves.png, and print a line for the epoch that has just ended."""
        if is_main():
            row = trainer.history[-1]
            report.write_log(trainer.history, self.folder)
            report.print_epoch(row, trainer.settings.epochs, is_best=trainer.best is row)

    def print_results(self, trainer: "Trainer", test_options: str = "") -> None:
        """Say how good the best epoch was, which files there are, and what to do with them.

        Args:
            test_options: what test.py needs beside the checkpoint, such as " --sample".
        """
        if self.dry_run or not is_main():
            return
        best, minutes = trainer.best, sum(row["seconds"] for row in trainer.history) / 60
        path = shlex.quote(str(self.folder / "best.pth"))
        print(
            f"\nBest: {best['val_accuracy']:.2%} validation accuracy in epoch {best['epoch']}, "
            f"after {minutes:.1f} minutes of training in all.\n"
            f"{self.folder}/: best.pth (weights), last.pth (to go on), log.csv, curves.png\n"
            f"\nNext:\n  python test.py --checkpoint {path}{test_options}\n"
            f"  python predict.py PHOTO --checkpoint {path}"
        )
