"""Activation checkpointing."""

import copy

import pytest
import torch
from torch import nn

from models import create_model
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
