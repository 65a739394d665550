"""How long GoogLeNet takes to reach 90 % and 92.6 % validation accuracy on FashionMNIST."""

import argparse
import tempfile
from pathlib import Path

import pandas as pd

from tests.benchmarks.harness import PYTHON, run
from tests.benchmarks.speed import raw_fashionmnist, train_baseline

# Fewer epochs than by default, on smaller images, without augmentation, which pays in long runs and
# slows short ones. The learning rate falls sooner, and accuracy rises as it falls.
RECIPE = ("--image-size", 48, "--epochs", 5, "--warmup-epochs", 1, "--no-augment")
PLAIN_EPOCHS = 20  # an estimate


def benchmark(args: argparse.Namespace) -> list[dict]:
    """Seconds of training, without validation, to each accuracy; the plain recipe's estimated."""
    with tempfile.TemporaryDirectory() as folder:
        run(PYTHON, "train_fashionmnist.py", *RECIPE, "--output-dir", folder)
        log = pd.read_csv(Path(folder) / "log.csv")
    rows = []
    for wanted in (0.90, 0.926):
        reached = log[log.val_accuracy >= wanted]
        row = {"recipe": "this repository", "validation accuracy": wanted}
        row["epoch"] = reached.epoch.iloc[0] if len(reached) else None
        row["seconds"] = log.seconds[: reached.index[0] + 1].sum() if len(reached) else None
        rows.append(row)
    what = ["--model", "googlenet", "--image-size", 64, "-b", 64, "--limit", 6400]
    with raw_fashionmnist() as raw:
        speed, _ = train_baseline(
            PYTHON, "-m", "tests.benchmarks.baselines", *what, "--data-dir", raw
        )
    plain = {
        "recipe": "plain recipe (estimate)",
        "validation accuracy": 0.926,
        "epoch": PLAIN_EPOCHS,
    }
    return [*rows, plain | {"seconds": PLAIN_EPOCHS * 55_000 / speed}]
