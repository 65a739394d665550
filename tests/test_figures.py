"""The pictures of networks and measurements: what they compute before they draw."""

import pytest
import torch
from torch import nn

from docs import figures
from docs.networks import on_meta
from models.googlenet import GoogLeNet
from models.vgg16 import VGG16


@pytest.mark.parametrize(
    ("model_class", "layer", "size"),
    [(VGG16, "block4.pool4", 128), (GoogLeNet, "inception3b.branch_5x5.conv.conv", 192)],
)
def test_receptive_fields_equal_the_reach_of_the_gradient(model_class, layer, size):
    model = model_class(in_channels=1, num_classes=2, image_size=size).eval()
    fields = dict(figures.receptive_field(figures.layers_of(model)))
    for parameter in model.parameters():
        parameter.data.fill_(1e-2)  # nothing cancels, and every ReLU lets through
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):  # a mean passes the gradient to its whole window
                mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
                setattr(module, name, mean)
    outputs = {}
    model.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: outputs.update(map=output)
    )
    image = torch.rand(1, 1, size, size, requires_grad=True)
    model(image)
    middle = outputs["map"].shape[2] // 2
    outputs["map"][0, 0, middle, middle].backward()
    rows = image.grad[0, 0].abs().sum(1).nonzero()
    assert rows.max() - rows.min() + 1 == fields[layer]


def test_known_receptive_fields():
    vgg = figures.receptive_field(figures.layers_of(on_meta(VGG16)))
    googlenet = figures.receptive_field(figures.layers_of(on_meta(GoogLeNet)))
    assert [field for name, field in vgg if "pool" in name] == [6, 16, 44, 100, 212]
    assert dict(vgg)["block1.conv1_2"] == 5  # two 3x3 see what a 5x5 does (VGG, Section 2.3)
    assert dict(googlenet)["conv1.conv"] == 7


def test_figures_of_the_networks(run, tmp_path):
    out = run(figures, "--output-dir", tmp_path).out
    assert {path.name for path in tmp_path.iterdir()} == {
        "networks.png",
        "costs.png",
        "receptive_fields.png",
        "runs.png",
        "levers.png",
        "ablations.png",
    }
    assert out.count(".png") == 6
