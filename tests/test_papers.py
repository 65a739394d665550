"""docs/papers.md against the code: its tables, its figures, the lines it points to, its exercises.

    python -m tests.test_papers

writes the new line numbers into the page after code has moved.
"""

import argparse
import inspect
import math
import re
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import train_fashionmnist
from data import augment
from engine import loop, options
from models import common
from models import googlenet as googlenet_file
from models import vgg16 as vgg16_file
from models.googlenet import AUX_MIN_SIZE, AUX_WEIGHT, INCEPTION, GoogLeNet, Inception
from models.summary import summarise
from models.vgg16 import VGG16

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "papers.md"
TEXT = PAGE.read_text(encoding="utf-8")

# What the papers print and the code does not: millions of "ops" in GoogLeNet's Table 1 that its
# widths do not give, the parameters of its 4c, and how the networks were trained.
WRONG_OPS = {"convolution 7x7/2": 34, "inception (5a)": 54}
PARAMETERS_4C = "463K"
TRAINING = {
    "optimizer": ("SGD, momentum 0.9", "SGD, momentum 0.9"),
    "first learning rate": ("1e-2", ""),
    "and then": ("divided by 10, three times", "4 % less every 8 epochs"),
    "weight decay": ("5e-4", ""),
    "batch": ("256", ""),
    "epochs": ("74", ""),
    "dropout": ("0.5, twice", "0.4"),
    "initial weights": ("N(0, variance 1e-2)", ""),
    "final weights": ("", "a Polyak average"),
    "crops": (
        "fixed size, out of a rescaled image",
        "8 % to 100 % of the area, ratio 3/4 to 4/3",
    ),
}


# ---------------------------------------------------------------- the page's parts


def tables(text: str) -> dict[str, list[list[str]]]:
    """The rows of each Markdown table, by the first cell of its head."""
    found: dict[str, list[list[str]]] = {}
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [line.strip("|").split("|") for line in block.splitlines()]
        head, _, *rows = [[cell.strip() for cell in line] for line in lines]
        assert head[0] not in found, f"two tables begin with {head[0]!r}"
        assert all(len(row) == len(head) for row in rows), head
        found[head[0]] = rows
    return found


TABLES = tables(TEXT)


def fences(text: str) -> list[str]:
    """What stands in the fenced blocks that are not for the shell."""
    return re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def matrices() -> dict[str, torch.Tensor]:
    """The matrices of the worked example: blocks whose columns are divided by |, a name on top."""
    found = {}
    for block in fences(TEXT):
        lines = [line.split("|") for line in block.splitlines()]
        for name, *column in zip(*lines, strict=True) if len(lines[0]) > 1 else ():
            rows = [[float(number) for number in cell.split()] for cell in column]
            found[name.strip()] = torch.tensor([row for row in rows if row])
    return found


# ---------------------------------------------------------------- the networks


def on_meta(model_class, **arguments):
    with torch.device("meta"):
        return model_class(**arguments)


@cache
def rows_of(model_class, **arguments):
    """The rows of models.summary, and the modules of each."""
    file = {VGG16: vgg16_file, GoogLeNet: googlenet_file}[model_class]
    model = on_meta(model_class, **arguments)
    names = file.table_rows(model)
    return summarise(model, names), [model.get_submodule(modules[0]) for _, modules in names]


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def window(module: nn.Module) -> tuple[int, int, int]:
    """Size, padding and stride of a convolution or a pooling."""
    sizes = (module.kernel_size, module.padding, module.stride)
    return tuple(size[0] if isinstance(size, tuple) else size for size in sizes)


def default_dropout(model_class) -> float:
    return inspect.signature(model_class).parameters["dropout"].default


def millions(macs: int) -> str:
    return f"{macs / 1e6:,.1f}M"


def shape(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))


def arithmetic(expression: str) -> float:
    """The value of a sum that the page spells out; x is times."""
    expression = expression.replace(" x ", " * ").replace(",", "")
    assert re.fullmatch(r"[\d\s.*+()-]+", expression), expression
    return eval(expression)


# ---------------------------------------------------------------- tables


def test_table_of_vgg16():
    rows, _ = rows_of(VGG16)
    for cells, row in zip(TABLES["paper"], rows, strict=True):
        name, by_hand, *code, _ = cells
        assert name == row.name
        assert arithmetic(by_hand) == row.parameters, name
        assert code == [f"{row.parameters:,}", shape(row.shape), millions(row.macs)], name


