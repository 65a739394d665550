"""Where a network looks."""

import numpy as np
import pytest
import torch

from data import fashionmnist
from engine.explain import STAGES, activations, evidence
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


def test_activations_are_those_of_the_forward_pass(shipped):
    images = fashionmnist.load_test(fashionmnist.SAMPLE, sample=True).images[:2]
    logits, outputs = activations(shipped, images, STAGES["googlenet"])
    assert list(outputs) == list(STAGES["googlenet"])
    with torch.inference_mode():
        x = shipped.transform(torch.tensor(images))
        assert torch.equal(shipped.model(x), logits)
        assert torch.equal(shipped.model.conv1(x), outputs["conv1"])
    assert not shipped.model.conv1._forward_hooks  # none is left behind


def test_evidence_is_where_hiding_hurts(shipped):
    """Blanking the quarter with most evidence costs the class more than the one with least."""
    images = fashionmnist.load_test(fashionmnist.SAMPLE, sample=True)
    falls = {"most": 0.0, "least": 0.0}
    for label in range(10):
        image = images.images[np.flatnonzero(images.labels == label)[0]]
        heat, predicted, probability = evidence(shipped, image)
        assert heat.shape == (28, 28) and heat.min() >= 0 and heat.max() <= 1
        corners = [(row, column) for row in (0, 14) for column in (0, 14)]
        corners.sort(key=lambda corner: heat[corner[0] :, corner[1] :][:14, :14].sum())
        for name, (row, column) in (("least", corners[0]), ("most", corners[-1])):
            blanked = image.copy()
            blanked[:, row : row + 14, column : column + 14] = 0
            with torch.inference_mode():
                logits, _ = activations(shipped, np.stack([image, blanked]))
            assert logits[0].softmax(0)[predicted].item() == pytest.approx(probability, rel=1e-3)
            falls[name] += (logits[0, predicted] - logits[1, predicted]).item()
    assert falls["most"] > falls["least"]
