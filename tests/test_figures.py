"""The figures of docs/: what they compute before they draw."""

import numpy as np
import pytest
import torch
from torch import nn

from docs import figures
from models.googlenet import GoogLeNet
from models.vgg16 import VGG16


@pytest.mark.parametrize(
    ("model_class", "layer", "size"),
    [(VGG16, "block4.pool4", 224), (GoogLeNet, "inception3b.branch_5x5.conv.conv", 192)],
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
    with torch.device("meta"):
        vgg = figures.receptive_field(figures.layers_of(VGG16()))
        googlenet = figures.receptive_field(figures.layers_of(GoogLeNet()))
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


def test_evidence_is_what_the_network_needs(root):
    """Without the quarter of most evidence the class's logit falls further than without the least.

    Over one image of each class, since a single one may have its evidence everywhere.
    """
    trained = figures.Trained(root / "checkpoints" / "fashionmnist_googlenet.pth")
    images = trained.validation_images(None, sample=True)
    falls = {"most": 0.0, "least": 0.0}
    for label in range(10):
        image = images.images[np.flatnonzero(images.labels == label)[0]]
        heat, predicted, _ = figures.evidence(trained, image)
        assert heat.shape == (28, 28) and heat.min() >= 0 and heat.max() <= 1
        corners = [(row, column) for row in (0, 14) for column in (0, 14)]
        corners.sort(key=lambda corner: heat[corner[0] :, corner[1] :][:14, :14].sum())
        for name, (row, column) in (("least", corners[0]), ("most", corners[-1])):
            blanked = image.copy()
            blanked[:, row : row + 14, column : column + 14] = 0
            with torch.inference_mode():
                logits, _ = trained.look(np.stack([image, blanked]), [])
            falls[name] += (logits[0, predicted] - logits[1, predicted]).item()
    assert falls["most"] > falls["least"]
