"""The arithmetic of docs/index.html, the explorer, in a real browser."""

import itertools
import json
import random
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from docs import explorer
from docs.networks import FILES, layers_of, on_meta, receptive_field
from models import googlenet
from models.googlenet import INCEPTION, ConvReLU, GoogLeNet, Inception
from models.summary import summarise
from models.vgg16 import VGG16

MODELS = {"vgg16": VGG16, "googlenet": GoogLeNet}


# ---------------------------------------------------------------- the networks' arithmetic


def settings() -> list[dict]:
    """Thirty: sizes, channels, classes, batch-norm, heads, what-ifs."""
    plain = {"size": 224, "channels": 3, "classes": 1000, "batchNorm": False, "heads": True}
    vgg = [
        *({"size": size, "channels": 1, "classes": 10} for size in (32, 64, 96, 224, 320)),
        {},
        {"batchNorm": True},
        {"whatIf": "5x5"},
        {"whatIf": "5x5", "size": 64, "batchNorm": True, "classes": 2},
    ]
    google = [
        *({"size": size, "channels": 1, "classes": 10} for size in (80, 81, 96, 127, 299)),
        *({"size": size, "heads": False, "batchNorm": True} for size in (32, 33, 47, 64, 79)),
        {},
        {"heads": False},
        {"batchNorm": True},
        {"batchNorm": True, "size": 128, "classes": 2, "channels": 4},
        *({"whatIf": name} for name in ("3x3", "direct", "114")),
        {"whatIf": "3x3", "batchNorm": True, "size": 100},
        {"whatIf": "direct", "heads": False, "size": 64},
        {"whatIf": "widths", "module": "inception3a", "widths": [10, 20, 30, 40, 50, 60]},
        {"whatIf": "widths", "module": "inception4a", "widths": [1, 2, 3, 4, 5, 6], "size": 90},
    ]
    found = [{"network": "vgg16", **plain, "heads": False, **options} for options in vgg]
    return found + [{"network": "googlenet", **plain, **options} for options in google]


def built(s: dict) -> tuple[nn.Module, list]:
    """The network of such settings, and its rows."""
    sizes = {"image_size": s["size"], "in_channels": s["channels"], "num_classes": s["classes"]}
    heads = {"aux_heads": s["heads"]} if s["network"] == "googlenet" else {}
    norm, what_if = s["batchNorm"], s.get("whatIf")
    model = on_meta(MODELS[s["network"]], batch_norm=norm, **sizes, **heads)
    rows = FILES[MODELS[s["network"]]].table_rows(model)
    with torch.device("meta"):
        for name, w in INCEPTION.items() if what_if in ("3x3", "direct") else ():
            module = model.get_submodule(f"inception{name}")
            inputs = module.branch_1x1.conv.in_channels
            if what_if == "3x3":
                module.branch_5x5 = googlenet.reduced_conv(inputs, w.n5x5_reduce, w.n5x5, 3, norm)
            else:
                module.branch_3x3 = ConvReLU(inputs, w.n3x3, 3, norm)
                module.branch_5x5 = ConvReLU(inputs, w.n5x5, 5, norm)
        if what_if == "114":
            model.inception4d = Inception(512, INCEPTION["4d"]._replace(n3x3_reduce=114), norm)
        if what_if == "widths":
            widths = googlenet.InceptionWidths(*s["widths"])
            total = widths.n1x1 + widths.n3x3 + widths.n5x5 + widths.pool_proj
            inputs, follower = {"inception3a": (192, "3b"), "inception4a": (480, "4b")}[s["module"]]
            setattr(model, s["module"], Inception(inputs, widths, norm))
            setattr(model, f"inception{follower}", Inception(total, INCEPTION[follower], norm))
            if s["module"] == "inception4a":
                model.aux4a = googlenet.AuxiliaryHead(
                    total, s["classes"], (s["size"] + 15) // 16, norm
                )
        if what_if == "5x5":
            for number, block in enumerate(list(model.children())[:5], 1):
                first, second = (getattr(block, f"conv{number}_{i}") for i in (1, 2))
                wide = nn.Conv2d(
                    first.in_channels, second.out_channels, 5, padding=2, bias=not norm
                )
                setattr(block, f"conv{number}_1", wide)
                for part in ("conv", "bn", "relu"):
                    block._modules.pop(f"{part}{number}_2", None)
            rows = [
                (re.sub("conv3-", "conv5-", name) if "_1" in parts[0] else name, parts)
                for name, parts in rows
                if "_2" not in parts[0]
            ]
    return model, rows


def watch(model: nn.Module) -> dict[str, int]:
    """How many values each layer will have put out of one image, as far as training keeps them."""
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
    kinds += (nn.LocalResponseNorm, nn.Linear, Inception)
    values = {}
    for name, module in model.named_modules():
        if isinstance(module, kinds):

            def record(_module, _inputs, output, name=name):
                values[name] = output[0].numel()

            module.register_forward_hook(record)
    return values


