"""The networks by name: ``create_model("googlenet", num_classes=10)``.

A network's module is imported only when the network is built: ``predict.py`` loads just the one
that it uses, and ``python -m models.vgg16`` runs its module once, not twice.
"""

from importlib import import_module
from inspect import signature

from torch import nn

MODELS = {  # name -> file, class
    "vgg16": ("models.vgg16", "VGG16"),
    "googlenet": ("models.googlenet", "GoogLeNet"),
    "torchvision_googlenet": ("models.pretrained", "TorchvisionGoogLeNet"),
    "padded_googlenet": ("models.pretrained", "PaddedGoogLeNet"),
}


def create_model(name: str, **model_args: int | float | bool | None) -> nn.Module:
    """Build a network with newly initialised weights.

    Args:
        name: a key of MODELS.
        model_args: the arguments of its class.

    Raises:
        ValueError: no network has that name, or it cannot be built with these arguments.
    """
    if name not in MODELS:
        raise ValueError(f"no model named {name!r}: choose from {', '.join(MODELS)}")
    file, class_name = MODELS[name]
    model_class = getattr(import_module(file), class_name)
    unknown = set(model_args) - set(signature(model_class).parameters)
    if unknown:
        raise ValueError(f"{name} has no argument {min(unknown)}: leave it out")
    return model_class(**model_args)
