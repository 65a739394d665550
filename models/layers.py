"""What both networks share: the convolution, weight initialisation and the check of the input."""

import torch
import torch.nn.functional as F
from torch import nn


class SmallMapConv2d(nn.Conv2d):
    """An nn.Conv2d that computes small feature maps as a matrix product.

    The weights and the function are the same; kernels must be square. On a CPU, oneDNN takes longer
    for the weight gradient of a convolution over a small map than for that of a matrix product. On
    other devices it is an nn.Conv2d: on Apple GPUs, F.linear may give wrong numbers for such
    operands (torch 2.8; bfloat16 on an M5: pytorch/pytorch#161640 and #180776).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        self.keeps_size = stride == 1 and kernel_size == 2 * padding + 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map N x in_channels x H x W to N x out_channels x H' x W', as nn.Conv2d does."""
        height, width = x.shape[2:]
        product = self.keeps_size and x.is_cpu
        if product and self.kernel_size == (1, 1) and height * width <= 64:
            return self.linear_per_pixel(x)
        if product and height == width <= 2:
            return self.linear_over_map(x)
        return super().forward(x)

    def linear_per_pixel(self, x: torch.Tensor) -> torch.Tensor:
        """Compute a 1x1 convolution: one linear layer, applied to each pixel."""
        pixels = x.permute(0, 2, 3, 1)  # N x H x W x in_channels, the channels-last memory layout
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)  # its gradient gets the same layout
        return F.linear(pixels, weight, self.bias).permute(0, 3, 1, 2)

    def linear_over_map(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the convolution of an S x S map as a fully connected layer.

        Each output pixel sees the whole map through an S x S window of the kernel; these windows
        are the rows of the layer's weight. (``VGG16.fully_convolutional`` does the reverse.)
        """
        size = x.shape[2]
        margin = size - 1 - self.padding[0]  # 0 or less: F.pad crops the kernel to 2 S - 1 pixels
        kernel = F.pad(self.weight.to(x.dtype), [margin] * 4)
        kernel = kernel.permute(0, 2, 3, 1)  # out_channels first, in_channels last
        starts = range(size - 1, -1, -1)  # the first pixel has all others to its right and below
        windows = [kernel[:, i : i + size, j : j + size].flatten(1) for i in starts for j in starts]
        bias = None if self.bias is None else self.bias.repeat(size * size)
        pixels = F.linear(x.permute(0, 2, 3, 1).flatten(1), torch.cat(windows), bias)
        return pixels.unflatten(1, (size, size, -1)).permute(0, 3, 1, 2)


Conv2d = SmallMapConv2d  # what the networks use; nn.Conv2d gives the same results


def init_weights(network: nn.Module) -> None:
    """Initialise in place: Kaiming normal convolutions, linear layers with σ = 0.01, zero biases.

    The authors of VGG first trained the shallow net A and initialised the deeper ones with its
    weights; later they found that Glorot's initialisation makes this unnecessary (Section 3.1).
    Kaiming normal (He et al. 2015) preserves the mean square of the activations through any number
    of convolutions with ReLU, poolings aside, so VGG16 trains from scratch.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def check_input(x: torch.Tensor, in_channels: int, image_size: int) -> None:
    """Check that x is N x in_channels x image_size x image_size.

    Raises:
        ValueError: x has another shape.
    """
    expected = (in_channels, image_size, image_size)
    if x.dim() != 4 or tuple(x.shape[1:]) != expected:
        wanted = " x ".join(map(str, ("N", *expected)))
        raise ValueError(f"expected an input of {wanted}, got {' x '.join(map(str, x.shape))}")
