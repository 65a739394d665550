"""What both networks share: initial weights, the check of their input, and how they are trained
with part of their weights or of their memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


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
