"""Draw what a trained network sees.

    python -m docs.interpret --checkpoint checkpoints/fashionmnist_googlenet.pth
    python -m docs.interpret --checkpoint checkpoints/catsdogs_googlenet.pth --photo cat.jpg

Writes four pictures to docs/figures/: the kernels of the first layer, the maps that a photo excites
most, where on photos the evidence lies, and what the branches of inception 4c respond to, with the
part of each image that excites them most marked. VGG16 has no branches. --without leaves validation
images out by their numbers: the published pictures show nobody's face (663 of the cats and dogs).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from data.dataset import ImageDataset
from data.loaders import eval_loader
from docs.style import FIGURES, LIGHT, NORMAL, PX, WIDTH, colour, headline, save_pixels
from engine import cli
from engine.explain import STAGES, activations, cell_centres, evidence, strongest
from engine.inference import Classifier, load_classifier, open_split
from engine.report import pyplot, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IMAGES = 1000  # number of validation images for ``branches``
MODULE = "4c"
OF_PHOTOS = ("evidence", "branches")  # a JPEG is a fifth of a PNG of photos
BRANCHES = ("branch_1x1", "branch_3x3", "branch_5x5", "branch_pool")


def main() -> None:
    parser = argparse.ArgumentParser(description=cli.summary(__doc__))
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="of the trained network")
    add("--photo", type=Path, help="the photo to look at (default: the first validation image)")
    add("--data-dir", type=Path, help="folder of the data, if not the usual one")
    add("--without", type=int, nargs="+", default=[], metavar="N", help="validation images to skip")
    add("--output-dir", type=Path, default=FIGURES, help="folder to write to (docs/figures)")
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    classifier = load_classifier(args.checkpoint, "cpu")
    images = open_split(classifier.metadata, "val", args.data_dir).first(IMAGES)
    shown = np.setdiff1d(np.arange(len(images.images)), args.without)
    images = ImageDataset(images.images[shown], images.labels[shown], images.classes)
    photo = classifier.prepare(args.photo) if args.photo else np.array(images.images[0])
    with pyplot().style.context(LIGHT, after_reset=True):
        pictures = {
            "filters": draw_filters(classifier),
            "maps": draw_maps(classifier, photo),
            "evidence": draw_evidence(classifier, photo, images),
        }
        if "googlenet" in classifier.metadata["model"]:
            pictures["branches"] = draw_branches(classifier, images)
        for kind, figure in pictures.items():
            ending = "jpg" if kind in OF_PHOTOS else "png"
            save_pixels(figure, args.output_dir / f"{args.checkpoint.stem}_{kind}.{ending}")


def grid_of_images(columns: int, above: list[float]) -> tuple["Figure", np.ndarray]:
    """A page-wide figure of square axes without ticks; ``above``: pixels over each row."""
    side = (WIDTH - 20 - 6 * (columns - 1)) / columns
    tops = 30 + np.cumsum(above) + (side + 6) * np.arange(len(above))
    height = tops[-1] + side + 6
    figure = pyplot().figure(figsize=(WIDTH * PX, height * PX))
    grid = np.empty((len(above), columns), "O")
    for row, column in np.ndindex(grid.shape):
        left, top = 10 + column * (side + 6), tops[row]
        box = (left / WIDTH, 1 - (top + side) / height, side / WIDTH, side / height)
        grid[row, column] = figure.add_axes(box)
        grid[row, column].set_axis_off()
    return figure, grid


def draw_filters(classifier: Classifier) -> "Figure":
    """The first layer's kernels; grey is 0."""
    first = next(m for m in classifier.model.modules() if isinstance(m, nn.Conv2d))
    kernels = first.weight.detach().float().numpy()
    kernels = 0.5 + 0.5 * kernels / np.abs(kernels).max((1, 2, 3), keepdims=True)
    side = kernels.shape[-1]
    figure, grid = grid_of_images(16, [0] * 4)
    for axes, kernel in zip(grid.flat, kernels, strict=True):
        show_image(axes, (255 * kernel).astype(np.uint8))
    headline(figure, f"the {len(kernels)} kernels of the first layer, {side}×{side}; grey is 0")
    return figure


@torch.inference_mode()
def draw_maps(classifier: Classifier, photo: np.ndarray) -> "Figure":
    """The photo, and the eight most active maps of each stage that do not look alike."""
    stages = STAGES[classifier.metadata["model"]]
    _, outputs = activations(classifier, photo[None], stages)
    figure, grid = grid_of_images(8, [10, *[28] * len(stages)])
    headline(
        figure, "a photo, and maps that it excites most after each stage; near copies are left out"
    )
    show_image(grid[0, 0], photo)
    scale = grid[0, 1].inset_axes((0.1, 0.3, 2.2, 0.12))
    scale.imshow(np.linspace(0, 1, 256)[None], cmap="magma", aspect="auto")
    scale.set_axis_off()
    grid[0, 1].text(0.1, 0.52, "black is 0, pale yellow the largest value of a map")
    for row, stage in zip(grid[1:], stages, strict=True):
        maps = outputs[stage][0].float()
        title = f"{stage}: {len(maps)} maps of {maps.shape[1]} × {maps.shape[2]}"
        row[0].set_title(title, fontsize=NORMAL, pad=5)
        for axes, index in zip(row, strongest(maps, len(row)), strict=True):
            axes.imshow(maps[index].numpy(), cmap="magma", vmin=0)
    return figure


