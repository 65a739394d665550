"""Where a network looks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from data import fashionmnist
from engine.explain import STAGES, activations, cell_centres, evidence, strongest
from engine.inference import load_classifier
from models import create_model


@pytest.fixture(scope="module")
def shipped():
    path = fashionmnist.DATA.parent / "checkpoints" / "fashionmnist_googlenet.pth"
    return load_classifier(path, "cpu")


@pytest.mark.parametrize("name", STAGES)
def test_stages_are_parts_of_the_network_in_order(name):
    with torch.device("meta"):
        parts = [part for part, _ in create_model(name).named_children()]
    assert [part for part in parts if part in STAGES[name]] == list(STAGES[name])


def test_strongest_maps_leave_near_copies_to_the_end():
    rise, fall = torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.tensor([[3.0, 2.0], [1.0, 0.0]])
    maps = torch.stack([rise, fall, 2 * rise + 1, 3 * rise, torch.zeros(2, 2)])
    assert strongest(maps, 3) == [3, 1, 4]
    assert strongest(maps, 5) == [3, 1, 4, 2, 0]


def test_activations_are_those_of_the_forward_pass(shipped):
    images = fashionmnist.load_test(fashionmnist.SAMPLE, sample=True).images[:2]
    logits, outputs = activations(shipped, images, STAGES["googlenet"])
    assert list(outputs) == list(STAGES["googlenet"])
    with torch.inference_mode():
        x = shipped.transform(torch.tensor(images))
        assert torch.equal(shipped.model(x) / shipped.temperature, logits)
        assert torch.equal(shipped.model.conv1(x), outputs["conv1"])
    assert not shipped.model.conv1._forward_hooks  # none is left behind


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vgg16", 128),
        ("googlenet", 352),
        ("googlenet", 353),
        ("padded_googlenet", 353),
        ("torchvision_googlenet", 352),  # of odd maps its poolings leave out a row and a column
    ],
)
def test_a_cell_looks_at_the_window_around_its_centre(name, size, monkeypatch):
    """The pixels with a gradient are the receptive field, in a network of averages."""

    def average(x, window, stride, padding=0, dilation=1, ceil_mode=False, **_kwargs):
        return F.avg_pool2d(x, window, stride, padding, ceil_mode)

    monkeypatch.setattr(F, "max_pool2d", average)
    with torch.device("meta"):
        model = create_model(name, image_size=size).eval()
    classifier = SimpleNamespace(model=model, transform=SimpleNamespace(image_size=size))
    image = x = torch.ones(1, 3, size, size, requires_grad=True)
    for part, module in model.named_children():
        module.to_empty(device="cpu")
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
                layer.reset_parameters()
                nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
        x = module(x)
        if part in STAGES[name]:
            cell = x.shape[-1] // 2
            (gradient,) = torch.autograd.grad(x[0, :, cell, cell].sum(), image, retain_graph=True)
            seen = gradient[0].abs().sum((0, 1)).nonzero().flatten()
            if seen.min() == 0 or seen.max() == size - 1:  # the window is larger than the image
                break
            first, step = cell_centres(classifier, part, size)
            assert first + cell * step == (seen.min() + seen.max()) / 2
        if part == STAGES[name][-1]:
            break
    assert part in STAGES[name][3:]


def test_evidence_is_where_hiding_hurts(shipped):
    """Blanking the quarter of the maps with most evidence costs the class more than the least.

    (Not so a quarter of the image: there black is the background, and one cell sees it all.)
    """
    images = fashionmnist.load_test(fashionmnist.SAMPLE, sample=True)
    quarters = [(row, column) for row in (0, 1) for column in (0, 1)]
    hidden = []  # the quarter that is blanked

    def blank(_module: object, _inputs: object, maps: torch.Tensor) -> torch.Tensor:
        for row, column in hidden:
            maps = maps.clone()
            maps[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 0
        return maps

    hook = shipped.model.inception4e.register_forward_hook(blank)  # 4 x 4 at 64 px
    falls = {"most": 0.0, "least": 0.0}
    for label in range(10):
        image = images.images[np.flatnonzero(images.labels == label)[0]]
        heat, predicted, probability = evidence(shipped, image)
        assert heat.shape == (28, 28) and heat.min() >= 0 and heat.max() <= 1
        quarters.sort(key=lambda q: heat[14 * q[0] :, 14 * q[1] :][:14, :14].sum())
        for name, quarter in (("least", quarters[0]), ("most", quarters[-1])):
            hidden[:] = [quarter]
            with torch.inference_mode():
                (logits,), _ = activations(shipped, image[None])
            hidden.clear()
            rest = torch.cat([logits[:predicted], logits[predicted + 1 :]]).logsumexp(0)
            falls[name] += (
                np.log(probability / (1 - probability)) - (logits[predicted] - rest).item()
            )
    hook.remove()
    assert falls["most"] > falls["least"]
