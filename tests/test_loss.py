"""The loss in which classes have weights."""

import pytest
import torch
from torch.nn import functional as F

from engine.loss import ClassWeightedLoss


def test_a_class_has_its_weight_whatever_the_batch():
    """28 photos of a, four of b: equal shares of the loss, in one batch or in batches of any mix.

    nn.CrossEntropyLoss itself gives a batch of a's alone the weight of one with all the b's.
    """
    labels = torch.tensor([0] * 28 + [1] * 4)
    logits = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor([32 / 2 / 28, 32 / 2 / 4])
    loss = ClassWeightedLoss(weight, label_smoothing=0.1)
    whole = loss(logits, labels)
    parts = [loss(logits[part], labels[part]) for part in torch.arange(32).split(8)]
    assert sum(parts) / len(parts) == pytest.approx(whole.item(), rel=1e-6)  # accumulated batches
    plain = ClassWeightedLoss(weight)
    counts = {0: 28, 1: 4}
    shares = [plain(torch.zeros(n, 2), torch.full((n,), c)) * n for c, n in counts.items()]
    assert shares[0].item() == pytest.approx(shares[1].item(), rel=1e-6)
    even = ClassWeightedLoss(torch.ones(2), label_smoothing=0.1)(logits, labels)
    expected = F.cross_entropy(logits, labels, label_smoothing=0.1)
    assert even.item() == pytest.approx(expected.item(), rel=1e-6)


def test_label_smoothing_spreads_evenly_whatever_the_weights():
    """The least loss is at the smoothed labels: 0.975 and 0.025, though b weighs 49 times a."""
    labels, loss = torch.tensor([0, 1]), ClassWeightedLoss(torch.tensor([0.51, 25.0]), 0.05)
    logits = torch.tensor([[0.975, 0.025], [0.025, 0.975]]).log().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, labels), logits)
    torch.testing.assert_close(gradient, torch.zeros(2, 2), rtol=0, atol=1e-5)
