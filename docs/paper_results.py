"""More tables of papers.md: the papers' results, and the cost or saving of each of their ideas.

Each function returns the rows of a table, the head first. ``python -m docs.tables`` writes them.
"""

import math

import torchvision
from torch import nn

from docs.networks import convolutions, millions, on_meta, outputs, parameters, percent, rows_of
from docs.paper_tables import Table
from models.googlenet import INCEPTION, GoogLeNet, Inception
from models.vgg16 import CONFIG_D, VGG16

# VGG, Table 1: configuration, layers with weights, and what it changes; then Table 3: top-1 and
# top-5 error in per cent on the validation set at one scale, trained at S = 256 and, if the paper
# did that, with S drawn from 256 to 512.
VGG_TABLE_3 = (
    ("A", 11, "", ("29.6", "10.4"), ("", "")),
    ("A-LRN", 11, "A with local response normalisation", ("29.7", "10.5"), ("", "")),
    ("B", 13, "A with a second 3x3 in blocks 1 and 2", ("28.7", "9.9"), ("", "")),
    ("C", 16, "B with a 1x1 at the end of blocks 3, 4, 5", ("28.1", "9.4"), ("27.3", "8.8")),
    ("D", 16, "C with 3x3 in place of these 1x1", ("27.0", "8.8"), ("25.6", "8.1")),
    ("E", 19, "D with one more 3x3 in blocks 3, 4, 5", ("27.3", "9.0"), ("25.5", "8.0")),
)


def parameters_of_configurations() -> dict[str, int]:
    """The parameters of VGG's configurations at 224 px, RGB, 1000 classes."""
    theirs = torchvision.models
    counted = {"A": theirs.vgg11, "B": theirs.vgg13, "D": theirs.vgg16, "E": theirs.vgg19}
    totals = {name: parameters(on_meta(network)) for name, network in counted.items()}
    # C has 1x1 kernels (one weight of nine) where the last layers of D's blocks 3 to 5 have 3x3.
    last = (CONFIG_D[block][-1] for block in ("block3", "block4", "block5"))
    return totals | {"A-LRN": totals["A"], "C": totals["D"] - sum(8 * width**2 for width in last)}


def table_of_depths() -> Table:
    totals = parameters_of_configurations()
    head = ["configuration", "layers", "what changes", "parameters"]
    return [[*head, "top-1", "top-5", "top-1, S varied", "top-5, S varied"]] + [
        [name, f"{layers}", change, millions(totals[name]), *fixed, *varied]
        for name, layers, change, fixed, varied in VGG_TABLE_3
    ]


def class_map(image_size: int) -> int:
    """The number of positions per axis at which the fully convolutional VGG16 classifies."""
    return image_size // 32 - 6  # the first fully connected layer is a 7x7 window


