"""The loss in which classes have weights."""

import torch
import torch.nn.functional as F
from torch import nn


class ClassWeightedLoss(nn.Module):
    """Cross-entropy in which an image has its class's weight, whatever else is in its batch.

    nn.CrossEntropyLoss(weight) differs in two ways. It divides by the weights of the batch, so that
    an image of a common class counts in full where no rare one is beside it: of two classes, the
    one with 2 % of the images gets 40 % of the loss in batches of 64, and 22 % in batches of 16,
    not half. And it weights what label smoothing gives to the other classes by their weights: with
    0.05 of it, a network is to answer that rare class to every image.

    Args:
        weight: of each class, 1 on average over the images of training.
        label_smoothing: as of nn.CrossEntropyLoss.
    """

    def __init__(self, weight: torch.Tensor, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.weight, self.label_smoothing = weight, label_smoothing

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean over the images of logits, N x classes, and N class indices."""
        smoothing = self.label_smoothing
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        return (self.weight[labels] * losses).mean()
