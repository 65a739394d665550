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
    def rates_of(total, warmup):
        optimizer = build_optimizer(nn.Linear(2, 2), "sgd", lr=0.1, weight_decay=0.0)
        scheduler = build_scheduler(optimizer, name, 0.1, total, warmup)
        for _ in range(total):
            yield scheduler.get_last_lr()[0]
            optimizer.step()
            scheduler.step()

    rates = list(rates_of(100, warmup=20))
    assert rates[0] < 0.01 and max(rates) == pytest.approx(0.1)
    assert 18 <= rates.index(max(rates)) <= 20
    last = {"onecycle": 1e-5, "cosine": 1e-4, "step": 1.1e-3, "constant": 0.1}[name]
    assert rates[-1] <= last
    if name == "step":  # after a half and three quarters of what follows the warm-up
        falls = [rates[step] for step in (59, 60, 79, 80)]
        assert falls == pytest.approx([0.1, 0.01, 0.01, 0.001])
    assert len(list(rates_of(1, warmup=2))) == 1  # as in a dry run
    rates = list(rates_of(10, warmup=8))
    assert rates.index(max(rates)) in (4, 5)  # at the latest after a half


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_kernels_and_matrices_decay_and_vectors_do_not(name):
    """Without gradients a step does nothing but decay, to 1 - 0.1 x 0.5 of what was."""
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2))
    optimizer = build_optimizer(model, name, lr=0.1, weight_decay=0.5)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 2.0)
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    after = {name: parameter.mean().item() for name, parameter in model.named_parameters()}
    expected = {"0.weight": 1.9, "0.bias": 2, "1.weight": 2, "1.bias": 2}
    assert after == pytest.approx(expected | {"3.weight": 1.9, "3.bias": 2})


def test_frozen_weights_are_not_the_optimizers():
    model = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2))
    optimizer = build_optimizer(model, "adam", lr=0.1, weight_decay=0.5)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in model[1].parameters()}


def test_momentum_is_that_of_the_papers():
    """Two steps of SGD with a gradient of 1: 0.1, and 0.1 x (1 + 0.9)."""
    model = nn.Linear(1, 1, bias=False)
    optimizer = build_optimizer(model, "sgd", lr=0.1, weight_decay=0.0)
    nn.init.zeros_(model.weight)
    for _ in range(2):
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.step()
    assert model.weight.item() == pytest.approx(-0.1 - 0.19)


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("layout", ["contiguous", "expanded"])
def test_loaded_averages_get_the_layout_of_their_weights(name, layout):
    """As saved on Apple's GPUs, where weights are not channels last; or by a hostile file."""
    model = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    first = build_optimizer(model, name, lr=0.1, weight_decay=0.0)
    model(torch.randn(2, 2, 8, 8)).square().sum().backward()
    first.step()
    saved = first.state_dict()
    for state in saved["state"].values():
        for key in state.keys() - {"step"}:
            value = state[key]
            state[key] = (
                value.contiguous() if layout == "contiguous" else value.mean().expand_as(value)
            )
    other = copy.deepcopy(model)
    second = build_optimizer(other, name, lr=0.1, weight_decay=0.0)
    second.load_state_dict(saved)
    for weight, old in zip(other.parameters(), saved["state"].values(), strict=True):
        for key in old.keys() - {"step"}:
            assert torch.equal(second.state[weight][key], old[key])
            assert second.state[weight][key].stride() == weight.stride()
