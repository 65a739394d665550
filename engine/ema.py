"""Exponential moving average (EMA) of a model's weights."""

import copy

import torch
from torch import nn


class ModelEMA:
    """Exponential moving average of a model's weights and batch-norm statistics.

    GoogLeNet's final model is a Polyak average (Section 6), in which all steps count; an
    exponential average forgets the early weights. At update t, the decay is (1 + t) / (10 + t),
    but at most ``decay``, so that short runs benefit too.

    Attributes:
        module: a copy of the model that holds the averages.
        updates: the number of calls of ``update``.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(model).requires_grad_(False)
        self.decay, self.updates = decay, 0
        # Collect the tensors only once, since that takes longer than averaging them. This is safe:
        # training changes them in place.
        pairs = list(
            zip(self.module.state_dict().values(), model.state_dict().values(), strict=True)
        )
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        counters = [pair for pair in pairs if not pair[0].is_floating_point()]
        self.averages, self.weights = [a for a, _ in floats], [w for _, w in floats]
        self.averaged_counters, self.counters = [a for a, _ in counters], [c for _, c in counters]

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards the model's current weights, and copy its batch counters."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.averages, self.weights, 1 - decay)
        if self.counters:
            torch._foreach_copy_(self.averaged_counters, self.counters)
