"""The reports of a run or a test: log, curves, tables, confusion matrix, mistakes.

pandas and matplotlib are imported where they are used: they take a second to load, and
``predict.py`` needs neither.
"""

import csv
import os
import sys
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePath
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from engine.files import atomic_write, write_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

MISTAKES = 30  # number of images in mistakes.png
# Limits on the size of the confusion matrix's picture: with more classes, first the cells have no
# counts, then only some classes have their names, and finally a cell stands for several classes.
MOST_COUNTS, MOST_NAMES, MOST_CELLS = 30, 40, 1000


def print_epoch(row: dict[str, float], epochs: int, is_best: bool) -> None:
    """Print one line for the epoch that has just ended."""
    print(
        f"epoch {row['epoch']:>2}/{epochs}  "
        f"train: loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.2%}  "
        f"validation: loss {row['val_loss']:.4f}, accuracy {row['val_accuracy']:.2%}  "
        f"({row['seconds']:.0f} s, {row['images_per_second']:.0f} images/s)"
        f"{'  best' if is_best else ''}",
        flush=True,
    )


def write_log(history: list[dict[str, float]], path: Path) -> None:
    """Write log.csv: a row for each epoch so far."""
    import pandas as pd

    write_table(pd.DataFrame(history), path, index=False, float_format="%.6g")


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Draw curves.png: loss, accuracy and learning rate over the epochs."""
    import pandas as pd

    frame = pd.DataFrame(history)
    figure, grid = subplots(1, 3, (12, 3.6))
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    loss, accuracy, rate = grid.flat
    style = {"marker": "o", "markersize": 3}
    for axes, name, note, corner in (  # fixed corners, since matplotlib's "best" is slow
        (loss, "loss", "as minimised", "upper right"),
        (accuracy, "accuracy", "augmented images", "lower right"),
    ):
        axes.plot(frame.epoch, frame[f"train_{name}"], label=f"training ({note})", **style)
        axes.plot(frame.epoch, frame[f"val_{name}"], label="validation", **style)
        axes.set_title(name)
        axes.legend(loc=corner)
    accuracy.set_title(f"accuracy: best in validation {frame.val_accuracy.max():.2%}")
    accuracy.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))  # whole per cents
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    rate.plot(frame.epoch, frame.lr, color="tab:green", **style)
    rate.set_title("learning rate at the end of the epoch")
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    save(figure, path)


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts, classes x classes: rows are true classes, columns predicted classes."""
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, -1)


def class_table(confusion: np.ndarray, classes: Sequence[str]) -> "pd.DataFrame":
    """Precision, recall, F1 and support of each class; 0 where a class was never predicted."""
    import pandas as pd

    hits = np.diag(confusion)
    support, predicted = confusion.sum(1), confusion.sum(0)
    return pd.DataFrame(
        {
            "precision": hits / np.maximum(predicted, 1),
            "recall": hits / np.maximum(support, 1),
            "f1": 2 * hits / np.maximum(support + predicted, 1),
            "support": support,
        },
        index=pd.Index(classes, name="class"),
    )


