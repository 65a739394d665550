"""Pictures and tables of any number of classes, whatever their names are."""

import csv
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from engine import report

NAMES = ["$x_1", "$\\frac{", "$$", "^", "猫", "😀 cat", "line\nbreak", "x" * 300, "a\0b", "\ud800"]
NAMES += ["שלום", "%s {0}", "#", " ", "truth", "e\u0301", "1"]


def confusion(classes: int) -> np.ndarray:
    """Counts of some answers, most of them right."""
    random = np.random.RandomState(0)
    labels = random.randint(0, classes, 10 * classes)
    predictions = np.where(random.rand(len(labels)) < 0.8, labels, (labels + 1) % classes)
    return report.confusion_matrix(labels, predictions, classes)


def answers(classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels and probabilities, all of them wrong."""
    images = np.zeros((classes, 3, 8, 8), np.uint8)
    return images, np.arange(classes), np.roll(np.eye(classes), 1, axis=1)


def test_odd_names_are_drawn_as_they_are(tmp_path, capfd, recwarn):
    report.note_missing_letters.cache_clear()
    report.draw_confusion(confusion(len(NAMES)), NAMES, tmp_path / "confusion.png")
    images, labels, probabilities = answers(len(NAMES))
    files = [f"test/{name}.jpg" for name in NAMES]
    path = tmp_path / "mistakes.png"
    report.draw_mistakes(images, labels, probabilities, NAMES, path, files)
    rows = [[(name, 0.1) for name in NAMES[:6]], [(name, 0.1) for name in NAMES[6:]]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as with python -W error
        report.draw_predictions([Image.new("RGB", (9, 9))] * 2, rows, tmp_path / "predictions.png")
    for file in tmp_path.iterdir():
        assert Image.open(file).width < 2000
    written = "".join(capfd.readouterr())  # matplotlib may build its cache of fonts, and says so
    assert written.count("lacks some letters") == 1 and "Glyph" not in written
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_captions_are_short_and_on_one_line():
    assert report.caption("line\nbreak\t and\x00 more") == "line break and more"
    assert report.caption("a" * 20, 20) == "a" * 20
    short = report.caption("a" * 150 + "b" * 150, 20)
    assert short == "a" * 10 + "…" + "b" * 9 and len(short) == 20


def test_names_that_look_alike_keep_their_bars(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(report, "save", lambda figure, _path: drawn.append(figure))
    row = [("x" * 300, 0.6), ("x" * 301, 0.3), ("", 0.1)]
    report.draw_predictions([Image.new("L", (9, 9))], [row], tmp_path / "predictions.png")
    bars = drawn[0].axes[1].patches
    assert [bar.get_width() for bar in bars] == [0.1, 0.3, 0.6]
    assert len({bar.get_y() for bar in bars}) == 3


@pytest.mark.parametrize("classes", [2, 30, 31, 1001])
def test_confusion_matrix_is_bounded(classes, tmp_path, monkeypatch):
    """All counts are in the picture, as numbers as long as they can be read."""
    drawn = []
    monkeypatch.setattr(report, "save", lambda figure, _path: drawn.append(figure))
    counts = confusion(classes)
    report.draw_confusion(counts, [f"class {i}" for i in range(classes)], tmp_path / "c.png")
    axes = drawn[0].axes[0]
    cells = np.asarray(axes.images[0].get_array())
    assert len(cells) == min(classes, 501)  # of 1001, each cell stands for two
    assert drawn[0].get_size_inches().max() < 21
    assert len(axes.get_xticks()) <= 40
    texts = [text.get_text() for text in axes.texts]
    if classes <= 30:
        assert sum(map(int, texts)) == counts.sum()
    else:
        assert not texts
    first = counts[:2, :2].sum() / counts[:2].sum() if classes > 1000 else None
    expected = first or counts[0, 0] / counts[0].sum()
    assert cells[0, 0] == pytest.approx(expected)


def test_500_classes_take_neither_minutes_nor_gigabytes(root, tmp_path):
    code = """
import sys; from pathlib import Path; from tests.test_report import confusion, report
report.write_confusion(confusion(500), [f"class {i}" for i in range(500)], Path(sys.argv[1]))
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else []
print(*(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""
    command = [sys.executable, "-c", code, tmp_path]
    done = subprocess.run(command, cwd=root, check=True, timeout=120, stdout=subprocess.PIPE)
    assert np.loadtxt(tmp_path / "confusion_matrix.csv", str, delimiter=",").shape == (501, 501)
    assert max(Image.open(tmp_path / "confusion_matrix.png").size) <= 2000
    assert int(done.stdout or 0) < 2**20  # KB


def test_large_images_are_drawn_small(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(report, "save", lambda figure, _path: drawn.append(figure))
    images = np.zeros((2, 3, 1024, 1024), np.uint8)
    report.draw_mistakes(images, np.array([0, 1]), np.eye(2)[::-1], ["a", "b"], tmp_path / "m.png")
    assert [axes.images[0].get_array().shape[:2] for axes in drawn[0].axes[:2]] == [(256, 256)] * 2


def test_table_of_predictions(tmp_path):
    probabilities = np.array([[0.75, 0.25], [1e-9, 1]])
    path = tmp_path / "predictions.csv"
    names = ["a, b", "line\nbreak"]
    for files, first in ((["x,y.jpg", "\udce9.jpg"], "file"), (None, "index")):
        report.write_predictions(files, np.array([0, 0]), probabilities, names, path)
        with path.open(encoding="utf-8", newline="") as file:
            header, one, two = csv.reader(file)
        assert header == [first, "truth", "answer", *names]
        assert one == ["x,y.jpg" if files else "0", "a, b", "a, b", "0.75", "0.25"]
        assert two == ["\\udce9.jpg" if files else "1", "a, b", "line\nbreak", "1e-09", "1"]
