"""Convert weights to and from torchvision's names, and transfer them between networks.

torchvision's VGG16 is the network of the paper. Its GoogLeNet is not: ``TorchvisionGoogLeNet``.
Everything here works on state dicts: nothing downloads or reads files.
"""

import re
from functools import wraps

import torch
from torch import nn

from models.googlenet import INCEPTION, ConvReLU, GoogLeNet
from models.layers import init_weights

# These weights expect images normalised with this mean and std, for pixels between 0 and 1.
# torchvision's GoogLeNet was trained with 0.5; it takes images normalised by ImageNet's values and
# converts them ("transform_input"). Here the images are normalised by 0.5 directly.
NORMALISATION = {
    "vgg16": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "googlenet": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


class TorchvisionGoogLeNet(GoogLeNet):
    """The GoogLeNet of torchvision's ImageNet weights: GoogLeNet with four more departures.

    Arguments and errors are those of GoogLeNet, except for batch_norm.

    Args:
        batch_norm: must be True.

    Raises:
        ValueError: batch_norm is False, or GoogLeNet raises it.
    """

    def __init__(  # noqa: PLR0913 (those of GoogLeNet)
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: int = 224,
        batch_norm: bool = True,
        dropout: float = 0.4,
        aux_heads: bool | None = None,
        train_size: int | None = None,
    ) -> None:
        if not batch_norm:
            raise ValueError("torchvision's GoogLeNet is batch-normalised: use batch_norm=True")
        super().__init__(
            in_channels, num_classes, image_size, batch_norm, dropout, aux_heads, train_size
        )
        # 1. A 2x2 window in the fourth max-pool. (On odd maps, none of the four pads the top and
        # left as SameMaxPool does; at 224 px all maps are even.)
        self.pool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.pool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.pool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.pool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        # 2. 3x3 instead of 5x5: a bug that torchvision keeps for its weights (pytorch/vision#906).
        for name, widths in INCEPTION.items():
            branch = self.get_submodule(f"inception{name}.branch_5x5")
            branch.conv = ConvReLU(widths.n5x5_reduce, widths.n5x5, 3, batch_norm)
        # 3. Heads that pool to 4x4 at any image size; at 224 px their windows are 4x4, not 5x5.
        for head in filter(None, (self.aux4a, self.aux4d)):
            head.pool = HeadPool(4)
            head.fc = nn.Linear(128 * 4 * 4, 1024)
        # 4. An epsilon of 1e-3 in batch normalisation.
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-3
        init_weights(self)


class HeadPool(nn.AdaptiveAvgPool2d):
    """Adaptive average pooling that also works on Apple GPUs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map N x C x H x W to N x C x output_size x output_size."""
        if x.device.type == "mps":  # refuses some sizes, such as 6 to 4 (pytorch/pytorch#96056)
            return super().forward(x.cpu()).to(x.device)
        return super().forward(x)


class PaddedGoogLeNet(GoogLeNet):
    """The GoogLeNet of older checkpoints: its max-pools pad every side by one pixel.

    The weights were trained with this padding. Arguments and errors are those of GoogLeNet.
    """

    @wraps(GoogLeNet.__init__)
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        for name in ("pool1", "pool2", "pool3", "pool4"):
            setattr(self, name, nn.MaxPool2d(3, stride=2, padding=1))


# Our names -> torchvision's: regular expressions, applied in this order.
GOOGLENET_NAMES = (
    (r"^conv2\.conv\.", "conv3."),
    (r"^conv2\.reduce\.", "conv2."),
    (r"\.branch_1x1\.", ".branch1."),
    (r"\.branch_3x3\.reduce\.", ".branch2.0."),
    (r"\.branch_3x3\.conv\.", ".branch2.1."),
    (r"\.branch_5x5\.reduce\.", ".branch3.0."),
    (r"\.branch_5x5\.conv\.", ".branch3.1."),
    (r"\.branch_pool\.proj\.", ".branch4.1."),
    (r"^linear\.", "fc."),
    (r"^aux4a\.", "aux1."),
    (r"^aux4d\.", "aux2."),
    (r"^(aux.)\.fc\.", r"\1.fc1."),
    (r"^(aux.)\.linear\.", r"\1.fc2."),
)


def torchvision_names(model: nn.Module) -> dict[str, str]:
    """Map each name in the model's state dict, VGG16's or GoogLeNet's, to torchvision's."""
    return googlenet_names(model) if isinstance(model, GoogLeNet) else vgg16_names(model)


def googlenet_names(model: nn.Module) -> dict[str, str]:
    names = {}
    for ours in model.state_dict():
        theirs = ours
        for pattern, replacement in GOOGLENET_NAMES:
            theirs = re.sub(pattern, replacement, theirs)
        names[ours] = theirs
    return names


def vgg16_names(model: nn.Module) -> dict[str, str]:
    # torchvision numbers the layers of all five blocks in one sequence, "features".
    blocks = [f"block{number}" for number in range(1, 6)]
    layers = [f"{b}.{name}" for b in blocks for name, _ in getattr(model, b).named_children()]
    numbered = {layer: f"features.{index}" for index, layer in enumerate(layers)}
    layers = [f"classifier.{name}" for name, _ in model.classifier.named_children()]
    numbered |= {layer: f"classifier.{index}" for index, layer in enumerate(layers)}
    split = {name: name.rpartition(".") for name in model.state_dict()}
    return {name: f"{numbered[layer]}.{tensor}" for name, (layer, _, tensor) in split.items()}


def from_torchvision(
    state_dict: dict[str, torch.Tensor], model: nn.Module
) -> dict[str, torch.Tensor]:
    """Convert torchvision's state dict to the model's names. Shapes are not checked.

    Tensors that the state dict lacks are left out. torchvision's batch-normalised VGG16 has biases
    in its convolutions. They only shift the mean, so they are subtracted from the running mean.
    """
    names = torchvision_names(model)
    converted = {ours: state_dict[theirs] for ours, theirs in names.items() if theirs in state_dict}
    for ours in names:
        if ours.endswith("running_mean") and ours in converted:
            convolution = names[ours.replace("bn", "conv").replace("running_mean", "weight")]
            bias = state_dict.get(convolution.replace("weight", "bias"))
            if bias is not None:
                converted[ours] = converted[ours] - bias
    return converted


def to_torchvision(model: nn.Module) -> dict[str, torch.Tensor]:
    """Convert the model's state dict to torchvision's names.

    For a batch-normalised VGG16, add the convolution biases that torchvision expects, all zero.
    """
    state_dict = model.state_dict()
    converted = {}
    for ours, theirs in torchvision_names(model).items():
        converted[theirs] = state_dict[ours]
        bias = ours.replace("weight", "bias")
        if not isinstance(model, GoogLeNet) and bias not in state_dict:
            zeros = torch.zeros(len(state_dict[ours]))
            converted[theirs.replace("weight", "bias")] = zeros.to(state_dict[ours])
    return converted


def transfer(state_dict: dict[str, torch.Tensor], model: nn.Module) -> list[str]:
    """Copy the tensors that fit into the model, in place; return the names of all others.

    A tensor fits if its shape is the same. The first convolution also fits if one of the two has a
    single input channel: its weights are divided among several channels, or summed into one. A
    grey image then gives the same activations, stored in one channel or in several equal ones.
    """
    left = []
    for name, target in model.state_dict().items():
        source = state_dict.get(name)
        if source is not None and source.dim() == target.dim() == 4:
            if source.shape[1] == 1 < target.shape[1]:
                source = source.expand(-1, target.shape[1], -1, -1) / target.shape[1]
            elif target.shape[1] == 1 < source.shape[1]:
                source = source.sum(1, keepdim=True)
        if source is None or source.shape != target.shape:
            left.append(name)
        else:
            target.copy_(source)
    return left


def without_classifier(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leave out the last layer of VGG16, GoogLeNet and its heads: it is for other classes."""
    last = ("fc3.weight", "fc3.bias", "linear.weight", "linear.bias")
    return {name: tensor for name, tensor in state_dict.items() if not name.endswith(last)}


def freeze_features(model: nn.Module) -> None:
    """Freeze all parameters except the fully connected layers at the end, in place."""
    for name, child in model.named_children():
        child.requires_grad_(name in ("classifier", "linear"))  # VGG16's, GoogLeNet's
