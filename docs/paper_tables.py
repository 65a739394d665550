"""The tables of papers.md: the papers' numbers beside those that the code computes.

Each function returns the rows of a table, the head first. ``python -m docs.tables`` writes them.
"""

import math

import torch
import torchvision
from torch import nn

from docs.networks import (
    convolutions,
    millions,
    on_meta,
    outputs,
    parameters,
    percent,
    rows_of,
    shape,
    weights,
    window,
)
from models import googlenet, vgg16
from models.googlenet import AUX_WEIGHT, INCEPTION, GoogLeNet, Inception
from models.vgg16 import VGG16

Table = list[list[str]]
VGG16_FILE, GOOGLENET_FILE = "../models/vgg16.py", "../models/googlenet.py"

# GoogLeNet, Table 1: type, widths (#1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj), output
# size, and depth, params and ops as printed.
GOOGLENET_TABLE_1 = (
    ("convolution 7x7/2", "", "112x112x64", "1", "2.7K", "34M"),
    ("max pool 3x3/2", "", "56x56x64", "0", "", ""),
    ("convolution 3x3/1", "64, 192", "56x56x192", "2", "112K", "360M"),
    ("max pool 3x3/2", "", "28x28x192", "0", "", ""),
    ("inception (3a)", "64, 96, 128, 16, 32, 32", "28x28x256", "2", "159K", "128M"),
    ("inception (3b)", "128, 128, 192, 32, 96, 64", "28x28x480", "2", "380K", "304M"),
    ("max pool 3x3/2", "", "14x14x480", "0", "", ""),
    ("inception (4a)", "192, 96, 208, 16, 48, 64", "14x14x512", "2", "364K", "73M"),
    ("inception (4b)", "160, 112, 224, 24, 64, 64", "14x14x512", "2", "437K", "88M"),
    ("inception (4c)", "128, 128, 256, 24, 64, 64", "14x14x512", "2", "463K", "100M"),
    ("inception (4d)", "112, 144, 288, 32, 64, 64", "14x14x528", "2", "580K", "119M"),
    ("inception (4e)", "256, 160, 320, 32, 128, 128", "14x14x832", "2", "840K", "170M"),
    ("max pool 3x3/2", "", "7x7x832", "0", "", ""),
    ("inception (5a)", "256, 160, 320, 32, 128, 128", "7x7x832", "2", "1072K", "54M"),
    ("inception (5b)", "384, 192, 384, 48, 128, 128", "7x7x1024", "2", "1388K", "71M"),
    ("avg pool", "", "1x1x1024", "0", "", ""),
    ("dropout", "", "1x1x1024", "0", "", ""),
    ("linear", "", "1x1x1000", "1", "1000K", "1M"),
)
# Rows whose printed numbers differ from the computed ones: ops by over 2M, params by over 1 %.
WRONG_OPS = ("convolution 7x7/2", "inception (5a)")
WRONG_PARAMS = (*WRONG_OPS, "inception (4c)", "inception (4d)", "inception (5b)")


def link(symbol: str, file: str) -> str:
    return f"[`{symbol}`]({file})"


def table_of_vgg16() -> Table:
    table = [["paper", "by hand", "code: parameters", "code: output", "code: MACs", "made by"]]
    rows, names = rows_of(VGG16), vgg16.table_rows(on_meta(VGG16))
    channels, size = 3, 224
    for row, (_, modules) in zip(rows, names, strict=True):
        # Counted from the paper's name of the row: window x channels in x channels out + biases.
        kind, _, width = row.name.partition("-")
        block = modules[0].partition(".")[0]
        if kind == "maxpool":
            by_hand, made_by, size = "0", "conv_block", size // 2
        elif kind == "conv3":
            by_hand, made_by = f"9 x {channels} x {width} + {width}", f'CONFIG_D["{block}"]'
        else:
            # The first sees every cell of the last map, 7 x 7 x 512.
            inputs = f"{size**2} x {channels}" if channels == 512 else f"{channels}"
            by_hand, made_by = f"{inputs} x {width} + {width}", "VGG16.classifier"
        channels = int(width or channels)
        code = [f"{row.parameters:,}", shape(row.shape), millions(row.macs) if row.macs else "0"]
        table.append([row.name, by_hand, *code, link(made_by, VGG16_FILE)])
    return table


def table_of_googlenet() -> Table:
    head = ["row", "depth", "widths", "output", "params: printed", "params: computed"]
    table = [[*head, "ops: printed", "ops: computed", "made by"]]
    model = on_meta(GoogLeNet, aux_heads=False)
    rows, names = rows_of(GoogLeNet, aux_heads=False), googlenet.table_rows(model)
    for printed, row, (_, modules) in zip(GOOGLENET_TABLE_1, rows, names, strict=True):
        name, widths, output, depth, params, ops = printed
        thousands, macs = f"{weights_of_row(model, modules) / 1024:,.1f}K", millions(row.macs)
        thousands = f"**{thousands}**" if name in WRONG_PARAMS else thousands
        macs = f"**{macs}**" if name in WRONG_OPS else macs
        symbols = [f"GoogLeNet.{modules[0]}"]
        if name.startswith("inception"):
            symbols.insert(0, f'INCEPTION["{modules[0].removeprefix("inception")}"]')
        made_by = " ".join(link(symbol, GOOGLENET_FILE) for symbol in symbols)
        counted = [params, thousands, ops, macs] if ops else [""] * 4
        table.append([name, depth, widths, output, *counted, made_by])
    return table


