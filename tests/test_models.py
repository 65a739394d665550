"""The networks against their papers and against torchvision."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from models import MODELS, create_model
from models import googlenet as googlenet_file
from models import vgg16 as vgg16_file
from models.common import Conv2d, transfer
from models.googlenet import AuxiliaryLoss, GoogLeNet, Inception, Outputs
from models.summary import summarise
from models.torchvision_weights import from_torchvision, load_imagenet, to_torchvision
from models.vgg16 import VGG16


def on_meta(model_class, **arguments):
    with torch.device("meta"):
        return model_class(**arguments)


def parameters(model) -> int:
    return sum(p.numel() for p in model.parameters())


# ---------------------------------------------------------------- the papers' tables


@pytest.mark.parametrize(
    ("model_class", "arguments", "total"),
    [
        (VGG16, {}, 138_357_544),
        (VGG16, {"in_channels": 1, "num_classes": 10}, 134_300_362),
        (VGG16, {"num_classes": 2}, 134_268_738),
        (VGG16, {"in_channels": 1, "num_classes": 10, "image_size": 32}, 33_637_066),
        (GoogLeNet, {"aux_heads": False}, 6_998_552),
        (GoogLeNet, {}, 13_378_280),
        (GoogLeNet, {"in_channels": 1, "num_classes": 10, "aux_heads": False}, 5_977_530),
        (GoogLeNet, {"aux_heads": False, "batch_norm": True}, 7_005_832),
    ],
)
def test_parameter_totals(model_class, arguments, total):
    assert parameters(on_meta(model_class, **arguments)) == total


def test_vgg16_is_configuration_d():
    model = on_meta(VGG16)
    table = summarise(model, vgg16_file.table_rows(model))
    widths = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    sizes = [224] * 2 + [112] * 2 + [56] * 3 + [28] * 3 + [14] * 3
    convolutions = [row for row in table if row.name.startswith("conv3")]
    assert [row.name for row in convolutions] == [f"conv3-{width}" for width in widths]
    assert [row.shape for row in convolutions] == list(zip(widths, sizes, sizes, strict=True))
    assert [row.shape[1] for row in table if row.name == "maxpool"] == [112, 56, 28, 14, 7]
    assert [row.name for row in table[-3:]] == ["FC-4096", "FC-4096", "FC-1000"]
    assert sum(row.macs for row in table) == 15_470_264_320


# Table 1: row, output as the paper prints it (height x width x channels), millions of MACs as the
# widths give them (the paper's "ops" but for the stem and 5a, where it prints 34M and 54M).
TABLE_1 = [
    ("convolution 7x7/2", (112, 112, 64), 118.0),
    ("max pool 3x3/2", (56, 56, 64), 0),
    ("convolution 3x3/1", (56, 56, 192), 359.7),
    ("max pool 3x3/2", (28, 28, 192), 0),
    ("inception (3a)", (28, 28, 256), 128.0),
    ("inception (3b)", (28, 28, 480), 304.3),
    ("max pool 3x3/2", (14, 14, 480), 0),
    ("inception (4a)", (14, 14, 512), 73.6),
    ("inception (4b)", (14, 14, 512), 87.9),
    ("inception (4c)", (14, 14, 512), 99.9),
    ("inception (4d)", (14, 14, 528), 118.5),
    ("inception (4e)", (14, 14, 832), 170.0),
    ("max pool 3x3/2", (7, 7, 832), 0),
    ("inception (5a)", (7, 7, 832), 51.1),
    ("inception (5b)", (7, 7, 1024), 70.7),
    ("avg pool", (1, 1, 1024), 0),
]


def test_googlenet_is_table_1():
    model = on_meta(GoogLeNet, aux_heads=False)
    table = summarise(model, googlenet_file.table_rows(model))
    for row, (name, (height, width, channels), millions) in zip(table, TABLE_1, strict=False):
        assert row.name == name
        assert row.shape == (channels, height, width), name
        assert round(row.macs / 1e6, 1) == millions, name
    assert [(row.name, row.shape) for row in table[len(TABLE_1) :]] == [
        ("dropout", (1024,)),
        ("linear", (1000,)),
    ]
    assert table[-1].macs == 1_024_000


# Columns of Table 1, from the paper, not from the code: #1x1, #3x3 reduce, #3x3, #5x5 reduce,
# #5x5, pool proj.
WIDTHS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


@pytest.mark.parametrize("name", WIDTHS)
def test_inception_branches(name):
    module = getattr(on_meta(GoogLeNet), f"inception{name}")
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    assert tuple(m.out_channels for m in convolutions) == WIDTHS[name]
    assert [m.kernel_size[0] for m in convolutions] == [1, 1, 3, 1, 5, 1]


def test_googlenet_is_22_layers_deep():
    """Section 5: 22 layers with weights on the way from image to logits."""
    model = on_meta(GoogLeNet, aux_heads=False)
    depth = 0
    for module in model.children():
        path = module.branch_3x3 if isinstance(module, Inception) else module
        depth += sum(isinstance(m, nn.Conv2d | nn.Linear) for m in path.modules())
    assert depth == 22


@pytest.mark.parametrize(("layers", "field"), [(1, 3), (2, 5), (3, 7)])
def test_receptive_field_of_stacked_3x3(layers, field):
    """VGG, Section 2.3: two 3x3 layers see 5x5, three see 7x7 (found by the gradient)."""
    block = vgg16_file.conv_block(1, 1, (4,) * layers, batch_norm=False)[:-1]  # without the pool
    for parameter in block.parameters():
        nn.init.ones_(parameter)
    image = torch.ones(1, 1, 15, 15, requires_grad=True)
    block(image)[0, 0, 7, 7].backward()
    rows, columns = image.grad[0, 0].nonzero(as_tuple=True)
    assert rows.max() - rows.min() + 1 == field
    assert columns.max() - columns.min() + 1 == field


# ---------------------------------------------------------------- initial weights


@pytest.mark.parametrize("name", MODELS)
def test_initial_weights(name):
    torch.manual_seed(0)
    model = create_model(name, image_size=96)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.in_channels * module.kernel_size[0] ** 2
            expected = (2 / fan_in) ** 0.5
        elif isinstance(module, nn.Linear):
            expected = 0.01
        else:
            continue
        count = module.weight.numel()
        # Five standard errors of mean and standard deviation of that many normal numbers.
        assert abs(module.weight.mean()) < 5 * expected / count**0.5
        assert abs(module.weight.std() / expected - 1) < 5 / (2 * count) ** 0.5
        assert not module.bias.any()


# ---------------------------------------------------------------- against torchvision


def randomised_batch_norm(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, std=0.1)
    return model


@pytest.mark.parametrize("batch_norm", [False, True])
def test_vgg16_equals_torchvision(batch_norm):
    """Logits and all gradients, in float64; with batch-norm in evaluation, logits alone."""
    torch.manual_seed(0)
    build = torchvision.models.vgg16_bn if batch_norm else torchvision.models.vgg16
    theirs = randomised_batch_norm(build(num_classes=7)).double().eval()
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
    for our, their in pairs:
        torch.testing.assert_close(our.grad, their.grad, rtol=1e-10, atol=1e-10)
    for name, tensor in to_torchvision(ours).items():
        assert torch.equal(tensor, theirs.state_dict()[name])


def test_googlenet_equals_torchvision():
    """In the compatibility mode: evaluation logits, training logits and auxiliary logits."""
    torch.manual_seed(0)
    theirs = torchvision.models.googlenet(num_classes=7, init_weights=False, transform_input=False)
    theirs = randomised_batch_norm(theirs).double()
    ours = GoogLeNet(num_classes=7, batch_norm=True, torchvision_compatible=True).double()
    ours.load_state_dict(from_torchvision(theirs.state_dict(), ours))
    assert (
        parameters(on_meta(GoogLeNet, batch_norm=True, torchvision_compatible=True)) == 13_004_888
    )
    for model in (ours, theirs):
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # else training outputs are random
    images = torch.randn(2, 3, 224, 224, dtype=torch.float64)
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), rtol=1e-10, atol=1e-10)
    our, their = ours.train()(images), theirs.train()(images)
    torch.testing.assert_close(our.logits, their.logits, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(our.aux4a, their.aux_logits1, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(our.aux4d, their.aux_logits2, rtol=1e-10, atol=1e-10)
    again = torchvision.models.googlenet(
        num_classes=7, init_weights=False, transform_input=False
    ).double()
    again.load_state_dict(to_torchvision(ours))
    torch.testing.assert_close(again.eval()(images), ours.eval()(images), rtol=1e-10, atol=1e-10)


def test_compatible_model_without_heads_has_torchvisions_total():
    model = on_meta(GoogLeNet, batch_norm=True, torchvision_compatible=True, aux_heads=False)
    assert parameters(model) == 6_624_904


def test_imagenet_weights_come_through_torchvisions_own_api(monkeypatch):
    """The download, checked by its hash; all is taken but the classifier of another task."""
    torch.manual_seed(0)
    theirs = torchvision.models.googlenet(num_classes=1000, init_weights=False)
    asked = []

    def get_state_dict(weights, **options):
        asked.append((weights, options))
        return theirs.state_dict()

    monkeypatch.setattr(torchvision.models.GoogLeNet_Weights, "get_state_dict", get_state_dict)
    ours = GoogLeNet(1, 10, 96, batch_norm=True, torchvision_compatible=True)
    left = load_imagenet("googlenet", ours)
    assert left == [
        f"{part}linear.{kind}" for part in ("", "aux4a.", "aux4d.") for kind in ("weight", "bias")
    ]
    weights = torchvision.models.GoogLeNet_Weights.IMAGENET1K_V1
    assert asked == [(weights, {"progress": True, "check_hash": True})]
    torch.testing.assert_close(
        ours.conv1.conv.weight, theirs.conv1.conv.weight.sum(1, keepdim=True)
    )
    assert torch.equal(ours.inception5b.branch_1x1.bn.weight, theirs.inception5b.branch1.bn.weight)


def test_transfer_to_another_task():
    """ImageNet-like weights into a grey ten-class network: all but the classifier is taken, and a
    grey image gives what three equal channels gave."""
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


# ---------------------------------------------------------------- behaviour


def test_auxiliary_heads_are_for_training_alone():
    torch.manual_seed(0)
    model = GoogLeNet(num_classes=5, image_size=96)
    images = torch.randn(2, 3, 96, 96)
    outputs = model(images)
    assert isinstance(outputs, Outputs)
    assert [tuple(logits.shape) for logits in outputs] == [(2, 5)] * 3
    model.eval()
    logits = model(images)
    assert tuple(logits.shape) == (2, 5)
    # "discarded at inference": without them the answer is the same.
    bare = GoogLeNet(num_classes=5, image_size=96, aux_heads=False).eval()
    assert transfer(model.state_dict(), bare) == []
    assert torch.equal(bare(images), logits)


def test_auxiliary_loss_weighs_heads_by_0_3():
    outputs = Outputs(*torch.randn(3, 4, 5))
    labels = torch.tensor([0, 1, 2, 3])
    entropy = nn.CrossEntropyLoss()
    loss, logits = AuxiliaryLoss(entropy)(outputs, labels)
    main, first, second = (entropy(o, labels) for o in outputs)
    torch.testing.assert_close(loss, main + 0.3 * first + 0.3 * second)
    assert logits is outputs.logits
    loss, logits = AuxiliaryLoss(entropy)(outputs.logits, labels)
    torch.testing.assert_close(loss, main)


@pytest.mark.parametrize("size", [32, 64, 79, 80, 100, 224])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_googlenet_takes_any_size_from_32(size, batch_norm):
    model = on_meta(GoogLeNet, num_classes=3, image_size=size, batch_norm=batch_norm)
    outputs = model(torch.empty(2, 3, size, size, device="meta"))
    assert isinstance(outputs, Outputs) == (size >= 80)
    assert (outputs.logits if size >= 80 else outputs).shape == (2, 3)


def test_googlenet_may_train_at_another_size():
    """The heads are sized for it, and the rest of the network is the same."""
    other = on_meta(GoogLeNet, num_classes=3, image_size=128, train_size=96, batch_norm=True)
    images = {size: torch.empty(2, 3, size, size, device="meta") for size in (96, 128)}
    assert isinstance(other(images[96]), Outputs)
    with pytest.raises(ValueError, match="N x 3 x 96 x 96"):
        other(images[128])
    other.eval()
    assert other(images[128]).shape == (2, 3)
    with pytest.raises(ValueError, match="N x 3 x 128 x 128"):
        other(images[96])
    same = on_meta(GoogLeNet, num_classes=3, image_size=96, batch_norm=True)
    shapes = [[v.shape for v in m.state_dict().values()] for m in (same, other)]
    assert shapes[0] == shapes[1]
    assert on_meta(GoogLeNet, image_size=96, train_size=64).aux4a is None


@pytest.mark.parametrize(
    ("kernel", "size", "is_product"),
    [(1, 8, True), (1, 9, False), (3, 1, True), (3, 2, True), (3, 3, False), (5, 2, True)],
)
@pytest.mark.parametrize("bias", [True, False])
def test_convolution_as_a_matrix_product(kernel, size, is_product, bias, monkeypatch):
    torch.manual_seed(0)
    conv = Conv2d(6, 5, kernel, padding=kernel // 2, bias=bias).double()
    x = torch.randn(3, 6, size, size, dtype=torch.float64, requires_grad=True)
    wanted = [x, *conv.parameters()]
    convolutions = []
    original = nn.Conv2d.forward
    monkeypatch.setattr(
        nn.Conv2d, "forward", lambda self, x: convolutions.append(self) or original(self, x)
    )
    for layout in (torch.contiguous_format, torch.channels_last):
        image = x.contiguous(memory_format=layout)
        ours = conv(image)
        theirs = F.conv2d(image, conv.weight, conv.bias, padding=kernel // 2)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
        gradients = [torch.autograd.grad(y.square().sum(), wanted) for y in (ours, theirs)]
        torch.testing.assert_close(*gradients, rtol=0, atol=1e-10)
    assert bool(convolutions) is not is_product


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (3, 1, 2), (1, 2, 0)])
def test_convolution_that_changes_the_size_of_a_small_map(kernel, stride, padding):
    conv = Conv2d(2, 3, kernel, stride, padding)
    x = torch.randn(1, 2, 2, 2)
    assert torch.equal(conv(x), F.conv2d(x, conv.weight, conv.bias, stride, padding))


def test_batch_norm_takes_the_place_of_bias_and_lrn():
    for name in MODELS:
        model = on_meta(lambda n=name, **kw: create_model(n, **kw), batch_norm=True)
        kinds = [type(m) for m in model.modules()]
        convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
        assert kinds.count(nn.BatchNorm2d) == len(convolutions)
        assert all(m.bias is None for m in convolutions)
        assert nn.LocalResponseNorm not in kinds
    kinds = [type(m) for m in on_meta(GoogLeNet).modules()]
    assert kinds.count(nn.LocalResponseNorm) == 2


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: VGG16(image_size=100), ["multiple of 32", "100"]),
        (lambda: VGG16(image_size=0), ["multiple of 32"]),
        (lambda: GoogLeNet(image_size=31), ["32 or more", "31"]),
        (lambda: GoogLeNet(image_size=64, aux_heads=True), ["64 px", "80"]),
        (lambda: GoogLeNet(torchvision_compatible=True), ["batch_norm=True"]),
        (lambda: GoogLeNet(image_size=64, train_size=31), ["32 or more", "31"]),
        (lambda: create_model("resnet"), ["resnet", "vgg16, googlenet"]),
        (lambda: create_model("vgg16", train_size=64), ["vgg16 takes no train_size"]),
        (
            lambda: on_meta(VGG16, image_size=32)(torch.empty(2, 1, 32, 32, device="meta")),
            ["N x 3 x 32 x 32", "2 x 1 x 32 x 32"],
        ),
        (
            lambda: on_meta(GoogLeNet, image_size=64)(torch.empty(2, 3, 96, 96, device="meta")),
            ["N x 3 x 64 x 64", "2 x 3 x 96 x 96"],
        ),
        (
            lambda: on_meta(GoogLeNet, image_size=64)(torch.empty(3, 64, 64, device="meta")),
            ["N x 3 x 64 x 64", "3 x 64 x 64"],
        ),
    ],
)
def test_wrong_use_is_a_value_error_that_says_what_came(build, words):
    with pytest.raises(ValueError) as caught:
        build()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(("file", "total"), [("vgg16", "138,357,544"), ("googlenet", "13,378,280")])
def test_printed_table(script, file, total):
    done = script("-m", f"models.{file}")
    assert total in done.stdout.splitlines()[-1] and not done.stderr
    small = ("--image-size", "64", "--in-channels", "1", "--num-classes", "10", "--batch-norm")
    assert " 10 " in script("-m", f"models.{file}", *small).stdout
    assert "33" in script("-m", f"models.{file}", "--image-size", "-33", code=2).stderr
