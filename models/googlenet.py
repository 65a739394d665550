"""GoogLeNet, from "Going Deeper with Convolutions" (Szegedy et al., arXiv 1409.4842), Table 1.

    python -m models.googlenet                   # print the network of the paper, row by row
    python -m models.googlenet --image-size 64 --in-channels 1 --num-classes 10 --batch-norm

With RGB images of 224 px and 1000 classes it has 6,998,552 parameters, and 13,378,280 with both
auxiliary classifiers.
"""

from collections import OrderedDict
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from models.layers import Conv2d, check_input, init_weights


class InceptionWidths(NamedTuple):
    """The output channels of the six convolutions in a module: the columns of Table 1."""

    n1x1: int
    n3x3_reduce: int
    n3x3: int
    n5x5_reduce: int
    n5x5: int
    pool_proj: int


INCEPTION = {
    #    #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj
    "3a": InceptionWidths(64, 96, 128, 16, 32, 32),
    "3b": InceptionWidths(128, 128, 192, 32, 96, 64),
    "4a": InceptionWidths(192, 96, 208, 16, 48, 64),
    "4b": InceptionWidths(160, 112, 224, 24, 64, 64),
    "4c": InceptionWidths(128, 128, 256, 24, 64, 64),
    "4d": InceptionWidths(112, 144, 288, 32, 64, 64),
    "4e": InceptionWidths(256, 160, 320, 32, 128, 128),
    "5a": InceptionWidths(256, 160, 320, 32, 128, 128),
    "5b": InceptionWidths(384, 192, 384, 48, 128, 128),
}
AUX_WEIGHT = 0.3  # Section 5: the losses of the auxiliary classifiers "were weighted by 0.3"
AUX_MIN_SIZE = 80  # pixels: the heads average-pool 5x5 cells of a map with a stride of 16 pixels


class Outputs(NamedTuple):
    """GoogLeNet's output in training with auxiliary heads: logits, N x num_classes each."""

    logits: torch.Tensor
    aux4a: torch.Tensor
    aux4d: torch.Tensor


