"""VGG16, from "Very Deep Convolutional Networks for Large-Scale Image Recognition"
(Simonyan & Zisserman, arXiv 1409.1556), configuration D of Table 1.

    python -m models.vgg16                                  # the network of the paper, row by row
    python -m models.vgg16 --image-size 32 --in-channels 1 --num-classes 10

Parameters: 138,357,544 at 224 px, RGB, 1000 classes (Table 2 says 138 million).
"""

from collections import OrderedDict

import torch
from torch import nn

from models.common import Conv2d, check_input, initialise

# Table 1, column D: the output channels of the 3x3 convolutions ("conv3-64" and so on) of each
# block. A 2x2 max-pool with stride 2 ends every block.
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
        in_channels: channels of the images, 1 or 3 (any number works).
        num_classes: number of logits.
        image_size: height and width of the images in pixels, a multiple of 32. The first fully
            connected layer is sized by what five poolings leave: 7x7 at 224 px, 1x1 at 32 px.
        batch_norm: a batch normalisation after each convolution, which then has no bias.
            Departure from the paper, which is older than batch normalisation.
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

        map_size = image_size // 32
        self.classifier = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(512 * map_size * map_size, FC_WIDTH),
                relu1=nn.ReLU(inplace=True),
                dropout1=nn.Dropout(dropout),
                fc2=nn.Linear(FC_WIDTH, FC_WIDTH),
                relu2=nn.ReLU(inplace=True),
                dropout2=nn.Dropout(dropout),
                fc3=nn.Linear(FC_WIDTH, num_classes),
            )
        )
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, N x num_classes, of images N x in_channels x image_size x image_size.

        Raises:
            ValueError: the images have another shape.
        """
        check_input(x, self.in_channels, self.image_size)
        #                        at 224 px:
        x = self.block1(x)  # N x 64 x 112 x 112
        x = self.block2(x)  # N x 128 x 56 x 56
        x = self.block3(x)  # N x 256 x 28 x 28
        x = self.block4(x)  # N x 512 x 14 x 14
        x = self.block5(x)  # N x 512 x 7 x 7
        x = torch.flatten(x, 1)  # N x 25088
        return self.classifier(x)  # N x num_classes


def conv_block(
    number: int, in_channels: int, widths: tuple[int, ...], batch_norm: bool
) -> nn.Sequential:
    """One block of Table 1: 3x3 convolutions with a ReLU each, then the max-pool.

    Stride 1 and padding 1 keep the map's size (Section 2.1); the pool halves it. Layers are named
    conv<block>_<layer>, as in the authors' published model.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, out_channels in enumerate(widths, 1):
        name = f"{number}_{index}"
        layers[f"conv{name}"] = Conv2d(
            in_channels, out_channels, kernel_size=3, padding=1, bias=not batch_norm
        )
        if batch_norm:
            layers[f"bn{name}"] = nn.BatchNorm2d(out_channels)
        layers[f"relu{name}"] = nn.ReLU(inplace=True)
        in_channels = out_channels
    layers[f"pool{number}"] = nn.MaxPool2d(kernel_size=2, stride=2)
    return nn.Sequential(layers)


def table_rows(model: VGG16) -> list[tuple[str, list[str]]]:
    """The rows of Table 1, column D: (name in the paper, modules that make the row)."""
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
