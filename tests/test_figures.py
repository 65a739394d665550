"""The pictures of networks and measurements: what they compute, how they look."""

import json
import re
import sys
from xml.etree import ElementTree

import matplotlib.style
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from torch import nn

from docs import debugging_results, drawings, figures, module_drawings, number_drawings, style
from docs.networks import layers_of, on_meta, receptive_field, rows_of
from docs.tables import pages
from models.googlenet import INCEPTION, GoogLeNet
from models.vgg16 import VGG16


@pytest.mark.parametrize(
    ("model_class", "layer", "size"),
    [(VGG16, "block4.pool4", 128), (GoogLeNet, "inception3b.branch_5x5.conv.conv", 192)],
)
def test_receptive_fields_equal_the_reach_of_the_gradient(model_class, layer, size):
    model = model_class(in_channels=1, num_classes=2, image_size=size).eval()
    fields = dict(receptive_field(layers_of(model)))
    for parameter in model.parameters():
        parameter.data.fill_(1e-2)  # nothing cancels, and every ReLU lets through
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):  # a mean passes the gradient to its whole window
                mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
                setattr(module, name, mean)
    outputs = {}
    model.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: outputs.update(map=output)
    )
    image = torch.rand(1, 1, size, size, requires_grad=True)
    model(image)
    middle = outputs["map"].shape[2] // 2
    outputs["map"][0, 0, middle, middle].backward()
    rows = image.grad[0, 0].abs().sum(1).nonzero()
    assert rows.max() - rows.min() + 1 == fields[layer]


def test_known_receptive_fields():
    vgg = receptive_field(layers_of(on_meta(VGG16)))
    googlenet = receptive_field(layers_of(on_meta(GoogLeNet)))
    assert [field for name, field in vgg if "pool" in name] == [6, 16, 44, 100, 212]
    assert dict(vgg)["block1.conv1_2"] == 5  # two 3x3 see what a 5x5 does (VGG, Section 2.3)
    assert dict(googlenet)["conv1.conv"] == 7


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """All drawings, each for light and for dark pages, as the code now writes them."""
    folder = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["docs", "--output-dir", str(folder)])
        drawings.main()
        figures.main()
    debugging_results.draw(folder)
    return folder


def texts(svg: str) -> list[tuple[str, float, str]]:
    """Each text of a picture, its size in pt at the width of a page, and its colour."""
    root = ElementTree.fromstring(svg)
    scale = 0.75 * style.WIDTH / float(root.get("viewBox").split()[2])
    found = []
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        size = re.search(r"([\d.]+)px", text.get("style"))[1]
        colour = re.search(r"fill: (#\w{6})", text.get("style"))
        found.append((text.text, scale * float(size), colour[1] if colour else "#000000"))
    return found


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """WCAG's: 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


PAGES = {"": "#ffffff", "-dark": "#0d1117"}


def labels(svg: str) -> list[tuple[str, float, str]]:
    """The texts that are more than a number: at which numbers an axis has ticks depends on the
    version of matplotlib.
    """
    return [text for text in texts(svg) if not re.fullmatch(r"[\d.,%−]+", text[0])]


def test_drawings_are_the_committed_ones(drawn):
    """All of them where the same matplotlib wrote them, else their labels."""
    names = {path.name for path in drawn.iterdir()}
    assert names == {path.name for path in style.FIGURES.glob("*.svg")}
    assert len(names) == 2 * len({name.removesuffix("-dark.svg") for name in names if "-d" in name})
    for name in names:
        new, old = ((folder / name).read_text("utf-8") for folder in (drawn, style.FIGURES))
        again = f"`python -m docs.drawings`, `docs.figures` or `docs.debugging` writes {name}"
        assert labels(new) == labels(old), again
        if sys.platform == "linux" and f"v{matplotlib.__version__}," in old:
            assert new == old, again


def test_drawings_are_legible_on_light_and_dark_pages(drawn):
    for path in drawn.iterdir():
        assert path.stat().st_size < 200_000, path.name
        page = PAGES["-dark" if path.stem.endswith("-dark") else ""]
        written = texts(path.read_text("utf-8"))
        assert len(written) > 5, path.name
        for text, size, colour in written:
            assert size >= 8.99, (path.name, text)
            assert contrast(colour, page) >= 4.5, (path.name, text)


def test_pages_show_pictures_that_are_there():
    for page in pages():
        for path in re.findall(r' src(?:set)?="([^":]+)"', page.read_text(encoding="utf-8")):
            assert (page.parent / path).is_file(), (page.name, path)


@pytest.mark.parametrize("mode", style.MODES)
def test_colours_are_legible(mode):
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    with matplotlib.rc_context():
        matplotlib.style.use(style.MODES[mode])
        assert to_hex(style.colour("ink", 0)) == PAGES[mode]
        for kind in style.KINDS:
            assert contrast(to_hex(style.colour(kind)), PAGES[mode]) >= 4.5, kind
            box = to_hex(style.colour(kind, 0.16))
            assert contrast(to_hex(style.colour("ink")), box) >= 4.5, kind


# Machado et al. 2009: linear RGB as it is seen without one kind of cone.
WITHOUT = {
    "all": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "long": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "middle": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "short": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
XYZ = np.array([[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8729]])


@pytest.mark.parametrize("mode", style.MODES)
@pytest.mark.parametrize("seen", WITHOUT.values(), ids=WITHOUT)
def test_colours_are_told_apart_by_the_colour_blind(mode, seen):
    """All pairs differ by 20 or more in CIE Lab; 2 can just be told."""
    with matplotlib.rc_context():
        matplotlib.style.use(style.MODES[mode])
        colours = np.array([style.colour(kind) for kind in style.KINDS[:5]])
    linear = ((colours + 0.055) / 1.055) ** 2.4
    x, y, z = np.cbrt(XYZ @ np.clip(np.array(seen) @ linear.T, 0, 1))
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
    apart = np.linalg.norm(lab[:, None] - lab, axis=2)
    assert apart[~np.eye(5, dtype=bool)].min() > 20


def test_confusions_are_those_of_the_tests(root):
    results = root / "docs" / "results"
    for path in results.glob("*_confusion.csv"):
        counts = pd.read_csv(path, index_col="true")
        summary = path.name.replace("_confusion.csv", "_test.json")
        test = json.loads((results / summary).read_text(encoding="utf-8"))
        for name in counts:
            share = counts.loc[name, name] / counts.loc[name].sum()
            assert share == pytest.approx(test["classes"][name]["recall"]), (path.name, name)


def test_naive_module_is_the_one_without_reductions():
    naive, reduced = (
        module_drawings.module_macs(INCEPTION["3a"], naive) for naive in (True, False)
    )
    macs = [sum(layer[2] for branch in module for layer in branch) for module in (naive, reduced)]
    assert macs[1] == next(r.macs for r in rows_of(GoogLeNet) if r.name == "inception (3a)")
    assert macs[0] == (64 + 9 * 128 + 25 * 32) * 192 * 28 * 28
    assert sum(branch[-1][1] for branch in naive) == 64 + 128 + 32 + 192


def test_memory_of_activations():
    vgg = dict((name, size) for name, _, (size,) in number_drawings.memory(VGG16))
    assert vgg["conv1_1"] == vgg["conv1_2"] == 64 * 224 * 224 * 4
    assert len(vgg) == 13 + 5 + 3
    google = dict((name, size) for name, _, (size,) in number_drawings.memory(GoogLeNet))
    # Six convolutions and a pooling, then the four outputs copied side by side.
    assert google["3a"] == (64 + 96 + 128 + 16 + 32 + 192 + 32 + 256) * 28 * 28 * 4
