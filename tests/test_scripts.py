"""test.py, predict.py and checkpoints, as a user meets them."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import predict
import test as test_script
from data import fashionmnist
from data.augment import Preprocess
from data.images import eval_loader
from engine import checkpoint, loop, report
from models import create_model

CLASSES = fashionmnist.CLASSES


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of a small GoogLeNet with random weights."""
    torch.manual_seed(0)
    model_args = {"in_channels": 1, "num_classes": 10, "image_size": 32, "batch_norm": True}
    path = tmp_path_factory.mktemp("checkpoints") / "best.pth"
    content = {
        "model": "googlenet",
        "model_args": model_args,
        "state_dict": create_model("googlenet", **model_args).state_dict(),
        "dataset": "fashionmnist",
        "classes": list(CLASSES),
        "image_size": 32,
        "source_size": 28,
        "fit": "pad",
        "mean": [0.286],
        "std": [0.353],
        "flip": True,
        "channels": 1,
        "epoch": 1,
        "metrics": {},
        "recipe": {},
    }
    checkpoint.save(content, path)
    return path


# ---------------------------------------------------------------- test.py


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


# ---------------------------------------------------------------- predict.py


@pytest.fixture
def items(tmp_path):
    """Ten test images as PNG files; one in capitals, one below."""
    images = fashionmnist.load_test(fashionmnist.SAMPLE, sample=True).images[:10, 0]
    (tmp_path / "deeper ü").mkdir()
    names = [f"{n}.png" for n in range(8)] + ["EIGHT.PNG", "deeper ü/nine.png"]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a photo")
    return tmp_path


def test_predict_equals_validation(run, trained, items):
    """One file goes the way of the test set: the same logits, whichever way it is read."""
    out = run(predict, items, "--checkpoint", trained, "--json", "--top-k", "10").out
    answers = {entry["file"]: entry["predictions"] for entry in json.loads(out)}
    assert len(answers) == 10
    saved = checkpoint.load(trained)
    model = create_model("googlenet", **saved["model_args"])
    checkpoint.load_weights(model, saved, trained)
    images = fashionmnist.load_test(fashionmnist.SAMPLE, sample=True).first(10)
    preprocess = Preprocess(saved["mean"], saved["std"], 32, flip=True)
    logits, _ = loop.predict(model, eval_loader(images, 3), preprocess)
    for index in range(8):
        chances = {p["class"]: p["probability"] for p in answers[str(items / f"{index}.png")]}
        expected = dict(zip(CLASSES, logits[index].softmax(0).tolist(), strict=True))
        assert chances == pytest.approx(expected, rel=1e-4)


def test_an_image_is_judged_from_both_sides():
    """VGG, Section 3.2: the average of the probabilities of the image and its mirror image."""
    torch.manual_seed(0)
    model = create_model("googlenet", in_channels=1, num_classes=10, image_size=32, batch_norm=True)
    model.eval()
    images = fashionmnist.load_test(fashionmnist.SAMPLE, sample=True).first(4)
    preprocess = Preprocess((0.3,), (0.3,), 32, flip=True).eval()
    logits, _ = loop.predict(model, eval_loader(images, 4), preprocess)
    with torch.no_grad():
        x = preprocess(torch.from_numpy(images.images[:]))
        expected = (model(x).softmax(1) + model(x.flip(3)).softmax(1)) / 2
        assert not torch.allclose(model(x).softmax(1), expected, atol=1e-4)
    assert torch.allclose(logits.softmax(1), expected, atol=1e-6)


def test_predict_prints_an_aligned_table(run, trained, items):
    lines = run(predict, items, "--checkpoint", trained).out.splitlines()
    assert len(lines) == 10
    assert all(line.count("%") == 3 for line in lines)
    width = len(str(items / "deeper ü" / "nine.png"))
    for line in lines:
        assert line[:width].rstrip().lower().endswith(".png")
        assert line[width : width + 2] == "  " and line[width + 2] != " "


def test_predict_draws_a_figure(run, trained, items):
    run(
        predict,
        items / "0.png",
        items / "1.png",
        "--checkpoint",
        trained,
        "--save-figure",
        items / "figure.png",
    )
    assert Image.open(items / "figure.png").height > 300


