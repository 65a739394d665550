"""VGG16 against its paper; test_pretrained.py has it against torchvision's."""

import pytest
import torch
from torch import nn

from models import vgg16
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


@pytest.fixture
def trained_at_64(monkeypatch):
    """A VGG16 with narrow fully connected layers and logits of about 1, unlike new ones."""
    monkeypatch.setattr(vgg16, "FC_WIDTH", 64)
    torch.manual_seed(0)
    model = VGG16(in_channels=1, num_classes=10, image_size=64)
    for layer in model.classifier:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return model.eval()


@torch.inference_mode()
def test_dense_evaluation_is_the_same_network(trained_at_64):
    dense = trained_at_64.fully_convolutional()
    images = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(dense(images), trained_at_64(images))
    own, shared = ({p.data_ptr() for p in net.parameters()} for net in (dense, trained_at_64))
    assert own == shared  # no second copy of 138 million weights
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        dense(images[:, :, :32])


@torch.inference_mode()
def test_dense_evaluation_of_a_larger_image(trained_at_64):
    """The mean of what the network says of each crop; 128 x 116 pixels have 3 x 2, 32 px apart.

    With 1x1 kernels, since the others see beyond the edges of a crop: the whole image has something
    there.
    """
    for module in trained_at_64.modules():
        if isinstance(module, nn.Conv2d):
            centre = 3 * module.weight[:, :, 1, 1]  # as much variance as nine weights
            module.weight.zero_()[:, :, 1, 1] = centre
    image = torch.randn(1, 1, 128, 116)
    crops = [image[:, :, y : y + 64, x : x + 64] for y in (0, 32, 64) for x in (0, 32)]
    answers = trained_at_64(torch.cat(crops))  # 6 x 10
    assert answers.std(0).min() > 0.01
    dense = trained_at_64.fully_convolutional()
    torch.testing.assert_close(dense(image), answers.mean(0, keepdim=True))
    with pytest.raises(ValueError, match="N x 1 x 64 x 64, got 1 x 1 x 128 x 116"):
        trained_at_64(image)
