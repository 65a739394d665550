"""What docs/papers.md asks its reader to work out: the layer by hand, and answers to exercises."""

import inspect
import math
import re

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import train_fashionmnist
from docs.networks import convolutions, on_meta, parameters, rows_of, weights
from docs.paper_results import class_map
from docs.paper_tables import wrong_4d
from engine.optim import build_optimizer
from models import googlenet
from models.googlenet import AuxiliaryLoss, GoogLeNet, Outputs
from models.layers import init_weights
from models.pretrained import TorchvisionGoogLeNet
from models.summary import summarise
from models.vgg16 import VGG16, conv_block

# ---------------------------------------------------------------- the layer worked out by hand


@pytest.fixture
def page(root):
    return (root / "docs" / "papers.md").read_text(encoding="utf-8")


def matrices(page: str) -> dict[str, torch.Tensor]:
    """The matrices of the page: blocks of text with columns divided by |, a name on top of each."""
    found = {}
    for block in re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        lines = [line.split("|") for line in block.splitlines()]
        for name, *column in zip(*lines, strict=True) if len(lines[0]) > 1 else ():
            rows = [[float(number) for number in cell.split()] for cell in column]
            found[name.strip()] = torch.tensor([row for row in rows if row])
    return found


def value(expression: str) -> float:
    """The value of a sum that the page writes out."""
    assert re.fullmatch(r"[\d\s*+()-]+", expression), expression
    return eval(expression)


def test_layer_by_hand(page):
    """The page's matrices and sums are torch's: forward, backward, and after one step."""
    m = matrices(page)
    assert set(m) == {"X", "K", "Y", "Z", "P", "dP", "dZ", "dY", "dK", "dX"}

    def leaf(name):
        return m[name][None, None].clone().requires_grad_()

    x, kernel, bias = leaf("X"), leaf("K"), torch.ones(1, requires_grad=True)
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
    for name, expression, result in re.findall(r"^([\w,\[\]]+) = (.+) = (-?\d+)$", page, re.M):
        if match := re.fullmatch(r"(\w+)\[(\d),(\d)\]", name):
            values[name] = m[match[1]][int(match[2]), int(match[3])].item()
        assert value(expression) == float(result) == values[name], name

    squares = kernel.grad.square().sum().item() + bias.grad.square().sum().item()
    with torch.no_grad():
        y = F.conv2d(x, kernel - 0.01 * kernel.grad, bias - 0.01 * bias.grad)
        after = (m["dP"] * F.max_pool2d(F.relu(y), 2, 1)).sum().item()
    assert (loss.item(), squares) == (6, 25)
    assert after == pytest.approx(6 - 0.01 * 25)


# ---------------------------------------------------------------- what shapes do not show


def test_wrong_4d_changes_no_shape():
    model = wrong_4d()
    rows = summarise(model, googlenet.table_rows(model))
    right = rows_of(GoogLeNet, aux_heads=False)
    assert [row.shape for row in rows] == [row.shape for row in right]
    assert [one.name for one, two in zip(rows, right, strict=True) if one != two] == [
        "inception (4d)"
    ]


def test_torchvisions_departures_change_no_shape():
    model = on_meta(TorchvisionGoogLeNet)
    theirs = summarise(model, googlenet.table_rows(model))
    assert [row.shape for row in theirs] == [row.shape for row in rows_of(GoogLeNet)]


def test_windows_of_torchvisions_heads():
    """They are 4 pixels wide, and the paper's 5."""
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
    """Even the surest right answer has a loss: its probabilities are taken for logits."""
    sure = torch.tensor([1.0] + 9 * [0.0])
    loss = F.cross_entropy(sure, torch.tensor(0))
    assert loss.item() == pytest.approx(math.log(math.e + 9) - 1)
    assert loss.item() == pytest.approx(1.46, abs=0.005)


# ---------------------------------------------------------------- answers to the exercises


def test_numbers_of_vgg16():
    """Exercises 1, 2 and 15."""
    rows = [row.parameters for row in rows_of(VGG16) if row.name == "conv3-256"]
    assert rows[0] == 9 * 128 * 256 + 256 == 295_168
    small, large = on_meta(VGG16, image_size=64), on_meta(VGG16)
    assert small.classifier.fc1.weight.numel() == 4 * 512 * 4096 == 8_388_608
    assert large.classifier.fc1.weight.numel() == 102_760_448
    assert 32 * 4 * math.prod(rows_of(VGG16)[0].shape) == pytest.approx(411e6, rel=1e-3)
    assert large.block1.conv1_1.weight.numel() == 1_728


def test_two_3x3_in_the_5x5_branch_of_3a():
    branch = on_meta(GoogLeNet).inception3a.branch_5x5
    assert branch.conv.conv.weight.numel() == 25 * 16 * 32 == 12_800
    stacks = [conv_block(1, 16, (middle, 32), batch_norm=False) for middle in (16, 32)]
    assert [weights(stack) for stack in stacks] == [6_912, 13_824]
    sigmas = [math.sqrt(2 / conv.weight[0].numel()) for conv in convolutions(branch)]
    assert sigmas == pytest.approx([0.102, 0.071], abs=5e-4)  # of the reduction first


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


def fits(n: int, k: int, p: int, s: int) -> int:
    """How often a window fits: the page's formula."""
    return math.floor((n + 2 * p - k) / s) + 1


