"""Drawings of what is counted in the networks: parameters, work, memory.

``python -m docs.drawings`` writes them.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

from docs.networks import (
    FILES,
    convolutions,
    on_meta,
    outputs,
    parameters,
    percent,
    rows_of,
    window,
)
from docs.style import LARGE, ON_SLIDES, SMALL, bar, canvas, write
from models.googlenet import GoogLeNet, Inception

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 18  # px from one layer to the next


def short(number: float, unit: str = "") -> str:
    """A number of 1,000 or more in three digits: 1.79K, 103 MB."""
    prefix, size = next(pair for pair in (("G", 1e9), ("M", 1e6), ("K", 1e3)) if number >= pair[1])
    digits = 2 if number < 10 * size else 1 if number < 100 * size else 0
    return f"{number / size:.{digits}f}{' ' if unit else ''}{prefix}{unit}"


def layer_name(name: str, module: nn.Module) -> str:
    """As a reader knows it: block1.conv1_1 -> conv1_1, inception3a -> 3a, conv1 -> conv 7×7."""
    last = name.removesuffix(".conv").split(".")[-1].removeprefix("inception")
    if kind_of(module) == "convolution" and "_" not in last:
        kernels = [window(layer)[0] for layer in convolutions(module)]
        prefix = "conv " if len(kernels) == 1 else ""  # two are known by their windows
        return prefix + ", ".join(f"{kernel}×{kernel}" for kernel in kernels)
    return "LRN" if kind_of(module) == "normalisation" else last.replace("_pool", " pool")


def kind_of(module: nn.Module) -> str:
    kinds = {nn.Linear: "linear", Inception: "concatenation", nn.LocalResponseNorm: "normalisation"}
    pooled = isinstance(module, nn.MaxPool2d | nn.AdaptiveAvgPool2d)
    return kinds.get(type(module), "pooling" if pooled else "convolution")


def columns(
    axes: "Axes",
    left: float,
    rows: list[tuple[str, str, list[float]]],
    most: list[float],
    width: float,
    unit: str = "",
) -> None:
    """Rows of (layer, kind, values) as bars, each column up to its most, with the numbers."""
    for line, (name, kind, values) in enumerate(rows):
        y = 84 + ROW * line
        write(axes, (left, y), name, size=SMALL, align="left")
        for column, (value, top) in enumerate(zip(values, most, strict=True)):
            x, length = left + 64 + (width + 54) * column, max(1, width * value / top)
            bar(axes, (x, y - 6), (length, 12), kind)
            write(axes, (x + length + 5, y), short(value, unit), "muted", SMALL, "left")


def counted(model_class: type[nn.Module]) -> list[tuple[str, str, list[float]]]:
    """(layer, kind, [parameters, multiply-accumulates]) of a network at inference."""
    arguments = {"aux_heads": False} if model_class is GoogLeNet else {}
    model, rows = on_meta(model_class, **arguments), []
    for row, (_, names) in zip(
        rows_of(model_class, **arguments), FILES[model_class].table_rows(model), strict=True
    ):
        if row.macs:
            module = model.get_submodule(names[0])
            name = layer_name(names[0], module)
            rows.append((name, kind_of(module), [row.parameters, row.macs]))
    return rows


def parameters_macs() -> "Figure":
    """Parameters and multiply-accumulates of each layer, every column on its own scale."""
    figure, axes = canvas(388)
    sums, most = [], []
    for model_class, left in zip(FILES, (14, 434), strict=True):
        rows = counted(model_class)
        values = list(zip(*(row[2] for row in rows), strict=True))
        write(axes, (left, 20), model_class.__name__, size=LARGE, align="left", bold=True)
        for column, text in enumerate(("parameters", "multiply-accumulates")):
            x = left + 64 + 156 * column
            write(axes, (x, 40), text, "muted", align="left")
            write(axes, (x, 57), short(sum(values[column])), align="left", bold=True)
        columns(axes, left, rows, [max(column) for column in values], 102)
        sums.append([sum(column) for column in values])
        most.append(max(values[0]))
    (weights, work), (small, light) = sums
    notes = (
        f"fc1 alone holds {percent(most[0] / weights)} of VGG16’s parameters.",
        f"GoogLeNet has 1/{weights / small:.0f} of VGG16’s parameters,",
        f"and does 1/{work / light:.0f} of its work.",
        "Each column has its own scale.",
    )
    for line, note in enumerate(notes):
        write(axes, (434, 322 + ROW * line), note, "muted" if line == 3 else "ink", align="left")
    return figure


def totals() -> "Figure":
    """What both networks hold and compute, layer by layer along one bar: their weights and work."""
    figure, axes = canvas(360, ON_SLIDES)
    left, width, tall = 118, 612, 44
    tables = {model_class.__name__: counted(model_class) for model_class in FILES}
    for column, (title, top) in enumerate((("parameters", 18), ("multiply-accumulates", 174))):
        write(axes, (14, top), title, size=LARGE, align="left", bold=True)
        sums = {n: sum(row[2][column] for row in rows) for n, rows in tables.items()}
        for line, (network, rows) in enumerate(tables.items()):
            x, y = left, top + 19 + (tall + 12) * line
            write(axes, (14, y + tall / 2), network, align="left")
            for name, kind, values in rows:
                length = width * values[column] / max(sums.values())
                bar(axes, (x, y), (max(length - 1, 0.6), tall), kind)
                if values[column] > sums["VGG16"] / 2:
                    share = percent(values[column] / sums[network])
                    text = f"{name} alone: {share}"
                    write(axes, (x + length / 2, top), text, kind)
                x += length
            write(axes, (x + 10, y + tall / 2), short(sums[network]), align="left", bold=True)
    kinds = {
        "convolution": "convolutions",
        "linear": "linear",
        "concatenation": "inception modules",
    }
    for x, (kind, name) in zip((118, 292, 402), kinds.items(), strict=True):
        bar(axes, (x, 330), (15, 15), kind)
        write(axes, (x + 23, 338), name, "muted", align="left")
    return figure


def memory(model_class: type[nn.Module]) -> list[tuple[str, str, list[float]]]:
    """(layer, kind, [bytes]) of one image's activations: whatever a layer puts out, as float32."""
    model = on_meta(model_class)
    sizes = {name: 4 * torch.Size(size).numel() for name, size in outputs(model_class).items()}
    layers = [n for n in sizes if not any(other.startswith(f"{n}.") for other in sizes)]
    rows = []
    for name, module in model.named_modules():
        if isinstance(module, Inception):  # its layers, and the copy of what is stacked
            total = sizes[name] + sum(sizes[n] for n in layers if n.startswith(f"{name}."))
            rows.append((layer_name(name, module), "concatenation", [total]))
        elif name in layers and "inception" not in name:
            rows.append((layer_name(name, module), kind_of(module), [sizes[name]]))
    return rows


def activation_memory() -> "Figure":
    """Memory of the activations along both networks, for one image of 224 px in float32."""
    figure, axes = canvas(468)
    tables = {model_class: memory(model_class) for model_class in FILES}
    most = max(row[2][0] for rows in tables.values() for row in rows)
    for (model_class, rows), left in zip(tables.items(), (14, 434), strict=True):
        total = sum(row[2][0] for row in rows)
        heads = {"aux_heads": False} if model_class is GoogLeNet else {}
        weights = 4 * parameters(on_meta(model_class, **heads))
        write(axes, (left, 20), model_class.__name__, size=LARGE, align="left", bold=True)
        what = "what the layers put out for one image, float32"
        write(axes, (left, 40), what, "muted", align="left")
        text = f"{short(total, 'B')} of activations, {short(weights, 'B')} of weights"
        write(axes, (left, 57), text, align="left", bold=True)
        columns(axes, left, rows, [most], 258, "B")
    return figure


DRAWINGS = (parameters_macs, totals, activation_memory)
