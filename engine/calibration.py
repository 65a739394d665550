"""Calibrate probabilities: bring them closer to the accuracy of the predictions.

Trained networks are overconfident, or underconfident with label smoothing. Temperature scaling
divides the logits by one number before the softmax (Guo et al. 2017, "On Calibration of Modern
Neural Networks"). That corrects the confidence on average, though not at each probability. The
order of the classes does not change, and neither does accuracy.

    python -m engine.calibration best.pth     # for a checkpoint without a temperature
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
THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)  # rows of the coverage table


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Find the temperature that minimises the cross-entropy, within TEMPERATURES.

    Cross-entropy is convex in 1 / temperature. Its derivative is the mean logit expected under the
    network's probabilities minus the mean logit of the true class, so bisection finds the
    temperature at which the two are equal.

    One more image is added that belongs to all classes equally (as for two classes in Platt 1999):
    without it, a few images that are all classified correctly would give a temperature of 0.

    Args:
        logits: N x classes, for images that the network was not trained on.
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
    """Images, mean confidence and accuracy in each bin of confidence, BINS x 3; 0 in empty bins.

    Confidence is the probability of the predicted class. Bin m, counted from 0, is
    (m / BINS, (m + 1) / BINS].

    Args:
        probabilities: N x classes.
        labels: N.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    index = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    images, *sums = (np.bincount(index, each, BINS) for each in (None, confidence, right))
    return np.stack([images, *(each / np.maximum(images, 1) for each in sums)], axis=1)


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The mean of |accuracy - confidence| over the bins, weighted by their number of images."""
    images, confidence, accuracy = reliability(probabilities, labels).T
    return float((images * np.abs(accuracy - confidence)).sum() / images.sum())


def coverage(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, float | None]]:
    """For each of THRESHOLDS: the share of images answered, and the accuracy on these images.

    An image is answered if the confidence reaches the threshold, as with ``predict.py
    --min-confidence``. If no image is answered, accuracy is None.
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
    """Draw reliability.png: a diagram for each set of probabilities, and accuracy by coverage.

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
    curve.set_title("only the most confident answers")
    curve.set_xlabel("images answered (points: from this confidence)")
    curve.set_xlim(0, 1.02)
    curve.margins(y=0.1)  # room for a label above 100 %
    for axes in grid.flat:
        axes.set_ylabel("accuracy")
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    report.save(figure, path)


def draw_bins(axes: "Axes", probabilities: np.ndarray, labels: np.ndarray, title: str) -> None:
    """A reliability diagram: accuracy by bin, and its gap to the confidence in another colour."""
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
    from engine import inference  # here: it imports models and data, and this module

    parser = argparse.ArgumentParser(
        description="Fit a checkpoint's temperature to its validation images; store it in the file."
    )
    parser.add_argument(
        "checkpoint", type=cli.pathname, help="best.pth of a run, or an exported file"
    )
    parser.add_argument(
        "--data-dir", type=cli.pathname, help="the data, if it has moved since training"
    )
    parser.add_argument("--device", default="auto", help=cli.NAMES)
    args = parser.parse_args()
    before, after = inference.calibrate(args.checkpoint, args.data_dir, args.device)
    print(f"{args.checkpoint}: temperature {after:.3f} (before: {before:.3f})")


if __name__ == "__main__":
    cli.run(main)
