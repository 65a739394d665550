"""A trained VGG16 on larger images than it was trained on."""

import numpy as np
import pytest
import torch
from torch import nn

from data.dataset import ImageDataset
from docs import dense
from engine.errors import UserError
from engine.inference import Classifier, load_classifier

# The logit of class 1 less that of class 0, at each size, of images of the classes 0, 1, 1, 0.
MARGINS = {32: [-3, 3, 3, 1], 64: [-3, 1, -1, -3], 96: [7, -1, 3, -3]}


class Scripted(nn.Module):
    """Answers with the margins for the size of the images."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def fully_convolutional(self) -> nn.Module:
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        margins = torch.tensor(MARGINS[x.shape[2]], dtype=torch.float32)
        return torch.stack([-margins / 2, margins / 2], 1).repeat(len(x) // 4, 1)


def test_three_sizes_and_their_mean(run, trained, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="holds a googlenet, not a vgg16"):
        run(dense, "--checkpoint", trained)
    metadata = load_classifier(trained, "cpu").metadata | {"model": "vgg16"}
    scripted = Classifier(Scripted(), metadata, torch.device("cpu"))
    images = ImageDataset(np.zeros((4, 1, 28, 28), np.uint8), np.array([0, 1, 1, 0]), ["a", "b"])
    monkeypatch.setattr(dense, "load_classifier", lambda *_: scripted)
    monkeypatch.setattr(dense, "open_split", lambda *_: images)
    out = run(dense, "--checkpoint", tmp_path / "vgg16.pth").out
    assert out.splitlines() == [
        "32 px: 75.00%",
        "64 px: 75.00%",
        "96 px: 50.00%",
        "all three: 100.00%",
    ]
    written = (tmp_path / "dense.csv").read_text(encoding="utf-8").splitlines()
    assert written == [
        "shown at,val_accuracy",
        "32 px,0.75",
        "64 px,0.75",
        "96 px,0.5",
        "all three,1",
    ]