def test_table_of_googlenet():
    rows, modules = rows_of(GoogLeNet, aux_heads=False)
    for cells, row, module in zip(TABLES["row"], rows, modules, strict=True):
        name, widths, output, ops, *code, _ = cells
        assert name == row.name
        assert code == [shape(row.shape), f"{row.parameters:,}", millions(row.macs)], name
        *space, channels = map(int, output.split("x"))  # the paper's order
        assert (channels, *space) == (*row.shape, 1, 1)[:3], name
        if widths:
            assert [int(width) for width in widths.split(",")] == [
                m.out_channels for m in convolutions(module)
            ], name
        if ops and name in WRONG_OPS:
            assert ops == f"{WRONG_OPS[name]}M"
            assert abs(WRONG_OPS[name] - row.macs / 1e6) > 2
        elif ops:
            assert abs(int(ops.strip("M")) - row.macs / 1e6) < 1, name
        else:
            assert row.macs == 0, name


def shapes_of(module: nn.Module, *size: int) -> dict[str, str]:
    """The shapes that the parts of a module put out for one input of that size."""
    seen = {}

    def record(part, _inputs, output):
        seen[names[part]] = shape(output.shape[1:])

    names = {part: name for name, part in module.named_children()}
    for part in names:
        part.register_forward_hook(record)
    module.eval()(torch.empty(1, *size, device="meta"))
    return seen


def test_table_of_a_head():
    table, model = TABLES["layer of a head"], on_meta(GoogLeNet)
    for column, head, channels in ((2, model.aux4a, 512), (3, model.aux4d, 528)):
        seen = shapes_of(head, channels, 14, 14)
        assert [row[column] for row in table] == [
            *(seen[layer] for layer in ("pool", "conv", "fc")),
            str(head.dropout.p),
            seen["linear"],
            str(AUX_WEIGHT),
        ]
    paper = [row[1] for row in table]
    assert paper == ["4x4x512, 4x4x528", "128", "1024", "70 %", "1000", "0.3"]


def test_table_of_training():
    assert {row[0]: tuple(row[1:3]) for row in TABLES["training"]} == TRAINING
    args = argparse.Namespace(optimizer="sgd", **train_fashionmnist.SGD)
    group = options.build_optimizer(args, nn.Linear(2, 2)).param_groups[0]
    assert group["momentum"] == 0.9
    assert (group["lr"], group["weight_decay"]) == (1e-2, 5e-4)
    assert (default_dropout(VGG16), default_dropout(GoogLeNet)) == (0.5, 0.4)
    modules = (options, train_fashionmnist, common, loop, augment, vgg16_file, googlenet_file)
    for row in TABLES["training"]:
        for name in re.findall(r"`(\w+)`", row[3]):
            assert any(hasattr(module, name) for module in modules), name


def fits(n: int, k: int, p: int, s: int) -> int:
    """How often a window fits, by the page's own formula."""
    formula = next(block for block in fences(TEXT) if block.startswith("floor"))
    names = {"floor": math.floor, "n": n, "k": k, "p": p, "s": s}
    return eval(formula.strip().replace("2p", "2 * p"), names)


def test_table_of_output_sizes():
    """Each row by the formula, and by the module that it speaks of in a 224 px network."""
    vgg, google = on_meta(VGG16), on_meta(GoogLeNet)
    module_3a = google.inception3a
    modules = [vgg.block1.conv1_1, vgg.block1.pool1, google.conv1.conv, google.pool1]
    modules += [module_3a.branch_5x5.conv.conv, module_3a.branch_pool.pool, google.aux4a.pool]
    seen = {}

    def record(module, inputs, output):
        seen[module] = [inputs[0].shape[-1], *window(module), output.shape[-1]]

    for module in modules:
        module.register_forward_hook(record)
    for model in (vgg, google):
        model(torch.empty(2, 3, 224, 224, device="meta"))
    expected = [seen[module] for module in modules]
    without_padding = nn.MaxPool2d(3, stride=2)(torch.empty(1, 112, 112, device="meta"))
    expected.insert(4, [112, 3, 0, 2, without_padding.shape[-1]])
    assert [list(map(int, row[1:])) for row in TABLES["window"]] == expected
    assert all(fits(*row[:4]) == row[4] for row in expected)


