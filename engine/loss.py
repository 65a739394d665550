"""A class-weighted loss."""

import torch
import torch.nn.functional as F
from torch import nn


class ClassWeightedLoss(nn.Module):
    """Cross-entropy in which an image has its class's weight, independent of the rest of the batch.

    nn.CrossEntropyLoss(weight) differs in two ways. First, it divides by the sum of the weights in
    the batch, so an image of a common class counts in full if the batch has no image of a rare one:
    of two classes, the one with 2 % of the images gets 40 % of the loss in batches of 64, and 22 %
    in batches of 16, instead of half. Second, it multiplies the share that label smoothing gives to
    the other classes by their weights: with a smoothing of 0.05, the optimal network predicts that
    rare class for every image.

    Args:
        weight: one for each class, 1 on average over the training images.
        label_smoothing: as in nn.CrossEntropyLoss.
    """

    def __init__(self, weight: torch.Tensor, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.weight, self.label_smoothing = weight, label_smoothing

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean loss of logits, N x classes, and labels, N class indices (int64)."""
        smoothing = self.label_smoothing
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        return (self.weight[labels] * losses).mean()
