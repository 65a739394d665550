"""test.py: the files that it writes, the figures in them."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import test as test_script
from data import fashionmnist
from engine import report

CLASSES = fashionmnist.CLASSES


def test_test_writes_what_it_prints(run, trained, tmp_path):
    out = run(test_script, "--checkpoint", trained, "--sample", "--output-dir", tmp_path).out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert f"accuracy {summary['accuracy']:.2%}" in out
    confusion = pd.read_csv(tmp_path / "confusion_matrix.csv", index_col=0)
    assert confusion.to_numpy().sum() == 1000 == summary["images"]
    assert np.trace(confusion.to_numpy()) / 1000 == pytest.approx(summary["accuracy"])
    assert list(confusion.columns) == list(confusion.index) == list(CLASSES)
    table = pd.read_csv(tmp_path / "classes.csv", index_col=0)
    assert list(table.columns) == ["precision", "recall", "f1", "support"]
    for name in ("confusion_matrix.png", "mistakes.png"):
        assert Image.open(tmp_path / name).width > 500


def test_test_goes_beside_the_checkpoint_by_default(run, trained):
    run(test_script, "--checkpoint", trained, "--sample")
    assert (trained.parent / "best_test" / "summary.json").exists()


def test_class_table_by_hand():
    labels, predictions = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 1])
    confusion = report.confusion_matrix(labels, predictions, 3)
    assert confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]
    table = report.class_table(confusion, ["a", "b", "c"])
    assert table.precision.tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert table.recall.tolist() == pytest.approx([2 / 3, 1 / 2, 0])
    assert table.f1.tolist() == pytest.approx([2 / 3, 2 / 5, 0])
    assert table.support.tolist() == [3, 2, 1]


def test_a_page_without_mistakes(tmp_path):
    images, labels = np.zeros((3, 1, 4, 4), np.uint8), np.array([0, 1, 0])
    report.draw_mistakes(images, labels, np.eye(2)[labels], ["a", "b"], tmp_path / "none.png")
    assert (tmp_path / "none.png").exists()