def weights_of_row(model: nn.Module, modules: list[str]) -> int:
    """The weights of a row of Table 1, without biases."""
    tensors = (p for name in modules for p in model.get_submodule(name).parameters())
    return sum(tensor.numel() for tensor in tensors if tensor.dim() > 1)


def table_of_a_head() -> Table:
    model, sizes, columns = on_meta(GoogLeNet), outputs(GoogLeNet, training=True), []
    for head in ("aux4a", "aux4d"):
        parts = [shape(sizes[f"{head}.{layer}"]) for layer in ("pool", "conv", "fc", "linear")]
        parts.insert(3, f"{model.get_submodule(head).dropout.p}")
        columns.append([*parts, f"{AUX_WEIGHT}"])
    paper = (  # Section 5
        ("average pool 5x5/3", "4x4x512, 4x4x528", "AuxiliaryHead.pool"),
        ("1x1 convolution", "128", "AuxiliaryHead.conv"),
        ("fully connected", "1024", "AuxiliaryHead.fc"),
        ("dropout", "70 %", "AuxiliaryHead.dropout"),
        ("linear", "1000", "AuxiliaryHead.linear"),
        ("weight of the loss", "0.3", "AUX_WEIGHT"),
    )
    return [["layer of a head", "paper", "code: 4a", "code: 4d", "made by"]] + [
        [name, printed, at_4a, at_4d, link(symbol, GOOGLENET_FILE)]
        for (name, printed, symbol), at_4a, at_4d in zip(paper, *columns, strict=True)
    ]