def draw_evidence(classifier: Classifier, photo: np.ndarray, images: ImageDataset) -> "Figure":
    """HiResCAM on the photo and on seven validation images, one of each class in turn."""
    turns = [np.sum(images.labels[:i] == label) for i, label in enumerate(images.labels)]
    order = np.argsort(turns, kind="stable")
    chosen = [photo, *images.images[order[1:8]]]
    figure, grid = grid_of_images(4, [48, 0, 48, 0])
    headline(figure, "below each photo, bright: the evidence for the answer (border: outer eighth)")
    for number, image in enumerate(chosen):
        above, below = grid[2 * (number // 4) : 2 * (number // 4) + 2, number % 4]
        heat, predicted, probability = evidence(classifier, image)
        show_image(above, image)
        show_image(below, image)
        below.imshow(heat, cmap="inferno", alpha=0.6, vmin=0, vmax=1)
        answer = f"{classifier.classes[predicted]} {probability:.0%}"
        above.set_title(f"{answer}\n{border_share(heat):.0%} on the border")
    return figure


def border_share(heat: np.ndarray) -> float:
    """How much of the evidence lies in the outer eighth on each side: spread evenly, 44 %."""
    edge = len(heat) // 8
    return 1 - heat[edge:-edge, edge:-edge].sum() / max(heat.sum(), 1e-6)


@torch.inference_mode()
def draw_branches(classifier: Classifier, images: ImageDataset) -> "Figure":
    """For each branch of a module, the images that activate two selective channels most."""
    plt = pyplot()
    names = [f"inception{MODULE}.{branch}" for branch in BRANCHES]
    peaks, places = ({name: [] for name in names} for _ in range(2))  # of channels on images
    for batch, _ in tqdm(eval_loader(images, 100), desc="branches", leave=False):
        _, outputs = activations(classifier, batch.numpy(), names)
        for name in names:
            cells = outputs[name].shape[-1]
            peak, place = outputs[name].flatten(2).max(2)
            peaks[name].append(peak)
            places[name].append(place)
    figure, grid = grid_of_images(8, [18, *[28] * 7])
    headline(figure, f"what excites the branches of inception {MODULE} most, and where")
    rows = iter(grid)
    shown = torch.zeros(len(images.classes))  # how many channels of each class so far
    for branch, name in zip(BRANCHES, names, strict=True):
        peak, place = torch.cat(peaks[name]), torch.cat(places[name])
        kind = "pooling" if branch == "branch_pool" else "convolution"
        for channel in choosy_channels(peak, torch.from_numpy(images.labels), shown):
            row = next(rows)
            title = f"{branch}: channel {channel} of {peak.shape[1]}"
            row[0].set_title(title, fontsize=NORMAL, pad=5)
            for axes, best in zip(row, peak[:, channel].argsort(descending=True), strict=False):
                image = images.images[best]
                show_image(axes, image)
                # The cell with the largest activation, as a square of the image.
                line, column = divmod(int(place[best, channel]), cells)
                first, size = cell_centres(classifier, f"inception{MODULE}", image.shape[-1])
                corner = (first + (column - 0.5) * size, first + (line - 0.5) * size)
                for edge, width in (("white", 3.6), (colour(kind), 1.8)):
                    style = {"fill": False, "edgecolor": edge, "linewidth": width, "clip_on": False}
                    axes.add_patch(plt.Rectangle(corner, size, size, **style))
    return figure


def choosy_channels(
    peak: torch.Tensor, labels: torch.Tensor, shown: torch.Tensor, count: int = 2
) -> Iterator[int]:
    """Select channels that one class activates much more than the others, for different classes.

    Args:
        peak: images x channels.
        shown: how often each class was the favourite of a selected channel; updated in place.
    """
    by_class = torch.stack([peak[labels == label].mean(0) for label in range(len(shown))])
    favourite = by_class.argmax(0)
    choosiness = by_class.std(0) / by_class.mean(0).clamp(min=1e-3)
    for _ in range(count):
        # The most selective channel among those whose favourite class was shown least.
        rare = shown[favourite] == shown[favourite].min()
        channel = int(choosiness.where(rare, 0).argmax())
        shown[favourite[channel]] += 1
        choosiness[channel] = 0  # not again
        yield channel


if __name__ == "__main__":
    cli.run(main)
