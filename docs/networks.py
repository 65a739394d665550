"""The networks of the papers in numbers: rows, weights, shapes, and how to format them.

For the tables and figures of docs/. The networks stand on the meta device: shapes, no arithmetic.
"""

from functools import cache

import torch
from torch import nn

from models import googlenet, vgg16
from models.googlenet import GoogLeNet
from models.summary import Row, summarise
from models.vgg16 import VGG16

FILES = {VGG16: vgg16, GoogLeNet: googlenet}


def on_meta(model_class: type[nn.Module], **arguments: object) -> nn.Module:
    with torch.device("meta"):
        return model_class(**arguments)


@cache
def rows_of(model_class: type[nn.Module], **arguments: object) -> list[Row]:
    """The rows of models.summary."""
    model = on_meta(model_class, **arguments)
    return summarise(model, FILES[model_class].table_rows(model))


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def weights(module: nn.Module) -> int:
    """The number of weights of a module's convolutions, without biases."""
    return sum(conv.weight.numel() for conv in convolutions(module))


def window(module: nn.Module) -> tuple[int, int, int]:
    """Kernel size, padding and stride of a convolution or a pooling."""
    sizes = (module.kernel_size, module.padding, module.stride)
    return tuple(size[0] if isinstance(size, tuple) else size for size in sizes)


def millions(macs: int) -> str:
    return f"{macs / 1e6:,.1f}M"


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def shape(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))


def times(sizes: tuple[int, ...], space: str = " ") -> str:
    """As ``shape``, for pictures."""
    return f"{space}×{space}".join(f"{size:,}" if len(sizes) == 1 else f"{size}" for size in sizes)


@cache
def outputs(model_class: type[nn.Module], training: bool = False) -> dict[str, tuple[int, ...]]:
    """The output shape of each module for one image at 224 px, in order; heads as in training.

    In-place ReLUs and dropout are left out: they create no new tensor.
    """
    model, seen = on_meta(model_class), {}
    for name, module in model.named_modules():
        if name and not isinstance(module, nn.ReLU | nn.Dropout):
            module.register_forward_hook(
                lambda _module, _inputs, output, name=name: seen.update({name: output.shape[1:]})
            )
    model.train(training)(torch.empty(1, 3, 224, 224, device="meta"))
    return {name: tuple(size) for name, size in seen.items()}


def layers_of(model: nn.Module, branch: str = "5x5") -> list[tuple[str, int, int]]:
    """(name, kernel, stride) of convolutions and poolings, through one branch of each module."""
    layers = []
    for name, module in model.named_modules():
        elsewhere = "aux" in name or ("branch_" in name and f"branch_{branch}" not in name)
        if isinstance(module, nn.Conv2d | nn.MaxPool2d) and not elsewhere:
            kernel, _, stride = window(module)
            layers.append((name, kernel, stride))
    return layers


def receptive_field(layers: list[tuple[str, int, int]]) -> list[tuple[str, int]]:
    """The receptive field in pixels after each layer, given as (name, kernel, stride)."""
    field, jump, grown = 1, 1, []
    for name, kernel, stride in layers:
        field += (kernel - 1) * jump  # neighbouring units are ``jump`` pixels apart
        jump *= stride
        grown.append((name, field))
    return grown
