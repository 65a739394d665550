"""Drawings of inception module 3a.

``python -m docs.drawings`` writes them.
"""

from typing import TYPE_CHECKING

from docs.networks import outputs, percent
from docs.style import LARGE, ON_SLIDES, SMALL, arrow, bar, box, canvas, write
from models.googlenet import INCEPTION, GoogLeNet, InceptionWidths

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IN_3A, SIDE_3A = outputs(GoogLeNet)["pool2"][:2]  # channels and side of what 3a is given


def inception() -> "Figure":
    """Inception module 3a: four branches look at the same maps, their outputs are stacked."""
    figure, axes = canvas(360, ON_SLIDES)
    widths, middle = INCEPTION["3a"], 192
    total = outputs(GoogLeNet)["inception3a"][0]
    write(axes, (14, 18), "inception (3a)", size=LARGE, align="left", bold=True)
    for x, text in ((252, "reduce, or pool"), (474, "convolve"), (660, "concatenate")):
        write(axes, (x, 18), text, "muted")
    bar(axes, (106, middle - IN_3A / 2), (16, IN_3A), "muted")
    write(axes, (98, middle - 10), f"{IN_3A}\n× {SIDE_3A} × {SIDE_3A}", align="right", bold=True)
    top = middle - total / 2
    names = (
        (None, ("conv 1×1", IN_3A, widths.n1x1)),
        (("conv 1×1", IN_3A, widths.n3x3_reduce), ("conv 3×3", widths.n3x3_reduce, widths.n3x3)),
        (("conv 1×1", IN_3A, widths.n5x5_reduce), ("conv 5×5", widths.n5x5_reduce, widths.n5x5)),
        (("max pool 3×3", IN_3A, IN_3A), ("conv 1×1", IN_3A, widths.pool_proj)),
    )
    for row, (first, second) in enumerate(names):
        y = 69 + 82 * row
        trunk = [(122, middle), (140, middle), (140, y)]
        for left, layer in ((164, first), (386, second)):
            if layer:
                name, before, after = layer
                kind = "pooling" if "pool" in name else "convolution"
                arrow(axes, *trunk, (left - 2, y))
                lines = (name, f"{before} → {after} channels")
                box(axes, (left, y - 29), (176, 58), kind, lines)
                trunk = [(left + 178, y)]
        height = second[2]
        arrow(axes, (564, y), (600, y), (636, top + height / 2), (649, top + height / 2))
        bar(axes, (652, top), (16, height - 2), "concatenation")
        write(axes, (678, top + height / 2 - 1), str(height), "concatenation", align="left")
        top += height
    write(axes, (724, middle - 10), f"{total}\n× {SIDE_3A} × {SIDE_3A}", align="left", bold=True)
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
    figure, axes = canvas(378, ON_SLIDES)
    titles = (("naive: Figure 2(a)", True, 14), ("reduced: Figure 2(b)", False, 434))
    most = sum(layer[2] for branch in module_macs(INCEPTION["3a"], True) for layer in branch)
    for title, naive, left in titles:
        branches = module_macs(INCEPTION["3a"], naive)
        middle, scale = left + 191, 0.9  # px a channel
        write(axes, (left, 18), title, size=LARGE, align="left", bold=True)
        bar(axes, (middle - IN_3A * scale / 2, 36), (IN_3A * scale, 12), "muted")
        write(axes, (left + 382, 18), f"{IN_3A} channels in", "muted", SMALL, "right")
        total = sum(branch[-1][1] for branch in branches)
        edge = middle - total * scale / 2
        for column, branch in enumerate(branches):
            x, y = left + 44 + 98 * column, 76 if len(branch) == 2 else 162
            trunk = [(middle, 48), (middle, 59), (x, 59)]
            for name, channels, macs in branch:
                arrow(axes, *trunk, (x, y - 2))
                kind = "pooling" if "pool" in name else "convolution"
                lines = (name, f"→ {channels}", *([f"{macs / 1e6:.1f}M"] if macs else []))
                box(axes, (x - 46, y), (92, 68), kind, lines)
                trunk, y = [(x, y + 70)], 162
            end = edge + channels * scale / 2
            arrow(axes, (x, 232), (x, 242), (end, 258), (end, 268))
            bar(axes, (edge, 270), (channels * scale - 2, 12), "concatenation")
            write(axes, (end, 293), str(channels), "concatenation", SMALL)
            edge += channels * scale
        macs = sum(layer[2] for branch in branches for layer in branch)
        write(axes, (left, 317), f"{total} channels out", align="left", bold=True)
        text = f"{macs / 1e6:.1f}M multiply-accumulates"
        write(axes, (left, 338), text, align="left", bold=True)
        bar(axes, (left, 353), (382 * macs / most, 12), "convolution")
    write(axes, (left + 382, 359), f"{percent(1 - macs / most)} less", align="right", bold=True)
    return figure


DRAWINGS = (inception, naive_reduced)
