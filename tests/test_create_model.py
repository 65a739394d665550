"""Networks by name."""

import pytest
import torch
from torch import nn

from models import MODELS, create_model


@pytest.mark.parametrize("name", MODELS)
def test_batch_norm_replaces_biases_and_lrn(name):
    with torch.device("meta"):
        model = create_model(name, batch_norm=True)
    kinds = [type(m) for m in model.modules()]
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert kinds.count(nn.BatchNorm2d) == len(convolutions)
    assert all(m.bias is None for m in convolutions)
    assert nn.LocalResponseNorm not in kinds


def test_only_the_files_of_a_network_are_imported(script):
    code = """
import sys
import torch
from models import create_model

def loaded(name):
    with torch.device("meta"):
        create_model(name, batch_norm=True)
    assert "torchvision" not in sys.modules
    return {name.removeprefix("models.") for name in sys.modules if name.startswith("models.")}

assert loaded("googlenet") == {"layers", "googlenet"}
assert loaded("torchvision_googlenet") == {"layers", "googlenet", "pretrained"}
assert loaded("vgg16") == {"layers", "googlenet", "pretrained", "vgg16"}
"""
    script("-c", code)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("resnet", {}, ["resnet", "vgg16, googlenet"]),
        ("vgg16", {"train_size": 64}, ["vgg16 has no argument train_size"]),
    ],
)
def test_wrong_name_or_argument(name, arguments, words):
    with pytest.raises(ValueError) as caught:
        create_model(name, **arguments)
    for word in words:
        assert word in str(caught.value)
