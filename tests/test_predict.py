"""predict.py: one photo goes the way of the validation set; tables, JSON, figures, bad files."""

import json
import subprocess
import sys

import pytest
from PIL import Image

import predict
from data import fashionmnist
from data.loaders import eval_loader
from data.transforms import Augmentation, BatchTransform
from engine import checkpoint, evaluate
from models import create_model

CLASSES = fashionmnist.CLASSES


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
    transform = BatchTransform(saved["mean"], saved["std"], 32, Augmentation(flip=True))
    logits, _ = evaluate.predict_logits(model, eval_loader(images, 3), transform)
    for index in range(8):
        chances = {p["class"]: p["probability"] for p in answers[str(items / f"{index}.png")]}
        expected = dict(zip(CLASSES, logits[index].softmax(0).tolist(), strict=True))
        assert chances == pytest.approx(expected, rel=1e-4)


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


def test_nobody_reads_the_rest(root, trained, items):
    """As in ``predict.py photos/ | head``, whose end says nothing."""
    command = [sys.executable, "predict.py", items / "0.png", "--checkpoint", trained]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
