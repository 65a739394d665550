"""Draw the networks of the papers, from their code.

    python -m docs.drawings

Writes to docs/figures/, each for light and for dark pages: vgg16.svg, googlenet.svg,
googlenet_slabs.svg, and what docs/module_drawings.py, docs/number_drawings.py and
docs/window_drawings.py draw.
"""

from typing import TYPE_CHECKING

from docs import module_drawings, number_drawings, window_drawings
from docs.networks import on_meta, outputs, parameters, rows_of, times, window
from docs.style import (
    LARGE,
    ON_SLIDES,
    SMALL,
    arrow,
    bar,
    box,
    canvas,
    colour,
    output_folder,
    save,
    write,
)
from engine import cli
from engine.report import pyplot
from models.googlenet import AUX_WEIGHT, INCEPTION, GoogLeNet
from models.vgg16 import CONFIG_D, VGG16

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def main() -> None:
    folder = output_folder(__doc__)
    for drawing in DRAWINGS:
        save(drawing, folder)


def slab(axes: "Axes", left: float, middle: float, shape: tuple[int, ...], kind: str) -> float:
    """Draw maps as a slab in space; return where its front face ends on the right.

    Its height and depth grow with the square root of the map's side, its width with the channels.
    """
    channels, side = shape[0], shape[1] if len(shape) == 3 else 0
    width = channels / 44 + 3.5 if side else 12
    height = 10.5 * (side or channels / 20) ** 0.5
    deep, up = (0.26 * height, 0.2 * height) if side else (5, 4)
    top, right = middle - height / 2, left + width
    faces = (
        ([(left, top), (right, top), (right, top + height), (left, top + height)], 0.75),
        ([(left, top), (left + deep, top - up), (right + deep, top - up), (right, top)], 0.35),
        (
            [
                (right, top),
                (right + deep, top - up),
                (right + deep, top + height - up),
                (right, top + height),
            ],
            0.5,
        ),
    )
    for corners, share in faces:
        style = {"facecolor": colour(kind, share), "edgecolor": colour(kind), "linewidth": 0.8}
        axes.add_patch(pyplot().Polygon(corners, joinstyle="round", **style))
    return right


def vgg16() -> "Figure":
    """VGG16: thirteen convolutions in five blocks, five poolings, three fully connected layers."""
    figure, axes = canvas(366, ON_SLIDES)
    sizes, model = outputs(VGG16), on_meta(VGG16)
    macs = sum(row.macs for row in rows_of(VGG16))
    totals = f"{parameters(model):,} parameters, {macs / 1e9:.1f} billion multiply-accumulates"
    write(axes, (14, 18), "VGG16", size=LARGE, align="left", bold=True)
    write(axes, (92, 18), totals, "muted", align="left")
    write(axes, (816, 18), "height: √side, width: channels", "muted", SMALL, "right")
    middle, below = 158, 262
    image = (model.in_channels, model.image_size, model.image_size)
    slab(axes, 14, middle, image, "muted")
    write(axes, (14, below), "image", size=SMALL, align="left", bold=True)
    write(axes, (14, below + 21), times(image, ""), "muted", SMALL, "left")
    for number, (block, widths) in enumerate(CONFIG_D.items(), 1):
        left = column = 104 + 113 * (number - 1)
        for index in range(1, len(widths) + 1):
            shape = sizes[f"{block}.conv{number}_{index}"]
            left = slab(axes, left, middle, shape, "convolution") + 1.5
        pooled = sizes[f"{block}.pool{number}"]
        slab(axes, left + 2.7 * shape[1] ** 0.5 + 8, middle, pooled, "pooling")
        kernel = window(model.get_submodule(f"{block}.conv{number}_1"))[0]
        write(axes, (column, below), f"block {number}", size=SMALL, align="left", bold=True)
        convolutions = f"{len(widths)} conv {kernel}×{kernel}\n{times(shape, '')}"
        write(axes, (column, below + 21), convolutions, "convolution", SMALL, "left")
        kernel = window(model.get_submodule(f"{block}.pool{number}"))[0]
        pool = f"max pool {kernel}×{kernel}\n{times(pooled, '')}"
        write(axes, (column, below + 67), pool, "pooling", SMALL, "left")
    column = 104 + 113 * 5 + 1
    write(axes, (column, below), "fully connected", size=SMALL, align="left", bold=True)
    for index, name in enumerate(("fc1", "fc2", "fc3")):
        left = column + 51 * index
        slab(axes, left + 8, middle, sizes[f"classifier.{name}"], "linear")
        write(axes, (left, below + 21), times(sizes[f"classifier.{name}"]), "linear", SMALL, "left")
    values = f"the first sees all\n{model.classifier.fc1.in_features:,} values"
    write(axes, (column, below + 67), values, "muted", SMALL, "left")
    return figure


