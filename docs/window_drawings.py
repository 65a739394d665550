"""Drawings of what windows see: of pixels, of maps, of the whole image.

``python -m docs.drawings`` writes them.
"""

from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import nn

from docs.networks import layers_of, on_meta, receptive_field, window
from docs.style import EXAMPLES, LARGE, NORMAL, ON_SLIDES, PX, WIDTH, bar, canvas, colour, write
from engine.report import pyplot
from models.googlenet import GoogLeNet, SameMaxPool
from models.vgg16 import VGG16

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def receptive_fields() -> "Figure":
    """How much of the image one unit sees, from layer to layer, in both networks."""
    height = 672
    figure = pyplot().figure(figsize=(WIDTH * PX, height * PX))
    axes = figure.add_axes((56 / WIDTH, 372 / height, 760 / WIDTH, 262 / height))
    vgg = receptive_field(layers_of(on_meta(VGG16)))
    depth = range(1, len(vgg) + 1)
    axes.plot(depth, [f for _, f in vgg], color=colour("VGG16"), marker="o")
    axes.text(18.4, vgg[-1][1] - 42, f"VGG16: {vgg[-1][1]} px", color=colour("VGG16"))
    ends = {}  # after each layer of the stem, pooling or module: its depth and three fields
    for branch in ("1x1", "3x3", "5x5"):
        for name, field in receptive_field(layers_of(on_meta(GoogLeNet), branch)):
            ends.setdefault(name.split(".")[0] if "inception" in name else name, {})[branch] = field
    fields = {branch: [end[branch] for end in ends.values()] for branch in ("1x1", "3x3", "5x5")}
    at, x = [], 0
    for name in ends:
        x += 2 if "inception" in name else 1  # as the paper counts its 22 layers
        at.append(x)
    style = {"color": colour("GoogLeNet", 0.14), "linewidth": 0}
    axes.fill_between(at, fields["1x1"], fields["5x5"], **style)
    for branch, values in fields.items():
        axes.plot(at, values, color=colour("GoogLeNet"), linewidth=1.8 if branch == "5x5" else 0.9)
        if branch == "5x5":
            text = f"GoogLeNet, through the 5×5: {values[-1]} px"
            axes.text(at[-1] - 0.5, values[-1], text, ha="right", va="center")
        else:
            text = f"{branch.replace('x', '×')}: {values[-1]} px"
            axes.text(at[-1] + 0.4, values[-1], text, va="center")
    axes.axhline(224, color=colour("muted"), linestyle="--", linewidth=1)
    axes.text(0.4, 236, "the whole image", color=colour("muted"))
    axes.set(xlim=(0, 30.5), ylim=(0, 760), xlabel="layers from the image on, poolings counted")
    axes.set_title("receptive field of one unit, pixels a side", fontsize=LARGE)
    pools = [field for name, field in vgg if "pool" in name]
    stages = [
        ends[name]["5x5"]
        for name in ("conv1.conv", "pool2", "inception3a", "inception3b", "inception4a")
    ]
    for left, title, fields in (
        (110, "VGG16, after each pooling", pools),
        (464, "GoogLeNet (5×5) after conv1, pool2, 3a, 3b, 4a", stages),
    ):
        photo = figure.add_axes((left / WIDTH, 24 / height, 256 / WIDTH, 256 / height))
        photo.set_axis_off()
        photo.imshow(
            Image.open(EXAMPLES / "cat.jpg").resize((144, 144)),
            interpolation="none",
            extent=(0, 224, 224, 0),
        )
        for field in reversed(fields):
            corner = (112 - field / 2, 112 - field / 2)
            for edge, width in (("black", 3.4), ("white", 1.6)):
                style = {"edgecolor": edge, "linewidth": width}
                photo.add_patch(pyplot().Rectangle(corner, field, field, fill=False, **style))
        photo.set_title(f"{title}:\n{', '.join(map(str, fields))} of 224 px", fontsize=NORMAL)
    return figure


def plane(
    axes: "Axes", centre: float, top: float, cells: int, kind: str, seen: int
) -> list[list[tuple]]:
    """A tilted map of cells x cells pixels, of which the first seen x seen stand out.

    Returns the corners of its cells, by row.
    """
    left = centre - (34 - 15) * cells / 2
    grid = [
        [(left + 34 * column - 15 * row, top + 15 * row) for column in range(cells + 1)]
        for row in range(cells + 1)
    ]
    for row in range(cells):
        for column in range(cells):
            quad = [grid[row][column], grid[row][column + 1]]
            quad += [grid[row + 1][column + 1], grid[row + 1][column]]
            share = 0.42 if max(row, column) < seen else 0.12
            style = {"facecolor": colour(kind, share), "edgecolor": colour(kind), "linewidth": 0.9}
            axes.add_patch(pyplot().Polygon(quad, **style))
    return grid


