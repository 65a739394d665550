"""What results/starts.csv says: accuracy by the number of photos and by what training starts from.

``python -m tests.benchmarks starts`` writes the file; a table and a picture of results.md read it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from docs.networks import percent
from docs.paper_tables import Table
from docs.style import PX, WIDTH, colour, headline
from engine.report import pyplot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = Path(__file__).parent / "results" / "starts.csv"
SETS = {"clothing": "clothes", "catsdogs": "cats and dogs"}
STARTS = {  # in the file -> on the page, its marker and its line
    "scratch": ("scratch", "o", "-"),
    "fashionmnist_googlenet": ("FashionMNIST", "s", (0, (5, 2))),
    "catsdogs_googlenet": ("cats and dogs", "^", (0, (1, 1.5))),
    "imagenet": ("ImageNet", "D", (0, (6, 2, 1, 2))),
}
TRAINED = {"whole": "all layers", "last layer": "the last layer alone"}


def accuracies() -> pd.DataFrame:
    """Mean validation accuracy after the last epoch, its standard error and the number of seeds.

    The index has set, start, trained and photos. The error of one seed is NaN.
    """
    runs = pd.read_csv(FILE).groupby(["set", "start", "trained", "photos"]).val_accuracy
    return runs.agg(["mean", "sem", "count"])


def table() -> Table:
    """For each set a row of numbers of photos, and a row for each start."""
    measured, rows = accuracies(), [["photos of", "starts from", "trains"]]
    for key, label in SETS.items():
        counts = sorted(measured.loc[key].index.unique("photos"))
        rows.append([f"**{label}**", "", "", *(f"**{count:,} photos**" for count in counts)])
        for start, (name, *_) in STARTS.items():
            for trained, layers in TRAINED.items():
                if start == key + "_googlenet" or (start, trained) == ("scratch", "last layer"):
                    continue
                cells = [(key, start, trained, count) for count in counts]
                rows.append(["", name, layers, *(cell(measured, at) for at in cells)])
    width = max(map(len, rows))
    return [row + [""] * (width - len(row)) for row in rows]


def cell(measured: pd.DataFrame, at: tuple[str, str, str, int]) -> str:
    """Empty where there is no run."""
    if at not in measured.index:
        return ""
    mean, error, count = measured.loc[at]
    return percent(mean, 1) + (f" ± {100 * error:.1f}" if count > 1 else "")


def drawing() -> "Figure":
    """What more photos bring, by what training starts from."""
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    measured = accuracies()
    figure, grid = pyplot().subplots(1, 2, figsize=(WIDTH * PX, 430 * PX), layout="constrained")
    headline(figure, "what more photos bring, and what a trained start brings")
    lines = {}
    for axes, (key, label) in zip(grid, SETS.items(), strict=True):
        for start, (name, marker, dashes) in STARTS.items():
            for trained, layers in TRAINED.items():
                if (key, start, trained) not in measured.index.droplevel("photos"):
                    continue
                points = measured.loc[key, start, trained]
                style = {"marker": marker, "linestyle": dashes, "markersize": 5}
                shade = colour("ink" if trained == "whole" else "muted")
                line = axes.errorbar(
                    points.index, points["mean"], points["sem"].fillna(0), color=shade, **style
                )
                text = name if start == "scratch" else f"{name}, {layers}"
                lines.setdefault(text, line)
        axes.set(title=label, xscale="log", xlabel="training photos")
        counts = sorted(measured.loc[key].index.unique("photos"))
        axes.xaxis.set_major_locator(FixedLocator(counts))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    grid[0].set_ylabel("validation accuracy")
    figure.legend(lines.values(), lines, loc="outside lower left", ncols=3, handlelength=3)
    return figure
