"""Which clothes the networks confuse: the confusion matrices of results/, for docs/figures.py."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from docs.style import LARGE, SMALL, canvas, colour, write
from engine.report import pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
NETWORKS = {"googlenet": "GoogLeNet", "vgg16": "VGG16"}
SHIRTS = ["T-shirt/top", "Pullover", "Dress", "Coat", "Shirt"]  # what is confused with shirts


def fashionmnist_confusion() -> "Figure":
    """Which clothes are taken for which: the mistakes on the test images, both networks."""
    cell, below = 33, 60
    figure, axes = canvas(below + 10 * cell + 96)
    for left, name in zip((118, 480), NETWORKS, strict=True):
        frame = confusion(name)
        write(axes, (left, 20), NETWORKS[name], size=LARGE, align="left", bold=True)
        text = f"{mistakes(frame)} mistakes in {frame.to_numpy().sum():,}"
        write(axes, (left, 41), text, "muted", align="left")
        cells(axes, frame, NETWORKS[name], (left, below, cell), SMALL)
        for row, true in enumerate(frame.index):
            if left < 200:
                y = below + cell * (row + 0.5)
                write(axes, (left - 10, y), true, "muted", SMALL, "right")
            style = {"rotation": 45, "ha": "right", "va": "top", "rotation_mode": "anchor"}
            place = (left + cell * (row + 0.7), below + 10 * cell + 8)
            axes.text(*place, true, color=colour("muted"), fontsize=SMALL, **style)
        write(axes, (left + 5 * cell, below + 10 * cell + 80), "taken for", size=SMALL, bold=True)
    write(axes, (108, below - 12), "true class", size=SMALL, align="right", bold=True)
    return figure


def fashionmnist_shirts() -> "Figure":
    """What shirts are taken for, and what for shirts: large enough for a slide."""
    cell, below, size = 70, 80, 13.5
    figure, axes = canvas(below + 5 * cell + 70)
    for left, name in zip((104, 470), NETWORKS, strict=True):
        whole = confusion(name)
        frame = whole.loc[SHIRTS, SHIRTS]
        write(axes, (left, 20), NETWORKS[name], size=15, align="left", bold=True)
        text = f"{mistakes(frame)} of its {mistakes(whole)} mistakes"
        write(axes, (left, 52), text, "muted", size, "left")
        cells(axes, frame, NETWORKS[name], (left, below, cell), 15)
        for row, true in enumerate(label.partition("/")[0] for label in SHIRTS):
            if left < 200:
                write(axes, (left - 10, below + cell * (row + 0.5)), true, "muted", size, "right")
            place = (left + cell * (row + 0.5), below + 5 * cell + 20)
            write(axes, place, true, "muted", 12.5)
        write(axes, (left + 2.5 * cell, below + 5 * cell + 52), "taken for", size=size, bold=True)
    write(axes, (94, below - 18), "true class", size=size, align="right", bold=True)
    return figure


def confusion(name: str) -> pd.DataFrame:
    """How often each class, a row, was taken for each, a column."""
    return pd.read_csv(RESULTS / f"fashionmnist_{name}_confusion.csv").set_index("true")


def mistakes(frame: pd.DataFrame) -> int:
    return frame.to_numpy().sum() - frame.to_numpy().trace()


def cells(
    axes: "Axes",
    frame: pd.DataFrame,
    network: str,
    at: tuple[float, float, float],
    size: float,
) -> None:
    """The counts of a confusion matrix, the mistakes shaded; at: left, top, a cell's side."""
    left, top, cell = at
    counts: np.ndarray = frame.to_numpy()
    most = max(count for place, count in np.ndenumerate(counts) if place[0] != place[1])
    for (row, column), count in np.ndenumerate(counts):
        x, y = left + cell * column, top + cell * row
        share = 0.04 + 0.36 * (count / most) ** 0.7 * (row != column)
        style = {"facecolor": colour(network, share), "edgecolor": colour("muted", 0.25)}
        axes.add_patch(pyplot().Rectangle((x, y), cell, cell, linewidth=0.7, **style))
        if count:
            kind = "muted" if row == column else "ink"
            write(axes, (x + cell / 2, y + cell / 2), str(count), kind, size)


DRAWINGS = (fashionmnist_confusion, fashionmnist_shirts)
