"""docs/index.html, the explorer, as a file: as the code is now, small, and asking for nothing."""

import base64
import io
import itertools
import json
import re

import numpy as np
import pytest
from PIL import Image

from docs import explorer, explorer_maps
from engine.inference import load_classifier
from engine.provenance import sha256
from models.googlenet import GoogLeNet
from models.vgg16 import VGG16
from tests.test_documents import selects

PAGE = explorer.PAGE.read_text(encoding="utf-8")
PARTS = ("template.html", "style.css", "script.js")
MODELS = {"vgg16": VGG16, "googlenet": GoogLeNet}


def test_page_is_not_stale(tmp_path, monkeypatch):
    """After a change: python -m docs.explorer"""
    monkeypatch.setattr(explorer, "PAGE", tmp_path / "index.html")
    monkeypatch.setattr(explorer_maps, "seen", lambda: explorer.seen_in(PAGE))
    monkeypatch.setattr("sys.argv", ["explorer"])
    explorer.main()
    assert explorer.PAGE.read_text(encoding="utf-8") == PAGE


def pixels(url: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))), dtype=float)


@pytest.mark.parametrize("which", ["clothing", "pets", "photos"])
def test_maps_are_those_of_the_checkpoints(which, root):
    """Of one photo, up to what another machine rounds differently."""
    recorded = explorer.seen_in(PAGE)[which]
    path = root / "checkpoints" / recorded["checkpoint"]
    assert sha256(path) == recorded["sha256"], "python -m docs.explorer"
    photo = recorded["photos"][0]
    stored = pixels(photo["photo"]).astype(np.uint8)
    image = stored[None] if stored.ndim == 2 else stored.transpose(2, 0, 1)
    now = explorer_maps.look(load_classifier(path, "cpu"), image)
    assert now["probabilities"] == pytest.approx(photo["probabilities"], abs=0.02)
    assert now["layers"].keys() == photo["layers"].keys()
    for name in ("conv1", "inception3a"):
        assert now["layers"][name]["channels"] == photo["layers"][name]["channels"]
        difference = pixels(now["layers"][name]["maps"]) - pixels(photo["layers"][name]["maps"])
        assert np.abs(difference).mean() < 3


def test_page_is_small_and_asks_for_nothing():
    """Template, style and script; the arithmetic is a module of its own."""
    lines = {part: (explorer.PARTS / part).read_text("utf-8").splitlines() for part in PARTS}
    arithmetic = (explorer.PARTS / "arithmetic.js").read_text("utf-8").splitlines()
    assert sum(map(len, lines.values())) <= 1200
    assert len(arithmetic) <= 300
    every = itertools.chain(arithmetic, *lines.values())
    assert [line for line in every if len(line) > 100] == []
    assert len(PAGE.encode()) <= 2_500_000
    assert "default-src 'none'" in PAGE and "<noscript>" in PAGE
    loads = re.findall(r"""(?:\bsrc=|@import|<link[^>]*href=|url\()\s*["']?([^"'\s)>]*)""", PAGE)
    assert loads and all(load.startswith(("data:", "$")) for load in loads), loads


NETWORKS = json.loads(re.search(r'id="data">(.*?)</script>', PAGE)[1])["networks"]
ROWS = [(name, row) for name in MODELS for row in NETWORKS[name]["rows"]]


def test_what_it_links_to_is_there(root):
    for _, row in ROWS:
        for file, words in row["tests"]:
            tests = re.findall(r"^def (test_\w+)", (root / file).read_text("utf-8"), re.MULTILINE)
            assert selects(words, tests), words
        assert row["says"] and row["tests"] and row["code"]["lines"], row["id"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("conv3_1", ['"block3": (256', "self.block3 =", 'layers[f"conv{name}"]']),
        ("pool5", ['"block5": (512', 'layers[f"pool{number}"]']),
        ("fc2", ["fc2=nn.Linear", "self.classifier(x)"]),
        ("conv1", ["self.conv1 =", "x = self.conv1(x)"]),
        ("inception4d", ['"4d": InceptionWidths', "self.inception4d =", "x = self.inception4d"]),
        ("aux4a", ["self.aux4a = self.aux4d = None", "self.aux4a = Aux", "aux4a = self.aux4a(x)"]),
    ],
)
def test_lines_that_make_a_row(key, expected):
    ((name, row),) = ((name, row) for name, row in ROWS if row["id"] == key)
    source = NETWORKS[name]["source"].splitlines()
    made = ["\n".join(source[first - 1 : last]) for first, last in row["code"]["lines"]]
    for text in expected:
        assert any(text in piece for piece in made), text
    assert sum(piece.count("\n") + 1 for piece in made) <= 9


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme):
    """WCAG AA for every text colour on every ground that it stands on."""
    css = (explorer.PARTS / "style.css").read_text("utf-8")
    both = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", css)
    colours = {name: light if scheme == "light" else dark for name, light, dark in both}
    meanings = ("convolution", "pooling", "concat", "linear")
    grounds = ["paper", "card", "wash", "mark", *(f"{hue}-wash" for hue in meanings)]
    pairs = [(text, ground) for text in ("ink", "quiet") for ground in grounds]
    pairs += [
        (hue, ground) for hue in meanings for ground in (f"{hue}-wash", "paper", "card", "wash")
    ]
    pairs += [("focus", "paper"), ("focus", "card"), ("paper", "ink")]
    for text, ground in pairs:
        low, high = sorted((luminance(colours[text]), luminance(colours[ground])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)
