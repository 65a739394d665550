"""Resumable runs of the training scripts, each a row of one file."""

import csv
import hashlib
import io
import math
import shutil
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from unittest.mock import patch

import pandas as pd
import torch

from engine.device import device_name, has_bfloat16, pick_device
from engine.errors import Interrupted, UserError
from engine.provenance import git
from tests.benchmarks.bookkeeping import call
from tests.benchmarks.harness import ROOT

RUNNING = ROOT / "checkpoints"  # <name of the file>/ holds unfinished runs
SMOKE = ("--limit", 64, "-b", 16, "--epochs", 1, "--warmup-epochs", 0)


class Job(NamedTuple):
    """A run of a training script.

    Attributes:
        name: for messages, without the seed.
        columns: which tell its row from all others: first what is compared only with itself, such
            as a set of photos; "seed" is one of them.
        options: of the script, without --seed and --output-dir.
        replaced: names of the script's module, at least one, with their replacements.
    """

    name: str
    script: ModuleType
    columns: dict[str, str | int]
    options: list[str]
    replaced: dict[str, object]


def make_missing(jobs: list[Job], path: Path, minutes: float | None) -> None:
    """Train the runs that the file lacks, and add each to it when it ends.

    Args:
        minutes: start no run after this time.

    Raises:
        UserError: the file has a run with other options.
        SystemExit: stopped by a signal; the run can be resumed.
    """
    end = time.monotonic() + 60 * (minutes or math.inf)
    for number, job in enumerate(jobs, 1):
        if is_done(job, path):
            continue
        if time.monotonic() >= end:
            print(f"{minutes:g} minutes are over: run the same command to continue")
            return
        print(f"{number} of {len(jobs)}: seed {job.columns['seed']}, {job.name}", flush=True)
        row = measure(job, RUNNING / path.stem)
        append(row, path)
        accuracy = row["val_accuracy"]
        reached = "diverged" if accuracy == "" else f"{accuracy:.2%}"
        print(f"    {reached}, {row['seconds'] / 60:.1f} minutes of training", flush=True)


def is_done(job: Job, path: Path) -> bool:
    """Whether the file has this run.

    Raises:
        UserError: it has the run with other options, so results cannot be compared.
    """
    if not path.exists():
        return False
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if all(row[name] == str(value) for name, value in job.columns.items()):
                if row["options"] == " ".join(job.options):
                    return True
                group = next(iter(job.columns.values()))
                raise UserError(
                    f"{path}: its {job.name} has other options than the code now gives it: delete "
                    f"the rows of {group}, or move the file away"
                )
    return False


def measure(job: Job, running: Path) -> dict[str, object]:
    """Train or resume the run, in this process; return its row for the file.

    Args:
        running: the folder for unfinished runs.

    Raises:
        SystemExit: stopped by a signal; the run can be resumed.
    """
    device = pick_device("auto")
    identity = f"{tuple(job.columns.values())} {job.options}"
    folder = running / hashlib.sha256(identity.encode()).hexdigest()[:16]
    last, log = folder / "last.pth", folder / "log.csv"
    start = [*job.options, "--seed", job.columns["seed"], "--output-dir", folder]
    diverged = False
    try:
        with patch.multiple(job.script, **job.replaced):
            call(job.script.main, *(["--resume", last] if last.exists() else start))
    except Interrupted as stop:
        print("stopped; run the same command to continue", flush=True)
        sys.exit(128 + stop.signal)
    except UserError as error:
        diverged = "the loss became" in str(error)
        if not diverged:
            raise
    epochs = pd.read_csv(log) if log.exists() else pd.DataFrame()
    row = job.columns | {"epochs": len(epochs), "options": " ".join(job.options)}
    for name in ("val_accuracy", "train_accuracy", "train_loss"):
        row[name] = "" if diverged else float(epochs[name].iloc[-1])
    row["seconds"] = round(float(epochs.seconds.sum()), 1) if len(epochs) else 0.0
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py")
    row["commit"] = (git("rev-parse", "HEAD") or "")[:7] + ("+" if changed else "")
    precision = "bfloat16" if has_bfloat16(device) else "float32"  # the default of --amp
    row["machine"] = f"{device_name(device)}, {torch.get_num_threads()} threads, {precision}"
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