def test_unreadable_files_do_not_stop_the_others(script, trained, items):
    (items / "broken.jpg").write_bytes(b"no image")
    done = script(
        "predict.py", items / "0.png", items / "broken.jpg", items / "missing.png", items / "1.png",
        "--checkpoint", trained, code=2,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and "broken.jpg" in lines[0] and "missing.png" in lines[1]


def test_nobody_reads_the_rest(root, trained, items):
    """As in ``predict.py photos/ | head``, whose end says nothing."""
    command = [sys.executable, "predict.py", items / "0.png", "--checkpoint", trained]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_predict_loads_only_what_it_uses(script, trained, items):
    code = f"""
import sys, runpy
sys.argv = ["predict.py", {str(items / "0.png")!r}, "--checkpoint", {str(trained)!r}]
try:
    runpy.run_path("predict.py", run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
for name in ("pandas", "matplotlib", "torchvision", "models.vgg16"):
    assert name not in sys.modules, name
"""
    script("-c", code)


# ---------------------------------------------------------------- checkpoints


def test_save_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "last.pth"
    checkpoint.save({"step": 1}, path)
    before = path.read_bytes()

    def full_disk(_content, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save({"step": 2}, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.pth"]


class Malicious:
    def __reduce__(self):
        return os.system, ("touch gotcha",)


def bad_files() -> dict[str, bytes]:
    """Content of files that are no checkpoint, by what is wrong with them."""
    buffer = io.BytesIO()
    torch.save({"format": checkpoint.FORMAT, "state_dict": Malicious()}, buffer)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("hello.txt", "hello")
    foreign = io.BytesIO()
    torch.save({"state_dict": {}}, foreign)
    incomplete = io.BytesIO()
    torch.save({"format": checkpoint.FORMAT, "model": "vgg16"}, incomplete)
    return {
        "malicious": buffer.getvalue(),
        "malicious pickle": pickle.dumps(Malicious()),
        "empty": b"",
        "html": b"<!DOCTYPE html>",
        "text": b"a line of text",
        "zip": zipped.getvalue(),
        "cut off": buffer.getvalue()[:-100],
        "foreign": foreign.getvalue(),
        "incomplete": incomplete.getvalue(),
    }


@pytest.mark.parametrize("kind", bad_files())
def test_bad_checkpoint_is_refused_and_runs_nothing(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pth"
    path.write_bytes(bad_files()[kind])
    with pytest.raises(checkpoint.CheckpointError, match=r"bad\.pth") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "gotcha").exists()


def test_checkpoint_of_another_shape_is_refused(trained, tmp_path):
    saved = checkpoint.load(trained)
    model = create_model("googlenet", in_channels=1, num_classes=3, image_size=32, batch_norm=True)
    with pytest.raises(checkpoint.CheckpointError, match="do not fit") as caught:
        checkpoint.load_weights(model, saved, trained)
    assert "\n" not in str(caught.value)


def test_export_halves_the_file_and_keeps_the_answers(trained, tmp_path):
    checkpoint.export(trained, tmp_path / "small.pth")
    small = checkpoint.load(tmp_path / "small.pth")
    assert (tmp_path / "small.pth").stat().st_size < 0.55 * trained.stat().st_size
    images = torch.randn(8, 1, 32, 32)
    outputs = []
    for path, saved in ((trained, checkpoint.load(trained)), (tmp_path, small)):
        model = create_model("googlenet", **saved["model_args"]).eval()
        checkpoint.load_weights(model, saved, path)
        outputs.append(model(images).softmax(1))
    torch.testing.assert_close(*outputs, rtol=0, atol=2e-3)


def test_without_checkpoint_those_that_are_there_are_listed(script, trained):
    # From elsewhere, where checkpoints/ is this one's.
    home = trained.parent.parent / "home"
    (home / "checkpoints").mkdir(parents=True, exist_ok=True)
    (home / "checkpoints" / "small.pth").write_bytes(trained.read_bytes())
    for name, arguments in (("test.py", []), ("predict.py", ["photo.jpg"])):
        done = script(name, *arguments, code=2, cwd=home)
        assert "checkpoints/small.pth" in done.stderr


SHIPPED = sorted((fashionmnist.DATA.parent / "checkpoints").glob("fashionmnist_*.pth"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_checkpoint_holds_its_figure_on_the_sample(run, path, tmp_path):
    out = run(test_script, "--checkpoint", path, "--sample", "--output-dir", tmp_path).out
    assert json.loads((tmp_path / "summary.json").read_text())["accuracy"] > 0.93, out
    assert path.stat().st_size < 15e6