def two_3x3_are_one_5x5() -> "Figure":
    """Two 3x3 convolutions see the 25 pixels of one 5x5, with 18 weights in place of 25."""
    figure, axes = canvas(372, ON_SLIDES)
    ways = ((14, "two 3×3, stacked", (3, 3), (44, 122, 204)), (456, "one 5×5", (5,), (44, 204)))
    for left, title, kernels, tops in ways:
        write(axes, (left, 18), title, size=LARGE, align="left", bold=True)
        grid, cells = plane(axes, left + 124, tops[0], 1, "convolution", 1), 1
        write(axes, (left + 264, tops[0] + 8), "1 unit", "muted", align="left")
        for kernel, top in zip(kernels, tops[1:], strict=True):
            above, cells = grid, cells + kernel - 1
            last = top == tops[-1]
            # Of the middle map one unit stands out, and in the image what that unit sees.
            grid = plane(
                axes,
                left + 124,
                top,
                cells,
                "muted" if last else "convolution",
                kernel if last else 1,
            )
            text = f"{cells}×{cells} {'pixels' if last else 'units'}"
            write(axes, (left + 264, top + 7.5 * cells), text, "muted", align="left")
            for row in (0, 1):
                for column in (0, 1):
                    reach = kernel if last or len(kernels) == 1 else cells
                    ends = (above[row][column], grid[row * reach][column * reach])
                    style = {"color": colour("convolution"), "linewidth": 0.9}
                    axes.plot(*zip(*ends, strict=True), linestyle=(0, (3, 2)), **style)
        x = left
        for kernel in kernels:
            for index in range(kernel**2):
                place = (x + 13 * (index % kernel), 296 + 13 * (index // kernel))
                bar(axes, place, (11, 11), "convolution")
            x += 13 * kernel + 14
        terms = " + ".join(f"{kernel**2}" for kernel in kernels)
        total = f"{terms} = {sum(k**2 for k in kernels)}" if len(kernels) > 1 else terms
        y = 296 + 13 * kernels[0] / 2
        write(axes, (x + 4, y - 11), f"{total} weights", align="left", bold=True)
        text = f"per pair of channels, {len(kernels)} × ReLU"
        write(axes, (x + 4, y + 11), text, "muted", align="left")
    return figure


def output_sizes() -> "Figure":
    """A 3x3 pooling of stride 2 on a map of 8x8: without padding, "same", and padded all around."""
    figure, axes = canvas(318)
    side, cell = 8, 22
    same = SameMaxPool()
    kernel, _, stride = window(same)
    ways = (
        ("no padding", nn.MaxPool2d(kernel, stride), 0, "misses the last row and column"),
        ("“same”: ceil_mode=True", same, 0, "pads the far edges, as we read (S)"),
        ("padding=1", nn.MaxPool2d(kernel, stride, 1), 1, "pads the near edges: shifted by one"),
    )
    for (title, pool, padding, note), left in zip(ways, (14, 291, 568), strict=True):
        count = pool(torch.zeros(1, 1, side, side)).shape[-1]
        write(axes, (left, 20), title, size=LARGE, align="left", bold=True)
        write(axes, (left, 41), f"{side} × {side} → {count} × {count}", align="left")
        write(axes, (left, 298), note, "muted", align="left")
        x0, y0 = left + cell + 2, 62 + cell
        for row in range(side):
            for column in range(side):
                place = (x0 + cell * column, y0 + cell * row)
                unseen = max(row, column) >= stride * (count - 1) - padding + kernel
                share = 0.45 if unseen else 0.08
                style = {"facecolor": colour("muted", share), "edgecolor": colour("muted")}
                axes.add_patch(pyplot().Rectangle(place, cell, cell, linewidth=0.6, **style))
        starts = [stride * index - padding for index in range(count)]
        for first in (starts[0], starts[-1]):
            place, size = (x0 + cell * first, y0 + cell * first), cell * kernel
            style = {"facecolor": (*colour("pooling"), 0.22), "edgecolor": colour("pooling")}
            axes.add_patch(pyplot().Rectangle(place, size, size, linewidth=1.8, **style))
        centres = [cell * (start + kernel / 2) for start in starts]
        for y in centres:
            style = {"color": colour("pooling"), "markersize": 5, "linestyle": "none"}
            axes.plot([x0 + x for x in centres], [y0 + y] * count, marker="o", **style)
    return figure


DRAWINGS = (two_3x3_are_one_5x5, receptive_fields, output_sizes)
