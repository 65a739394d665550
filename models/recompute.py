"""Activation checkpointing: less memory in training, at the cost of a second forward pass."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

# Devices whose random numbers torch does not replay (pytorch/pytorch#127676): computed again, a
# stage with dropout would drop other units, and its gradients would be wrong.
NOT_REPLAYED = ("mps",)


def checkpoint_activations(network: nn.Module) -> None:
    """Make the network store only the activations between its stages, in place.

    The backward pass recomputes the activations inside each stage (Chen et al. 2016, "Training
    Deep Nets with Sublinear Memory Cost"); gradients and batch-norm statistics stay the same.

    Call it with the network on its device. On an Apple GPU, stages with dropout are left out.
    """
    for stage in network.children():
        weight = next(stage.parameters(), None)
        if weight is None:
            continue
        draws = any(isinstance(module, nn.Dropout) for module in stage.modules())
        if not (draws and weight.device.type in NOT_REPLAYED):
            # deepcopy also copies what a partial refers to; it does not copy a lambda.
            stage.forward = partial(recomputed, stage, stage.forward)


def recomputed(
    stage: nn.Module, forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor
) -> torch.Tensor:
    """Compute ``forward(x)`` of a stage without storing activations for the backward pass."""
    if torch.compiler.is_compiling():  # a compiled backward pass does not update the statistics
        return checkpoint(forward, x, use_reentrant=False)
    contexts = partial(stage_contexts, stage)
    return checkpoint(forward, x, use_reentrant=False, context_fn=contexts)


def stage_contexts(stage: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """The contexts of a stage's first and second computation."""
    return nullcontext(), keep_statistics(stage)


@contextmanager
def keep_statistics(stage: nn.Module) -> Iterator[None]:
    """Freeze batch-norm's running statistics, so that each batch counts only once."""
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
