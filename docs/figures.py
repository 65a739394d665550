"""Draw the figures of docs/: the two networks, the recorded runs, and what a trained network sees.

    python -m docs.figures                            # networks and measurements
    python -m docs.figures --checkpoint checkpoints/fashionmnist_googlenet.pth
    python -m docs.figures --checkpoint checkpoints/catsdogs_googlenet.pth --photo cat.jpg

Writes PNG files to docs/figures/.
"""

import argparse
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from data import fashionmnist, folders
from data.augment import Preprocess
from data.images import DataError, ImageSet, eval_loader
from data.photos import read_photo
from engine import checkpoint, options
from engine.report import pyplot, show_image
from models import create_model, googlenet, vgg16
from models.googlenet import INCEPTION, GoogLeNet
from models.summary import Row, summarise
from models.vgg16 import VGG16

RESULTS = Path(__file__).parent / "results"
FIGURES = Path(__file__).parent / "figures"
# The maps that show how a network sees, from pixels to things.
STAGES = {
    "vgg16": [f"block{number}" for number in range(1, 6)],
    "googlenet": ["conv1", "conv2", "inception3b", "inception4c", "inception4e", "inception5b"],
}
BRANCHES = ("branch_1x1", "branch_3x3", "branch_5x5", "branch_pool")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--checkpoint", type=Path, help="draw what this trained network sees")
    add("--photo", type=Path, help="the photo to look at (default: one of the validation images)")
    add("--data-dir", type=Path, help="folder of the data, where it is not in the usual places")
    add("--output-dir", type=Path, default=FIGURES, help="folder to write to (docs/figures)")
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    if not args.checkpoint:
        tables = {"VGG16": table(vgg16, VGG16), "GoogLeNet": table(googlenet, GoogLeNet)}
        draw_networks(tables, args.output_dir / "networks.png")
        draw_costs(tables, args.output_dir / "costs.png")
        draw_receptive_fields(args.output_dir / "receptive_fields.png")
        draw_runs(args.output_dir / "runs.png")
        draw_levers(args.output_dir / "levers.png")
        draw_ablations(args.output_dir / "ablations.png")
        return
    trained = Trained(args.checkpoint)
    images = trained.validation_images(args.data_dir)
    photo = trained.photo(args.photo) if args.photo else np.array(images.images[0])
    draw = args.output_dir / args.checkpoint.stem
    draw_filters(trained, draw.with_name(f"{draw.name}_filters.png"))
    draw_maps(trained, photo, draw.with_name(f"{draw.name}_maps.png"))
    draw_evidence(trained, photo, images, draw.with_name(f"{draw.name}_evidence.png"))
    if trained.name == "googlenet":
        draw_branches(trained, images, draw.with_name(f"{draw.name}_branches.png"))


def table(module: Any, model_class: type[nn.Module]) -> list[Row]:
    """The rows of the paper's table at 224 px, RGB, 1000 classes, without auxiliary heads."""
    with torch.device("meta"):
        model = model_class()
    rows = summarise(model, module.table_rows(model))
    return [row for row in rows if not row.name.startswith("auxiliary")]


# The networks


def draw_networks(tables: dict[str, list[Row]], path: Path) -> None:
    """Every row of the tables as a box: as high as its map, as wide as it has channels."""
    plt = pyplot()
    figure, grid = plt.subplots(2, 1, figsize=(12, 8.4), layout="constrained")
    for axes, (name, rows) in zip(grid, tables.items(), strict=True):
        left = 0.0
        for row in rows:
            if row.name == "dropout":
                continue
            channels, *size = (*row.shape, 1, 1)
            side, width = size[0], channels / 32 + 2
            kind = row.name.split("-")[0].split(" ")[0]
            box = (left, -side / 2)
            axes.add_patch(plt.Rectangle(box, width, side, facecolor=COLOURS[kind], ec="black"))
            shape = f"{channels} × {side}²" if side > 1 else f"{channels:,}"
            axes.text(
                left + width / 2,
                -120,
                f"{row.name}  {shape}",
                rotation=60,
                ha="right",
                va="top",
                rotation_mode="anchor",
                fontsize=8,
            )
            left += max(width, 14) + 6
        axes.set_xlim(-30, left)
        axes.set_ylim(-270, 118)
        axes.set_aspect("equal")
        axes.set_axis_off()
        parameters, macs = sum(r.parameters for r in rows), sum(r.macs for r in rows)
        axes.set_title(f"{name}: {parameters / 1e6:.1f} M parameters, {macs / 1e9:.2f} G MACs")
    save(figure, path)


COLOURS = {
    "conv3": "#4c78a8",
    "convolution": "#4c78a8",
    "maxpool": "#e45756",
    "max": "#e45756",
    "avg": "#e45756",
    "inception": "#54a24b",
    "FC": "#f2b134",
    "linear": "#f2b134",
}


