"""Logits of a dataset: batch-norm fused into convolutions, images judged from both sides."""

import copy

import pytest
import torch
from torch import nn

from data import fashionmnist
from data.loaders import eval_loader
from data.transforms import Augmentation, BatchTransform
from engine.evaluate import fuse_conv_bn, predict_logits
from models import create_model
from tests.conftest import same


@pytest.mark.parametrize("name", ["vgg16", "googlenet"])
def test_fused_batch_norm_is_the_same_function(name):
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, image_size=32, batch_norm=True).double()
    for norm in [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]:
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            tensor.uniform_(0.5, 1.5)
    before = copy.deepcopy(model.eval()).state_dict()
    fused = fuse_conv_bn(model)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(fused(x), model(x), rtol=1e-9, atol=1e-9)
    assert same(model.state_dict(), before)
    plain = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    assert fuse_conv_bn(plain) is plain and not plain.training


def test_an_image_is_judged_from_both_sides():
    """VGG, Section 3.2: the average of the probabilities of the image and its mirror image."""
    torch.manual_seed(0)
    model = create_model("googlenet", in_channels=1, num_classes=10, image_size=32, batch_norm=True)
    model.eval()
    images = fashionmnist.load_test(fashionmnist.SAMPLE, sample=True).first(4)
    transform = BatchTransform((0.3,), (0.3,), 32, Augmentation(flip=True)).eval()
    logits, _ = predict_logits(model, eval_loader(images, 4), transform)
    with torch.no_grad():
        x = transform(torch.from_numpy(images.images[:]))
        expected = (model(x).softmax(1) + model(x.flip(3)).softmax(1)) / 2
        assert not torch.allclose(model(x).softmax(1), expected, atol=1e-4)
    assert torch.allclose(logits.softmax(1), expected, atol=1e-6)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_network_in_training_mode_is_judged_in_evaluation_mode(batch_norm):
    """So an answer depends on its image alone, and judging leaves the network as it was."""
    torch.manual_seed(0)
    network = {"in_channels": 1, "num_classes": 10, "image_size": 32, "batch_norm": batch_norm}
    model = create_model("googlenet", **network).train()
    before = copy.deepcopy(model.state_dict())
    images = fashionmnist.load_test(fashionmnist.SAMPLE, sample=True).first(8)
    transform = BatchTransform((0.3,), (0.3,), 32)
    one, two = (predict_logits(model, eval_loader(images, n), transform)[0] for n in (8, 3))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    assert same(model.state_dict(), before)
