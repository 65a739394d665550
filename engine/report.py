"""What there is to look at after a run: log, curves, tables, confusion matrix, mistakes.

pandas and matplotlib are imported where they are used: they take a second to load, and
``predict.py`` needs neither.
"""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from engine.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from PIL import Image


def print_epoch(row: dict[str, float], epochs: int, is_best: bool) -> None:
    """One line for the epoch that has just ended."""
    print(
        f"epoch {row['epoch']:>2}/{epochs}  "
        f"train: loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.2%}  "
        f"validation: loss {row['val_loss']:.4f}, accuracy {row['val_accuracy']:.2%}  "
        f"({row['seconds']:.0f} s, {row['images_per_second']:.0f} images/s)"
        f"{'  best' if is_best else ''}",
        flush=True,
    )


def write_log(history: list[dict[str, float]], folder: Path) -> None:
    """log.csv and curves.png of the epochs so far."""
    import pandas as pd

    frame = pd.DataFrame(history)
    with atomic_write(folder / "log.csv", "w") as file:
        frame.to_csv(file, index=False, float_format="%.6g", lineterminator="\n")
    draw_curves(frame, folder / "curves.png")


def draw_curves(frame: "pd.DataFrame", path: Path) -> None:
    """Loss, accuracy and learning rate over the epochs."""
    plt = pyplot()
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure, (loss, accuracy, rate) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    style = {"marker": "o", "markersize": 3}
    for axes, name, note in (
        (loss, "loss", "as minimised"),
        (accuracy, "accuracy", "augmented images"),
    ):
        axes.plot(frame.epoch, frame[f"train_{name}"], label=f"training ({note})", **style)
        axes.plot(frame.epoch, frame[f"val_{name}"], label="validation", **style)
        axes.set_title(name)
        axes.legend()
    best = frame.val_accuracy.idxmax()
    accuracy.annotate(
        f"best {frame.val_accuracy[best]:.2%}",
        (frame.epoch[best], frame.val_accuracy[best]),
        xytext=(0, -28),
        textcoords="offset points",
        ha="right",
        arrowprops={"arrowstyle": "-"},
    )
    accuracy.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))  # whole per cents
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    rate.plot(frame.epoch, frame.lr, color="tab:green", **style)
    rate.set_title("learning rate at the end of the epoch")
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts, classes x classes: row = true class, column = predicted class."""
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


def write_confusion(confusion: np.ndarray, classes: Sequence[str], folder: Path) -> None:
    """confusion_matrix.csv, and .png: counts, shaded by their share of the true class."""
    import pandas as pd

    frame = pd.DataFrame(confusion, pd.Index(classes, name="true"), classes)
    frame.to_csv(folder / "confusion_matrix.csv")
    plt = pyplot()
    size = max(5.0, 0.62 * len(classes) + 1.8)
    figure, axes = plt.subplots(figsize=(size, size), layout="constrained")
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=9)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    figure.savefig(folder / "confusion_matrix.png", dpi=100)
    plt.close(figure)


def draw_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    path: Path,
    count: int = 32,
) -> None:
    """Draw the most confident mistakes, the worst first.

    Args:
        images: uint8, N x C x H x W.
        probabilities: N x classes.
    """
    plt = pyplot()
    predictions, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predictions != labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    columns = 8
    rows = max(1, -(-len(wrong) // columns))
    figure, grid = plt.subplots(
        rows, columns, figsize=(12, 1.95 * rows + 0.4), layout="constrained", squeeze=False
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, index in zip(grid.flat, wrong, strict=False):
        show_image(axes, images[index])
        axes.set_title(
            f"{classes[predictions[index]]} {confidence[index]:.0%}\nis {classes[labels[index]]}",
            fontsize=9,
        )
    figure.suptitle(f"{len(wrong)} most confident mistakes: prediction, confidence, truth")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_predictions(
    photos: list["Image.Image"], rows: list[list[tuple[str, float]]], path: Path
) -> None:
    """Each photo beside bars of its most probable classes.

    Args:
        photos: Pillow images.
        rows: for each photo its (class, probability) pairs, most probable first.
    """
    plt = pyplot()
    side_by_side = 1 if len(photos) < 4 else 2
    lines = -(-len(photos) // side_by_side)
    size = (6 * side_by_side, 2.2 * lines)
    figure, grid = plt.subplots(lines, 2 * side_by_side, figsize=size, layout="constrained")
    for axes in grid.flat:
        axes.set_axis_off()
    for (left, right), photo, row in zip(grid.reshape(-1, 2), photos, rows, strict=False):
        right.set_axis_on()
        left.imshow(photo, cmap="gray", vmin=0, vmax=255)
        names, values = zip(*reversed(row), strict=True)
        bars = right.barh(names, values)
        right.bar_label(bars, [f"{value:.1%}" for value in values], padding=3)
        right.set_xlim(0, 1.2)
        right.set_xticks([])
        right.spines[["top", "right", "bottom"]].set_visible(False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def show_image(axes: "Axes", image: np.ndarray) -> None:
    """Draw a uint8 C x H x W image, grey or RGB."""
    axes.imshow(
        image[0] if len(image) == 1 else image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255
    )


def pyplot() -> ModuleType:
    """matplotlib's pyplot, drawing to files alone."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
