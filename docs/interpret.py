"""Draw what a trained network sees.

    python -m docs.interpret --checkpoint checkpoints/fashionmnist_googlenet.pth
    python -m docs.interpret --checkpoint checkpoints/catsdogs_googlenet.pth --photo cat.jpg

Writes four pictures to docs/figures/: the kernels of the first layer, the maps that a photo excites
most, where on photos the evidence lies, and what the branches of inception 4c respond to. VGG16 has
no branches.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from data.dataset import ImageDataset
from data.loaders import eval_loader
from docs.figures import FIGURES, save
from engine import cli
from engine.explain import STAGES, activations, evidence
from engine.inference import Classifier, load_classifier, open_split
from engine.report import pyplot, show_image

IMAGES = 1000  # of the validation images that branches are shown
MODULE = "4c"
BRANCHES = ("branch_1x1", "branch_3x3", "branch_5x5", "branch_pool")


def main() -> None:
    parser = argparse.ArgumentParser(description=cli.summary(__doc__))
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="of the trained network")
    add("--photo", type=Path, help="the photo to look at (default: the first validation image)")
    add("--data-dir", type=Path, help="folder of the data, where it is not in the usual places")
    add("--output-dir", type=Path, default=FIGURES, help="folder to write to (docs/figures)")
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    classifier = load_classifier(args.checkpoint, "cpu")
    images = open_split(classifier.metadata, "val", args.data_dir).first(IMAGES)
    photo = classifier.prepare(args.photo) if args.photo else np.array(images.images[0])
    stem = args.output_dir / args.checkpoint.stem
    draw_filters(classifier, stem.with_name(f"{stem.name}_filters.png"))
    draw_maps(classifier, photo, stem.with_name(f"{stem.name}_maps.png"))
    draw_evidence(classifier, photo, images, stem.with_name(f"{stem.name}_evidence.png"))
    if "googlenet" in classifier.metadata["model"]:
        draw_branches(classifier, images, stem.with_name(f"{stem.name}_branches.png"))


def draw_filters(classifier: Classifier, path: Path) -> None:
    """The first layer's kernels; grey is 0."""
    plt = pyplot()
    first = next(m for m in classifier.model.modules() if isinstance(m, nn.Conv2d))
    kernels = first.weight.detach().float().numpy()
    kernels = 0.5 + 0.5 * kernels / np.abs(kernels).max((1, 2, 3), keepdims=True)
    figure, grid = plt.subplots(4, 16, figsize=(12, 3.3), layout="constrained")
    for axes, kernel in zip(grid.flat, kernels, strict=True):
        show_image(axes, (255 * kernel).astype(np.uint8))
        axes.set_axis_off()
    save(figure, path)


@torch.inference_mode()
def draw_maps(classifier: Classifier, photo: np.ndarray, path: Path) -> None:
    """The photo, and the eight maps of each stage that it excites most."""
    plt = pyplot()
    stages = STAGES[classifier.metadata["model"]]
    _, outputs = activations(classifier, photo[None], stages)
    figure, grid = plt.subplots(
        len(stages), 9, figsize=(12, 1.45 * len(stages)), layout="constrained"
    )
    for row, stage in zip(grid, stages, strict=True):
        maps = outputs[stage][0].float()
        strongest = maps.mean((1, 2)).argsort(descending=True)[:8]
        show_image(row[0], photo)
        row[0].set_title(
            f"{stage}: {len(maps)} maps of {maps.shape[1]} × {maps.shape[2]}", loc="left"
        )
        for axes, index in zip(row[1:], strongest, strict=True):
            axes.imshow(maps[index].numpy(), cmap="magma", vmin=0)
        for axes in row:
            axes.set_axis_off()
    save(figure, path)


def draw_evidence(
    classifier: Classifier, photo: np.ndarray, images: ImageDataset, path: Path
) -> None:
    """Grad-CAM on the photo and on seven validation images, one of each class in turn."""
    plt = pyplot()
    turns = [np.sum(images.labels[:i] == label) for i, label in enumerate(images.labels)]
    order = np.argsort(turns, kind="stable")
    chosen = [photo, *images.images[order[1:8]]]
    figure, grid = plt.subplots(2, 8, figsize=(12, 3.4), layout="constrained")
    for (above, below), image in zip(grid.T, chosen, strict=True):
        heat, predicted, probability = evidence(classifier, image)
        show_image(above, image)
        show_image(below, image)
        below.imshow(heat, cmap="inferno", alpha=0.6, vmin=0, vmax=1)
        above.set_title(f"{classifier.classes[predicted]} {probability:.0%}", fontsize=9)
        above.set_axis_off()
        below.set_axis_off()
    save(figure, path)


@torch.inference_mode()
def draw_branches(classifier: Classifier, images: ImageDataset, path: Path) -> None:
    """For each branch of a module, the images that excite two of its choosiest channels most."""
    plt = pyplot()
    names = [f"inception{MODULE}.{branch}" for branch in BRANCHES]
    peaks = {name: [] for name in names}  # of each channel on each image
    for batch, _ in tqdm(eval_loader(images, 100), desc="branches", leave=False):
        _, outputs = activations(classifier, batch.numpy(), names)
        for name in names:
            peaks[name].append(outputs[name].amax((2, 3)))
    figure, grid = plt.subplots(8, 10, figsize=(12, 10.4), layout="constrained")
    rows = iter(grid)
    shown = torch.zeros(len(images.classes))  # how many channels of each class so far
    for branch, peak in zip(BRANCHES, map(torch.cat, peaks.values()), strict=True):
        for channel in choosy_channels(peak, torch.from_numpy(images.labels), shown):
            row = next(rows)
            title = f"{branch}: channel {channel} of {peak.shape[1]}"
            row[0].set_title(title, loc="left", fontsize=9)
            for axes, best in zip(row, peak[:, channel].argsort(descending=True), strict=False):
                show_image(axes, images.images[best])
                axes.set_axis_off()
    save(figure, path)


def choosy_channels(
    peak: torch.Tensor, labels: torch.Tensor, shown: torch.Tensor, count: int = 2
) -> Iterator[int]:
    """The channels that one class excites much more than the others do, of different classes.

    Args:
        peak: images x channels.
        shown: how often each class has been the favourite of a channel; counted on in place.
    """
    by_class = torch.stack([peak[labels == label].mean(0) for label in range(len(shown))])
    favourite = by_class.argmax(0)
    choosiness = by_class.std(0) / by_class.mean(0).clamp(min=1e-3)
    for _ in range(count):
        # The choosiest channel whose favourite has been shown least.
        rare = shown[favourite] == shown[favourite].min()
        channel = int(choosiness.where(rare, 0).argmax())
        shown[favourite[channel]] += 1
        choosiness[channel] = 0  # not again
        yield channel


if __name__ == "__main__":
    cli.run(main)
