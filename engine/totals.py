"""The sums of a training epoch: loss, correct predictions, images."""

import torch

from engine.checks import check_finite
from engine.device import kind
from engine.distributed import all_reduce_sum, is_main


class Totals:
    """Sum of the loss, correct predictions and images of the current epoch.

    Attributes:
        here: the three sums of this process, on the device, so that adding does not synchronise.
        everywhere: the sums of all processes at the last call of ``read``.
    """

    def __init__(self, device: torch.device) -> None:
        self.here = torch.zeros(3, dtype=kind(device).sums, device=device)
        self.everywhere = self.here.tolist()

    def add(self, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Add a batch: its mean loss (a scalar), logits (N x classes) and labels (N)."""
        self.here[0] += loss.detach() * len(labels)
        self.here[1] += (logits.argmax(1) == labels).sum()
        self.here[2] += len(labels)

    def read(self) -> tuple[float, float, int]:
        """Mean loss, accuracy and number of images so far, over all processes.

        Raises:
            UserError: the loss is infinite or not a number.
        """
        self.everywhere = all_reduce_sum(self.here).tolist()
        loss, correct, images = self.everywhere
        check_finite(loss)
        return loss / images, correct / images, int(images)

    def start_from(self, everywhere: list[float]) -> None:
        """Restore the sums of all processes."""
        self.everywhere = everywhere
        self.here.zero_()
        if is_main():  # only one process, so that they count once
            self.here.copy_(torch.tensor(everywhere, dtype=self.here.dtype))
