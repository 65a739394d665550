"""Networks that differ from those of models/ in one choice of their papers, for ablations.py.

Each function takes what ``models.create_model`` takes, behind an argument or two of its own.
"""

from torch import nn

from models import create_model
from models.googlenet import ConvReLU, GoogLeNet, Inception
from models.layers import init_weights
from models.vgg16 import VGG16

# VGG, Table 1, column B: the channels of the blocks, which have two convolutions each.
WIDTHS_B = (64, 128, 256, 512, 512)
Arguments = int | float | bool | None


def configuration_b(kernels: tuple[int, ...], _name: str, **model_args: Arguments) -> VGG16:
    """VGG's configuration B with convolutions of these sizes in each block: (3, 3) in the paper.

    With (5,) it is the shallow net of Section 4.1: one 5x5 convolution replaces each pair of 3x3.
    """
    model = VGG16(**model_args)
    channels = model_args["in_channels"]
    for number, width in enumerate(WIDTHS_B, 1):
        layers = []
        for kernel in kernels:
            layers.append(ConvReLU(channels, width, kernel, model_args["batch_norm"]))
            channels = width
        setattr(model, f"block{number}", nn.Sequential(*layers, nn.MaxPool2d(2, 2)))
    init_weights(model)
    return model


def normal_weights(std: float, name: str, **model_args: Arguments) -> nn.Module:
    """A network with all kernels and matrices initialised from N(0, std), and biases with 0."""
    model = create_model(name, **model_args)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=std)
    return model


def without_reductions(_name: str, **model_args: Arguments) -> GoogLeNet:
    """GoogLeNet whose 3x3 and 5x5 convolutions see all channels, as in its Figure 2(a).

    Unlike the figure, the pooling keeps its 1x1 projection, so that the widths stay Table 1's.
    """
    model = GoogLeNet(**model_args)
    for module in model.modules():
        if isinstance(module, Inception):
            channels = module.branch_1x1.conv.in_channels
            for name, kernel in (("branch_3x3", 3), ("branch_5x5", 5)):
                width = getattr(module, name).conv.conv.out_channels
                conv = ConvReLU(channels, width, kernel, model_args["batch_norm"])
                setattr(module, name, conv)
    init_weights(model)
    return model
