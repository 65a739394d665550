"""What both networks share: their convolution, initial weights, the check of their input, and how
they are trained with part of their weights or of their memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint


class Conv2d(nn.Conv2d):
    """nn.Conv2d with square kernels, on small maps computed as the linear layer that it is there.

    The same function of the same weights. oneDNN (on a CPU) takes up to ten times as long for the
    weights' gradient of a convolution over a small map as for that of a matrix product.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        self.keeps_size = stride == 1 and kernel_size == 2 * padding + 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """N x in_channels x H x W to N x out_channels x H x W, or less with a stride."""
        height, width = x.shape[2:]
        if self.keeps_size and self.kernel_size == (1, 1) and height * width <= 64:
            return self.one_layer_for_every_pixel(x)
        if self.keeps_size and height == width <= 2:
            return self.one_layer_for_the_map(x)
        return super().forward(x)

    def one_layer_for_every_pixel(self, x: torch.Tensor) -> torch.Tensor:
        """A 1x1 convolution is a linear layer, the same for all pixels."""
        pixels = x.permute(0, 2, 3, 1)  # N x H x W x in_channels, as channels-last lies in memory
        return F.linear(pixels, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)

    def one_layer_for_the_map(self, x: torch.Tensor) -> torch.Tensor:
        """Where each pixel of the output sees the whole S x S input, the layer is fully connected.

        The pixel sees it through a window of S x S of the kernel, which are its weights. (VGG,
        Section 3.2, goes the other way: it makes fully connected layers convolutions, to apply
        them to larger images.)
        """
        size = x.shape[2]
        kernel = F.pad(self.weight.to(x.dtype), [size - 1 - self.padding[0]] * 4)  # 2 S - 1 wide
        kernel = kernel.permute(0, 2, 3, 1)  # out_channels first, in_channels last
        starts = range(size - 1, -1, -1)  # the first pixel sees what lies right of and below it
        windows = [kernel[:, i : i + size, j : j + size].flatten(1) for i in starts for j in starts]
        bias = None if self.bias is None else self.bias.repeat(size * size)
        pixels = F.linear(x.permute(0, 2, 3, 1).flatten(1), torch.cat(windows), bias)
        return pixels.unflatten(1, (size, size, -1)).permute(0, 3, 1, 2)


def initialise(network: nn.Module) -> None:
    """Kaiming normal convolutions, N(0, 0.01) fully connected layers, zero biases.

    VGG's authors first trained a shallow net A and started the deep nets from its weights; later
    they found that Glorot's initialisation does without (Section 3.1). Kaiming normal (He et al.
    2015) keeps the variance of the activations through any number of ReLU layers, so that VGG16
    trains from scratch.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def check_input(x: torch.Tensor, in_channels: int, image_size: int) -> None:
    """Raise a ValueError unless x is N x in_channels x image_size x image_size."""
    expected = (in_channels, image_size, image_size)
    if x.dim() != 4 or tuple(x.shape[1:]) != expected:
        wanted = " x ".join(map(str, ("N", *expected)))
        raise ValueError(f"expected an input of {wanted}, got {' x '.join(map(str, x.shape))}")


def freeze_features(network: nn.Module) -> None:
    """Leave only the fully connected layers at the end to be trained."""
    for name, child in network.named_children():
        child.requires_grad_(name in ("classifier", "linear"))  # VGG16's and GoogLeNet's


def checkpoint_activations(network: nn.Module) -> None:
    """Keep what lies between stages alone, and compute the rest again for the backward pass.

    Training then takes less memory, and the time of one more forward pass (Chen et al. 2016,
    "Training Deep Nets with Sublinear Memory Cost"). The gradients are the same.
    """
    for stage in network.children():
        if next(stage.parameters(), None) is not None:
            contexts = partial(recomputing, stage)  # unlike a lambda, copied with its stage
            stage.forward = partial(
                checkpoint, stage.forward, use_reentrant=False, context_fn=contexts
            )


def recomputing(stage: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """What surrounds the first and the second computation of a stage."""
    return nullcontext(), keep_statistics(stage)


@contextmanager
def keep_statistics(stage: nn.Module) -> Iterator[None]:
    """Batch-norm counts each batch once: its running statistics stay as they are in here."""
    norms = [m for m in stage.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)


def transfer(state_dict: dict[str, torch.Tensor], model: nn.Module) -> list[str]:
    """Put the tensors that fit into the model, in place; return the names of those that do not.

    A first convolution fits from one channel to several, each of which gets its share of the
    weights, and from several to one, which gets their sum: a grey image then gives the same
    activations, whichever way it is stored. All else fits if its shape is the same.
    """
    left = []
    for name, target in model.state_dict().items():
        source = state_dict.get(name)
        if source is not None and source.dim() == target.dim() == 4:
            if source.shape[1] == 1 < target.shape[1]:
                source = source.expand(-1, target.shape[1], -1, -1) / target.shape[1]
            elif target.shape[1] == 1 < source.shape[1]:
                source = source.sum(1, keepdim=True)
        if source is None or source.shape != target.shape:
            left.append(name)
        else:
            target.copy_(source)
    return left
