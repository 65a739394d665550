"""The networks of the papers, counted: rows, weights, shapes, and how such numbers are written.

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
    """The weights of its convolutions, without biases."""
    return sum(conv.weight.numel() for conv in convolutions(module))


def window(module: nn.Module) -> tuple[int, int, int]:
    """Size, padding and stride of a convolution or a pooling."""
    sizes = (module.kernel_size, module.padding, module.stride)
    return tuple(size[0] if isinstance(size, tuple) else size for size in sizes)


def millions(macs: int) -> str:
    return f"{macs / 1e6:,.1f}M"


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def shape(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))


def output_shapes(module: nn.Module, *size: int) -> dict[str, str]:
    """What each part of a module puts out for one input of that size."""
    seen = {}
    for name, part in module.named_children():
        part.register_forward_hook(
            lambda _part, _inputs, output, name=name: seen.update({name: shape(output.shape[1:])})
        )
    module.eval()(torch.empty(1, *size, device="meta"))
    return seen
