"""Bring probabilities closer to how often the answers are right.

Networks as trained are too sure, or with label smoothing not sure enough. One number, the
temperature, corrects that over all answers, though not at each probability: logits are divided by
it before the softmax (Guo et al. 2017, "On Calibration of Modern Neural Networks"). The order of
the classes, and so accuracy, stays as it is.

    python -m engine.calibration best.pth     # fit it to a checkpoint that has none
"""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from engine import cli, report
from engine.checkpoint_fields import TEMPERATURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 15  # of equal width, as in the paper
THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)  # rows of the table of coverage


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature with the least cross-entropy, within TEMPERATURES.

    As a function of 1 / temperature the cross-entropy is convex, and its derivative is the mean
    logit that the network expects of the true class, less the one that the true class has. So it
    is enough to halve the interval in which the two are equal.

    To the images one more is added, of every class alike (as for two classes in Platt 1999):
    without it, a few images that are all answered rightly would ask for a temperature of 0.

    Args:
        logits: N x classes, of images that the network was not trained on.
        labels: N, int64.
    """
    z, images = logits.double(), len(logits)
    true_logits = z.gather(1, labels[:, None])
    wanted = (true_logits.sum() + z.mean()) / (images + 1)
    low, high = map(math.log, TEMPERATURES)
    for _ in range(30):
        middle = (low + high) / 2
        expected = ((z / math.exp(middle)).softmax(1) * z).sum(1).mean()
        low, high = (middle, high) if expected > wanted else (low, middle)
    return math.exp((low + high) / 2)


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Images, mean confidence and accuracy by bin of confidence, BINS x 3; 0 in empty bins.

    Confidence is the probability of the answer. Bin m, from 0 on, is (m / BINS, (m + 1) / BINS].

    Args:
        probabilities: N x classes.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    index = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    images, *sums = (np.bincount(index, each, BINS) for each in (None, confidence, right))
    return np.stack([images, *(each / np.maximum(images, 1) for each in sums)], axis=1)


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance between confidence and accuracy, over bins weighted by their images."""
    images, confidence, accuracy = reliability(probabilities, labels).T
    return float((images * np.abs(accuracy - confidence)).sum() / images.sum())


def coverage(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, float | None]]:
    """For each of THRESHOLDS: the share of images answered, and the accuracy on those.

    An image is answered if the confidence reaches the threshold, as with ``predict.py
    --min-confidence``. Without any, accuracy is None.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    return [
        {
            "min_confidence": threshold,
            "coverage": float(answered.mean()),
            "accuracy": float(right[answered].mean()) if answered.any() else None,
        }
        for threshold in THRESHOLDS
        for answered in [confidence >= threshold]
    ]


def draw_reliability(
    uncalibrated: np.ndarray, calibrated: np.ndarray, labels: np.ndarray, path: Path
) -> None:
    """reliability.png: confidence and accuracy before and after; accuracy against coverage.

    Args:
        uncalibrated, calibrated: probabilities, N x classes.
    """
    figure, grid = report.subplots(1, 3, (12, 4.2))
    from matplotlib.ticker import PercentFormatter

    before, after, curve = grid.flat
    draw_bins(before, uncalibrated, labels, "as trained")
    draw_bins(after, calibrated, labels, "calibrated")
    confidence, right = calibrated.max(1), calibrated.argmax(1) == labels
    order = np.argsort(-confidence, kind="stable")
    answered = np.arange(1, len(labels) + 1)
    curve.plot(answered / len(labels), right[order].cumsum() / answered, color="tab:green")
    for row in coverage(calibrated, labels):
        if row["accuracy"] is not None and row["min_confidence"] in (0.5, 0.8, 0.9, 0.95, 0.99):
            place = row["coverage"], row["accuracy"]
            curve.plot(*place, "o", color="tab:green", markersize=4)
            text = f"{row['min_confidence']:.0%}"
            beside = (4, 4, "left") if row["coverage"] < 0.5 else (-5, -11, "right")
            curve.annotate(text, place, beside[:2], textcoords="offset points", ha=beside[2])
    curve.set_title("the surest answers alone")
    curve.set_xlabel("images answered (points: from this confidence)")
    curve.set_xlim(0, 1.02)
    for axes in grid.flat:
        axes.set_ylabel("accuracy")
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    report.save(figure, path)


def draw_bins(axes: "Axes", probabilities: np.ndarray, labels: np.ndarray, title: str) -> None:
    """A reliability diagram: a bar up to the accuracy of each bin; too sure is what it lacks."""
    bins = reliability(probabilities, labels)
    centres, filled = (np.arange(BINS) + 0.5) / BINS, bins[:, 0] > 0
    images, confidence, accuracy = bins[filled].T
    floor, gap = np.minimum(confidence, accuracy), accuracy - confidence
    for height, bottom, colour, label in (
        (floor, 0, "tab:blue", "accuracy"),
        (gap.clip(0), floor, "lightskyblue", "above the confidence"),
        (-gap.clip(None, 0), floor, "lightsalmon", "below the confidence"),
    ):
        axes.bar(centres[filled], height, 0.94 / BINS, bottom, color=colour, label=label)
    axes.plot([0, 1], [0, 1], "--", color="black", linewidth=1)
    for centre, count, height in zip(centres[filled], images, floor, strict=True):
        style = {"rotation": 90, "ha": "center", "fontsize": 8}
        colour = "white" if height > 0.12 else "black"
        axes.text(centre, 0.015, f"{count:,.0f}", color=colour, **style)
    error = expected_calibration_error(probabilities, labels)
    axes.set_title(f"{title}: calibration error {error:.1%}")
    axes.set_xlabel("confidence (in the bars: images)")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left")


def main() -> None:
    from engine import inference  # here: it knows all models and datasets, the rest does not

    parser = argparse.ArgumentParser(
        description="Fit a checkpoint's temperature to its validation images; the file keeps it."
    )
    parser.add_argument(
        "checkpoint", type=cli.pathname, help="best.pth of a run, or an exported file"
    )
    parser.add_argument(
        "--data-dir", type=cli.pathname, help="the data, where it is not where it was"
    )
    parser.add_argument("--device", default="auto", help=cli.NAMES)
    args = parser.parse_args()
    before, after = inference.calibrate(args.checkpoint, args.data_dir, args.device)
    print(f"{args.checkpoint}: temperature {after:.3f} (before: {before:.3f})")


if __name__ == "__main__":
    cli.run(main)