def test_table_of_3a():
    module = on_meta(GoogLeNet).inception3a
    sizes = [[m.weight.numel() for m in convolutions(branch)] for branch in module.children()]
    outputs = [convolutions(branch)[-1] for branch in module.children()]
    direct = [192 * m.out_channels * m.kernel_size[0] ** 2 for m in outputs[:3]]
    table = {name: (reduced, without) for name, reduced, without in TABLES["branch of 3a"]}
    for reduced, branch in zip(table.values(), sizes, strict=False):
        terms, _, total = reduced[0].rpartition(" = ")
        assert arithmetic(total) == sum(branch)
        if terms:
            assert [arithmetic(term) for term in terms.split(" + ")] == branch
    columns = list(zip(*table.values(), strict=True))
    assert columns[1] == (*(f"{n:,}" for n in direct), "0", f"{sum(direct):,}")
    assert columns[0][-1] == f"{sum(map(sum, sizes)):,}"


def test_table_of_stacks():
    for row, layers in zip(TABLES["stack"], (2, 3), strict=True):
        size = 2 * layers + 1
        stacked, single = 9 * layers, size**2
        assert row[1:] == [
            f"{size}x{size}",
            f"{stacked} C²",
            f"{single} C²",
            percent(1 - stacked / single),
        ]


def growth(sigma: float | None) -> float:
    """The factor in size of activations through VGG16's convolutions, by the page's rule."""
    square = 1.0
    for module in convolutions(on_meta(VGG16)):
        fan_in = module.weight[0].numel()
        square *= fan_in * (sigma**2 if sigma else 2 / fan_in) / 2
    return square**0.5


def test_table_of_growth():
    table = dict(TABLES["σ of every convolution"])
    assert table == {
        "0.01": f"{growth(0.01):.0e}",
        "0.1": f"{growth(0.1):.0e}",
        "Kaiming's": f"{growth(None):.0f}",
    }


def selects(expression: str, names: list[str]) -> bool:
    """Whether each alternative of a -k expression selects a test of those names."""
    return all(any(word in name for name in names) for word in expression.split(" or "))


def test_reading_order():
    """It takes an hour, its files are there, and each command selects tests, word by word."""
    assert sum(int(row[0]) for row in TABLES["minutes"]) <= 60
    for row in TABLES["minutes"]:
        assert (ROOT / row[1].strip("`")).is_file()
    commands = [row[-1].strip("`") for row in TABLES["minutes"] + TABLES["work out"]]
    for command in commands:
        match = re.fullmatch(r'python -m pytest (tests/\w+\.py) -k (?:(\w+)|"([\w ]+)")', command)
        assert match, command
        source = (ROOT / match[1]).read_text(encoding="utf-8")
        names = re.findall(r"^def (test_\w+)", source, re.MULTILINE)
        assert selects(match[2] or match[3], names), command


# ---------------------------------------------------------------- lines