def googlenet_slabs() -> "Figure":
    """GoogLeNet drawn to the scale of VGG16: after the stem all maps are small."""
    figure, axes = canvas(366, ON_SLIDES)
    sizes, model = outputs(GoogLeNet), on_meta(GoogLeNet)
    write(axes, (14, 18), "GoogLeNet", size=LARGE, align="left", bold=True)
    write(axes, (816, 18), "to the scale of VGG16’s drawing", "muted", SMALL, "right")
    middle, below = 180, 296
    image = (model.in_channels, model.image_size, model.image_size)
    slab(axes, 14, middle, image, "muted")
    write(axes, (14, below), "image", align="left", bold=True)
    write(axes, (14, below + 23), f"{model.image_size} px", "muted", align="left")
    modules = {number: [f"inception{n}" for n in INCEPTION if n[0] == number] for number in "345"}
    stages = (
        ("stem", 104, ["conv1", "pool1", "conv2.reduce", "conv2.conv", "pool2"]),
        ("2 modules", 284, [*modules["3"], "pool3"]),
        ("5 modules", 424, [*modules["4"], "pool4"]),
        ("2 modules", 640, [*modules["5"], "avg_pool"]),
        ("linear", 764, ["linear"]),
    )
    counts = []
    for stage, column, names in stages:
        left, layers = column, 0
        for name in names:
            part, shape = model.get_submodule(name), sizes[name]
            kind = number_drawings.kind_of(part)
            layers += {"convolution": 1, "linear": 1, "concatenation": 2}.get(kind, 0)
            side = shape[1] if len(shape) == 3 else 0
            top = middle - 6.3 * side**0.5 - 9 if side else middle
            end = slab(axes, left, middle, shape, kind)
            if kind == "concatenation":
                label = number_drawings.layer_name(name, part)
                centre = (left + end) / 2 + 0.13 * 10.5 * side**0.5
                write(axes, (centre, top - 5), label, size=SMALL)
                if label in ("4a", "4d"):
                    arrow(axes, (centre, top - 17), (centre, 90))
                    box(axes, (centre - 32, 60), (64, 28), "linear", ["head"])
            left = end + (2.7 * side**0.5 if side else 5) + 7
        counts.append(layers)
        write(axes, (column, below), stage, align="left", bold=True)
        after = sizes[names[0]][1:] or sizes[names[0]]
        size = f"{model.image_size} → {side}" if stage == "stem" else times(after)
        write(axes, (column, below + 23), size, "muted", align="left")
        text = f"{layers} layer{'s' if layers > 1 else ''}"
        write(axes, (column, below + 46), text, align="left")
    total = f"{' + '.join(map(str, counts))} = {sum(counts)} layers with weights"
    write(axes, (130, 18), total, "muted", align="left")
    write(axes, (614, 74), "in training only", "muted", SMALL, "left")
    return figure


def module(axes: "Axes", left: float, top: float, name: str) -> None:
    """An inception module, 116 x 100: its branches with bars as long as their output channels."""
    widths = INCEPTION[name]
    box(axes, (left, top), (116, 100), "concatenation", share=0.08)
    write(axes, (left + 10, top + 16), name, align="left", bold=True)
    total = outputs(GoogLeNet)[f"inception{name}"][0]
    write(axes, (left + 106, top + 16), f"→ {total}", "concatenation", align="right", bold=True)
    branches = ("1×1", widths.n1x1), ("3×3", widths.n3x3), ("5×5", widths.n5x5)
    for row, (kernel, channels) in enumerate((*branches, ("pool", widths.pool_proj))):
        middle = top + 37 + 16 * row
        write(axes, (left + 10, middle), kernel, "muted", SMALL, "left")
        length = 36 * channels / max(max(w.n1x1, w.n3x3) for w in INCEPTION.values())
        kind = "pooling" if kernel == "pool" else "convolution"
        bar(axes, (left + 42, middle - 5), (length, 10), kind)
        write(axes, (left + 106, middle), str(channels), size=SMALL, align="right")


def chain(axes: "Axes", left: float, middle: float, boxes: list[tuple]) -> float:
    """Boxes in a row, joined by arrows: (width, height, kind, *lines); return their end."""
    for number, (width, height, kind, *lines) in enumerate(boxes):
        if number:
            arrow(axes, (left - 13, middle), (left - 2, middle))
        if len(lines) == 1 and lines[0] in INCEPTION:
            module(axes, left, middle - height / 2, lines[0])
        else:
            box(axes, (left, middle - height / 2), (width, height), kind, lines)
        left += width + 14
    return left - 14


