"""Calibrated probabilities: the temperature, the calibration error, who uses them."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import test as test_script
from data import fashionmnist
from engine import calibration, checkpoint, inference, report
from engine.calibration import fit_temperature
from engine.checkpoint_fields import TEMPERATURES
from engine.explain import activations, evidence
from engine.inference import load_classifier
from tests.conftest import same


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_found(factor):
    """Labels drawn from the probabilities of some logits, which are then scaled."""
    random = torch.Generator().manual_seed(0)
    z = 3 * torch.randn(20_000, 5, generator=random)
    labels = torch.multinomial(z.softmax(1), 1, generator=random)[:, 0]
    found = fit_temperature(z * factor, labels)
    assert found == pytest.approx(factor, rel=0.03)
    losses = [F.cross_entropy(z.double() * factor / (found * by), labels) for by in (1, 0.98, 1.02)]
    assert min(losses) == losses[0]


def test_few_images_do_not_make_sure():
    """Of 20 answers all are right: as sure as after 20.5 of 21, not without any doubt."""
    logits, labels = torch.tensor([[4.0, 0.0]] * 20), torch.zeros(20, dtype=torch.int64)
    temperature = fit_temperature(logits, labels)
    assert (logits / temperature).softmax(1)[0, 0].item() == pytest.approx(20.5 / 21)
    assert fit_temperature(logits, 1 - labels) == pytest.approx(TEMPERATURES[1])  # all wrong
    assert fit_temperature(logits / 1000, labels) == pytest.approx(TEMPERATURES[0])


# The answers are right, wrong, right, wrong, right, wrong.
PROBABILITIES = np.array([[0.95, 0.05], [0.08, 0.92], [0.6, 0.4], [0.42, 0.58], [1, 0], [0.5, 0.5]])
LABELS = np.array([0, 0, 0, 0, 0, 1])


def test_calibration_error_by_hand():
    bins = calibration.reliability(PROBABILITIES, LABELS)
    expected = np.zeros((15, 3))
    expected[7] = 1, 0.5, 0  # (7/15, 8/15]
    expected[8] = 2, 0.59, 0.5  # 0.6 is 9/15, the upper end of its bin
    expected[13] = 1, 0.92, 0  # up to 14/15 = 0.933
    expected[14] = 2, 0.975, 1
    assert bins == pytest.approx(expected)
    error = (0.5 + 2 * 0.09 + 0.92 + 2 * 0.025) / 6
    found = calibration.expected_calibration_error(PROBABILITIES, LABELS)
    assert found == pytest.approx(error)


def test_coverage_by_hand():
    rows = {
        row["min_confidence"]: (row["coverage"], row["accuracy"])
        for row in calibration.coverage(PROBABILITIES[:4], LABELS[:4])
    }
    assert (rows[0.0], rows[0.5], rows[0.6]) == ((1, 0.5), (1, 0.5), (0.75, 2 / 3))
    assert (rows[0.9], rows[0.95], rows[0.98]) == ((0.5, 0.5), (0.25, 1), (0, None))


@pytest.fixture
def calibrated(trained, tmp_path):
    """``trained``, with a temperature."""
    checkpoint.save(checkpoint.load(trained) | {"temperature": 0.25}, tmp_path / "calibrated.pth")
    return tmp_path / "calibrated.pth"


def test_calibration_changes_probabilities_and_no_answer(
    run, trained, calibrated, monkeypatch, tmp_path
):
    images = fashionmnist.load_test(fashionmnist.SAMPLE, sample=True).first(50)
    monkeypatch.setattr(test_script, "open_split", lambda *_: images)
    for name in ("draw_confusion", "draw_mistakes"):  # which take the most time
        monkeypatch.setattr(report, name, lambda *_: None)
    summaries, tables = [], []
    for path in (trained, calibrated):
        folder = tmp_path / path.stem
        out = run(test_script, "--checkpoint", path, "--sample", "--output-dir", folder).out
        summary = json.loads((folder / "summary.json").read_text())
        errors = summary["ece"], summary["ece_uncalibrated"]
        assert "error {:.2%} ({:.2%} without it)".format(*errors) in out
        summaries.append(summary)
        tables.append(pd.read_csv(folder / "predictions.csv"))
    without, with_it = summaries
    assert (without["temperature"], with_it["temperature"]) == (1, 0.25)
    assert without["ece"] == without["ece_uncalibrated"] != with_it["ece"]
    assert with_it["ece_uncalibrated"] == pytest.approx(without["ece"], abs=1e-6)
    assert with_it["accuracy"] == without["accuracy"]
    assert list(tables[0].answer) == list(tables[1].answer)
    plain, sharp = (table[list(fashionmnist.CLASSES)].to_numpy() for table in tables)
    assert np.array_equal(plain.argsort(1, kind="stable"), sharp.argsort(1, kind="stable"))
    expected = plain**4 / (plain**4).sum(1, keepdims=True)
    assert sharp == pytest.approx(expected, rel=1e-3)
    assert with_it["loss"] == pytest.approx(-np.log(expected[range(50), images.labels]).mean())
    assert (tmp_path / "calibrated" / "reliability.png").exists()


def test_a_program_sees_calibrated_probabilities(trained, calibrated, tmp_path):
    checkpoint.export(calibrated, tmp_path / "half.pth")
    image = fashionmnist.load_test(fashionmnist.SAMPLE, sample=True).images[0]
    plain, sharp, half = map(load_classifier, (trained, calibrated, tmp_path / "half.pth"))
    assert (plain.temperature, sharp.temperature, half.temperature) == (1, 0.25, 0.25)
    logits = activations(plain, image[None])[0][0]
    assert torch.equal(activations(sharp, image[None])[0][0], logits / 0.25)
    _, predicted, probability = evidence(sharp, image)
    assert probability == pytest.approx((logits / 0.25).softmax(0).max().item())
    assert predicted == logits.argmax()
    before, after = (classifier.predict([image[0]], top_k=10)[0] for classifier in (plain, sharp))
    assert [name for name, _ in before] == [name for name, _ in after]
    ratio = (before[0].probability / before[1].probability) ** 4
    assert after[0].probability / after[1].probability == pytest.approx(ratio, rel=1e-3)


def test_it_can_be_fitted_afterwards(run, error_of, calibrated, ready, sample, monkeypatch):
    """Whatever was in the file before; nothing else changes in it."""
    before = checkpoint.load(calibrated) | {"config": {"sample": True}}
    checkpoint.save(before, calibrated)
    val = sample[1]
    classifier = load_classifier(calibrated)
    logits, labels = classifier.logits([(torch.tensor(val.images), torch.tensor(val.labels))])
    out = run(calibration, calibrated).out
    after = checkpoint.load(calibrated)
    assert after["temperature"] == pytest.approx(fit_temperature(logits * 0.25, labels), rel=1e-4)
    assert f"temperature {after['temperature']:.3f} (before: 0.250)" in out
    assert same(after | {"temperature": 0.25}, before)
    checkpoint.save(before | {"classes": before["classes"][::-1]}, calibrated)
    assert "has a wrong description of its data" in error_of(calibration, calibrated)
    checkpoint.save(before | {"dataset": "photos/0"}, calibrated)
    monkeypatch.setattr(inference, "open_split", lambda *_: val)
    kept = calibrated.read_bytes()
    assert "not the split" in error_of(calibration, calibrated, "--data-dir", ready)
    assert calibrated.read_bytes() == kept


def test_the_diagram_shows_the_bins(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(report, "save", lambda figure, _path: drawn.append(figure))
    calibration.draw_reliability(PROBABILITIES, PROBABILITIES, LABELS, tmp_path / "r.png")
    before, after, curve = drawn[0].axes
    for axes in (before, after):
        both, more, less = ([bar.get_height() for bar in bars] for bars in axes.containers)
        assert both == pytest.approx([0, 0.5, 0, 0.975])
        assert more == pytest.approx([0, 0, 0, 0.025])
        assert less == pytest.approx([0.5, 0.09, 0.92, 0])
        assert [text.get_text() for text in axes.texts] == ["1", "2", "1", "2"]
    answered, accuracy = curve.lines[0].get_data()
    assert answered == pytest.approx(np.arange(1, 7) / 6)
    assert accuracy == pytest.approx([1, 1, 2 / 3, 3 / 4, 3 / 5, 1 / 2])
