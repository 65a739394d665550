"""Activation checkpointing."""

import copy

import pytest
import torch
from torch import nn

from models import create_model, recompute
from models.googlenet import AuxiliaryLoss
from models.recompute import checkpoint_activations


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize(("name", "size"), [("vgg16", 32), ("googlenet", 96)])
def test_checkpointed_activations_change_nothing(name, size, amp):
    """Each stage is computed twice; gradients and statistics stay the same."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, image_size=size, batch_norm=True)
    saving = copy.deepcopy(model)
    checkpoint_activations(saving)
    saving = copy.deepcopy(saving)  # as the moving average of the weights does
    x, labels = torch.randn(4, 3, size, size), torch.tensor([0, 1, 2, 0])
    computed = []
    for network in (model, saving):
        first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
        first.register_forward_hook(lambda *_: computed.append(1))
        torch.manual_seed(1)  # of dropout
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            loss, _ = AuxiliaryLoss(nn.CrossEntropyLoss())(network(x), labels)
        loss.backward()
        computed.append(0)
    assert computed == [1, 0, 1, 1, 0]
    for (key, one), two in zip(model.named_parameters(), saving.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad), key
    ours, theirs = model.state_dict(), saving.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())


@pytest.mark.parametrize(
    ("name", "drawing"), [("vgg16", {"classifier"}), ("googlenet", {"aux4a", "aux4d"})]
)
def test_dropout_is_not_drawn_twice_where_torch_cannot_replay_it(name, drawing, monkeypatch):
    """As on an Apple GPU."""
    monkeypatch.setattr(recompute, "NOT_REPLAYED", ("cpu",))
    replay = recompute.checkpoint
    monkeypatch.setattr(
        recompute, "checkpoint", lambda *a, **o: replay(*a, preserve_rng_state=False, **o)
    )
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, image_size=96)
    saving = copy.deepcopy(model)
    checkpoint_activations(saving)
    with_weights = {n for n, stage in saving.named_children() if [*stage.parameters()]}
    again = {n for n, stage in saving.named_children() if "forward" in vars(stage)}
    assert with_weights - again == drawing
    x, gradients = torch.randn(2, 3, 96, 96), []
    for network in (model, saving):
        torch.manual_seed(1)  # of dropout
        loss, _ = AuxiliaryLoss(nn.CrossEntropyLoss())(network(x), torch.tensor([0, 1]))
        gradients.append(torch.autograd.grad(loss, list(network.parameters())))
    assert all(map(torch.equal, *gradients))
