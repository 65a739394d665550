"""GoogLeNet, from "Going Deeper with Convolutions" (Szegedy et al., arXiv 1409.4842), Table 1.

    python -m models.googlenet                              # the network of the paper, row by row
    python -m models.googlenet --image-size 64 --in-channels 1 --num-classes 10 --batch-norm

Parameters at RGB, 1000 classes: 6,998,552; with both auxiliary classifiers at 224 px, 13,378,280.
"""

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import nn

from models.common import Conv2d, check_input, initialise

# Table 1, the rows of the inception modules:
#       #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj
INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
AUX_WEIGHT = 0.3  # Section 5: "their losses are weighted by 0.3"
AUX_MIN_SIZE = 80  # pixels: 16 for each cell of the 5x5 window that the heads pool


class Outputs(NamedTuple):
    """What GoogLeNet returns in training where it has auxiliary heads: N x num_classes each."""

    logits: torch.Tensor
    aux4a: torch.Tensor
    aux4d: torch.Tensor


class GoogLeNet(nn.Module):
    """A stem of three convolutions, nine inception modules, one linear layer; 22 layers deep.

    Args:
        in_channels: channels of the images, 1 or 3 (any number works).
        num_classes: number of logits.
        image_size: height and width of the images in pixels, 32 or more.
        train_size: the same in training, where that is to be another; None: image_size.
        batch_norm: a batch normalisation after each convolution, which then has no bias, and no
            local response normalisation. Departure from the paper: its authors added it in 2015.
        dropout: probability of dropping one of the 1024 features before the linear layer.
        aux_heads: whether to train with the two auxiliary classifiers of Section 5. None: where
            the map is large enough for them, that is if training from 80 px on.
        torchvision_compatible: build the network that torchvision's ImageNet weights belong to.
            It leaves the paper in five points, each marked "torchvision:" below.

    Raises:
        ValueError: a size is below 32, or below 80 with auxiliary heads asked for;
            torchvision_compatible without batch_norm.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        batch_norm: bool = False,
        dropout: float = 0.4,  # Table 1 and Section 5
        aux_heads: bool | None = None,
        torchvision_compatible: bool = False,
        train_size: int | None = None,
    ) -> None:
        super().__init__()
        train_size = train_size or image_size
        for size in (image_size, train_size):
            if size < 32:
                raise ValueError(f"GoogLeNet needs an image_size of 32 or more, got {size}")
        if aux_heads is None:
            aux_heads = train_size >= AUX_MIN_SIZE
        if aux_heads and train_size < AUX_MIN_SIZE:
            raise ValueError(
                f"the map of a {train_size} px image is too small for the 5x5 pooling of the "
                f"auxiliary heads: train at {AUX_MIN_SIZE} px or more, or without the heads"
            )
        if torchvision_compatible and not batch_norm:
            raise ValueError("torchvision's GoogLeNet is batch-normalised: use batch_norm=True")
        self.in_channels, self.image_size, self.train_size = in_channels, image_size, train_size

        def conv(*args: int, **kwargs: int) -> ConvReLU:
            # torchvision: batch normalisation with an epsilon of 1e-3.
            eps = 1e-3 if torchvision_compatible else 1e-5
            return ConvReLU(*args, **kwargs, batch_norm=batch_norm, eps=eps)

        def max_pool() -> nn.MaxPool2d:
            # Table 1 wants 112 -> 56 from a 3x3/2 pool, which takes one pixel of padding.
            # torchvision: no padding, and windows that reach over the right and lower edge.
            if torchvision_compatible:
                return nn.MaxPool2d(3, stride=2, ceil_mode=True)
            return nn.MaxPool2d(3, stride=2, padding=1)

        def local_response_norm() -> nn.Module:
            # Figure 3. The paper gives no constants: these are AlexNet's (Krizhevsky et al. 2012,
            # Section 3.3) with Caffe's k = 1. Batch normalisation takes its place.
            return nn.Identity() if batch_norm else nn.LocalResponseNorm(5, 1e-4, 0.75, k=1.0)

        def inception(name: str, in_channels: int) -> Inception:
            # torchvision: a 3x3 convolution where the paper has its 5x5 (pytorch/vision#906).
            return Inception(
                in_channels, *INCEPTION[name], conv, 3 if torchvision_compatible else 5
            )

        self.conv1 = conv(in_channels, 64, 7, stride=2, padding=3)
        self.pool1 = max_pool()
        self.norm1 = local_response_norm()
        self.conv2 = nn.Sequential(
            OrderedDict(reduce=conv(64, 64, 1), conv=conv(64, 192, 3, padding=1))
        )
        self.norm2 = local_response_norm()
        self.pool2 = max_pool()
        self.inception3a = inception("3a", 192)
        self.inception3b = inception("3b", 256)
        self.pool3 = max_pool()
        self.inception4a = inception("4a", 480)
        self.inception4b = inception("4b", 512)
        self.inception4c = inception("4c", 512)
        self.inception4d = inception("4d", 512)
        self.inception4e = inception("4e", 528)
        # torchvision: a 2x2 window in the fourth max-pool.
        self.pool4 = nn.MaxPool2d(2, 2, ceil_mode=True) if torchvision_compatible else max_pool()
        self.inception5a = inception("5a", 832)
        self.inception5b = inception("5b", 832)
        # The paper's 7x7 average pool spans the whole map at 224 px, as this one does at any size.
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(1024, num_classes)

        self.aux4a = self.aux4d = None
        if aux_heads:
            map_size = -(-train_size // 16)  # of 4a and 4d: four halvings, rounded up
            pooled_size = (map_size - 5) // 3 + 1
            pool = nn.AvgPool2d(5, stride=3)  # 14 -> 4 at 224 px
            if torchvision_compatible:
                # torchvision: adaptive pooling to 4x4 at any image size; windows of 4x4 at 224 px.
                pool, pooled_size = nn.AdaptiveAvgPool2d(4), 4
            self.aux4a = AuxiliaryHead(512, num_classes, pool, pooled_size, conv)
            self.aux4d = AuxiliaryHead(528, num_classes, pool, pooled_size, conv)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor | Outputs:
        """Logits, N x num_classes, of images N x in_channels x image_size x image_size.

        In training, images of train_size; where there are auxiliary heads, their logits too
        (``Outputs``).

        Raises:
            ValueError: the images have another shape.
        """
        check_input(x, self.in_channels, self.train_size if self.training else self.image_size)
        heads = self.training and self.aux4a is not None
        #                                     at 224 px:
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


class ConvReLU(nn.Sequential):
    """A convolution and its ReLU: "all the convolutions use rectified linear activation"
    (Section 5); between them, if wanted, a batch normalisation in place of the bias."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        batch_norm: bool = False,
        eps: float = 1e-5,
    ) -> None:
        conv = Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=not batch_norm)
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
        if batch_norm:
            layers["bn"] = nn.BatchNorm2d(out_channels, eps=eps)
        layers["relu"] = nn.ReLU(inplace=True)
        super().__init__(layers)


