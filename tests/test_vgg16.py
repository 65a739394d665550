"""VGG16 against its paper; test_pretrained.py has it against torchvision's."""

import pytest
import torch
from torch import nn

from models.summary import summarise
from models.vgg16 import VGG16, conv_block, table_rows


@pytest.mark.parametrize(
    ("arguments", "total"),
    [
        ({}, 138_357_544),
        ({"in_channels": 1, "num_classes": 10}, 134_300_362),
        ({"num_classes": 2}, 134_268_738),
        ({"in_channels": 1, "num_classes": 10, "image_size": 32}, 33_637_066),
    ],
)
def test_parameter_totals(arguments, total):
    with torch.device("meta"):
        model = VGG16(**arguments)
    assert sum(p.numel() for p in model.parameters()) == total


def test_configuration_d():
    with torch.device("meta"):
        model = VGG16()
    table = summarise(model, table_rows(model))
    widths = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    sizes = [224] * 2 + [112] * 2 + [56] * 3 + [28] * 3 + [14] * 3
    convolutions = [row for row in table if row.name.startswith("conv3")]
    assert [row.name for row in convolutions] == [f"conv3-{width}" for width in widths]
    assert [row.shape for row in convolutions] == list(zip(widths, sizes, sizes, strict=True))
    assert [row.shape[1] for row in table if row.name == "maxpool"] == [112, 56, 28, 14, 7]
    assert [row.name for row in table[-3:]] == ["FC-4096", "FC-4096", "FC-1000"]
    assert sum(row.macs for row in table) == 15_470_264_320


@pytest.mark.parametrize(("layers", "field"), [(1, 3), (2, 5), (3, 7)])
def test_receptive_field_of_stacked_3x3(layers, field):
    """Section 2.3: two 3x3 layers see 5x5, three see 7x7; here, the pixels that get a gradient."""
    block = conv_block(1, 1, (4,) * layers, batch_norm=False)[:-1]  # without the pool
    for parameter in block.parameters():
        nn.init.ones_(parameter)
    image = torch.ones(1, 1, 15, 15, requires_grad=True)
    block(image)[0, 0, 7, 7].backward()
    rows, columns = image.grad[0, 0].nonzero(as_tuple=True)
    assert rows.max() - rows.min() + 1 == field
    assert columns.max() - columns.min() + 1 == field


@pytest.mark.parametrize("size", [0, 100])
def test_image_size_must_be_a_multiple_of_32(size):
    with pytest.raises(ValueError, match=rf"multiple of 32, got {size}$"):
        VGG16(image_size=size)


def test_other_input_is_refused():
    with torch.device("meta"):
        model, images = VGG16(image_size=32), torch.empty(2, 1, 32, 32)
    with pytest.raises(ValueError, match="N x 3 x 32 x 32, got 2 x 1 x 32 x 32"):
        model(images)
