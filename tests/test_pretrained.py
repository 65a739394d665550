"""Networks and weights against torchvision's; weights carried from one network to another."""

from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import nn

from models import create_model
from models.googlenet import GoogLeNet
from models.pretrained import (
    NORMALISATION,
    HeadPool,
    TorchvisionGoogLeNet,
    freeze_features,
    from_torchvision,
    to_torchvision,
    transfer,
    without_classifier,
)
from models.vgg16 import VGG16

# ---------------------------------------------------------------- torchvision


def randomise_batch_norm(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, std=0.1)
    return model


@pytest.mark.parametrize("batch_norm", [False, True])
def test_vgg16_equals_torchvision(batch_norm):
    """Same logits and gradients in float64; with batch-norm, in evaluation mode, same logits."""
    torch.manual_seed(0)
    build = torchvision.models.vgg16_bn if batch_norm else torchvision.models.vgg16
    theirs = randomise_batch_norm(build(num_classes=7)).double().eval()
    for module in theirs.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.bias)  # torchvision's zeros would hide a lost bias
    ours = VGG16(num_classes=7, batch_norm=batch_norm).double().eval()
    ours.load_state_dict(from_torchvision(theirs.state_dict(), ours))
    images = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    our_logits, their_logits = ours(images), theirs(images)
    torch.testing.assert_close(our_logits, their_logits, rtol=1e-10, atol=1e-10)

    if batch_norm:
        again = build(num_classes=7).double().eval()
        again.load_state_dict(to_torchvision(ours))
        torch.testing.assert_close(again(images), their_logits, rtol=1e-10, atol=1e-10)
        return
    our_logits.sum().backward()
    their_logits.sum().backward()
    pairs = list(zip(ours.parameters(), theirs.parameters(), strict=True))
    assert len(pairs) == 32
    for our, their in pairs:  # by their largest difference: assert_close takes 8 seconds
        assert (our.grad - their.grad).abs().max() < 1e-10 * their.grad.abs().max()
    for name, tensor in to_torchvision(ours).items():
        assert torch.equal(tensor, theirs.state_dict()[name])


