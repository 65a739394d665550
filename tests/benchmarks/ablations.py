"""What each choice of the recipes is worth: short runs that differ in one option.

Two seeds each, side by side on one thread each. They are compared by the validation accuracy after
the last epoch: the best one would flatter unsteady runs.
"""

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from tests.benchmarks.harness import PYTHON, run

SEEDS = (0, 1)
CLOTHES = ("train_fashionmnist.py", "--limit", 4000, "--epochs", 4, "--warmup-epochs", 1)
LARGE = (*CLOTHES, "--image-size", 80)  # the smallest with auxiliary heads
# The first of each group is the baseline of the others.
GROUPS = {
    "FashionMNIST": {
        ("recipe", ""): CLOTHES,
        ("batch size", "32"): (*CLOTHES, "-b", 32),
        ("batch size", "128"): (*CLOTHES, "-b", 128),
        ("learning rate", "1e-3"): (*CLOTHES, "--lr", 1e-3),
        ("learning rate", "1e-2"): (*CLOTHES, "--lr", 1e-2),
        ("optimizer", "SGD, 1e-2"): (*CLOTHES, "--optimizer", "sgd"),
        ("optimizer", "SGD, 1e-1"): (*CLOTHES, "--optimizer", "sgd", "--lr", 0.1),
        ("schedule", "cosine"): (*CLOTHES, "--scheduler", "cosine"),
        ("schedule", "constant"): (*CLOTHES, "--scheduler", "constant"),
        ("augmentation", "none"): (*CLOTHES, "--no-augment"),
        ("batch-norm", "none, 1e-3"): (*CLOTHES, "--no-batch-norm"),
        ("moving average", "none"): (*CLOTHES, "--ema-decay", 0),
        ("image size", "32 px"): (*CLOTHES, "--image-size", 32),
        ("image size", "96 px"): (*CLOTHES, "--image-size", 96, "--no-aux-heads"),
    },
    "FashionMNIST at 80 px": {
        ("recipe", ""): LARGE,
        ("auxiliary heads", "none"): (*LARGE, "--no-aux-heads"),
    },
}


def benchmark(args: argparse.Namespace) -> list[dict]:
    """Validation accuracy of each choice with each seed, and its gain over the recipe."""
    rows = []
    total = sum(map(len, GROUPS.values()))
    with tqdm(total=total, leave=False) as bar:
        for group, choices in GROUPS.items():
            for (what, choice), command in choices.items():
                bar.set_description(f"{group}: {what} {choice}")
                with ThreadPoolExecutor(len(SEEDS)) as pool:
                    accuracies = list(pool.map(partial(accuracy, command), SEEDS))
                mean = sum(accuracies) / len(SEEDS)
                if what == "recipe":
                    recipe = mean
                rows.append(
                    {"runs": group, "what": what, "instead": choice}
                    | {f"seed {s}": a for s, a in zip(SEEDS, accuracies, strict=True)}
                    | {"mean": mean, "difference": mean - recipe}
                )
                bar.update()
    return rows


def accuracy(command: tuple, seed: int) -> float:
    """Train on one thread and return the validation accuracy after the last epoch."""
    with tempfile.TemporaryDirectory() as folder:
        where = ("--seed", seed, "--output-dir", folder)
        run(PYTHON, *command, *where, environment={"OMP_NUM_THREADS": "1"})
        return float(pd.read_csv(Path(folder) / "log.csv").val_accuracy.iloc[-1])
