"""torchvision's ImageNet weights in these networks, and back.

torchvision's VGG16 is the paper's network. Its GoogLeNet is not (see the points marked
"torchvision:" in googlenet.py): it is ``GoogLeNet(batch_norm=True, torchvision_compatible=True)``.
"""

import re

import torch
from torch import nn

from models.common import transfer
from models.vgg16 import VGG16

# What images are normalised with for these weights: mean, std of pixels between 0 and 1.
# torchvision's GoogLeNet turns ImageNet's values, which its users give, into the 0.5 that it was
# trained with ("transform_input"); here the model is given those at once.
NORMALISATION = {
    "vgg16": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "googlenet": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}

# Our names -> torchvision's, as regular expressions, applied one after the other.
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
    """Our name -> torchvision's, for each tensor of the model's state dict."""
    if isinstance(model, VGG16):
        # torchvision numbers the layers of all five blocks in one sequence, "features".
        blocks = [f"block{number}" for number in range(1, 6)]
        layers = [f"{b}.{name}" for b in blocks for name, _ in getattr(model, b).named_children()]
        new = {layer: f"features.{index}" for index, layer in enumerate(layers)}
        layers = [f"classifier.{name}" for name, _ in model.classifier.named_children()]
        new |= {layer: f"classifier.{index}" for index, layer in enumerate(layers)}
        split = {name: name.rpartition(".") for name in model.state_dict()}
        return {name: f"{new[layer]}.{kind}" for name, (layer, _, kind) in split.items()}
    names = {}
    for name in model.state_dict():
        theirs = name
        for pattern, replacement in GOOGLENET_NAMES:
            theirs = re.sub(pattern, replacement, theirs)
        names[name] = theirs
    return names


def from_torchvision(
    state_dict: dict[str, torch.Tensor], model: nn.Module
) -> dict[str, torch.Tensor]:
    """torchvision's state dict under our names, whatever the shapes; what we lack is left out.

    torchvision keeps a convolution's bias before a batch normalisation, which takes the mean, and
    the bias with it, away again: here the bias goes into that mean.
    """
    names = torchvision_names(model)
    converted = {our: state_dict[their] for our, their in names.items() if their in state_dict}
    for our in names:
        if our.endswith("running_mean"):
            convolution = names[our.replace("bn", "conv").replace("running_mean", "weight")]
            bias = state_dict.get(convolution.replace("weight", "bias"))
            if bias is not None:
                converted[our] = converted[our] - bias
    return converted


def to_torchvision(model: nn.Module) -> dict[str, torch.Tensor]:
    """The model's state dict under torchvision's names, with the zero biases that it wants."""
    state_dict = model.state_dict()
    converted = {}
    for our, their in torchvision_names(model).items():
        converted[their] = state_dict[our]
        bias = our.replace("weight", "bias")
        if isinstance(model, VGG16) and bias not in state_dict:
            zeros = torch.zeros(len(state_dict[our]))
            converted[their.replace("weight", "bias")] = zeros.to(state_dict[our])
    return converted


def load_imagenet(name: str, model: nn.Module) -> list[str]:
    """Download torchvision's ImageNet weights and put them into the model.

    Args:
        name: "vgg16" or "googlenet".
        model: for "googlenet", one with batch_norm and torchvision_compatible. Its classifier
            keeps its initial weights where the number of classes is another, as does VGG16's first
            fully connected layer at another size; a first convolution of one channel gets the sum
            of the three.

    Returns:
        The names of the tensors that were not taken.
    """
    from torchvision import models

    batch_norm = any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    weights = {
        ("vgg16", False): models.VGG16_Weights,
        ("vgg16", True): models.VGG16_BN_Weights,
        ("googlenet", True): models.GoogLeNet_Weights,
    }[name, batch_norm].IMAGENET1K_V1
    state_dict = weights.get_state_dict(progress=True, check_hash=True)
    return transfer(from_torchvision(state_dict, model), model)
