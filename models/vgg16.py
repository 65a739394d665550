"""VGG16, from "Very Deep Convolutional Networks for Large-Scale Image Recognition"
(Simonyan & Zisserman, arXiv 1409.1556), configuration D of Table 1.

    python -m models.vgg16                       # print the network of the paper, row by row
    python -m models.vgg16 --image-size 32 --in-channels 1 --num-classes 10

Parameters: 138,357,544 at 224 px, RGB, 1000 classes (Table 2: 138 million).
"""

from collections import OrderedDict

import torch
from torch import nn

from models.layers import Conv2d, check_input, init_weights

# Table 1, column D: the output channels of the 3x3 convolutions in each block ("conv3-64" and so
# on). Every block ends with a 2x2 max-pool of stride 2.
CONFIG_D = {
    "block1": (64, 64),
    "block2": (128, 128),
    "block3": (256, 256, 256),
    "block4": (512, 512, 512),
    "block5": (512, 512, 512),
}
FC_WIDTH = 4096  # "FC-4096", twice


class VGG16(nn.Module):
    """Thirteen 3x3 convolutions in five blocks, then three fully connected layers.

    Args:
        in_channels: channels of the images: 3 for RGB, 1 for grey.
        num_classes: number of logits.
        image_size: height and width of the images in pixels, a multiple of 32.
        batch_norm: normalise after each convolution, which then needs no bias.
        dropout: probability of dropping a unit after each of the first two fully connected layers.

    Raises:
        ValueError: image_size is not a positive multiple of 32.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        batch_norm: bool = False,
        dropout: float = 0.5,  # Section 3.1
    ) -> None:
        super().__init__()
        if image_size < 32 or image_size % 32:
            raise ValueError(
                f"VGG16 halves its input five times: image_size must be a multiple of 32, "
                f"got {image_size}"
            )
        self.in_channels, self.image_size = in_channels, image_size

        self.block1 = conv_block(1, in_channels, CONFIG_D["block1"], batch_norm)
        self.block2 = conv_block(2, 64, CONFIG_D["block2"], batch_norm)
        self.block3 = conv_block(3, 128, CONFIG_D["block3"], batch_norm)
        self.block4 = conv_block(4, 256, CONFIG_D["block4"], batch_norm)
        self.block5 = conv_block(5, 512, CONFIG_D["block5"], batch_norm)

        # Five max-pools leave a 7x7 map at 224 px, as in the paper. Departure: other sizes are
        # allowed (32 px leaves 1x1), so small images need no upscaling.
        map_size = image_size // 32
        self.classifier = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(512 * map_size * map_size, FC_WIDTH),
                relu1=nn.ReLU(inplace=True),
                dropout1=nn.Dropout(dropout),
                fc2=nn.Linear(FC_WIDTH, FC_WIDTH),
                relu2=nn.ReLU(inplace=True),
                dropout2=nn.Dropout(dropout),
                fc3=nn.Linear(FC_WIDTH, num_classes),  # the softmax is part of the loss
            )
        )
        init_weights(self)  # Departure: the paper starts from a shallower net's trained weights.

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute logits, N x num_classes, from N x in_channels x image_size x image_size.

        Raises:
            ValueError: the images have another shape.
        """
        check_input(x, self.in_channels, self.image_size)
        #                     shapes at 224 px:
        x = self.block1(x)  # N x 64 x 112 x 112
        x = self.block2(x)  # N x 128 x 56 x 56
        x = self.block3(x)  # N x 256 x 28 x 28
        x = self.block4(x)  # N x 512 x 14 x 14
        x = self.block5(x)  # N x 512 x 7 x 7
        x = torch.flatten(x, 1)  # N x 25088
        return self.classifier(x)  # N x num_classes

    def fully_convolutional(self) -> nn.Sequential:
        """The same network for images of image_size or more, square or not (Section 3.2).

        The fully connected layers become convolutions. In one pass, they classify every window of
        image_size x image_size pixels, at a stride of 32 pixels. Around a window they see the
        rest of the image, where a crop would be padded with zeros. The logits are the mean over the
        windows. Both networks share their weights in memory.

        If a side is not a multiple of 32, the max-pools drop the remaining pixels at the right or
        bottom edge.
        """
        first, second, third = (self.classifier.get_submodule(f"fc{n}") for n in (1, 2, 3))
        #                              shapes for 288 x 352 px, trained at 224:
        return nn.Sequential(
            *(self.get_submodule(name) for name in CONFIG_D),  # N x 512 x 9 x 11
            as_convolution(first, self.image_size // 32),  # 7x7 windows: N x 4096 x 3 x 5
            self.classifier.relu1,
            self.classifier.dropout1,
            as_convolution(second, 1),  # N x 4096 x 3 x 5
            self.classifier.relu2,
            self.classifier.dropout2,
            as_convolution(third, 1),  # N x num_classes x 3 x 5, the class score map
            nn.AdaptiveAvgPool2d(1),  # N x num_classes x 1 x 1
            nn.Flatten(),  # N x num_classes
        )


def conv_block(
    number: int, in_channels: int, widths: tuple[int, ...], batch_norm: bool
) -> nn.Sequential:
    """Build one block of Table 1: 3x3 convolutions with a ReLU each, then the max-pool.

    Stride 1 and padding 1 keep the size of the map (Section 2.1); the max-pool halves it. Layers
    are named conv<block>_<layer>, as in the model that the authors published.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, out_channels in enumerate(widths, 1):
        name = f"{number}_{index}"
        layers[f"conv{name}"] = Conv2d(
            in_channels, out_channels, kernel_size=3, padding=1, bias=not batch_norm
        )
        if batch_norm:  # Optional departure: it came later and allows higher learning rates.
            layers[f"bn{name}"] = nn.BatchNorm2d(out_channels)
        layers[f"relu{name}"] = nn.ReLU(inplace=True)
        in_channels = out_channels
    layers[f"pool{number}"] = nn.MaxPool2d(kernel_size=2, stride=2)
    return nn.Sequential(layers)


def as_convolution(layer: nn.Linear, size: int) -> nn.Conv2d:
    """Turn a fully connected layer on a C x size x size map into a size x size convolution.

    Flattening orders a map by channel, row and column. A kernel has the same memory layout, so the
    weights need not be copied.
    """
    out_channels, inputs = layer.weight.shape
    with torch.device("meta"):  # it allocates no weights: those of the layer replace them
        convolution = Conv2d(inputs // size**2, out_channels, size)
    kernels = layer.weight.unflatten(1, (-1, size, size))  # out_channels x C x size x size
    convolution.weight, convolution.bias = nn.Parameter(kernels), layer.bias
    return convolution


def table_rows(model: VGG16) -> list[tuple[str, list[str]]]:
    """The rows of Table 1, column D: (name in the paper, modules that make up the row)."""
    rows = []
    for number, (block, widths) in enumerate(CONFIG_D.items(), 1):
        for index, width in enumerate(widths, 1):
            names = [f"{block}.{kind}{number}_{index}" for kind in ("conv", "bn", "relu")]
            rows.append((f"conv3-{width}", names))
        rows.append(("maxpool", [f"{block}.pool{number}"]))
    for number in (1, 2, 3):
        width = getattr(model.classifier, f"fc{number}").out_features
        rows.append((f"FC-{width}", [f"classifier.fc{number}"]))
    return rows


if __name__ == "__main__":
    from models.summary import main

    main(VGG16, table_rows)