class GoogLeNet(nn.Module):
    """A stem of three convolutions, nine inception modules, one linear layer: 22 layers deep.

    Args:
        in_channels: channels of the images: 3 for RGB, 1 for grey.
        num_classes: number of logits.
        image_size: height and width of the images in pixels, 32 or more.
        batch_norm: normalise after each convolution, which then needs no bias.
        dropout: probability of dropping one of the 1024 features before the linear layer.
        aux_heads: train with the two auxiliary classifiers of Section 5. None: only if the
            training images have 80 px or more, the width of the five cells that the heads pool.
        train_size: size of the training images in pixels. None: image_size, as in the paper.

    Raises:
        ValueError: a size is below 32, or train_size is below 80 with aux_heads=True.
    """

    def __init__(  # noqa: PLR0913 (seven independent options)
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        batch_norm: bool = False,
        dropout: float = 0.4,  # Table 1
        aux_heads: bool | None = None,
        train_size: int | None = None,
    ) -> None:
        super().__init__()
        train_size = train_size or image_size
        for size in (image_size, train_size):
            if size < 32:
                raise ValueError(f"GoogLeNet needs an image_size of 32 or more, got {size}")
        aux_heads = train_size >= AUX_MIN_SIZE if aux_heads is None else aux_heads
        if aux_heads and train_size < AUX_MIN_SIZE:
            raise ValueError(
                f"a {train_size} px image is too small for the auxiliary heads, which pool 5x5 "
                f"cells of 16 px: train at {AUX_MIN_SIZE} px or more, or without the heads"
            )
        self.in_channels, self.image_size, self.train_size = in_channels, image_size, train_size

        # Optional departure: batch normalisation replaces local response normalisation, as in
        # Ioffe & Szegedy 2015; it allows higher learning rates.
        norm = nn.Identity if batch_norm else local_response_norm
        # Departure: nn.Conv2d pads every side by 3 pixels. Figure 3's "(S)", read as "same", pads 2
        # at the left and top and 3 at the right and bottom, so this map is shifted by one pixel.
        self.conv1 = ConvReLU(in_channels, 64, 7, batch_norm, stride=2)
        self.pool1 = SameMaxPool()
        self.norm1 = norm()
        self.conv2 = reduced_conv(64, 64, 192, 3, batch_norm)
        self.norm2 = norm()
        self.pool2 = SameMaxPool()
        self.inception3a = Inception(192, INCEPTION["3a"], batch_norm)
        self.inception3b = Inception(256, INCEPTION["3b"], batch_norm)
        self.pool3 = SameMaxPool()
        self.inception4a = Inception(480, INCEPTION["4a"], batch_norm)
        self.inception4b = Inception(512, INCEPTION["4b"], batch_norm)
        self.inception4c = Inception(512, INCEPTION["4c"], batch_norm)
        self.inception4d = Inception(512, INCEPTION["4d"], batch_norm)
        self.inception4e = Inception(528, INCEPTION["4e"], batch_norm)
        self.pool4 = SameMaxPool()
        self.inception5a = Inception(832, INCEPTION["5a"], batch_norm)
        self.inception5b = Inception(832, INCEPTION["5b"], batch_norm)
        # Averages 7x7 at 224 px, as in the paper. Departure: the whole map at other sizes.
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(1024, num_classes)  # the softmax is part of the loss

        self.aux4a = self.aux4d = None
        if aux_heads:
            map_size = (train_size + 15) // 16  # after 4a and 4d: halved four times, rounding up
            self.aux4a = AuxiliaryHead(512, num_classes, map_size, batch_norm)
            self.aux4d = AuxiliaryHead(528, num_classes, map_size, batch_norm)
        init_weights(self)  # the paper does not describe its initialisation

    def forward(self, x: torch.Tensor) -> torch.Tensor | Outputs:
        """Compute logits, N x num_classes, from N x in_channels x image_size x image_size.

        In training mode the images have train_size instead, and a network with auxiliary heads
        also returns the logits of the heads (``Outputs``). The shapes below are for 224 px.

        Raises:
            ValueError: the images have another shape.
        """
        check_input(x, self.in_channels, self.train_size if self.training else self.image_size)
        heads = self.training and self.aux4a is not None
        x = self.conv1(x)  # N x 64 x 112 x 112
        x = self.norm1(self.pool1(x))  # N x 64 x 56 x 56
        x = self.norm2(self.conv2(x))  # N x 192 x 56 x 56
        x = self.pool2(x)  # N x 192 x 28 x 28
        x = self.inception3a(x)  # N x 256 x 28 x 28
        x = self.inception3b(x)  # N x 480 x 28 x 28
        x = self.pool3(x)  # N x 480 x 14 x 14
        x = self.inception4a(x)  # N x 512 x 14 x 14
        aux4a = self.aux4a(x) if heads else None  # N x num_classes
        x = self.inception4b(x)  # N x 512 x 14 x 14
        x = self.inception4c(x)  # N x 512 x 14 x 14
        x = self.inception4d(x)  # N x 528 x 14 x 14
        aux4d = self.aux4d(x) if heads else None  # N x num_classes
        x = self.inception4e(x)  # N x 832 x 14 x 14
        x = self.pool4(x)  # N x 832 x 7 x 7
        x = self.inception5a(x)  # N x 832 x 7 x 7
        x = self.inception5b(x)  # N x 1024 x 7 x 7
        x = torch.flatten(self.avg_pool(x), 1)  # N x 1024
        x = self.linear(self.dropout(x))  # N x num_classes
        return Outputs(x, aux4a, aux4d) if heads else x


