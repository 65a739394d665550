"""The share of an epoch spent on checkpoints, logs and curves, not on training or validation."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pandas as pd

import train_fashionmnist
from engine.device import KINDS
from engine.trainer import Trainer


def benchmark(args: argparse.Namespace) -> list[dict]:
    """Epochs of about two seconds on two cores; files written immediately, and by a thread."""
    rows, cpu = [], KINDS["cpu"]
    for model, limit in (("vgg16", 640), ("googlenet", 1024)):
        for background in (False, True):
            KINDS["cpu"] = cpu._replace(background=background)
            try:
                row = share_of_bookkeeping(
                    *("--model", model, "--limit", limit, "--epochs", args.rounds * 2),
                    *("--device", "cpu"),
                )
            finally:
                KINDS["cpu"] = cpu
            rows.append({"files are written": "by a thread" if background else "at once"} | row)
    return rows


def share_of_bookkeeping(*options: object) -> dict[str, object]:
    """The share in a run of train_fashionmnist.py, without its first epoch, a warm-up."""
    _, epochs = train_timed(*options)
    later = epochs[1:]
    share = 1 - (later.train.sum() + later.validate.sum()) / later.whole.sum()
    text = " ".join(map(str, options))
    return {"options": text, "seconds an epoch": later.whole.mean(), "bookkeeping": share}


class TimedTrainer(Trainer):
    """A Trainer that records the seconds of each epoch, in total and by activity."""

    epochs: list[dict[str, float]]  # of the last run

    def fit(self, *arguments: object) -> None:
        TimedTrainer.epochs = []
        super().fit(*arguments)
        self.epochs.append({"start": time.perf_counter()})  # the end of the last epoch

    def train_epoch(self, *arguments: object) -> tuple[float, float, int]:
        self.epochs.append({"start": time.perf_counter()})
        result = super().train_epoch(*arguments)
        self.epochs[-1]["train"] = time.perf_counter() - self.epochs[-1]["start"]
        return result

    def validate(self, *arguments: object) -> tuple:
        started = time.perf_counter()
        result = super().validate(*arguments)
        self.epochs[-1]["validate"] = time.perf_counter() - started
        return result


def train_timed(*options: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run train_fashionmnist.py; return its log, and the seconds of each epoch and its parts."""
    train_fashionmnist.Trainer = TimedTrainer
    try:
        log = train(*options)
    finally:
        train_fashionmnist.Trainer = Trainer
    epochs = pd.DataFrame(TimedTrainer.epochs)
    epochs["whole"] = epochs.start.shift(-1) - epochs.start
    return log, epochs[:-1]


def train(*options: object) -> pd.DataFrame:
    """Run train_fashionmnist.py in this process; return its log.csv."""
    with tempfile.TemporaryDirectory() as folder:
        call(train_fashionmnist.main, *options, "--output-dir", folder)
        return pd.read_csv(Path(folder) / "log.csv")


def call(main: Callable[[], None], *arguments: object) -> str:
    """Call a script's main with these arguments; return its output."""
    before, printed = sys.argv, StringIO()
    sys.argv = ["benchmark", *map(str, arguments)]
    try:
        with redirect_stdout(printed):
            main()
    finally:
        sys.argv = before
    return printed.getvalue()
