"""What a training epoch adds up: loss, correct answers, images."""

import torch

from engine.checks import check_finite
from engine.device import kind
from engine.distributed import all_reduce_sum, is_main


class Totals:
    """Summed loss, correct answers and images of the present epoch.

    Attributes:
        here: those of this process, on the device: adding to them waits for nothing.
        everywhere: those of all processes when ``read`` was last called.
    """

    def __init__(self, device: torch.device) -> None:
        self.here = torch.zeros(3, dtype=kind(device).sums, device=device)
        self.everywhere = self.here.tolist()

    def add(self, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Count a batch with this mean loss."""
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
        """Go on from what all processes had counted."""
        self.everywhere = everywhere
        self.here.zero_()
        if is_main():  # one process holds it for all
            self.here.copy_(torch.tensor(everywhere, dtype=self.here.dtype))