def test_output_sizes_at_96_px():
    """96 px: 7x7/2, then four poolings with stride 2; all else keeps the size."""
    sizes = [96, fits(96, 7, 3, 2)]
    for _ in range(4):
        sizes.append(fits(sizes[-1], 3, 1, 2))
    assert sizes == [96, 48, 24, 12, 6, 3]
    rows = rows_of(GoogLeNet, image_size=96, aux_heads=False)
    seen = [row.shape[1] for row in rows if len(row.shape) == 3]
    assert sorted({*seen}, reverse=True) == [*sizes[1:], 1]  # 1: the average over the map


def test_shortest_path():
    model = on_meta(GoogLeNet, aux_heads=False)
    paths = [getattr(module, "branch_1x1", module) for module in model.children()]
    layers = [m for path in paths for m in path.modules()]
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in layers) == 13


def test_missing_in_the_wrong_4d():
    right = on_meta(GoogLeNet, aux_heads=False)
    missing = parameters(right) - parameters(wrong_4d())
    assert missing == 30 * (512 + 1) + 9 * 30 * 288 == 93_150


@pytest.mark.parametrize(
    ("pool", "first", "last"),
    [
        (nn.MaxPool2d(3, 2, ceil_mode=True), (0, 2), (110, 111)),
        (nn.MaxPool2d(3, 2, padding=1), (0, 1), (109, 111)),
    ],
)
def test_windows_of_poolings_of_112(pool, first, last):
    """The largest and the smallest of the rows that a window covers."""
    rows = torch.arange(112.0).expand(1, 112, 112)
    largest, smallest = pool(rows)[0, 0], -pool(-rows)[0, 0]
    assert len(largest) == 56
    assert (smallest[0], largest[0]) == first
    assert (smallest[-1], largest[-1]) == last


def test_dense_evaluation():
    """Of a 384 px image: 6 x 6 places, eleven times cheaper than 36 crops."""
    assert fits(384 // 32, 7, 0, 1) == 6 == class_map(384)
    macs = {row.name: 0 for row in rows_of(VGG16)}
    for row in rows_of(VGG16):
        macs[row.name] += row.macs
    fully_connected = sum(count for name, count in macs.items() if name.startswith("FC"))
    convolved = sum(macs.values()) - fully_connected
    dense = (384 / 224) ** 2 * convolved + 36 * fully_connected
    crops = 36 * sum(macs.values())
    assert (dense / 1e9, crops / 1e9) == pytest.approx((49.6, 556.9), abs=0.05)
    assert crops / dense == pytest.approx(11.2, abs=0.05)


def test_fully_connected_layer_as_a_convolution():
    """The same weights as a window as large as the map: the same sums."""
    layer, conv = nn.Linear(8 * 7 * 7, 5), nn.Conv2d(8, 5, 7)
    conv.weight.data = layer.weight.data.view_as(conv.weight)
    conv.bias.data = layer.bias.data
    maps = torch.randn(2, 8, 7, 7)
    torch.testing.assert_close(conv(maps).flatten(1), layer(maps.flatten(1)))


def test_loss_of_an_untrained_network():
    entropy, zeros, labels = nn.CrossEntropyLoss(), torch.zeros(1, 10), torch.tensor([3])
    assert entropy(zeros, labels).item() == pytest.approx(2.30, abs=0.005)
    loss, _ = AuxiliaryLoss(entropy)(Outputs(zeros, zeros, zeros), labels)
    assert loss.item() == pytest.approx(3.68, abs=0.005)


def test_one_by_one_is_a_product_of_matrices():
    """The same out x in matrix for the channels of every pixel."""
    conv = nn.Conv2d(6, 4, kernel_size=1)
    images = torch.randn(2, 6, 3, 5)
    pixels = images.permute(0, 2, 3, 1)  # N x H x W x 6
    products = pixels @ conv.weight[:, :, 0, 0].T + conv.bias
    torch.testing.assert_close(conv(images), products.permute(0, 3, 1, 2))


def test_kaiming_keeps_the_signal():
    """Ten layers of 64 channels: by the rule 0.01 leaves (9 x 64 x 0.01² / 2)^5 of the size, under
    a ten millionth; Kaiming leaves nearly all, except for what the borders take."""
    torch.manual_seed(0)
    block = conv_block(1, 64, (64,) * 10, batch_norm=False)[:-1]  # without the pool
    image = torch.randn(1, 64, 32, 32)

    def left() -> float:
        with torch.no_grad():
            return (block(image).square().mean() / image.square().mean()).sqrt().item()

    init_weights(block)
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
        model.weight.grad = torch.tensor([[0.001, 1000.0]])
        build_optimizer(model, name, lr=0.01, weight_decay=0.0).step()
        moved[name] = (before - model.weight.detach())[0].tolist()
    assert moved["adam"] == pytest.approx([0.01, 0.01], rel=1e-3)
    assert moved["sgd"] == pytest.approx([0.00001, 10.0], rel=1e-2)


def test_how_the_authors_trained():
    """What the code takes over from the table of the page: VGG's SGD, the dropout of both."""
    group = build_optimizer(nn.Linear(2, 2), "sgd", **train_fashionmnist.SGD).param_groups[0]
    assert (group["momentum"], group["lr"], group["weight_decay"]) == (0.9, 1e-2, 5e-4)
    defaults = [inspect.signature(network).parameters["dropout"] for network in (VGG16, GoogLeNet)]
    assert [parameter.default for parameter in defaults] == [0.5, 0.4]
