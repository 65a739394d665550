"""The convolution on small maps, and the initial weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models import MODELS, create_model
from models.googlenet import AuxiliaryLoss
from models.layers import SmallMapConv2d

# ---------------------------------------------------------------- convolution on small maps


@pytest.mark.parametrize(
    ("kernel", "size", "is_product"),
    [(1, 8, True), (1, 9, False), (3, 1, True), (3, 2, True), (3, 3, False), (5, 2, True)],
)
@pytest.mark.parametrize("bias", [True, False])
def test_small_map_convolution_equals_conv2d(kernel, size, is_product, bias, monkeypatch):
    """Same outputs and gradients, and computed as a matrix product where that is faster."""
    torch.manual_seed(0)
    ours = SmallMapConv2d(6, 5, kernel, padding=kernel // 2, bias=bias).double()
    plain = nn.Conv2d(6, 5, kernel, padding=kernel // 2, bias=bias).double()
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(3, 6, size, size, dtype=torch.float64, requires_grad=True)
    convolutions = []
    original = nn.Conv2d.forward
    monkeypatch.setattr(
        nn.Conv2d, "forward", lambda self, x: convolutions.append(self) or original(self, x)
    )
    for layout in (torch.contiguous_format, torch.channels_last):
        image = x.contiguous(memory_format=layout)
        outputs = [conv(image) for conv in (ours, plain)]
        torch.testing.assert_close(*outputs, rtol=0, atol=1e-12)
        gradients = [
            torch.autograd.grad(output.square().sum(), [x, *conv.parameters()])
            for output, conv in zip(outputs, (ours, plain), strict=True)
        ]
        torch.testing.assert_close(*gradients, rtol=0, atol=1e-10)
    assert (ours in convolutions) is not is_product


@pytest.mark.parametrize(("kernel", "size"), [(1, 8), (3, 2)])
def test_matrix_products_are_for_cpus(kernel, size, monkeypatch):
    """On some Apple GPUs, they are wrong."""
    conv = SmallMapConv2d(6, 5, kernel, padding=kernel // 2, bias=False).to("meta")
    monkeypatch.setattr(F, "linear", None)
    assert conv(torch.empty(3, 6, size, size, device="meta")).shape == (3, 5, size, size)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (3, 1, 2), (1, 2, 0)])
def test_convolution_that_changes_the_size_of_a_small_map(kernel, stride, padding):
    conv = SmallMapConv2d(2, 3, kernel, stride, padding)
    x = torch.randn(1, 2, 2, 2)
    assert torch.equal(conv(x), F.conv2d(x, conv.weight, conv.bias, stride, padding))


@pytest.mark.parametrize(
    ("name", "size", "batch_norm"),
    [("vgg16", 32, False), ("vgg16", 32, True), ("googlenet", 80, False), ("googlenet", 32, True)],
)
def test_networks_are_the_same_with_plain_convolutions(name, size, batch_norm, monkeypatch):
    """The optimisation can be switched off: same initial weights, outputs and gradients."""
    runs = []
    for convolution in (SmallMapConv2d, nn.Conv2d):
        monkeypatch.setattr(f"models.{name}.Conv2d", convolution)
        torch.manual_seed(0)
        model = create_model(name, num_classes=3, image_size=size, batch_norm=batch_norm)
        kinds = {type(m) for m in model.modules() if isinstance(m, nn.Conv2d)}
        assert kinds == {convolution}
        weights = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        model.double()
        # Eight of them: batch-norm over two 1x1 maps would magnify rounding errors.
        images = torch.randn(8, 3, size, size, dtype=torch.float64)
        outputs = model(images)  # dropout draws the same in both
        loss, _ = AuxiliaryLoss(nn.CrossEntropyLoss())(outputs, torch.arange(8) % 3)
        loss.backward()
        gradients = {key: tensor.grad for key, tensor in model.named_parameters()}
        runs.append((weights, outputs, gradients))
    (weights, *results), (plain_weights, *plain_results) = runs
    assert all(torch.equal(tensor, plain_weights[key]) for key, tensor in weights.items())
    torch.testing.assert_close(results, plain_results, rtol=1e-8, atol=1e-10)


# ---------------------------------------------------------------- initial weights


@pytest.mark.parametrize("name", MODELS)
def test_initial_weights(name):
    torch.manual_seed(0)
    batch_norm = name == "torchvision_googlenet"  # which cannot do without
    model = create_model(name, image_size=96, batch_norm=batch_norm)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.in_channels * module.kernel_size[0] ** 2
            expected = (2 / fan_in) ** 0.5
        elif isinstance(module, nn.Linear):
            expected = 0.01
        else:
            continue
        count = module.weight.numel()
        # Within five standard errors of the mean and of the standard deviation.
        assert abs(module.weight.mean()) < 5 * expected / count**0.5
        assert abs(module.weight.std() / expected - 1) < 5 / (2 * count) ** 0.5
        assert module.bias is None or not module.bias.any()