def googlenet() -> "Figure":
    """GoogLeNet: a stem, nine inception modules in three groups, two auxiliary heads."""
    figure, axes = canvas(698)
    sizes, model = outputs(GoogLeNet, training=True), on_meta(GoogLeNet)
    main = on_meta(GoogLeNet, aux_heads=False)
    macs = sum(row.macs for row in rows_of(GoogLeNet, aux_heads=False))
    totals = f"{parameters(main):,} parameters, {macs / 1e9:.1f} billion multiply-accumulates"
    write(axes, (14, 20), "GoogLeNet", size=LARGE, align="left", bold=True)
    write(axes, (118, 20), totals, "muted", align="left")

    def layer(name: str, title: str, width: float = 104) -> tuple:
        kernel, _, stride = window(model.get_submodule(name))
        kind = "pooling" if "pool" in title else "convolution"
        title += f" {kernel}×{kernel}" + (f"/{stride}" if stride > 1 else "")
        return (
            width,
            52,
            kind,
            *(title.rsplit(" ", 1) if width < 80 else (title, times(sizes[name]))),
        )

    norm = 46, 52, "normalisation", "LRN"
    stem = [(94, 52, "muted", "image", times((model.in_channels, *[model.image_size] * 2)))]
    stem += [layer("conv1.conv", "conv"), layer("pool1", "max pool", 112), norm]
    stem += [layer("conv2.reduce.conv", "conv"), layer("conv2.conv.conv", "conv"), norm]
    side = {name: times(sizes[name][1:]) for name in ("pool2", "pool3", "pool4")}
    rows = [(84, f"{model.image_size} → {sizes['norm2'][1]}", "stem", stem)]
    for middle, name in ((216, "pool2"), (362, "pool3"), (630, "pool4")):
        group = f"group {int(name[-1]) + 1}"
        rows.append((middle, side[name], group, [layer(name, "max pool", 66)]))
    start, end = 92, 0
    for number, (middle, side, title, boxes) in enumerate(rows):
        boxes += [(116, 100, "", name) for name in INCEPTION if f"group {name[0]}" == title]
        if number == 3:
            boxes.append((104, 52, "pooling", "average pool", times(sizes["avg_pool"])))
            boxes.append((84, 52, "linear", "linear", f"→ {sizes['linear'][0]}"))
        write(axes, (14, middle - 8), side, align="left", bold=True)
        write(axes, (14, middle + 9), title, "muted", SMALL, "left")
        if end:  # from the last row's end
            between = middle - 68
            above = rows[number - 1][0]
            arrow(axes, (end + 2, above), (end + 10, above), (end + 10, between), head=False)
            arrow(
                axes,
                (end + 10, between),
                (start + 33, between),
                (start + 33, middle - 28),
            )
        end = chain(axes, start, middle, boxes)
    note = f"dropout {model.dropout.p} before it;\nsoftmax is part of the loss"
    write(axes, (end + 14, 622), note, "muted", SMALL, "left")
    for head, left in (("4a", 172), ("4d", 498)):
        part = model.get_submodule(f"aux{head}")
        kernel, _, stride = window(part.pool)
        below = 362 + 50
        source = 172 + 130 * "abcde".index(head[1]) + 58
        arrow(axes, (source, below), (source, below + 16), (left + 36, below + 16), head=False)
        arrow(axes, (left + 36, below + 16), (left + 36, below + 33))
        boxes = [
            (74, 52, "pooling", "avg pool", f"{kernel}×{kernel}/{stride}"),
            (70, 52, "convolution", "conv 1×1", f"→ {sizes[f'aux{head}.conv.conv'][0]}"),
            (60, 52, "linear", "linear", f"→ {part.fc.out_features}"),
            (60, 52, "linear", "linear", f"→ {part.linear.out_features}"),
        ]
        chain(axes, left, below + 60, boxes)
        note = f"auxiliary head, in training only:\ndropout {part.dropout.p}, loss × {AUX_WEIGHT}"
        write(axes, (left, below + 98), note, "muted", SMALL, "left")
    key(axes, (466, 178))
    return figure


def key(axes: "Axes", at: tuple[float, float]) -> None:
    """What a module and the colours are."""
    left, top = at
    write(axes, (left, top), "In each module four branches see the same maps.", align="left")
    text = "The length of a bar: how many channels its branch adds."
    write(axes, (left, top + 18), text, align="left")
    kinds = ("convolution", "pooling", "linear", "concatenation", "normalisation")
    for number, kind in enumerate(kinds):
        x, y = left + 120 * (number % 3), top + 46 + 22 * (number // 3)
        bar(axes, (x, y - 5), (11, 11), kind)
        write(axes, (x + 17, y), kind, "muted", SMALL, "left")


DRAWINGS = (
    vgg16,
    googlenet,
    googlenet_slabs,
    *module_drawings.DRAWINGS,
    *number_drawings.DRAWINGS,
    *window_drawings.DRAWINGS,
)


if __name__ == "__main__":
    cli.run(main)