def line_of(file: str, words: str, after: str = "") -> int:
    """The number of the first line with those words, from the one with ``after`` on."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if after in line)
    for number, line in enumerate(lines[start:], start + 1):
        if words in line:
            return number
    raise AssertionError(f"{file} has no line with {words!r}: change what test_papers.py looks for")


def places() -> dict[str, list[list[tuple[str, ...]]]]:
    """For each row of a table, what ``line_of`` takes to find the lines that make it."""
    vgg, google = [], []
    for _, (name, *_) in vgg16_file.table_rows(on_meta(VGG16)):
        block, layer = name.split(".")
        words = f"{layer}=nn.Linear("
        if layer.startswith("conv"):
            words = f'"{block}": ('
        if layer.startswith("pool"):
            words = 'layers[f"pool{number}"] = '
        vgg.append([("models/vgg16.py", words)])
    file = "models/googlenet.py"
    for _, (name, *_) in googlenet_file.table_rows(on_meta(GoogLeNet, aux_heads=False)):
        widths = [(file, f'"{name[-2:]}": (')] if name.startswith("inception") else []
        google.append([*widths, (file, f"self.{name} = ")])
    names = ("conv", "fc", "dropout", "linear")
    layers = [[(file, f"self.{name} = ", "class AuxiliaryHead")] for name in names]
    head = [[(file, "nn.AvgPool2d(5")], *layers, [(file, "AUX_WEIGHT = ")]]
    return {"paper": vgg, "row": google, "layer of a head": head}


def mended(text: str) -> str:
    """The page with the right line numbers in the tables."""
    for table, rows in places().items():
        start = re.search(rf"^\| {table} \|.*\n.*\n", text, re.MULTILINE).end()
        before, lines = text[:start], text[start:].split("\n")
        for index, found in enumerate(rows):
            right = " ".join(f"`{where[0]}:{line_of(*where)}`" for where in found)
            lines[index] = re.sub(r"(?:`models/\w+\.py:\d+` ?)+", f"{right} ", lines[index])
        text = before + "\n".join(lines)
    return text


def test_lines():
    wrong = [
        f"{old.rpartition('| ')[2]} should be {new.rpartition('| ')[2]}"
        for old, new in zip(TEXT.splitlines(), mended(TEXT).splitlines(), strict=True)
        if old != new
    ]
    assert not wrong, (
        "the code has moved; `python -m tests.test_papers` puts docs/papers.md right:\n"
        + "\n".join(wrong)
    )
    in_tables = sum(len(found) for rows in places().values() for found in rows)
    assert len(re.findall(r"\.py:\d", TEXT)) == in_tables, "a line outside of the tables"


# ---------------------------------------------------------------- the layer worked out by hand


def test_layer_by_hand():
    """The page's matrices and sums against torch: forwards, backwards, and one step."""
    m = matrices()
    assert set(m) == {"X", "K", "Y", "Z", "P", "dP", "dZ", "dY", "dK", "dX"}

    def tensor(name):
        return m[name][None, None].clone().requires_grad_()

    x, kernel, bias = tensor("X"), tensor("K"), torch.ones(1, requires_grad=True)
    y = F.conv2d(x, kernel, bias)
    z = F.relu(y)
    pooled = F.max_pool2d(z, kernel_size=2, stride=1)
    steps = {"X": x, "K": kernel, "Y": y, "Z": z, "P": pooled}
    for step in (y, z, pooled):
        step.retain_grad()
    loss = (m["dP"] * pooled).sum()
    loss.backward()
    for name, step in steps.items():
        assert torch.equal(step[0, 0], m[name]), name
        assert torch.equal(step.grad[0, 0], m[f"d{name}"]), name

    values = {"L": loss.item(), "db": bias.grad.item()}
    sums = re.findall(r"^([\w,\[\]]+) = (.+) = (-?\d+)$", TEXT, re.MULTILINE)
    assert len(sums) == 8
    for i, j in ((0, 1), (2, 0), (2, 2)):
        met = zip(m["K"].flatten(), m["X"][i : i + 3, j : j + 3].flatten(), strict=True)
        terms = [f"{'-' if k < 0 else '+'} {abs(k):.0f}*{pixel:.0f}" for k, pixel in met]
        assert f"Y[{i},{j}] = {' '.join(terms).strip('+ ')} + 1 = " in TEXT
    for name, expression, value in sums:
        if match := re.fullmatch(r"(\w+)\[(\d),(\d)\]", name):
            values[name] = m[match[1]][int(match[2]), int(match[3])].item()
        assert arithmetic(expression) == float(value) == values[name], name

    squares = [kernel.grad.square().sum().item(), bias.grad.square().sum().item()]
    with torch.no_grad():
        y = F.conv2d(x, kernel - 0.01 * kernel.grad, bias - 0.01 * bias.grad)
        after = (m["dP"] * F.max_pool2d(F.relu(y), 2, 1)).sum().item()
    assert loss.item() - after == pytest.approx(0.01 * sum(squares))
    first, second = squares
    assert f"{first:.0f} + {second:.0f} = {sum(squares):.0f}" in PROSE
    assert f"from {loss.item():.0f} to {after:.2f}" in PROSE
    assert "bias b = 1," in PROSE and "learning rate of 0.01" in PROSE


# ---------------------------------------------------------------- figures in the text


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


# Tables that a test of their own compares; the figures of any other count as text.
CHECKED = ("paper", "row", "layer of a head", "training", "window", "branch of 3a", "stack")
CHECKED += ("σ of every convolution", "minutes", "work out")


