"""Drawings of inception module 3a.

``python -m docs.drawings`` writes them.
"""

from typing import TYPE_CHECKING

from docs.networks import outputs
from docs.style import LARGE, SMALL, arrow, bar, box, canvas, write
from models.googlenet import INCEPTION, GoogLeNet, InceptionWidths

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IN_3A, SIDE_3A = outputs(GoogLeNet)["pool2"][:2]  # channels and side of what 3a is given


def inception() -> "Figure":
    """Inception module 3a: four branches look at the same maps, their outputs are stacked."""
    figure, axes = canvas(396)
    widths, middle = INCEPTION["3a"], 222
    total = outputs(GoogLeNet)["inception3a"][0]
    write(axes, (14, 20), "inception (3a)", size=LARGE, align="left", bold=True)
    for x, text in (
        (230, "reduce, or pool"),
        (455, "convolve"),
        (655, "concatenate"),
    ):
        write(axes, (x, 46), text, "muted")
    bar(axes, (94, middle - IN_3A / 2), (16, IN_3A), "muted")
    write(axes, (84, middle - 9), f"{IN_3A}\n× {SIDE_3A} × {SIDE_3A}", align="right", bold=True)
    top = middle - total / 2
    names = (
        (None, ("conv 1×1", IN_3A, widths.n1x1)),
        (("conv 1×1", IN_3A, widths.n3x3_reduce), ("conv 3×3", widths.n3x3_reduce, widths.n3x3)),
        (("conv 1×1", IN_3A, widths.n5x5_reduce), ("conv 5×5", widths.n5x5_reduce, widths.n5x5)),
        (("max pool 3×3", IN_3A, IN_3A), ("conv 1×1", IN_3A, widths.pool_proj)),
    )
    for row, (first, second) in enumerate(names):
        y = 96 + 84 * row
        trunk = [(110, middle), (130, middle), (130, y)]
        for left, layer in ((152, first), (377, second)):
            if layer:
                name, before, after = layer
                kind = "pooling" if "pool" in name else "convolution"
                arrow(axes, *trunk, (left - 2, y))
                lines = (name, f"{before} → {after} channels")
                box(axes, (left, y - 26), (156, 52), kind, lines)
                trunk = [(left + 158, y)]
        height = second[2]
        arrow(axes, (535, y), (585, y), (625, top + height / 2), (644, top + height / 2))
        bar(axes, (647, top), (16, height - 2), "concatenation")
        write(axes, (672, top + height / 2 - 1), str(height), "concatenation", align="left")
        top += height
    write(axes, (720, middle - 9), f"{total}\n× {SIDE_3A} × {SIDE_3A}", align="left", bold=True)
    return figure


def module_macs(widths: InceptionWidths, naive: bool) -> list[list[tuple[str, int, int]]]:
    """The layers of each branch on the maps that 3a is given: (name, channels out, MACs)."""
    n1x1, n3x3_reduce, n3x3, n5x5_reduce, n5x5, pool_proj = widths
    places = SIDE_3A**2

    def conv(kernel: int, before: int, after: int) -> tuple[str, int, int]:
        return f"conv {kernel}×{kernel}", after, kernel**2 * before * after * places

    pool = ("pool 3×3", IN_3A, 0)
    if naive:
        return [[conv(1, IN_3A, n1x1)], [conv(3, IN_3A, n3x3)], [conv(5, IN_3A, n5x5)], [pool]]
    return [
        [conv(1, IN_3A, n1x1)],
        [conv(1, IN_3A, n3x3_reduce), conv(3, n3x3_reduce, n3x3)],
        [conv(1, IN_3A, n5x5_reduce), conv(5, n5x5_reduce, n5x5)],
        [pool, conv(1, IN_3A, pool_proj)],
    ]


def naive_reduced() -> "Figure":
    """The naive inception module beside the one with reductions, as 3a: channels and MACs."""
    figure, axes = canvas(468)
    titles = (("naive: Figure 2(a)", True, 14), ("with reductions: Figure 2(b)", False, 434))
    most = sum(layer[2] for branch in module_macs(INCEPTION["3a"], True) for layer in branch)
    for title, naive, left in titles:
        branches = module_macs(INCEPTION["3a"], naive)
        middle, scale = left + 191, 0.9  # px a channel
        write(axes, (left, 20), title, size=LARGE, align="left", bold=True)
        bar(axes, (middle - IN_3A * scale / 2, 56), (IN_3A * scale, 14), "muted")
        write(axes, (middle, 44), f"{IN_3A} channels in", "muted", SMALL)
        total = sum(branch[-1][1] for branch in branches)
        edge = middle - total * scale / 2
        for column, branch in enumerate(branches):
            x, y = left + 44 + 98 * column, 124 if len(branch) == 2 else 218
            trunk = [(middle, 70), (middle, 92), (x, 92)]
            for name, channels, macs in branch:
                arrow(axes, *trunk, (x, y - 2))
                kind = "pooling" if "pool" in name else "convolution"
                lines = (name, f"→ {channels}", *([f"{macs / 1e6:.1f}M"] if macs else []))
                box(axes, (x - 44, y), (88, 66), kind, lines)
                trunk, y = [(x, y + 68)], 218
            end = edge + channels * scale / 2
            arrow(axes, (x, 286), (x, 304), (end, 326), (end, 340))
            bar(axes, (edge, 342), (channels * scale - 2, 14), "concatenation")
            write(axes, (end, 368), str(channels), "concatenation", SMALL)
            edge += channels * scale
        macs = sum(layer[2] for branch in branches for layer in branch)
        write(axes, (left, 404), f"{total} channels out", align="left", bold=True)
        text = f"{macs / 1e6:.1f}M multiply-accumulates"
        write(axes, (left, 424), text, align="left", bold=True)
        bar(axes, (left, 440), (382 * macs / most, 12), "convolution")
    return figure


DRAWINGS = (inception, naive_reduced)
