"""The two networks by name: ``create_model("googlenet", num_classes=10)``.

A network's file is imported when it is asked for, so that ``predict.py`` loads only the one it
uses and ``python -m models.vgg16`` runs that file once.
"""

from importlib import import_module
from inspect import signature

from torch import nn

MODELS = {"vgg16": "VGG16", "googlenet": "GoogLeNet"}  # file in this folder -> its class


def create_model(name: str, **model_args) -> nn.Module:
    """The network of that name, newly initialised; ``model_args`` as its class takes them.

    Raises:
        ValueError: there is no network of that name, or it cannot be built with these arguments.
    """
    if name not in MODELS:
        raise ValueError(f"no model named {name!r}: choose from {', '.join(MODELS)}")
    model_class = getattr(import_module(f"models.{name}"), MODELS[name])
    unknown = set(model_args) - set(signature(model_class).parameters)
    if unknown:
        raise ValueError(f"{name} takes no {min(unknown)}: leave it out")
    return model_class(**model_args)