class Inception(nn.Module):
    """Figure 2(b): four parallel branches, concatenated along the channel dimension.

    Every branch keeps height and width, as the concatenation requires.
    """

    def __init__(self, in_channels: int, widths: InceptionWidths, batch_norm: bool) -> None:
        super().__init__()
        self.branch_1x1 = ConvReLU(in_channels, widths.n1x1, 1, batch_norm)
        self.branch_3x3 = reduced_conv(in_channels, widths.n3x3_reduce, widths.n3x3, 3, batch_norm)
        self.branch_5x5 = reduced_conv(in_channels, widths.n5x5_reduce, widths.n5x5, 5, batch_norm)
        pool = nn.MaxPool2d(3, stride=1, padding=1)
        proj = ConvReLU(in_channels, widths.pool_proj, 1, batch_norm)
        self.branch_pool = nn.Sequential(OrderedDict(pool=pool, proj=proj))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map N x in_channels x H x W to N x (#1x1 + #3x3 + #5x5 + pool proj) x H x W."""
        branches = (self.branch_1x1, self.branch_3x3, self.branch_5x5, self.branch_pool)
        return torch.cat([branch(x) for branch in branches], dim=1)


class ConvReLU(nn.Sequential):
    """A convolution that keeps the map's size at stride 1, then a ReLU (Section 5)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        batch_norm: bool,
        stride: int = 1,
    ) -> None:
        padding = kernel_size // 2
        conv = Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=not batch_norm)
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
        if batch_norm:
            layers["bn"] = nn.BatchNorm2d(out_channels)
        layers["relu"] = nn.ReLU(inplace=True)
        super().__init__(layers)


def reduced_conv(
    in_channels: int, reduced: int, out_channels: int, kernel_size: int, batch_norm: bool
) -> nn.Sequential:
    """Build a 1x1 reduction, then the larger convolution, which it makes cheaper (Section 4)."""
    reduce = ConvReLU(in_channels, reduced, 1, batch_norm)
    conv = ConvReLU(reduced, out_channels, kernel_size, batch_norm)
    return nn.Sequential(OrderedDict(reduce=reduce, conv=conv))


class SameMaxPool(nn.MaxPool2d):
    """A max-pool "3x3/2" of Table 1, "(S)" in Figure 3: S x S to S/2 x S/2, rounding up."""

    def __init__(self) -> None:
        super().__init__(3, stride=2, ceil_mode=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad an even map at the right and bottom (ceil_mode), an odd one on all sides."""
        return F.max_pool2d(x, 3, stride=2, padding=x.shape[2] % 2, ceil_mode=True)


def local_response_norm() -> nn.LocalResponseNorm:
    """Build a "LocalRespNorm" of Figure 3."""
    # The paper gives no constants. Caffe's reference model has AlexNet's (Krizhevsky et al. 2012,
    # Section 3.3), but with k = 1 and, as in nn.LocalResponseNorm, alpha divided by size.
    return nn.LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=1.0)


class AuxiliaryHead(nn.Module):
    """The auxiliary classifier of Section 5, on the output of inception (4a) or (4d).

    In training it adds its gradient to the layers below. At inference it is discarded.

    Args:
        map_size: height and width of the inception module's output, 14 at 224 px.
    """

    def __init__(self, in_channels: int, num_classes: int, map_size: int, batch_norm: bool) -> None:
        super().__init__()
        pooled_size = (map_size - 5) // 3 + 1  # 14 -> 4 at 224 px
        self.pool = nn.AvgPool2d(5, stride=3)
        self.conv = ConvReLU(in_channels, 128, 1, batch_norm)
        self.fc = nn.Linear(128 * pooled_size * pooled_size, 1024)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.7)
        self.linear = nn.Linear(1024, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute logits, N x num_classes, from N x in_channels x map_size x map_size."""
        x = self.pool(x)  # at 224 px: N x 512 (4a) or 528 (4d) x 4 x 4
        x = self.conv(x)  # N x 128 x 4 x 4
        x = self.relu(self.fc(torch.flatten(x, 1)))  # N x 1024
        return self.linear(self.dropout(x))  # N x num_classes


class AuxiliaryLoss(nn.Module):
    """The loss of a network with or without auxiliary heads: main + 0.3 x each head (Section 5).

    Args:
        criterion: the loss of one set of logits, such as ``nn.CrossEntropyLoss()``.
    """

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.criterion = criterion

    def forward(
        self, outputs: torch.Tensor | Outputs, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss (a scalar) and the main logits, N x num_classes; labels: N, int64."""
        if not isinstance(outputs, Outputs):
            return self.criterion(outputs, labels), outputs
        main, *heads = (self.criterion(logits, labels) for logits in outputs)
        return main + AUX_WEIGHT * sum(heads), outputs.logits


def table_rows(model: GoogLeNet) -> list[tuple[str, list[str]]]:
    """The rows of Table 1: (name in the paper, modules that make up the row)."""
    rows = [
        ("convolution 7x7/2", ["conv1"]),
        ("max pool 3x3/2", ["pool1", "norm1"]),
        ("convolution 3x3/1", ["conv2", "norm2"]),
        ("max pool 3x3/2", ["pool2"]),
    ]
    for name in INCEPTION:
        rows.append((f"inception ({name})", [f"inception{name}"]))
        if name in ("3b", "4e"):
            rows.append(("max pool 3x3/2", [f"pool{name[0]}"]))
    rows += [("avg pool", ["avg_pool"]), ("dropout", ["dropout"]), ("linear", ["linear"])]
    if model.aux4a is not None:
        rows += [("auxiliary (4a)", ["aux4a"]), ("auxiliary (4d)", ["aux4d"])]
    return rows


if __name__ == "__main__":
    from models.summary import main

    main(GoogLeNet, table_rows)
