"""The optimizer and the schedules."""

import copy

import pytest
import torch
from torch import nn

from engine.optim import build_optimizer, build_scheduler
from tests.conftest import same


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_first_step_that_is_left_out_leaves_nothing(name):
    """Where the first gradients overflow, the optimizer's state stays 0, and the weights as well
    as they were."""
    model = nn.Linear(64, 64)
    before = copy.deepcopy(model.state_dict())
    optimizer = build_optimizer(model, name, lr=1.0, weight_decay=0.1)
    scaler = torch.amp.GradScaler("cpu")
    torch.use_deterministic_algorithms(True)  # fills memory that is not written with NaN
    try:
        scaler.scale(model(torch.full((1, 64), float("inf"))).sum()).backward()
        scaler.step(optimizer)
    finally:
        torch.use_deterministic_algorithms(False)
    assert same(model.state_dict(), before)
    for state in optimizer.state.values():
        assert all((tensor == 0).all() for tensor in state.values())


@pytest.mark.parametrize("name", ["onecycle", "cosine", "step", "constant"])
def test_schedules(name):
    optimizer = build_optimizer(nn.Linear(2, 2), "sgd", lr=0.1, weight_decay=0.0)
    scheduler = build_scheduler(optimizer, name, lr=0.1, total_steps=100, warmup_steps=20)
    rates = []
    for _ in range(100):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates[0] < 0.01 and max(rates) == pytest.approx(0.1)
    assert 18 <= rates.index(max(rates)) <= 20
    last = {"onecycle": 1e-5, "cosine": 1e-4, "step": 1.1e-3, "constant": 0.1}[name]
    assert rates[-1] <= last
    build_scheduler(optimizer, name, 0.1, total_steps=1, warmup_steps=2).step()  # as in a dry run