def without_tables(text: str) -> str:
    """The text in one line, without what other tests compare: those tables, and the blocks."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for name in CHECKED:
        text = re.sub(rf"^\| {re.escape(name)} \|.*\n(?:\|.*\n)+", "", text, flags=re.MULTILINE)
    text = re.sub(r"\]\(\S*?\)", "]", text)
    return " ".join(text.split())


PROSE = without_tables(TEXT)


def figures_of_vgg() -> list[str]:
    rows, _ = rows_of(VGG16)
    total, macs = sum(row.parameters for row in rows), sum(row.macs for row in rows)
    convolved = [row for row in rows if row.name.startswith("conv")]
    connected = [row for row in rows if row.name.startswith("FC")]
    first = on_meta(VGG16).block1.conv1_1
    windows = [m for m in on_meta(VGG16).modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
    seen, strides = 1, 1
    for module in windows[:-1]:  # up to the last convolution
        size, _, stride = window(module)
        seen, strides = seen + (size - 1) * strides, strides * stride
    assert round(total / 1e6) == 138  # what the paper's Table 2 says
    return [
        f"stride {first.stride[0]} and padding {first.padding[0]}, so that it leaves",
        f"the width doubles, up to {max(row.shape[0] for row in convolved)}",
        f"D has {len(convolved) + len(connected)} with weights, {len(convolved)} of them conv",
        f"{total:,} parameters, {4 * total / 1e6:.0f} MB in float32",
        f"hold {percent(sum(row.parameters for row in connected) / total)} of them",
        f"the first alone {percent(connected[0].parameters / total)}",
        f"{percent(sum(row.macs for row in convolved) / macs)} of the {macs / 1e9:.2f} billion",
        f"the sum as {total / 1e6:.0f} million",
        f"cost the same {millions(rows[1].macs)}",
        f"sees {seen} of the {convolved[0].shape[1]}",
        f"ln 1000 = {math.log(1000):.2f}",
    ]


def figures_of_googlenet() -> list[str]:
    rows, _ = rows_of(GoogLeNet, aux_heads=False)
    total, macs = sum(row.parameters for row in rows), sum(row.macs for row in rows)
    model = on_meta(GoogLeNet, aux_heads=False)
    vgg, _ = rows_of(VGG16)
    heads = rows_of(GoogLeNet)[0][-2:]
    extra = sum(row.parameters for row in heads)
    fewer = sum(row.parameters for row in vgg) / total
    less = sum(row.macs for row in vgg) / macs
    path = [m.branch_3x3 if isinstance(m, Inception) else m for m in model.children()]
    depth = sum(isinstance(m, nn.Conv2d | nn.Linear) for part in path for m in part.modules())
    widths = [branch[-1].out_channels for branch in map(convolutions, model.inception3a.children())]
    smallest = rows_of(GoogLeNet, image_size=AUX_MIN_SIZE)[0]
    side = next(row.shape[1] for row in smallest if row.name == "inception (4a)")
    return [
        f"{len(convolutions(model))} convolutions, with widths",
        f"{depth} layers with weights",
        f"against the {sum(row.parameters > 0 for row in vgg)} of VGG16",
        f"{total:,} parameters, {fewer:.1f} times fewer, and {macs / 1e9:.2f} billion MACs, "
        f"{less:.1f} times fewer",
        f"with {heads[0].parameters:,} and {heads[1].parameters:,} parameters",
        f"with both the network has {total + extra:,}",
        f"{' + '.join(map(str, widths))} = {sum(widths)}",
        f"They cost {extra:,} parameters",
        f"{100 * sum(row.macs for row in heads) / macs:.1f} % more MACs",
        f"main + {AUX_WEIGHT} x (head 4a + head 4d)",
        f"exist from {AUX_MIN_SIZE} px on, where four halvings leave a map of {side}x{side}",
    ]


def figures_of_windows() -> list[str]:
    """Output sizes, 1x1 convolutions, stacks, initial weights, dropout, Adam."""
    module = on_meta(GoogLeNet).inception3a
    reduced = sum(m.weight.numel() for m in convolutions(module))
    outputs = [convolutions(branch)[-1] for branch in module.children()]
    direct = [192 * m.out_channels * m.kernel_size[0] ** 2 for m in outputs[:3]]
    places = 28 * 28
    small = sum(m.weight.numel() for m in convolutions(module.branch_5x5))
    without_projection = sum(m.out_channels for m in outputs[:3]) + 192
    _, _, n3x3, _, n5x5, _ = INCEPTION["3b"]
    next_one = INCEPTION["3b"][0] + n3x3 + n5x5 + without_projection
    wide = next(m for m in convolutions(on_meta(VGG16)) if m.in_channels == 512)
    fan_in = wide.weight[0].numel()
    vgg = parameters(on_meta(VGG16))
    return [
        f"its {fits(112, 3, 1, 2)} wants it: without, the pooling gives {fits(112, 3, 0, 2)}",
        f"way to {fits(112, 3, 1, 2)} is to round up",
        "stride 1 and pads with (k - 1) / 2: 0, 1 and 2 for 1x1, 3x3 and 5x5, and 1 for the pool",
        f"Three 3x3 layers see {1 + 3 * 2} pixels",
        f"with {module.branch_1x1.conv.in_channels} channels in, weights alone",
        f"{percent(1 - reduced / sum(direct))} fewer weights, and on {places} places "
        f"{millions(reduced * places)} MACs instead of {millions(sum(direct) * places)}",
        f"most, {direct[2] / small:.1f} times",
        f"put out {without_projection} instead of {sum(m.out_channels for m in outputs)}",
        f"{next_one} instead of {rows_of(GoogLeNet, aux_heads=False)[0][5].shape[0]}",
        f"the 7x7 has {percent(49 / 27 - 1)} more",
        f"with 512 channels in, fan-in is {fan_in:,} and σ is {(2 / fan_in) ** 0.5:.3f}",
        f"Through the {len(convolutions(on_meta(VGG16)))} convolutions of VGG16",
        f"{0.01**0.5} is the square root of the paper's variance of 1e-2",
        "0.01, often taken for it",
        "with mean 0 and standard deviation σ",
        "gradients of 0.001 and of 1000 both",  # test_first_step_of_adam
        f"momentum: {8 * vgg / 1e9:.2f} GB in all",
        f"{default_dropout(VGG16)} in VGG16, {default_dropout(GoogLeNet)} before GoogLeNet's only",
        f"and {on_meta(GoogLeNet).aux4a.dropout.p} in the heads",
    ]


def figures_of_the_example() -> list[str]:
    m = {name: matrix.int().tolist() for name, matrix in matrices().items()}
    assert [m["Z"][i][j] for i in (1, 2) for j in (1, 2)] == [0] * 4  # the last window
    return [
        "Rows and columns are counted from 0",
        "b = 1, no padding",
        "max-pool of 2x2 with stride 1",
        f"the output is {fits(5, 3, 0, 1)}x{fits(5, 3, 0, 1)}, and the pooled one "
        f"{fits(3, 2, 0, 1)}x{fits(3, 2, 0, 1)}",
        f"The {m['Y'][0][1]} of Y[0,1] won two windows",
        f"the sum of both, {m['dP'][0][0]} + {m['dP'][0][1]} = {m['dZ'][0][1]}",
        f"The {m['dP'][1][1]} of the last window",
        f"dK is {m['dY'][0][1]} times the patch of X under Y[0,1], less the patch under Y[2,0]",
        "met a 1 everywhere",
        f"sum of {m['dY'][0][1]} times K put at Y[0,1]'s patch and {m['dY'][2][0]} times K put",
        "with a learning rate of 0.01, changes K and b by 0.01 times",
        # The last two: test_layer_by_hand.
        "fall by 0.01 times the sum of their squares, 21 + 4 = 25, and does: from 6 to 5.75",
    ]


def figures_of_others() -> list[str]:
    """The table of what is wrong elsewhere, against torchvision as it is installed."""
    model = on_meta(GoogLeNet, aux_heads=False)
    total = parameters(model)
    stem = model.conv1.conv.weight.numel()
    depthwise = nn.Conv2d(3, 24, 7, stride=2, padding=3, groups=3, bias=False)
    separable = depthwise.weight.numel() + nn.Conv2d(24, 64, 1, bias=False).weight.numel()
    macs_5a = next(row.macs for row in rows_of(GoogLeNet)[0] if row.name == "inception (5a)")
    weights_4c = sum(m.weight.numel() for m in convolutions(model.inception4c))
    heads = parameters(on_meta(GoogLeNet)) - total
    theirs = on_meta(torchvision.models.googlenet, init_weights=False)
    their_vgg = on_meta(torchvision.models.vgg16)
    normalised = parameters(on_meta(GoogLeNet, batch_norm=True, aux_heads=False)) - total
    with_5x5 = parameters(on_meta(GoogLeNet, batch_norm=True))
    grey = parameters(on_meta(GoogLeNet, in_channels=1, num_classes=10, aux_heads=False))
    small = on_meta(VGG16, image_size=32).classifier.fc1
    return [
        "28 % and 45 %: divide 18 by 25, 27 by 49",
        f"{WRONG_OPS['convolution 7x7/2']}M ops for the first convolution | {stem:,} weights on "
        f"{112 * 112:,} places are {millions(stem * 112 * 112)}; {millions(separable * 112 * 112)} "
        f"is what the {separable:,} weights of a separable 7x7 would give, 7 x 7 x 3 x 8 + 24 x 64",
        f"{WRONG_OPS['inception (5a)']}M ops for 5a | the six convolutions of 5a give "
        f"{millions(macs_5a)}",
        f"{PARAMETERS_4C} for 4c | the widths give {weights_4c:,} weights",
        "[pytorch/vision#906]",
        f"{with_5x5 - parameters(theirs):,} weights are missing",
        f"{normalised:,} parameters more",
        f"dropout {theirs.dropout.p}; epsilon {theirs.conv1.bn.eps:.0e}".replace("e-03", "e-3"),
        f"a {theirs.maxpool4.kernel_size}x{theirs.maxpool4.kernel_size} fourth pooling",
        "heads pool to 4x4 at any size | at 224 px the same shape",
        "no total and no shape at 224 px",  # test_torchvisions_departures_change_no_shape
        "other values: windows 4 wide instead of 5",  # test_windows_of_torchvisions_heads
        "mean and deviation 0.5",
        "pools to {}x{} at any size".format(*their_vgg.avgpool.output_size),
        f"at 32 px, {their_vgg.avgpool.output_size[0] ** 2} copies of one cell",
        f"parameters as at 224 px; {their_vgg.classifier[0].in_features:,} inputs of which 512",
        f"with 1 channel and 10 classes it has the code's {grey:,} parameters",
        f"{11 - 3} convolutions instead of {16 - 3}, the first of {64 // 4} channels instead of 64",
        f"no auxiliary heads | {heads:,} parameters fewer",
        f"114 for the 144 of 4d | all shapes fit; {total - parameters(wrong_4d()):,} parameters",
        "1e-2 as standard deviation: it is the variance",
        f"a new layer: 0.01 instead of {0.01**0.5}",
        f"10 classes the loss cannot fall below {math.log(math.e + 9) - 1:.2f}",
        f"At 32 px the code sizes VGG16's first fully connected layer by the map: "
        f"{small.weight.numel():,} weights, where torchvision has "
        f"{their_vgg.classifier[0].weight.numel():,}",
    ]


@cache
def claims() -> list[str]:
    """Every figure of the text, computed, with words around it that say what it is."""
    return [
        *figures_of_vgg(),
        *figures_of_googlenet(),
        *figures_of_windows(),
        *figures_of_the_example(),
        *figures_of_others(),
    ]


def test_papers_are_those_of_the_code():
    for file in (vgg16_file, googlenet_file):
        number = re.search(r"arXiv ([\d.]+)\)", file.__doc__)[1]
        assert f"arXiv {number}](https://arxiv.org/abs/{number})" in TEXT


# Names, sizes of windows and formulas: not figures.
NAMES = (
    r"VGG-?\d+|\d+x\d+|[345][a-e]\b|(Table|Figure|Section) [\d.]+|arXiv \S+|of 2014|L2|d2l"
    r"|Y\[\d,\d\]|\(k - 1\)|1 - p|σ² / 2|2 / fan-in|±1"
)


def test_figures():
    missing = [claim for claim in claims() if claim not in PROSE]
    assert not missing, "docs/papers.md does not say:\n" + "\n".join(missing)


def test_no_other_figures():
    """A number that is in no claim is one that nothing checks."""
    rest = PROSE
    for claim in sorted(claims(), key=len, reverse=True):
        rest = rest.replace(claim, " ")
    rest = re.sub(NAMES, " ", re.sub(r"`[^`]*`", " ", rest))
    left = re.findall(r".{0,40}\d.{0,30}", rest)
    assert not left, "nothing checks:\n" + "\n".join(left)


# ---------------------------------------------------------------- what shapes do not show


def wrong_4d() -> GoogLeNet:
    """Without heads, with 114 channels where the paper has 144."""
    model = on_meta(GoogLeNet, aux_heads=False)
    n1x1, n3x3_reduce, *others = INCEPTION["4d"]
    assert n3x3_reduce == 144
    with torch.device("meta"):
        model.inception4d = Inception(512, n1x1, 114, *others)
    return model


def test_wrong_4d_changes_no_shape():
    model = wrong_4d()
    rows = summarise(model, googlenet_file.table_rows(model))
    right, _ = rows_of(GoogLeNet, aux_heads=False)
    assert [row.shape for row in rows] == [row.shape for row in right]
    assert [one.name for one, two in zip(rows, right, strict=True) if one != two] == [
        "inception (4d)"
    ]


def test_torchvisions_departures_change_no_shape():
    theirs, _ = rows_of(GoogLeNet, batch_norm=True, torchvision_compatible=True)
    ours, _ = rows_of(GoogLeNet)
    assert [row.shape for row in theirs] == [row.shape for row in ours]


def test_windows_of_torchvisions_heads():
    """4 pixels wide each, and the paper's 5."""
    for pool, width in ((nn.AdaptiveAvgPool2d(4), 4), (nn.AvgPool2d(5, stride=3), 5)):
        for cell in range(4):
            image = torch.ones(1, 14, 14, requires_grad=True)
            pool(image)[0, 0, cell].backward()
            assert image.grad.sum(1).count_nonzero() == width
            assert image.grad.any(1).sum() == width


