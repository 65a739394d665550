"""predict.py: one photo goes the way of the validation set; tables, JSON, figures, bad files."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import predict
from data import fashionmnist
from data.loaders import eval_loader
from data.parallel import allowed_cores
from data.transforms import Augmentation, BatchTransform
from engine import checkpoint, evaluate, report
from engine.errors import UserError
from engine.inference import Classifier, Prediction
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


def test_a_photo_has_one_line_whatever_its_name(capsys):
    """A name may hold the end of a line, or what moves a terminal's cursor."""
    files = [Path("a\nb.jpg"), Path("c\r\x1b[2K ü é.jpg")]
    predict.print_table(files, [[Prediction("Cat", 0.9)]] * 2, 0)
    assert capsys.readouterr().out.splitlines() == [
        "a\\nb.jpg" + " " * 12 + "Cat 90.0%",
        "c\\r\\x1b[2K ü é.jpg  Cat 90.0%",
    ]


def test_answers_below_the_least_confidence_are_unsure(run, trained, items, monkeypatch):
    """In the table, in JSON and in the figure; the probabilities stay."""
    drawn = []
    monkeypatch.setattr(report, "save", lambda figure, _path: drawn.append(figure))
    arguments = (predict, items, "--checkpoint", trained)
    plain = json.loads(run(*arguments, "--json").out)
    tops = sorted(entry["predictions"][0]["probability"] for entry in plain)
    assert not any("unsure" in entry for entry in plain)
    least = ("--min-confidence", (tops[3] + tops[4]) / 2)
    marked = json.loads(run(*arguments, *least, "--json").out)
    for entry, before in zip(marked, plain, strict=True):
        assert entry.pop("unsure") == (entry["predictions"][0]["probability"] < least[1])
        assert entry == before
    table = run(*arguments).out
    lines = run(*arguments, *least, "--save-figure", items / "f.png").out.splitlines()
    unsure = [line.endswith("%  unsure") for line in lines]
    assert (
        sum(unsure) == 4
        and [e["predictions"][0]["probability"] < least[1] for e in plain] == unsure
    )
    assert [line.removesuffix("  unsure") for line in lines] == table.splitlines()
    bars = drawn[0].axes[1::2]
    assert [axes.get_title() == "unsure" for axes in bars] == unsure
    colours = [axes.patches[0].get_facecolor() for axes in bars]
    assert len({c for c, u in zip(colours, unsure, strict=True) if u}) == 1 == len(set(colours)) - 1


def test_a_path_that_cannot_be_looked_at_costs_no_other_answers(trained, items, script):
    """Its name is too long, say, or it lies in a folder that may not be entered."""
    names = (items / "0.png", items / ("x" * 300))
    done = script("predict.py", *names, "--checkpoint", trained, code=2)
    assert "0.png" in done.stdout and "File name too long" in done.stderr


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


def test_folders_are_read_by_content(run, error_of, trained, items):
    """Whatever a photo is called, and through links; what is none is counted and named."""
    (items / "deeper ü" / "nine.png").rename(items / "deeper ü" / "nine")
    (items / "7.png").rename(items / "7.jpe")
    picture = Image.open(items / "0.png")
    picture.save(items / "photo.dat", "MPO", save_all=True, append_images=[picture])
    (items / "@eaDir").mkdir()
    picture.save(items / "@eaDir" / "thumb.jpg")
    (items / "linked").symlink_to(items / "deeper ü")
    (items / "loop").symlink_to(items)
    os.mkfifo(items / "pipe")
    (items / "data.json").write_text("{}")
    done = run(predict, items, "--checkpoint", trained, "--json")
    found = [entry["file"] for entry in json.loads(done.out)]
    assert [os.path.relpath(file, items) for file in found] == [
        *(f"{n}.png" for n in range(7)),
        *("7.jpe", "EIGHT.PNG", "deeper ü/nine", "linked/nine", "photo.dat"),
    ]  # fmt: skip
    (line,) = done.err.splitlines()
    assert line.startswith("predict.py: skipped 3 files that are not photos: ")
    assert all(name in line for name in ("data.json", "notes.txt", "pipe"))

    (items / "phone").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (items / "download.jpg").write_text("<html>")
    first, second, third = error_of(predict, items, "--checkpoint", trained).splitlines()
    assert first == line  # a file whose name says photo is not skipped
    assert "download.jpg: not an image" in second and "phone: HEIC" in third


def test_folder_without_photos(error_of, trained, items, tmp_path):
    (tmp_path / "texts").mkdir()
    assert "texts: no photos" in error_of(predict, tmp_path / "texts", "--checkpoint", trained)
    (tmp_path / "texts" / "notes.txt").write_text("not a photo")
    lines = error_of(predict, tmp_path / "texts", "--checkpoint", trained).splitlines()
    assert "skipped 1 file that is not a photo" in lines[0] and "texts: no photos" in lines[1]


def test_json_is_json_in_any_encoding(run, trained, tmp_path):
    names = [b"caf\xc3\xa9 \xe2\x82\xac.png", b"no utf-8 \xff.png", b'"quoted"\n\\.png']
    for name in names:
        Image.new("L", (28, 28)).save(os.fsencode(tmp_path) + b"/" + name, "PNG")
    out = run(predict, tmp_path, "--checkpoint", trained, "--json").out
    assert out.isascii()  # whatever the encoding of standard output is
    files = [os.fsencode(entry["file"]) for entry in json.loads(out)]
    assert sorted(files) == sorted(os.fsencode(tmp_path) + b"/" + name for name in names)


def test_a_network_that_answers_nan_is_refused(trained, items):
    saved = checkpoint.load(trained)
    damaged = create_model("googlenet", **saved["model_args"])
    for value in (torch.nan, torch.inf):
        torch.nn.init.constant_(damaged.linear.weight, value)
        with pytest.raises(UserError, match="NaN or infinity"):
            Classifier(damaged, saved, torch.device("cpu")).predict([items / "0.png"])


def test_large_folders_are_read_in_order_in_parallel_and_within_bounds(tmp_path, capsys):
    class Slow:
        """Notes the threads it runs in; the first photos take longest."""

        threads, prepared = set(), 0

        def prepare(self, file, _invert):
            self.threads.add(threading.get_ident())
            time.sleep(0.05 if int(file.stem) < 2 else 0)
            self.prepared += 1
            return np.full((1, 1), int(file.stem), np.int64)

    for number in range(300):
        (tmp_path / f"{number:03}.png").touch()
    photos = predict.Photos(Slow(), [tmp_path], invert=False)
    for number, array in enumerate(photos):
        assert array == number
        assert photos.classifier.prepared <= number + 8 * allowed_cores() + 2
    assert len(photos.files) == 300
    assert len(Slow.threads) > 1 or allowed_cores() == 1
    assert "/300 [" in capsys.readouterr().err  # a bar, with the time that remains


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
