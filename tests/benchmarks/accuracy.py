"""How long until GoogLeNet has learned FashionMNIST to 90 % and to 92.6 % on validation."""

import argparse
import tempfile
from pathlib import Path

import pandas as pd

from tests.benchmarks.speed import raw_fashionmnist, train_peer
from tests.benchmarks.turns import PYTHON, run

# Fewer epochs than the default, on smaller images that are not varied: what would pay in a long run
# only slows a short one. The rate falls earlier, and accuracy comes.
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
        speed, _ = train_peer(PYTHON, "-m", "tests.benchmarks.peers", *what, "--data-dir", raw)
    plain = {
        "recipe": "plain recipe (estimate)",
        "validation accuracy": 0.926,
        "epoch": PLAIN_EPOCHS,
    }
    return [*rows, plain | {"seconds": PLAIN_EPOCHS * 55_000 / speed}]
