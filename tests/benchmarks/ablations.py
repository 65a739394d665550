"""What each choice of the recipes is worth: runs that differ from a recipe in one choice.

    python -m tests.benchmarks ablations                        # all that is missing, days
    python -m tests.benchmarks ablations --minutes 120          # start no run after two hours
    python -m tests.benchmarks ablations --only dropout photos --seeds 0

Adds a row to docs/results/ablations.csv when a run ends, and leaves out the runs that are there:
first seed 0 of all choices, then seed 1, so that each run soon has the recipe's with the same seed
beside it. Ctrl-C stops at any point; the same command goes on, in the middle of a run too. Two
commands with different --seeds can run side by side, with OMP_NUM_THREADS=1 on two cores. All
compute in float32, so that runs on different machines can be compared. Runs are judged after their
last epoch: the best one would flatter unsteady runs.
"""

import argparse
import csv
import hashlib
import io
import math
import shutil
import sys
import time
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch

from data.photo_folder import MANIFEST
from engine.device import device_name, pick_device
from engine.errors import Interrupted, UserError
from engine.provenance import git
from tests.benchmarks.bookkeeping import call
from tests.benchmarks.choices import CLOTHES, GROUPS, Run, planned
from tests.benchmarks.harness import ROOT

RUNNING = ROOT / "checkpoints" / "ablations"  # runs that are under way, or were stopped
PHOTOS = Path("data/catsdogs")  # where train_catsdogs.py looks for them
SMOKE = ("--limit", 64, "-b", 16, "--epochs", 1, "--warmup-epochs", 0)


def benchmark(args: argparse.Namespace) -> None:
    """Make the runs that are missing, and add each to the file when it ends.

    Raises:
        UserError: --only names nothing, or the file has a run with other options.
    """
    path = args.output_dir / "ablations.csv"
    wanted = list(planned(args.seeds, args.only))
    if not (PHOTOS / MANIFEST).is_file() and any(run.group == "photos" for run in wanted):
        print(f"photos: left out, {PHOTOS} has none (split_dataset.py makes it)")
        wanted = [run for run in wanted if run.group != "photos"]
    end = time.monotonic() + 60 * (args.minutes or math.inf)
    for number, run in enumerate(wanted, 1):
        options = options_of(run, args.smoke)
        if is_done(run, options, path):
            continue
        if time.monotonic() >= end:
            print(f"{args.minutes:g} minutes are over: the same command goes on")
            return
        name = f"{number} of {len(wanted)}: seed {run.seed}, {run.group}, {run.choice}"
        print(f"{name} {run.instead}".rstrip(), flush=True)
        row = measure(run, options)
        append(row, path)
        accuracy = row["val_accuracy"]
        reached = "diverged" if accuracy == "" else f"{accuracy:.2%}"
        print(f"    {reached}, {row['seconds'] / 60:.1f} minutes of training", flush=True)


def options_of(run: Run, smoke: bool) -> list[str]:
    """The script's options, without --seed and --output-dir."""
    sample = ("--sample",) if smoke and GROUPS[run.group].script is CLOTHES else ()
    small = (*SMOKE, *sample) if smoke else ()
    return [*map(str, (*run.change.options, "--no-amp", *small))]


def is_done(run: Run, options: list[str], path: Path) -> bool:
    """Whether the file has that run.

    Raises:
        UserError: it has, but with other options: the two cannot be compared.
    """
    if not path.exists():
        return False
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if all(row[name] == str(getattr(run, name)) for name in Run._fields[:-1]):
                if row["options"] == " ".join(options):
                    return True
                raise UserError(
                    f"{path}: its {run.group}, {run.choice} {run.instead} has other options than "
                    f"the code now gives it: delete the rows of {run.group}, or move the file away"
                )
    return False


def measure(run: Run, options: list[str]) -> dict[str, object]:
    """Train, or go on with it, in this process; the row for the file.

    Raises:
        SystemExit: stopped by a signal; the run can go on.
    """
    script, device = GROUPS[run.group].script, pick_device("auto")
    identity = f"{run[:-1]} {options}"
    folder = RUNNING / hashlib.sha256(identity.encode()).hexdigest()[:16]
    last, log = folder / "last.pth", folder / "log.csv"
    start = [*options, "--seed", run.seed, "--output-dir", folder]
    replaced = {
        "create_model": run.change.network or script.create_model,
        "AUGMENT": run.change.augment or script.AUGMENT,
    }
    diverged = False
    try:
        with patch.multiple(script, **replaced):
            call(script.main, *(["--resume", last] if last.exists() else start))
    except Interrupted as stop:
        print("stopped; the same command goes on", flush=True)
        sys.exit(128 + stop.signal)
    except UserError as error:
        diverged = "the loss became" in str(error)
        if not diverged:
            raise
    epochs = pd.read_csv(log) if log.exists() else pd.DataFrame()
    row = {name: getattr(run, name) for name in Run._fields[:-1]}
    row |= {"epochs": len(epochs), "options": " ".join(options)}
    for name in ("val_accuracy", "train_accuracy", "train_loss"):
        row[name] = "" if diverged else float(epochs[name].iloc[-1])
    row["seconds"] = round(float(epochs.seconds.sum()), 1) if len(epochs) else 0.0
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py")
    row["commit"] = (git("rev-parse", "HEAD") or "")[:7] + ("+" if changed else "")
    row["machine"] = f"{device_name(device)}, {torch.get_num_threads()} threads"
    row["torch"] = str(torch.__version__)
    shutil.rmtree(folder, ignore_errors=True)
    return row


def append(row: dict[str, object], path: Path) -> None:
    """Add a row in one write: another process may be adding its own."""
    text = io.StringIO()
    writer = csv.DictWriter(text, row, lineterminator="\n")
    if not path.exists() or not path.stat().st_size:
        writer.writeheader()
    writer.writerow(row)
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())
