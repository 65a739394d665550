"""How long until GoogLeNet has learned FashionMNIST to 90 % and to 92.6 % on validation."""

import argparse
import tempfile
from pathlib import Path

import pandas as pd

from tests.benchmarks.speed import raw_fashionmnist, train_peer
from tests.benchmarks.turns import PYTHON, run

# A short run: the shorter the run, the earlier its rate falls and its accuracy comes.
RECIPE = ("--epochs", 5, "--warmup-epochs", 1.5)
PLAIN_EPOCHS = 20  # that the plain recipe is known to need for 92.6 %


def benchmark(args: argparse.Namespace) -> list[dict]:
    """Seconds of training until each accuracy; the plain recipe's from its speed and 20 epochs."""
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
    plain = {"recipe": "plain recipe", "validation accuracy": 0.926, "epoch": PLAIN_EPOCHS}
    return [*rows, plain | {"seconds": PLAIN_EPOCHS * 55_000 / speed}]