def table_of_dense_evaluation() -> Table:
    """The fully convolutional network on a larger image, against a crop at each position."""
    table = [["image", "map before the 7x7", "class map", "MACs, dense", "MACs, crops", "ratio"]]
    fully_connected = sum(row.macs for row in rows_of(VGG16) if row.name.startswith("FC"))
    one_crop = sum(row.macs for row in rows_of(VGG16))
    for size in (224, 256, 384, 512):
        side = class_map(size)
        rows = rows_of(VGG16, image_size=size)
        convolved = sum(row.macs for row in rows if row.name.startswith("conv"))
        dense, crops = convolved + side**2 * fully_connected, side**2 * one_crop
        maps = [f"{n} x {n}" for n in (size, size // 32, side)]
        table.append([*maps, billions(dense), billions(crops), f"{crops / dense:.1f}"])
    return table


def billions(macs: int) -> str:
    return f"{macs / 1e9:,.1f}G"


STAGES = {  # the parts of each network, by the first letters of their modules' names
    VGG16: {
        "block 1": ("block1",),
        "block 2": ("block2",),
        "block 3": ("block3",),
        "block 4": ("block4",),
        "block 5": ("block5",),
        "fully connected": ("classifier",),
    },
    GoogLeNet: {
        "stem": ("conv", "norm", "pool1", "pool2"),
        "3a, 3b": ("inception3", "pool3"),
        "4a to 4e": ("inception4", "pool4"),
        "5a, 5b": ("inception5", "avg_pool"),
        "linear": ("linear",),
    },
}
COUNTED = nn.Conv2d | nn.Linear | nn.MaxPool2d | nn.AdaptiveAvgPool2d | nn.LocalResponseNorm
COUNTED |= Inception  # its output is a copy of what its branches have computed


def costs(model_class: type[nn.Module]) -> dict[str, tuple[int, int, int]]:
    """Parameters, MACs and number of output values of every layer, for one image."""
    model, found = on_meta(model_class), {}
    for name, size in outputs(model_class).items():
        module = model.get_submodule(name)
        if isinstance(module, COUNTED):
            places = math.prod(size[1:]) if isinstance(module, nn.Conv2d) else 1
            used = module.weight.numel() * places if hasattr(module, "weight") else 0
            own = 0 if isinstance(module, Inception) else parameters(module)  # not its layers'
            found[name] = (own, used, math.prod(size))
    return found


def share(part: int, whole: int) -> str:
    return percent(part / whole) if part / whole >= 0.005 else "< 1 %"


def interleaved(counts: list[int], shares: list[str]) -> list[str]:
    pairs = zip(counts, shares, strict=True)
    return [cell for n, part in pairs for cell in (f"{n / 1e6:,.2f}M", part)]


def table_of_costs() -> Table:
    table = [["network", "part", "parameters", "", "MACs", "", "values for one image", ""]]
    for model_class, stages in STAGES.items():
        layers = costs(model_class)
        totals = [sum(column) for column in zip(*layers.values(), strict=True)]
        for stage, prefixes in stages.items():
            part = [cost for name, cost in layers.items() if name.startswith(prefixes)]
            sums = [sum(column) for column in zip(*part, strict=True)]
            shares = [share(n, total) for n, total in zip(sums, totals, strict=True)]
            table.append([model_class.__name__, stage, *interleaved(sums, shares)])
        table.append([model_class.__name__, "all", *interleaved(totals, [""] * 3)])
    return table


def naive_modules() -> dict[str, tuple[int, int, int]]:
    """Channels in, channels out and weights of Figure 2(a)'s modules, with Table 1's widths."""
    modules, channels = {}, 192
    for name, widths in INCEPTION.items():
        weights = channels * (widths.n1x1 + 9 * widths.n3x3 + 25 * widths.n5x5)
        out = widths.n1x1 + widths.n3x3 + widths.n5x5 + channels  # the pooling keeps its channels
        modules[name] = (channels, out, weights)
        channels = out
    return modules


def table_of_naive_modules() -> Table:
    """Channels without the 1x1 convolutions, which grow from module to module."""
    table = [["module", "naive: channels", "MACs", "reduced: channels", "MACs", "ratio"]]
    macs = {row.name: (row.shape, row.macs) for row in rows_of(GoogLeNet)}
    channels, totals = 192, [0, 0]
    for name, (naive_in, naive_out, weights) in naive_modules().items():
        (out, side, _), reduced = macs[f"inception ({name})"]
        naive = weights * side**2
        flows = (f"{naive_in:,} to {naive_out:,}", f"{channels} to {out}")
        ratio = f"{naive / reduced:.1f}"
        table.append([name, flows[0], millions(naive), flows[1], millions(reduced), ratio])
        channels, totals = out, [totals[0] + naive, totals[1] + reduced]
    naive, reduced = totals
    table.append(["all nine", "", millions(naive), "", millions(reduced), f"{naive / reduced:.1f}"])
    return table


def table_of_shares() -> Table:
    """A module's output channels by branch: 1x1, 3x3, 5x5 and pooling."""
    table = [["module", "1x1", "3x3", "5x5", "pooling", "3x3 and 5x5"]]
    for name, widths in INCEPTION.items():
        branches = (widths.n1x1, widths.n3x3, widths.n5x5, widths.pool_proj)
        share = math.floor(100 * (widths.n3x3 + widths.n5x5) / sum(branches) + 0.5)  # 62.5 is 63
        table.append([name, *map(str, branches), f"{share} %"])
    return table


def growth(convs: list[nn.Conv2d], sigma: float | None) -> float:
    """The growth of activations through layers: σ² x fan-in / 2 per layer, in mean square."""
    square = 1.0
    for conv in convs:
        fan_in = conv.weight[0].numel()
        square *= fan_in * (sigma**2 if sigma else 2 / fan_in) / 2
    return math.sqrt(square)


def table_of_growth() -> Table:
    networks = [convolutions(on_meta(network)) for network in (torchvision.models.vgg11, VGG16)]
    names = [
        f"{name}, {len(convs)} convolutions" for name, convs in zip("AD", networks, strict=True)
    ]
    return [
        ["σ of every convolution", *names],
        *([f"{s}", *(f"{growth(convs, s):.0e}" for convs in networks)] for s in (0.01, 0.1)),
        ["Kaiming's", *(f"{growth(convs, None):.0f}" for convs in networks)],
    ]


TABLES = {
    "depths": table_of_depths,
    "dense": table_of_dense_evaluation,
    "costs": table_of_costs,
    "naive": table_of_naive_modules,
    "shares": table_of_shares,
    "growth": table_of_growth,
}
