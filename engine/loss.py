"""The loss in which classes have weights."""

import torch
from torch import nn


class ClassWeightedLoss(nn.CrossEntropyLoss):
    """Cross-entropy in which an image has its class's weight, whatever else is in its batch.

    nn.CrossEntropyLoss divides by the weights of the batch, so that an image of a common class
    counts in full where no rare one is beside it: of two classes, the one with 2 % of the images
    gets 40 % of the loss in batches of 64, and 22 % in batches of 16, not half. Here the sum is
    divided by the number of images. Batches of any size, mix and process then add up.

    Args:
        weight: of each class, 1 on average over the images of training.
        label_smoothing: as of nn.CrossEntropyLoss.
    """

    def __init__(self, weight: torch.Tensor, label_smoothing: float = 0.0) -> None:
        super().__init__(weight, reduction="sum", label_smoothing=label_smoothing)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean over the images of logits, N x classes, and N class indices."""
        return super().forward(logits, labels) / len(labels)
