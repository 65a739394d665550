"""The pictures of what a trained network sees."""

import numpy as np
import pytest
import torch
from PIL import Image

from data import fashionmnist
from docs import interpret
from engine.inference import Classifier, load_classifier
from models import create_model


@pytest.fixture(autouse=True)
def first_images(monkeypatch):
    """The first validation images of the sample, whatever the dataset."""
    _, images = fashionmnist.load_train_val(fashionmnist.SAMPLE, sample=True)
    monkeypatch.setattr(interpret, "open_split", lambda *_: images.first(50))


def test_pictures_of_googlenet(run, root, tmp_path):
    checkpoint = root / "checkpoints" / "fashionmnist_googlenet.pth"
    out = run(interpret, "--checkpoint", checkpoint, "--output-dir", tmp_path).out
    kinds = {"filters": "PNG", "maps": "PNG", "evidence": "JPEG", "branches": "JPEG"}
    found = {}
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            found[path.stem.removeprefix("fashionmnist_googlenet_")] = picture.format
            assert path.suffix == f".{picture.format.lower().replace('jpeg', 'jpg')}"
        assert str(path) in out
    assert found == kinds


def test_vgg16_has_no_branches(run, root, tmp_path, monkeypatch):
    shipped = load_classifier(root / "checkpoints" / "fashionmnist_googlenet.pth", "cpu")
    network = create_model("vgg16", in_channels=1, num_classes=10, image_size=32)
    metadata = shipped.metadata | {"model": "vgg16", "image_size": 32}
    untrained = Classifier(network, metadata, torch.device("cpu"))
    monkeypatch.setattr(interpret, "load_classifier", lambda *_: untrained)
    drawn = []
    monkeypatch.setattr(interpret, "save_pixels", lambda _figure, path: drawn.append(path.name))
    photo = root / "docs" / "figures" / "catsdogs_predictions.png"
    run(interpret, "--checkpoint", "vgg16.pth", "--photo", photo, "--output-dir", tmp_path)
    assert drawn == ["vgg16_filters.png", "vgg16_maps.png", "vgg16_evidence.jpg"]


def test_choosy_channels_are_of_different_classes():
    labels = torch.tensor([0, 0, 1, 1])
    peak = torch.tensor(  # images x channels: two for class 0, one for class 1, one for both
        [[9.0, 8.0, 1.0, 5.0], [9.0, 8.0, 1.0, 5.0], [1.0, 1.0, 6.0, 5.0], [1.0, 1.0, 6.0, 5.0]]
    )
    shown = torch.zeros(2)
    assert list(interpret.choosy_channels(peak, labels, shown)) == [0, 2]
    assert shown.tolist() == [1, 1]
    assert list(interpret.choosy_channels(peak, labels, torch.tensor([0.0, 1.0]))) == [0, 1]


def test_share_of_the_evidence_on_the_border():
    heat = np.ones((16, 16))
    assert interpret.border_share(heat) == pytest.approx(1 - 0.75**2)
    heat[2:-2, 2:-2] = 0
    assert interpret.border_share(heat) == 1