def test_copies_of_one_cell():
    """torchvision's VGG16 at 32 px: 25,088 inputs to a layer, 512 of them different."""
    pool = on_meta(torchvision.models.vgg16).avgpool
    inputs = torch.flatten(pool(torch.randn(1, 512, 1, 1)), 1)
    assert inputs.shape == (1, 25_088)
    assert inputs.unique().numel() == 512
    assert torch.equal(inputs.view(512, 49), inputs.view(512, 49)[:, :1].expand(-1, 49))


def test_softmax_before_the_cross_entropy():
    """The surest right answer still has a loss, since the probabilities are taken for logits."""
    sure = torch.tensor([1.0] + 9 * [0.0])
    loss = F.cross_entropy(sure, torch.tensor(0))
    assert f"below {loss:.2f} |" in PROSE


# ---------------------------------------------------------------- answers to the exercises


def test_parameters_of_4b():
    """512 channels in; each convolution has window x in x out weights and out biases."""
    answer = (
        (1 * 512 * 160 + 160)
        + (1 * 512 * 112 + 112)
        + (9 * 112 * 224 + 224)
        + (1 * 512 * 24 + 24)
        + (25 * 24 * 64 + 64)
        + (1 * 512 * 64 + 64)
    )
    assert parameters(on_meta(GoogLeNet).inception4b) == answer == 449_160