class Inception(nn.Module):
    """Figure 2(b): four branches side by side, their outputs stacked along the channels.

    Every branch keeps height and width, or the stacking would be impossible. The widths after
    in_channels are those of Table 1, in its order; conv builds a ConvReLU.
    """

    def __init__(
        self,
        in_channels: int,
        n1x1: int,
        n3x3_reduce: int,
        n3x3: int,
        n5x5_reduce: int,
        n5x5: int,
        pool_proj: int,
        conv=ConvReLU,
        large_kernel: int = 5,
    ) -> None:
        super().__init__()
        self.branch_1x1 = conv(in_channels, n1x1, 1)
        self.branch_3x3 = nn.Sequential(
            OrderedDict(
                reduce=conv(in_channels, n3x3_reduce, 1),
                conv=conv(n3x3_reduce, n3x3, 3, padding=1),
            )
        )
        self.branch_5x5 = nn.Sequential(
            OrderedDict(
                reduce=conv(in_channels, n5x5_reduce, 1),
                conv=conv(n5x5_reduce, n5x5, large_kernel, padding=large_kernel // 2),
            )
        )
        self.branch_pool = nn.Sequential(
            OrderedDict(
                pool=nn.MaxPool2d(3, stride=1, padding=1),
                proj=conv(in_channels, pool_proj, 1),
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """N x in_channels x H x W to N x (#1x1 + #3x3 + #5x5 + pool proj) x H x W."""
        branches = (self.branch_1x1, self.branch_3x3, self.branch_5x5, self.branch_pool)
        return torch.cat([branch(x) for branch in branches], dim=1)


class AuxiliaryHead(nn.Module):
    """The side classifier of Section 5, on the output of 4a or 4d, in training only.

    It hands the lower layers a gradient of their own; at inference it is discarded.
    """

    def __init__(
        self, in_channels: int, num_classes: int, pool: nn.Module, pooled_size: int, conv=ConvReLU
    ) -> None:
        super().__init__()
        self.pool = pool
        self.conv = conv(in_channels, 128, 1)
        self.fc = nn.Linear(128 * pooled_size * pooled_size, 1024)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.7)
        self.linear = nn.Linear(1024, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, N x num_classes, of the map of 4a or 4d."""
        #                                               at 224 px:
        x = self.pool(x)  # N x 512 (4a) or 528 (4d) x 4 x 4
        x = self.conv(x)  # N x 128 x 4 x 4
        x = self.relu(self.fc(torch.flatten(x, 1)))  # N x 1024
        return self.linear(self.dropout(x))  # N x num_classes


class AuxiliaryLoss(nn.Module):
    """The loss of a network that may have auxiliary heads: main + 0.3 x each head (Section 5).

    Args:
        criterion: the loss of one set of logits, such as ``nn.CrossEntropyLoss()``.
    """

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.criterion = criterion

    def forward(
        self, outputs: torch.Tensor | Outputs, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss to minimise, and the main logits, of what the network returned."""
        if not isinstance(outputs, Outputs):
            return self.criterion(outputs, labels), outputs
        main, *heads = (self.criterion(logits, labels) for logits in outputs)
        return main + AUX_WEIGHT * sum(heads), outputs.logits


def table_rows(model: GoogLeNet) -> list[tuple[str, list[str]]]:
    """The rows of Table 1: (name in the paper, modules that make the row)."""
    rows = [
        ("convolution 7x7/2", ["conv1"]),
        ("max pool 3x3/2", ["pool1", "norm1"]),
        ("convolution 3x3/1", ["conv2", "norm2"]),
        ("max pool 3x3/2", ["pool2"]),
    ]
    for name in INCEPTION:
        rows.append((f"inception ({name})", [f"inception{name}"]))
        if name == "3b":
            rows.append(("max pool 3x3/2", ["pool3"]))
        if name == "4e":
            rows.append(("max pool 3x3/2", ["pool4"]))
    rows += [("avg pool", ["avg_pool"]), ("dropout", ["dropout"]), ("linear", ["linear"])]
    if model.aux4a is not None:
        rows += [("auxiliary (4a)", ["aux4a"]), ("auxiliary (4d)", ["aux4d"])]
    return rows


if __name__ == "__main__":
    from models.summary import main

    main(GoogLeNet, table_rows)