def table_of_output_sizes() -> Table:
    """n, k, p, s and the output of windows in the networks at 224 px."""
    vgg, google = on_meta(VGG16), on_meta(GoogLeNet)
    module_3a = google.inception3a
    windows = {
        "any convolution of VGG16, at 224 px": vgg.block1.conv1_1,
        "its poolings, the first": vgg.block1.pool1,
        "GoogLeNet's first convolution": google.conv1.conv,
        "its first pooling": google.pool1,
        "an inception module's 5x5, in 3a": module_3a.branch_5x5.conv.conv,
        "its pooling": module_3a.branch_pool.pool,
        "the pooling of a head": google.aux4a.pool,
    }
    seen = {}

    def record(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        seen[module] = [inputs[0].shape[-1], *window(module), output.shape[-1]]

    for module in windows.values():
        module.register_forward_hook(record)
    for model in (vgg, google):
        model(torch.empty(2, 3, 224, 224, device="meta"))
    rows = {name: seen[module] for name, module in windows.items()}
    n, k, _, s, _ = rows["its first pooling"]
    unpadded = nn.MaxPool2d(k, s)(torch.empty(1, n, n, device="meta")).shape[-1]
    table = [["window", "n", "k", "p", "s", "output"]]
    for name, numbers in rows.items():
        table.append([name, *map(str, numbers)])
        if name == "its first pooling":
            table[-1][3] = "0, and 1 at the far edges"
            table.append(["the same without padding", *map(str, (n, k, 0, s, unpadded))])
    return table


def table_of_3a() -> Table:
    """The module's weights, and those of the same kernels on all 192 channels."""
    table = [["branch of 3a", "with the reduction", "without"]]
    total = total_direct = 0
    names = ("1x1", "3x3", "5x5", "pooling")
    for name, branch in zip(names, on_meta(GoogLeNet).inception3a.children(), strict=True):
        terms = [conv.weight.numel() for conv in convolutions(branch)]
        last = convolutions(branch)[-1]
        direct = 0 if name == "pooling" else 192 * last.out_channels * last.kernel_size[0] ** 2
        total, total_direct = total + sum(terms), total_direct + direct
        summed = " + ".join(f"{term:,}" for term in terms)
        summed += f" = {sum(terms):,}" if len(terms) > 1 else ""
        table.append([name, summed, f"{direct:,}"])
    return [*table, ["all", f"{total:,}", f"{total_direct:,}"]]


def table_of_stacks() -> Table:
    """VGG, Section 2.3: stacked 3x3 convolutions against one with the same receptive field."""
    table = [["stack", "sees", "its weights", "of one window", "fewer"]]
    for name, layers in (("two 3x3", 2), ("three 3x3", 3)):
        size = 2 * layers + 1
        stacked, single = 9 * layers, size**2
        fewer = percent(1 - stacked / single)
        table.append([name, f"{size}x{size}", f"{stacked} C²", f"{single} C²", fewer])
    return table


def wrong_4d() -> GoogLeNet:
    """GoogLeNet without heads, with the 114 of many re-implementations for the 144 of 4d."""
    model = on_meta(GoogLeNet, aux_heads=False)
    widths = INCEPTION["4d"]._replace(n3x3_reduce=114)
    with torch.device("meta"):
        model.inception4d = Inception(512, widths, batch_norm=False)
    return model


def thousands(module: nn.Module) -> str:
    """Its weights in the K of Table 1: 1024."""
    return f"{weights(module) / 1024:,.1f}K"


def table_of_disagreements() -> Table:
    """Where papers and implementations disagree: against torchvision as it is installed."""
    ours, theirs = on_meta(GoogLeNet, aux_heads=False), torchvision.models
    total, heads = parameters(ours), parameters(on_meta(GoogLeNet)) - parameters(ours)
    stem, places = ours.conv1.conv.weight.numel(), 112 * 112
    separable = 7 * 7 * 3 * 8 + 24 * 64  # depthwise, 8 maps per channel, then 1x1 to 64
    macs_5a = next(row.macs for row in rows_of(GoogLeNet) if row.name == "inception (5a)")
    google = on_meta(theirs.googlenet, init_weights=False)
    missing = parameters(on_meta(GoogLeNet, batch_norm=True)) - parameters(google)
    normalised = parameters(on_meta(GoogLeNet, batch_norm=True, aux_heads=False)) - total
    grey = parameters(on_meta(GoogLeNet, in_channels=1, num_classes=10, aux_heads=False))
    inputs = on_meta(theirs.vgg16).classifier[0].in_features
    pool = google.maxpool4.kernel_size
    issue = "[pytorch/vision#906](https://github.com/pytorch/vision/issues/906)"
    # Three lines a row: where, what, how you notice.
    rows = f"""
often said of VGG
  two or three 3x3 "halve" the weights
  {percent(1 - 18 / 25)} and {percent(1 - 27 / 49)}: divide 18 by 25, 27 by 49
GoogLeNet, Table 1
  2.7K params and 34M ops for the first convolution
  {stem:,} weights on {places:,} places are {millions(stem * places)}; both printed figures \
nearly fit a separable 7x7 (8 maps of each colour, then a 1x1) of {separable:,} weights, \
7 x 7 x 3 x 8 + 24 x 64: \
{separable / 1024:.2f}K and {millions(separable * places)}
GoogLeNet, Table 1
  1072K params and 54M ops for 5a
  they agree with each other, 1072 x 1024 weights on 49 places are {millions(1072 * 1024 * 49)}, \
but its six widths give {thousands(ours.inception5a)} and {millions(macs_5a)}
GoogLeNet, Table 1
  463K params for 4c, 580K for 4d, 1388K for 5b
  the widths give {thousands(ours.inception4c)}, {thousands(ours.inception4d)} and \
{thousands(ours.inception5b)}; the ops of these rows fit the widths
GoogLeNet
  local response normalisation is in Figure 3, not in Table 1, and has no constants
  it has no weights, so no total shows it: print the modules
torchvision, ported from a TensorFlow model that has it too
  3x3 where the paper has 5x5 ({issue})
  all shapes fit; {missing:,} weights are missing
torchvision's GoogLeNet, and many others
  batch normalisation, which is younger than the paper
  `running_mean` in the state dict, no biases of convolutions; {normalised:,} parameters more
torchvision's GoogLeNet
  dropout {google.dropout.p}; epsilon 1e-3; a {pool}x{pool} fourth pooling
  no total and no shape at 224 px shows it: print the modules
torchvision's GoogLeNet
  heads pool to 4x4 at any size
  at 224 px the same shape, other values: windows 4 wide instead of 5
torchvision's GoogLeNet with its weights
  `transform_input` turns ImageNet's normalisation into one with mean and deviation 0.5
  look at the input of `conv1`, not at that of the network
torchvision's VGG16
  pools to 7x7 at any size: at 32 px, 49 copies of one cell
  as many parameters as at 224 px; of {inputs:,} inputs to the first fully connected layer at \
most {inputs // 49} differ
[d2l](https://d2l.ai)
  GoogLeNet without heads, dropout or normalisation
  with 1 channel and 10 classes it has the code's {grey:,} parameters: print the modules
d2l
  VGG-11, trained with its convolutions at a quarter of the width
  8 convolutions instead of 13, the first of 16 channels instead of 64
re-implementations
  no auxiliary heads
  {heads:,} parameters fewer; training returns one tensor
re-implementations
  114 for the 144 of 4d
  all shapes fit; {total - parameters(wrong_4d()):,} parameters fewer
re-implementations of VGG
  1e-2 as standard deviation: the paper says variance
  `weight.std()` of a new layer: 0.01 instead of {math.sqrt(1e-2)}
re-implementations
  a softmax before the cross-entropy
  with 10 classes the loss cannot fall below {math.log(math.e + 9) - 1:.2f}
"""
    lines = [line.strip() for line in rows.strip().splitlines()]
    head = ["where", "what", "how you notice"]
    return [head, *(lines[i : i + 3] for i in range(0, len(lines), 3))]


TABLES = {
    "vgg16": table_of_vgg16,
    "googlenet": table_of_googlenet,
    "head": table_of_a_head,
    "output-sizes": table_of_output_sizes,
    "3a": table_of_3a,
    "stacks": table_of_stacks,
    "disagreements": table_of_disagreements,
}
