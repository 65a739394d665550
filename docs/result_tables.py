"""The tables of recorded runs, from the files in results/.

Each function returns the rows of a table, the head first. ``python -m docs.tables`` writes them.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from docs import starts
from docs.clothes import right
from docs.networks import percent
from docs.paper_tables import Table
from engine.provenance import LOOKS

RESULTS = Path(__file__).parent / "results"
NAMES = {"vgg16": "VGG16", "googlenet": "GoogLeNet"}


def log(name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / name)


def minutes(*names: str) -> str:
    """Minutes of training, in one run or in several that continued each other."""
    return f"{sum(log(name).seconds.sum() for name in names) / 60:.0f} minutes"


def tested(name: str) -> dict:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def csv(name: str) -> str:
    return f"[csv](results/{name})"


# Recorded runs: results/runs.csv has what the logs lack.


def recorded_runs() -> pd.DataFrame:
    return pd.read_csv(RESULTS / "runs.csv", dtype=str).fillna("").set_index("log", drop=False)


def validation(run: pd.Series) -> str:
    """The best in the log, where runs.csv says nothing else."""
    return run.validation or percent(log(run.log).val_accuracy.max(), 2)


def runs(dataset: str, older: str = "") -> Table:
    """The differences between the runs on a dataset, and their results.

    Args:
        older: "yes" for the runs with the defaults or poolings of an earlier day, "" for the rest.
    """
    settings = ["model", "pixels", "epochs", "batch", "lr", "dropout", "erased", "machine"]
    head = [*settings, "code at", "validation", "test", "training", "log"]
    table = [["rate" if name == "lr" else name for name in head]]
    for _, run in recorded_runs().iterrows():
        if (run.dataset, run.older) != (dataset, older):
            continue
        test, links = run.test, csv(run.log)
        if test.endswith(".json"):
            links += f" [test](results/{test})"
            test = f"**{percent(tested(test)['accuracy'], 2)}**"
        outcome = [f"`{run.commit}`", validation(run), test, minutes(run.log), links]
        table.append([*run[settings], *outcome])
    return table


def test_looks() -> Table:
    """The whole ledger that test.py keeps. Those without a checkpoint came before the ledger."""
    head = ["date", "code at", "checkpoint", "model", "data", "images", "accuracy"]
    table = [head]
    for look in pd.read_csv(LOOKS, dtype=str).fillna("").itertuples():
        model, accuracy = NAMES.get(look.model, look.model), percent(float(look.accuracy), 2)
        cells = [f"`{look.commit}`", look.checkpoint and f"`{look.checkpoint[:8]}`", model]
        table.append([look.date, *cells, look.data, f"{int(look.images):,}", accuracy])
    return table


def front_page() -> Table:
    """The runs whose tested checkpoints are shipped or recorded."""
    table = [["data", "model", "image size", "validation", "test", "training"]]
    recorded = recorded_runs()
    for model, size, *earlier, name in (
        ("GoogLeNet, batch-norm, `--epochs 36`", "64 px", "fashionmnist_googlenet_36_epochs.csv"),
        (
            "VGG16, batch-norm, `--epochs 36 --dropout 0.5`",
            "32 px",
            "fashionmnist_vgg16_36_epochs.csv",
        ),
        (
            "GoogLeNet, batch-norm, from scratch in two runs",
            "96 and 120 px, evaluated at 160",
            "catsdogs_googlenet.csv",
            "catsdogs_googlenet_160px.csv",
        ),
        (
            "VGG16, batch-norm, from scratch in two runs",
            "64 and 96 px",
            "catsdogs_vgg16.csv",
            "catsdogs_vgg16_96px.csv",
        ),
        (
            "GoogLeNet, batch-norm, from cats and dogs in three runs",
            "120 px, evaluated at 160",
            "clothing_googlenet_160px.csv",
            "clothing_googlenet_weighted.csv",
            "clothing_googlenet_longer.csv",
        ),
    ):
        run = recorded.loc[name]
        test = tested(run.test)
        accuracy = f"{percent(test['accuracy'], 2)} of {test['images']:,}"
        table.append([run.dataset, model, size, validation(run), accuracy, minutes(*earlier, name)])
    return table


def coverage() -> Table:
    """Accuracy without the least confident predictions."""
    table = [["answers with a probability of at least", "of all", "right"]]
    for row in tested("fashionmnist_googlenet_test.json")["coverage"]:
        at_least = percent(row["min_confidence"]) if row["min_confidence"] else "all"
        table.append([at_least, percent(row["coverage"], 1), percent(row["accuracy"], 2)])
    return table


def clothes() -> Table:
    """The FashionMNIST network's predictions for photos of clothes whose classes it knows."""
    table = [["GoogLeNet, trained on FashionMNIST", "photos", "right"]]
    for option, label in (("", "as they are"), ("--invert", "with `--invert`")):
        good, asked = right(option)
        table.append([label, f"{asked:,}", percent(good / asked)])
    return table


def dense() -> Table:
    """VGG16 on photos larger than it was trained on."""
    table = [["VGG16 trained at", "validation photos shown at", "accuracy"]]
    for trained, file in (("64 px", "catsdogs_vgg16"), ("96 px", "catsdogs_vgg16_96px")):
        judged = log(f"{file}_dense.csv")
        table += [[trained, r[0], percent(r[1], 2)] for r in judged.itertuples(index=False)]
    return table


def sizes() -> Table:
    """GoogLeNet's first run on photos, evaluated at several sizes."""
    judged = log("catsdogs_googlenet_sizes.csv")
    return [
        ["shown at", *judged["shown at"]],
        ["stored at", *judged["stored at"]],
        ["validation accuracy", *(percent(share, 2) for share in judged.val_accuracy)],
    ]


TABLES: dict[str, Callable[[], Table]] = {
    "results": front_page,
    "dense-measured": dense,
    "sizes": sizes,
    "runs-fashionmnist": partial(runs, "FashionMNIST"),
    "runs-older": partial(runs, "FashionMNIST", "yes"),
    "runs-catsdogs": partial(runs, "cats and dogs"),
    "runs-clothes": partial(runs, "clothes"),
    "clothes": clothes,
    "test-looks": test_looks,
    "coverage": coverage,
    "starts": starts.table,
}