def write_predictions(
    files: Sequence[str] | None,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    path: Path,
) -> None:
    """Write the answer to each image as CSV: file, truth, answer, probability of each class.

    Args:
        files: their names. None: the first column is the index in the test set.
        probabilities: N x classes.
    """
    names = range(len(labels)) if files is None else files
    answers = probabilities.argmax(1)
    with atomic_write(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index" if files is None else "file", "truth", "answer", *classes])
        for name, label, answer, row in zip(names, labels, answers, probabilities, strict=True):
            numbers = [f"{probability:.6g}" for probability in row]
            name = str(name).encode(errors="backslashreplace").decode()  # may be invalid UTF-8
            writer.writerow([name, classes[label], classes[answer], *numbers])


def write_confusion(confusion: np.ndarray, classes: Sequence[str], folder: Path) -> None:
    """Write confusion_matrix.csv, and .png: counts, shaded by their share of the true class."""
    import pandas as pd

    frame = pd.DataFrame(confusion, pd.Index(classes, name="true"), classes)
    write_table(frame, folder / "confusion_matrix.csv")
    draw_confusion(confusion, classes, folder / "confusion_matrix.png")


def draw_confusion(confusion: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """Draw counts, classes x classes, shaded by their share of the true class."""
    together = -(-len(classes) // MOST_CELLS)  # classes per cell
    if together > 1:
        starts = np.arange(0, len(classes), together)
        confusion = np.add.reduceat(np.add.reduceat(confusion, starts, 0), starts, 1)
    count = len(confusion)
    size = max(5.0, 0.62 * count + 1.8) if count <= MOST_COUNTS else 12.0
    figure, grid = subplots(1, 1, (size, size))
    from matplotlib.colors import PowerNorm

    axes = grid[0, 0]
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    shade = PowerNorm(0.4, 0, 1)  # makes rare mistakes visible beside many correct predictions
    axes.imshow(shares, cmap="Blues", norm=shade)
    for (row, column), number in np.ndenumerate(confusion) if count <= MOST_COUNTS else ():
        if number:
            colour = "white" if shade(shares[row, column]) > 0.5 else "black"
            axes.text(
                column, row, f"{number:,}", ha="center", va="center", color=colour, fontsize=9
            )
    ticks = range(0, count, -(-count // MOST_NAMES))
    names = [caption(classes[tick * together]) for tick in ticks]
    axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names)
    note = f" ({together} classes per cell)" if together > 1 else ""
    axes.set_xlabel(f"predicted{note}")
    axes.set_ylabel(f"true{note}")
    save(figure, path)


def draw_mistakes(
    images: Sequence[np.ndarray],
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    path: Path,
    files: Sequence[str] | None = None,
) -> None:
    """Draw the most confident mistakes, the worst first.

    Args:
        images: N images, uint8, C x H x W each; only those that are drawn are read.
        probabilities: N x classes.
        files: the names of the images' files.
    """
    predictions, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predictions != labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    columns = 6
    rows = max(1, -(-len(wrong) // columns))
    height = 1.75 if files is None else 1.92
    figure, grid = subplots(rows, columns, (8.4, height * rows + 0.4))  # text as large as a page's
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, index in zip(grid.flat, wrong, strict=False):
        show_image(axes, images[index])
        lines = [
            f"{caption(classes[predictions[index]], 13)} {confidence[index]:.0%}",
            f"is {caption(classes[labels[index]], 15)}",
        ]
        if files is not None:
            lines.append(caption(PurePath(files[index]).name, 17))
        axes.set_title("\n".join(lines), fontsize=9)
    figure.suptitle(f"{len(wrong)} most confident mistakes: prediction, confidence, truth")
    save(figure, path)


def draw_predictions(
    photos: list["Image.Image"],
    rows: list[list[tuple[str, float]]],
    path: Path,
    min_confidence: float = 0,
) -> None:
    """Draw each photo with bars of its most probable classes, grey if the answer is unsure.

    Args:
        photos: Pillow images.
        rows: the (class, probability) pairs of each photo, most probable first.
    """
    side_by_side = 1 if len(photos) < 4 else 2
    lines = -(-len(photos) // side_by_side)
    wide, high, letters = ((6, 2.2, 24), (4.2, 1.6, 14))[side_by_side - 1]  # at most a page's width
    figure, grid = subplots(lines, 2 * side_by_side, (wide * side_by_side, high * lines))
    for axes in grid.flat:
        axes.set_axis_off()
    for (left, right), photo, row in zip(grid.reshape(-1, 2), photos, rows, strict=False):
        right.set_axis_on()
        left.imshow(photo, cmap="gray", vmin=0, vmax=255)
        names, values = zip(*reversed(row), strict=True)
        sure = values[-1] >= min_confidence
        # By number: two names may look the same when shortened.
        bars = right.barh(range(len(row)), values, color="tab:blue" if sure else "silver")
        right.set_title("" if sure else "unsure")
        right.set_yticks(range(len(row)), [caption(name, letters) for name in names])
        right.bar_label(bars, [f"{value:.1%}" for value in values], padding=3)
        right.set_xlim(0, 1.2)
        right.set_xticks([])
        right.spines[["top", "right", "bottom"]].set_visible(False)
    save(figure, path)


def show_image(axes: "Axes", image: np.ndarray) -> None:
    """Draw a uint8 C x H x W image, grey or RGB; of a large one, every second pixel or fewer."""
    step = max(1, image.shape[1] // 256)
    image = image[:, ::step, ::step]
    axes.imshow(
        image[0] if len(image) == 1 else image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255
    )


def caption(text: str, length: int = 24) -> str:
    """Shorten a text to one line of at most ``length`` characters, without its middle."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(text) <= length:
        return text
    tail = length // 2 - 1
    return f"{text[: length - tail - 1]}…{text[-tail:]}"


def subplots(rows: int, columns: int, size: tuple[float, float]) -> tuple["Figure", np.ndarray]:
    """A figure of this size in inches, and its axes, rows x columns. Write it with ``save``."""
    return pyplot().subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)


def pyplot() -> ModuleType:
    """matplotlib's pyplot, drawing only to files. A "$" in a name does not start a formula."""
    os.environ["MPLBACKEND"] = "agg"  # a notebook's backend may be inherited but not installed
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update({"text.parse_math": False, "text.usetex": False})
    from matplotlib import pyplot

    return pyplot


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG and close it."""
    try:
        with warnings.catch_warnings(record=True) as caught, atomic_write(path) as file:
            warnings.simplefilter("always")
            figure.savefig(file, format="png", dpi=100)
    finally:
        pyplot().close(figure)
    for warning in caught:
        if "missing from" in str(warning.message):  # "Glyph 29483 missing from font(s) …"
            note_missing_letters()
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


@cache
def note_missing_letters() -> None:
    """Print a note about missing letters, once for all pictures."""
    print("note: the pictures' font lacks some letters of the names", file=sys.stderr)