def draw_costs(tables: dict[str, list[Row]], path: Path) -> None:
    """Parameters and MACs of every layer that has weights, the networks side by side."""
    plt = pyplot()
    figure, grid = plt.subplots(2, 2, figsize=(12, 6.6), layout="constrained", sharey="row")
    for column, (name, rows) in enumerate(tables.items()):
        rows = [row for row in rows if row.macs]
        names = [row.name.replace("convolution", "conv") for row in rows]
        for axes, kind, title, unit in (
            (grid[0, column], "parameters", "parameters, millions", 1e6),
            (grid[1, column], "macs", "multiply-accumulates, billions", 1e9),
        ):
            values = [getattr(row, kind) / unit for row in rows]
            bars = axes.bar(range(len(rows)), values, color=COLOURS["conv3"])
            axes.bar_label(
                bars,
                [f"{value:.{3 if value > 10 else 2}g}" for value in values],
                fontsize=7,
                padding=2,
            )
            axes.set_title(f"{name}: {title} ({sum(values):.3g})")
            axes.margins(y=0.1)  # room for the labels below the title
            ticks = names if kind == "macs" else [""] * len(names)
            axes.set_xticks(range(len(rows)), ticks, rotation=60, ha="right", fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def receptive_field(layers: list[tuple[str, int, int]]) -> list[tuple[str, int]]:
    """Pixels a side that one cell sees after each (name, kernel, stride), one upon the other."""
    field, jump, grown = 1, 1, []
    for name, kernel, stride in layers:
        field += (kernel - 1) * jump  # each further cell of the kernel is ``jump`` pixels on
        jump *= stride
        grown.append((name, field))
    return grown


def layers_of(model: nn.Module) -> list[tuple[str, int, int]]:
    """(name, kernel, stride) of what lies on the path with the largest kernels, in order."""
    layers = []
    for name, module in model.named_modules():
        on_path = not any(other in name for other in ("1x1", "3x3", "branch_pool", "aux"))
        if on_path and isinstance(module, nn.Conv2d | nn.MaxPool2d):
            kernel, stride = module.kernel_size, module.stride
            kernel = kernel[0] if isinstance(kernel, tuple) else kernel
            stride = stride[0] if isinstance(stride, tuple) else stride
            layers.append((name, kernel, stride))
    return layers


def draw_receptive_fields(path: Path) -> None:
    """How the part of the image that one cell sees grows from layer to layer."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    for name, model_class in (("VGG16", VGG16), ("GoogLeNet, along the 5x5 branches", GoogLeNet)):
        with torch.device("meta"):
            fields = receptive_field(layers_of(model_class()))
        values = [field for _, field in fields]
        axes.plot(range(1, len(values) + 1), values, marker="o", markersize=4, label=name)
        axes.annotate(
            f"{values[-1]} px", (len(values), values[-1]), xytext=(5, 0), textcoords="offset points"
        )
    axes.axhline(224, color="grey", linestyle="--", linewidth=1)
    axes.text(0.5, 228, "the whole image, 224 px", color="dimgrey")
    axes.set_xlim(0, 27.5)
    axes.set_xlabel("convolutions and poolings from the image on")
    axes.set_ylabel("receptive field, pixels a side")
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, path)


def draw_runs(path: Path) -> None:
    """Validation accuracy over the minutes of training, of every run in results/runs.csv."""
    import pandas as pd
    from matplotlib.ticker import PercentFormatter

    plt = pyplot()
    runs = pd.read_csv(RESULTS / "runs.csv")
    datasets = list(dict.fromkeys(runs.dataset))
    figure, grid = plt.subplots(
        1, len(datasets), figsize=(12, 4.2), layout="constrained", squeeze=False
    )
    for axes, dataset in zip(grid[0], datasets, strict=True):
        for run in runs[runs.dataset == dataset].itertuples():
            log = pd.read_csv(RESULTS / run.log)
            axes.plot(
                log.seconds.cumsum() / 60,
                log.val_accuracy,
                marker="o",
                markersize=3,
                label=f"{run.name}: {log.val_accuracy.max():.2%}",
            )
        axes.set_title(dataset)
        axes.set_xlabel("minutes of training")
        axes.set_ylabel("validation accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    save(figure, path)


# What a trained network sees


class Trained:
    """The network of a checkpoint, in evaluation mode, and the path of images to it."""

    def __init__(self, path: Path) -> None:
        self.saved = checkpoint.load(path)
        self.name, self.classes = self.saved["model"], self.saved["classes"]
        self.model = options.build_model(
            create_model, self.name, self.saved["model_args"], torch.device("cpu")
        )
        checkpoint.load_weights(self.model, self.saved, path)
        self.model.eval()
        self.preprocess = Preprocess(
            self.saved["mean"], self.saved["std"], self.saved["image_size"]
        ).eval()

    def photo(self, path: Path) -> np.ndarray:
        """A photo as validation would have it, uint8, C x S x S."""
        return read_photo(
            path, self.saved["channels"], self.saved["source_size"], self.saved["fit"]
        )

    def validation_images(
        self, data_dir: Path | None, sample: bool = False, count: int = 1000
    ) -> ImageSet:
        """The first of the validation images (of those of FashionMNIST's bundled sample)."""
        if self.saved["dataset"] == "fashionmnist":
            found = fashionmnist.find(data_dir, sample)
            return fashionmnist.load_train_val(found, sample)[1].first(count)
        folder = data_dir or Path(self.saved["recipe"].get("data_dir", "data/catsdogs"))
        return folders.load_split(folder, "val", self.saved["source_size"]).first(count)

    def look(
        self, images: np.ndarray, names: list[str]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Logits of uint8 N x C x S x S, and the outputs of the modules of these names."""
        outputs = {}
        hooks = [
            self.model.get_submodule(name).register_forward_hook(
                lambda _module, _inputs, output, name=name: outputs.update({name: output})
            )
            for name in names
        ]
        logits = self.model(self.preprocess(torch.tensor(images)))
        for hook in hooks:
            hook.remove()
        return logits, outputs


def draw_filters(trained: Trained, path: Path) -> None:
    """The first layer's kernels; grey is 0."""
    plt = pyplot()
    first = next(m for m in trained.model.modules() if isinstance(m, nn.Conv2d))
    kernels = first.weight.detach().float().numpy()
    kernels = 0.5 + 0.5 * kernels / np.abs(kernels).max((1, 2, 3), keepdims=True)
    figure, grid = plt.subplots(4, 16, figsize=(12, 3.3), layout="constrained")
    for axes, kernel in zip(grid.flat, kernels, strict=True):
        show_image(axes, (255 * kernel).astype(np.uint8))
        axes.set_axis_off()
    save(figure, path)


@torch.inference_mode()
def draw_maps(trained: Trained, photo: np.ndarray, path: Path) -> None:
    """The photo, and the eight maps of each stage that it excites most."""
    plt = pyplot()
    stages = STAGES[trained.name]
    _, outputs = trained.look(photo[None], stages)
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
            axes.imshow(maps[index], cmap="magma", vmin=0)
        for axes in row:
            axes.set_axis_off()
    save(figure, path)


def evidence(trained: Trained, image: np.ndarray) -> tuple[np.ndarray, int, float]:
    """Grad-CAM (Selvaraju et al. 2017): where in the image the evidence for its class lies.

    Of a late stage, but not the last, with 4 x 4 cells or more: each cell of each map counts as
    much as the log odds of the class rise with it (cell by cell, Draelos and Carin 2020, since
    further layers follow).
    Returns the map, 0 to 1, S x S; the class; and its probability.
    """
    stages = STAGES[trained.name]
    logits, outputs = trained.look(image[None], stages)
    stage = [name for name in stages[:-1] if min(outputs[name].shape[2:]) >= 4][-1]
    maps, predicted = outputs[stage], int(logits.argmax())
    others = torch.cat([logits[0, :predicted], logits[0, predicted + 1 :]]).logsumexp(0)
    (gradient,) = torch.autograd.grad(logits[0, predicted] - others, maps)
    heat = (gradient * maps).sum(1, keepdim=True).relu().detach()
    heat = nn.functional.interpolate(heat, image.shape[1:], mode="bilinear")[0, 0]
    probability = logits.softmax(1)[0, predicted].item()
    return (heat / heat.max().clamp(min=1e-6)).numpy(), predicted, probability


def draw_evidence(trained: Trained, photo: np.ndarray, images: ImageSet, path: Path) -> None:
    """Grad-CAM on the photo and on seven validation images, one of each class in turn."""
    plt = pyplot()
    turns = [np.sum(images.labels[:i] == label) for i, label in enumerate(images.labels)]
    order = np.argsort(turns, kind="stable")
    chosen = [photo, *images.images[order[1:8]]]
    figure, grid = plt.subplots(2, 8, figsize=(12, 3.4), layout="constrained")
    for (above, below), image in zip(grid.T, chosen, strict=True):
        heat, predicted, probability = evidence(trained, image)
        show_image(above, image)
        show_image(below, image)
        below.imshow(heat, cmap="inferno", alpha=0.6, vmin=0, vmax=1)
        above.set_title(f"{trained.classes[predicted]} {probability:.0%}", fontsize=9)
        above.set_axis_off()
        below.set_axis_off()
    save(figure, path)


@torch.inference_mode()
def draw_branches(trained: Trained, images: ImageSet, path: Path, module: str = "4c") -> None:
    """For each branch of a module, the images that excite two of its choosy channels most."""
    plt = pyplot()
    names = [f"inception{module}.{branch}" for branch in BRANCHES]
    peaks = {name: [] for name in names}
    for batch, _ in tqdm(eval_loader(images, 100), desc="branches", leave=False):
        _, outputs = trained.look(batch.numpy(), names)
        for name in names:
            peaks[name].append(outputs[name].amax((2, 3)))
    figure, grid = plt.subplots(8, 10, figsize=(12, 10.4), layout="constrained")
    shown = torch.zeros(len(images.classes))  # how often each class was a favourite so far
    rows = iter(grid)
    for name, width in zip(names, (INCEPTION[module][i] for i in (0, 2, 4, 5)), strict=True):
        peak = torch.cat(peaks[name])  # images x channels
        by_class = torch.stack(
            [peak[torch.from_numpy(images.labels == k)].mean(0) for k in range(len(images.classes))]
        )
        favourite = by_class.argmax(0)
        choosiness = by_class.std(0) / by_class.mean(0).clamp(min=1e-3)
        for _ in range(2):
            # The most choosy channel among those for the class that was seen least.
            rare = shown[favourite] == shown[favourite].min()
            channel = int(choosiness.where(rare, 0).argmax())
            shown[favourite[channel]] += 1
            choosiness[channel] = 0  # seen
            row = next(rows)
            title = f"{name.split('.')[1]}: channel {channel} of {width}"
            row[0].set_title(title, loc="left", fontsize=9)
            for axes, best in zip(row, peak[:, channel].argsort(descending=True), strict=False):
                show_image(axes, images.images[best])
                axes.set_axis_off()
    save(figure, path)


def draw_levers(path: Path) -> None:
    """Memory and speed of VGG16's training with each option of results/benchmark_memory.csv."""
    import pandas as pd

    plt = pyplot()
    measured = pd.read_csv(RESULTS / "benchmark_memory.csv")
    groups = list(measured.groupby("pixels", sort=False))
    figure, grid = plt.subplots(
        len(groups),
        2,
        figsize=(12, 0.36 * len(measured) + 2),
        layout="constrained",
        height_ratios=[len(rows) for _, rows in groups],
        squeeze=False,
    )
    for (memory, speed), (pixels, rows) in zip(grid, groups, strict=True):
        for axes, column, unit in (
            (memory, "memory, MB", "peak memory, MB"),
            (speed, "images/s median", "images a second"),
        ):
            colours = [COLOURS["FC"], *[COLOURS["conv3"]] * (len(rows) - 1)]
            names = [textwrap.fill(options, 34) for options in rows.options]
            bars = axes.barh(names, rows[column], color=colours)
            axes.bar_label(
                bars,
                [f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in rows[column]],
                padding=3,
                fontsize=9,
            )
            axes.invert_yaxis()
            axes.margins(x=0.14)  # room for the labels
            axes.set_xticks([])
            axes.set_title(f"VGG16, {pixels} px: {unit}")
            axes.spines[["top", "right", "bottom"]].set_visible(False)
        speed.set_yticks([])
    save(figure, path)


def draw_ablations(path: Path) -> None:
    """Validation accuracy of both seeds of each choice in results/benchmark_ablations.csv."""
    import pandas as pd
    from matplotlib.ticker import PercentFormatter

    plt = pyplot()
    measured = pd.read_csv(RESULTS / "benchmark_ablations.csv").fillna("")
    groups = list(measured.groupby("runs", sort=False))
    figure, grid = plt.subplots(
        len(groups),
        1,
        figsize=(12, 0.3 * len(measured) + 1.2 * len(groups)),
        layout="constrained",
        height_ratios=[len(rows) + 1 for _, rows in groups],
        sharex=True,
        squeeze=False,
    )
    for axes, (name, rows) in zip(grid[:, 0], groups, strict=True):
        labels = [f"{row.what} {row.instead}".strip() for row in rows.itertuples()]
        for seed in ("seed 0", "seed 1"):
            axes.scatter(rows[seed], labels, color=COLOURS["conv3"], s=18, zorder=2)
        axes.hlines(
            labels, rows[["seed 0", "seed 1"]].min(axis=1), rows[["seed 0", "seed 1"]].max(axis=1)
        )
        axes.axvline(rows["mean"].iloc[0], color="grey", linestyle="--", linewidth=1)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_title(name)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(alpha=0.3)
    axes.set_xlabel("validation accuracy; dashed: the recipe")
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write the figure and say so."""
    figure.savefig(path, dpi=100)
    pyplot().close(figure)
    print(path)


if __name__ == "__main__":
    options.run(main, DataError)
