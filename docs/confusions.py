"""Which clothes the networks confuse: the confusion matrices of results/, for docs/figures.py."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from docs.result_tables import NAMES, RESULTS
from docs.style import LARGE, ON_SLIDES, SMALL, bar, canvas, colour, write
from engine.report import pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def fashionmnist_confusion() -> "Figure":
    """Which clothes are taken for which: the mistakes on the test images, both networks."""
    cell, below = 33, 60
    figure, axes = canvas(below + 10 * cell + 96)
    for left, name in ((118, "googlenet"), (480, "vgg16")):
        frame = confusion(name)
        write(axes, (left, 20), NAMES[name], size=LARGE, align="left", bold=True)
        text = f"{mistakes(frame)} mistakes in {frame.to_numpy().sum():,}"
        write(axes, (left, 41), text, "muted", align="left")
        cells(axes, frame, NAMES[name], (left, below, cell), SMALL)
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


def fashionmnist_wrong() -> "Figure":
    """How many test images of each class the networks get wrong, the hardest class first."""
    figure, axes = canvas(322, ON_SLIDES)
    frames = {NAMES[name]: confusion(name) for name in ("googlenet", "vgg16")}
    wrong = pd.DataFrame({name: f.sum(axis=1) - np.diag(f) for name, f in frames.items()})
    wrong = wrong.sort_values("GoogLeNet", ascending=False)
    length = 530 / wrong.to_numpy().max()  # of a bar, px for each image
    title = "wrong answers to 1,000 test images of each class"
    write(axes, (14, 18), title, size=LARGE, align="left", bold=True)
    for network, x in (("GoogLeNet", 730), ("VGG16", 816)):
        write(axes, (x, 18), network, network, align="right", bold=True)
        for row, count in enumerate(wrong[network]):
            y = 53 + 28 * row
            bar(axes, (130, y if network == "VGG16" else y - 11), (length * count, 10), network)
            write(axes, (x, y), str(count), network, align="right")
    for row, name in enumerate(wrong.index):
        write(axes, (118, 53 + 28 * row), name, align="right", bold=row == 0)
    return figure


def confusion(name: str) -> pd.DataFrame:
    """A confusion matrix: rows are true classes, columns predicted ones."""
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


DRAWINGS = (fashionmnist_confusion, fashionmnist_wrong)
