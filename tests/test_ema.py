"""The moving average of the weights."""

import pytest
import torch
from torch import nn

from engine.ema import ModelEMA


def test_moving_average():
    model = nn.BatchNorm1d(2)
    average = ModelEMA(model, 0.5)
    with torch.no_grad():
        model.weight.fill_(5.0)
        model.running_mean.fill_(4.0)
        model.num_batches_tracked.fill_(7)
    average.update()  # decay (1 + 1) / (10 + 1) at the first update
    torch.testing.assert_close(average.module.weight, torch.full((2,), 1 * 2 / 11 + 5 * 9 / 11))
    torch.testing.assert_close(average.module.running_mean, torch.full((2,), 4 * 9 / 11))
    assert average.module.num_batches_tracked == 7
    for _ in range(20):
        average.update()
    before = average.module.weight[0].item()
    with torch.no_grad():
        model.weight.fill_(0.0)
    average.update()
    assert average.module.weight[0].item() == pytest.approx(before / 2)