def test_googlenet_equals_torchvision():
    """Same logits in evaluation mode, same logits and auxiliary logits in training."""
    torch.manual_seed(0)
    theirs = torchvision.models.googlenet(num_classes=7, init_weights=False, transform_input=False)
    theirs = randomise_batch_norm(theirs).double()
    ours = TorchvisionGoogLeNet(num_classes=7).double()
    ours.load_state_dict(from_torchvision(theirs.state_dict(), ours))
    for model in (ours, theirs):
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # else training outputs are random
    images = torch.randn(2, 3, 224, 224, dtype=torch.float64)
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), rtol=1e-10, atol=1e-10)
    heads = []  # torchvision 0.20 returns them under each other's names
    for head in (theirs.aux1, theirs.aux2):
        head.register_forward_hook(lambda _head, _inputs, logits: heads.append(logits))
    our, their = ours.train()(images), theirs.train()(images)
    torch.testing.assert_close(our.logits, their.logits, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(our.aux4a, heads[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(our.aux4d, heads[1], rtol=1e-10, atol=1e-10)
    again = torchvision.models.googlenet(
        num_classes=7, init_weights=False, transform_input=False
    ).double()
    again.load_state_dict(to_torchvision(ours))
    torch.testing.assert_close(again.eval()(images), ours.eval()(images), rtol=1e-10, atol=1e-10)


def test_heads_pool_on_the_cpu_if_the_maps_are_on_an_apple_gpu(monkeypatch):
    maps, moved = torch.randn(2, 3, 6, 7), []
    monkeypatch.setattr(torch.Tensor, "to", lambda pooled, device: moved.append(device) or pooled)
    on_gpu = SimpleNamespace(device=torch.device("mps"), cpu=lambda: maps)
    assert torch.equal(HeadPool(4)(on_gpu), nn.AdaptiveAvgPool2d(4)(maps))
    assert moved == [on_gpu.device]


@pytest.mark.parametrize(("aux_heads", "total"), [(True, 13_004_888), (False, 6_624_904)])
def test_torchvision_googlenet_has_torchvisions_total(aux_heads, total):
    with torch.device("meta"):
        model = TorchvisionGoogLeNet(aux_heads=aux_heads)
    assert sum(p.numel() for p in model.parameters()) == total


def test_torchvision_googlenet_needs_batch_norm():
    with pytest.raises(ValueError, match="batch_norm=True"):
        TorchvisionGoogLeNet(batch_norm=False)


def test_imagenet_weights_fit_another_task():
    """A grey ten-class network takes all but the classifiers, which are of 1000 classes."""
    torch.manual_seed(0)
    theirs = torchvision.models.googlenet(num_classes=1000, init_weights=False)
    ours = TorchvisionGoogLeNet(in_channels=1, num_classes=10, image_size=96)
    assert transfer(from_torchvision(theirs.state_dict(), ours), ours) == [
        f"{part}linear.{kind}" for part in ("", "aux4a.", "aux4d.") for kind in ("weight", "bias")
    ]
    torch.testing.assert_close(
        ours.conv1.conv.weight, theirs.conv1.conv.weight.sum(1, keepdim=True)
    )
    assert torch.equal(ours.inception5b.branch_1x1.bn.weight, theirs.inception5b.branch1.bn.weight)


# ---------------------------------------------------------------- from one network to another


def test_transfer_to_another_task():
    """From RGB to grey and back: all but the classifier is taken, and a grey image gives the same
    activations as one of three equal channels."""
    torch.manual_seed(0)
    source = GoogLeNet(num_classes=20, image_size=64, batch_norm=True)
    target = GoogLeNet(in_channels=1, num_classes=10, image_size=64, batch_norm=True)
    assert transfer(source.state_dict(), target) == ["linear.weight", "linear.bias"]
    grey = torch.randn(2, 1, 64, 64)
    features = [
        m.eval().conv1(x) for m, x in ((source, grey.expand(-1, 3, -1, -1)), (target, grey))
    ]
    torch.testing.assert_close(*features, rtol=1e-4, atol=1e-4)

    back = GoogLeNet(num_classes=10, image_size=64, batch_norm=True)
    assert transfer(target.state_dict(), back) == []
    features = [m.eval().conv1(x) for m, x in ((back, grey.expand(-1, 3, -1, -1)), (target, grey))]
    torch.testing.assert_close(*features, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "layers"),
    [("vgg16", {"classifier.fc3"}), ("googlenet", {"linear", "aux4a.linear", "aux4d.linear"})],
)
def test_without_classifier_drops_the_last_layers_alone(name, layers):
    with torch.device("meta"):
        weights = create_model(name, image_size=96).state_dict()
    dropped = weights.keys() - without_classifier(weights).keys()
    assert dropped == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


@pytest.mark.parametrize(("name", "head"), [("vgg16", "classifier"), ("googlenet", "linear")])
def test_freeze_features_leaves_the_classifier(name, head):
    with torch.device("meta"):
        model = create_model(name, image_size=96)
    freeze_features(model)
    for parameter_name, parameter in model.named_parameters():
        assert parameter.requires_grad == parameter_name.startswith(f"{head}.")


def test_normalisation_is_torchvisions():
    shown = torchvision.models.VGG16_Weights.IMAGENET1K_V1.transforms()
    assert NORMALISATION["vgg16"] == (tuple(shown.mean), tuple(shown.std))
    # GoogLeNet's takes the same images, and normalises them once more.
    googlenet = torchvision.models.GoogLeNet(
        aux_logits=False, transform_input=True, init_weights=False
    )
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in NORMALISATION["googlenet"])
    mean_of_all, std_of_all = (torch.tensor(v).view(3, 1, 1) for v in NORMALISATION["vgg16"])
    theirs = googlenet._transform_input((x - mean_of_all) / std_of_all)
    torch.testing.assert_close((x - mean) / std, theirs)