def test_thirty_settings_row_by_row(browser):
    asked = settings()
    assert len(asked) == 30
    compute = "arithmetic.compute(data.networks[s.network], s)"
    row = "({name, shape, parameters, macs, values}) => [name, shape, parameters, macs, values]"
    pages = browser.run(f"{json.dumps(asked)}.map((s) => {compute}.rows.map({row}))")
    for s, page in zip(asked, pages, strict=True):
        model, rows = built(s)
        kept = watch(model)
        expected = [[r.name, list(r.shape), r.parameters, r.macs] for r in summarise(model, rows)]
        for row, (_, parts) in zip(expected, rows, strict=True):
            inside = [any(f"{key}.".startswith(f"{part}.") for part in parts) for key in kept]
            row.append(sum(itertools.compress(kept.values(), inside)))
        assert page == expected, s


def test_what_cannot_be_built(browser):
    cases = (("vgg16", 100, 0), ("vgg16", 0, 0), ("googlenet", 31, 0), ("googlenet", 79, 1))
    for name, size, heads in cases:
        options = {"image_size": size} | ({"aux_heads": True} if heads else {})
        s = {"size": size, "heads": heads, "channels": 3, "classes": 10, "batchNorm": False}
        error = browser.run(f"arithmetic.compute(data.networks.{name}, {json.dumps(s)}).error")
        assert error == explorer.refusal(MODELS[name], **options)


def test_receptive_fields(browser):
    """What the page says, against the reckoning of docs/figures.py along the widest windows."""
    for name, model_class in MODELS.items():
        code = f"papersOwn.{name}.rows.map(({{module, output}}) => [module, output.field])"
        fields = receptive_field(layers_of(on_meta(model_class)))
        grown = dict(fields)
        for module, field in browser.run(code):
            inside = [f for key, f in grown.items() if f"{key}.".startswith(f"{module}.")]
            assert not inside or field == inside[-1], module
        assert len(grown) > 15


@pytest.mark.parametrize("size", [64, 75])
def test_frame_on_the_photo(browser, size):
    """Light one column of pixels after the other: a cell answers to those in its frame alone."""
    model = GoogLeNet(1, 10, size, batch_norm=True).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    s = {"size": size, "channels": 1, "classes": 10, "batchNorm": True, "heads": False}
    rows = browser.run(f"arithmetic.compute(data.networks.googlenet, {json.dumps(s)}).rows")
    x = torch.eye(size)[:, None, None, :].expand(-1, 1, size, -1)
    with torch.no_grad():
        for row in rows[:6]:
            x = model.get_submodule(row["module"])(x)
            answers = x[:, :, x.shape[2] // 2].amax(1) > 0  # pixel x cell
            field, jump, start = (row["output"][key] for key in ("field", "jump", "start"))
            for cell in range(answers.shape[1]):
                left = start + cell * jump - (field - 1) / 2
                seen = [left <= pixel <= left + field - 1 for pixel in range(size)]
                assert answers[:, cell].tolist() == seen, (row["id"], cell)


def test_layer_by_hand_against_autograd(browser):
    draw = random.Random(19)

    def matrix(n: int, whole: bool) -> list[list[float]]:
        # Small whole numbers give what is rare otherwise: zeros before ReLU, equal maxima.
        pick = (lambda: draw.randint(-1, 1)) if whole else (lambda: draw.gauss(0, 1))
        return [[pick() for _ in range(n)] for _ in range(n)]

    inputs = [
        {
            "X": matrix(5, w),
            "K": matrix(3, w),
            "b": draw.randint(-1, 2),
            "dP": matrix(2, w),
            "rate": r,
        }
        for w in (True, False)
        for r in (0.01, 0.1)
        for _ in range(5)
    ]
    for given, page in zip(
        inputs, browser.run(f"{json.dumps(inputs)}.map((g) => arithmetic.layer(g))"), strict=True
    ):
        tensors = {k: torch.tensor(v, dtype=torch.double) for k, v in given.items()}
        x, kernel, weights = (tensors[key][None, None] for key in ("X", "K", "dP"))
        x, kernel, bias = (t.requires_grad_() for t in (x, kernel, tensors["b"][None]))
        y = F.conv2d(x, kernel, bias)
        z = F.relu(y)
        p = F.max_pool2d(z, 2, 1)
        for step in (y, z):
            step.retain_grad()
        loss = (weights * p).sum()
        loss.backward()
        new = (kernel - given["rate"] * kernel.grad, bias - given["rate"] * bias.grad)
        new_loss = (weights * F.max_pool2d(F.relu(F.conv2d(x, *new)), 2, 1)).sum()
        expected = {"Y": y, "Z": z, "P": p, "dZ": z.grad, "dY": y.grad, "dK": kernel.grad}
        expected |= {"dX": x.grad, "db": bias.grad, "K after": new[0], "newb": new[1]}
        expected |= {"L": loss, "L after": new_loss}
        for name, value in expected.items():
            ours = torch.tensor(page[name], dtype=torch.double).flatten()
            torch.testing.assert_close(ours, value.detach().flatten(), msg=name)
