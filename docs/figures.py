"""Draw the networks of the papers and the recorded measurements.

    python -m docs.figures

Writes networks.png, costs.png, receptive_fields.png, runs.png, levers.png and ablations.png to
docs/figures/. What a trained network sees: docs/interpret.py.
"""

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from docs.networks import on_meta, rows_of, window
from engine import cli
from engine.report import pyplot
from models.googlenet import GoogLeNet
from models.summary import Row
from models.vgg16 import VGG16

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
FIGURES = Path(__file__).parent / "figures"
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


def main() -> None:
    parser = argparse.ArgumentParser(description=cli.summary(__doc__))
    parser.add_argument(
        "--output-dir", type=Path, default=FIGURES, help="folder to write to (docs/figures)"
    )
    folder = parser.parse_args().output_dir
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"VGG16": table(VGG16), "GoogLeNet": table(GoogLeNet)}
    draw_networks(tables, folder / "networks.png")
    draw_costs(tables, folder / "costs.png")
    draw_receptive_fields(folder / "receptive_fields.png")
    draw_runs(folder / "runs.png")
    draw_levers(folder / "levers.png")
    draw_ablations(folder / "ablations.png")


def table(model_class: type[nn.Module]) -> list[Row]:
    """The rows of the paper's table at 224 px, RGB, 1000 classes, without auxiliary heads."""
    return [row for row in rows_of(model_class) if not row.name.startswith("auxiliary")]


def draw_networks(tables: dict[str, list[Row]], path: Path) -> None:
    """Each row of the tables as a box: its height is the map's, its width the channels'."""
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
    """The pixels a side that one cell sees after each layer, given as (name, kernel, stride)."""
    field, jump, grown = 1, 1, []
    for name, kernel, stride in layers:
        field += (kernel - 1) * jump  # neighbouring cells are ``jump`` pixels apart
        jump *= stride
        grown.append((name, field))
    return grown


def layers_of(model: nn.Module) -> list[tuple[str, int, int]]:
    """(name, kernel, stride) of the layers on the path with the largest kernels, in order."""
    layers = []
    for name, module in model.named_modules():
        on_path = not any(other in name for other in ("1x1", "3x3", "branch_pool", "aux"))
        if on_path and isinstance(module, nn.Conv2d | nn.MaxPool2d):
            kernel, _, stride = window(module)
            layers.append((name, kernel, stride))
    return layers


def draw_receptive_fields(path: Path) -> None:
    """How the part of the image that one cell sees grows from layer to layer."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    for name, model_class in (("VGG16", VGG16), ("GoogLeNet, along the 5x5 branches", GoogLeNet)):
        fields = receptive_field(layers_of(on_meta(model_class)))
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


def save(figure: "Figure", path: Path) -> None:
    """Write the figure and say so."""
    figure.savefig(path, dpi=100)
    pyplot().close(figure)
    print(path)


if __name__ == "__main__":
    main()
