"""GoogLeNet against its paper; test_pretrained.py has torchvision's variant."""

import pytest
import torch
from torch import nn

from models.googlenet import AuxiliaryLoss, GoogLeNet, Inception, Outputs, table_rows
from models.pretrained import transfer
from models.summary import summarise

# ---------------------------------------------------------------- Table 1


@pytest.mark.parametrize(
    ("arguments", "total"),
    [
        ({"aux_heads": False}, 6_998_552),
        ({}, 13_378_280),
        ({"in_channels": 1, "num_classes": 10, "aux_heads": False}, 5_977_530),
        ({"aux_heads": False, "batch_norm": True}, 7_005_832),
    ],
)
def test_parameter_totals(arguments, total):
    with torch.device("meta"):
        model = GoogLeNet(**arguments)
    assert sum(p.numel() for p in model.parameters()) == total


# Table 1: row, output as the paper prints it (height x width x channels), and the millions of MACs
# that the widths give. The paper prints the same "ops" except for the stem, 34M, and for 5a, 54M.
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


def test_table_1():
    with torch.device("meta"):
        model = GoogLeNet(aux_heads=False)
    table = summarise(model, table_rows(model))
    for row, (name, (height, width, channels), millions) in zip(table, TABLE_1, strict=False):
        assert row.name == name
        assert row.shape == (channels, height, width), name
        assert round(row.macs / 1e6, 1) == millions, name
    assert [(row.name, row.shape) for row in table[len(TABLE_1) :]] == [
        ("dropout", (1024,)),
        ("linear", (1000,)),
    ]
    assert table[-1].macs == 1_024_000


# Columns of Table 1, copied from the paper, not from the code: #1x1, #3x3 reduce, #3x3,
# #5x5 reduce, #5x5, pool proj.
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
    with torch.device("meta"):
        module = getattr(GoogLeNet(), f"inception{name}")
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    assert tuple(m.out_channels for m in convolutions) == WIDTHS[name]
    assert [m.kernel_size[0] for m in convolutions] == [1, 1, 3, 1, 5, 1]


def test_22_layers_deep():
    """Section 5: 22 layers with weights on the way from image to logits."""
    with torch.device("meta"):
        model = GoogLeNet(aux_heads=False)
    depth = 0
    for module in model.children():
        path = module.branch_3x3 if isinstance(module, Inception) else module
        depth += sum(isinstance(m, nn.Conv2d | nn.Linear) for m in path.modules())
    assert depth == 22


def test_two_local_response_norms():
    with torch.device("meta"):
        kinds = [type(m) for m in GoogLeNet().modules()]
    assert kinds.count(nn.LocalResponseNorm) == 2


def test_max_pools_are_same():
    """Figure 3: 3x3/2, "(S)". An even map is padded at the far edges, an odd one all around."""
    pool = GoogLeNet().pool1
    even = torch.arange(16.0).view(1, 1, 4, 4)
    assert pool(even).flatten().tolist() == [10, 11, 14, 15]
    assert pool(-even).flatten().tolist() == [0, -2, -8, -10]
    odd = torch.arange(25.0).view(1, 1, 5, 5)
    assert pool(odd).flatten().tolist() == [6, 8, 9, 16, 18, 19, 21, 23, 24]
    assert pool(-odd).flatten().tolist() == [0, -1, -3, -5, -6, -8, -15, -16, -18]


# ---------------------------------------------------------------- auxiliary classifiers


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


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("size", [32, 64, 79, 80, 95, 96, 97, 112, 113, 128, 160, 161, 224])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_takes_any_size_from_32(size, batch_norm):
    """The fully connected layers of the heads fit the maps of any size, too."""
    with torch.device("meta"):
        model = GoogLeNet(num_classes=3, image_size=size, batch_norm=batch_norm)
        outputs = model(torch.empty(2, 3, size, size))
    assert isinstance(outputs, Outputs) == (size >= 80)
    each = outputs if size >= 80 else [outputs]
    assert [tuple(logits.shape) for logits in each] == [(2, 3)] * len(each)


def test_may_train_at_another_size():
    """The heads are sized for it; the rest of the network is the same."""
    with torch.device("meta"):
        other = GoogLeNet(num_classes=3, image_size=128, train_size=96, batch_norm=True)
        same = GoogLeNet(num_classes=3, image_size=96, batch_norm=True)
        images = {size: torch.empty(2, 3, size, size) for size in (96, 128)}
        assert GoogLeNet(image_size=96, train_size=64).aux4a is None
    assert isinstance(other(images[96]), Outputs)
    with pytest.raises(ValueError, match="N x 3 x 96 x 96"):
        other(images[128])
    other.eval()
    assert other(images[128]).shape == (2, 3)
    with pytest.raises(ValueError, match="N x 3 x 128 x 128"):
        other(images[96])
    shapes = [[v.shape for v in m.state_dict().values()] for m in (same, other)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image_size": 31}, ["32 or more", "31"]),
        ({"image_size": 64, "train_size": 31}, ["32 or more", "31"]),
        ({"image_size": 64, "aux_heads": True}, ["64 px", "80"]),
    ],
)
def test_sizes_that_are_too_small(arguments, words):
    with pytest.raises(ValueError) as caught:
        GoogLeNet(**arguments)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("shape", [(2, 3, 96, 96), (3, 64, 64)])
def test_other_input_is_refused(shape):
    with torch.device("meta"):
        model, images = GoogLeNet(image_size=64), torch.empty(shape)
    got = " x ".join(map(str, shape))
    with pytest.raises(ValueError, match=f"N x 3 x 64 x 64, got {got}"):
        model(images)


def test_local_response_norm_by_its_formula():
    """Krizhevsky et al. 2012, Section 3.3: n = 5, alpha = 1e-4, beta = 0.75; as in Caffe, whose
    networks the constants are tuned for, k = 1 and alpha is divided by n."""
    model = GoogLeNet(in_channels=1, num_classes=2, image_size=32)
    for norm, channels in ((model.norm1, 64), (model.norm2, 192)):
        x = torch.randn(2, channels, 3, 3, dtype=torch.float64) * 100
        expected = torch.empty_like(x)
        for i in range(channels):
            window = x[:, max(0, i - 2) : i + 3]
            expected[:, i] = x[:, i] / (1 + 1e-4 / 5 * window.square().sum(1)) ** 0.75
        torch.testing.assert_close(norm(x), expected)