def test_output_sizes_at_96_px():
    """96 px: 7x7/2, then four poolings with stride 2; all else keeps the size."""
    sizes = [96, fits(96, 7, 3, 2)]
    for _ in range(4):
        sizes.append(fits(sizes[-1], 3, 1, 2))
    assert sizes == [96, 48, 24, 12, 6, 3]
    rows, _ = rows_of(GoogLeNet, image_size=96, aux_heads=False)
    seen = [row.shape[1] for row in rows if len(row.shape) == 3]
    assert sorted({*seen}, reverse=True) == [*sizes[1:], 1]  # 1: the average over the map


def test_one_by_one_is_a_product_of_matrices():
    """The same out x in matrix for the channels of every pixel."""
    conv = nn.Conv2d(6, 4, kernel_size=1)
    images = torch.randn(2, 6, 3, 5)
    pixels = images.permute(0, 2, 3, 1)  # N x H x W x 6
    products = pixels @ conv.weight[:, :, 0, 0].T + conv.bias
    torch.testing.assert_close(conv(images), products.permute(0, 3, 1, 2))


def test_kaiming_keeps_the_signal():
    """Ten layers of 64 channels: by the rule 0.01 leaves (9 x 64 x 0.01² / 2)^5 of the size, under
    a ten millionth; Kaiming leaves nearly all, but for what the borders take."""
    torch.manual_seed(0)
    block = vgg16_file.conv_block(1, 64, (64,) * 10, batch_norm=False)[:-1]  # without the pool
    image = torch.randn(1, 64, 32, 32)

    def left() -> float:
        with torch.no_grad():
            return (block(image).square().mean() / image.square().mean()).sqrt().item()

    common.initialise(block)
    assert 0.3 < left() < 2
    for conv in convolutions(block):
        nn.init.normal_(conv.weight, std=0.01)
    assert 0.3 < left() / (9 * 64 * 0.01**2 / 2) ** 5 < 2
    assert left() < 1e-7


def test_dropout_keeps_the_mean():
    """Half of the units are zero, the others doubled; in evaluation nothing happens."""
    torch.manual_seed(0)
    dropout, units = nn.Dropout(0.5), torch.ones(100_000)
    dropped = dropout(units)
    assert set(dropped.tolist()) == {0.0, 2.0}
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)  # six standard errors
    assert torch.equal(dropout.eval()(units), units)


def test_first_step_of_adam():
    """By the learning rate, whatever the gradient's size; SGD's step is proportional to it."""
    moved = {}
    for name in ("adam", "sgd"):
        model = nn.Linear(2, 1, bias=False)
        before = model.weight.detach().clone()
        args = argparse.Namespace(optimizer=name, lr=0.01, weight_decay=0.0)
        model.weight.grad = torch.tensor([[0.001, 1000.0]])
        options.build_optimizer(args, model).step()
        moved[name] = (before - model.weight.detach())[0].tolist()
    assert moved["adam"] == pytest.approx([0.01, 0.01], rel=1e-3)
    assert moved["sgd"] == pytest.approx([0.00001, 10.0], rel=1e-2)


if __name__ == "__main__":
    PAGE.write_text(mended(TEXT), encoding="utf-8")
