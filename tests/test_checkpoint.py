"""Checkpoints: written whole, read safely, halved for shipping."""

import io
import json
import os
import pickle
import resource
import zipfile
from argparse import Namespace
from contextlib import contextmanager
from pathlib import PureWindowsPath

import pytest
import torch

import test as test_script
from data import fashionmnist
from engine import checkpoint, cli
from engine.errors import UserError
from models import create_model
from tests.conftest import same


def test_paths_of_windows_are_found_elsewhere():
    options = Namespace(image_size=32, data_dir=PureWindowsPath("data\\birds"), epochs=3)
    saved = checkpoint.metadata("vgg16", {"in_channels": 3}, options)
    assert saved["config"] == {"image_size": 32, "data_dir": "data/birds", "epochs": 3}


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


@contextmanager
def file_size_limit(size):
    """Let the system refuse to write files larger than that (``ulimit -f``)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def full_disk(_path):
    """In place of ``atomic_write``: a file that takes nothing."""
    with open("/dev/full", "wb") as file:
        yield file


def test_errors_of_the_disk_come_out_as_they_are(tmp_path, monkeypatch):
    """torch.save turns them into a RuntimeError about positions in a zip."""
    path = tmp_path / "last.pth"
    checkpoint.save({"step": 1}, path)
    before = path.read_bytes()
    large = {"state_dict": {"weight": torch.zeros(10**6)}}
    for size in (0, 100, 10**4, 10**6):  # in the head of the zip, in a tensor, …
        with file_size_limit(size), pytest.raises(OSError, match=r"too large.*last\.pth"):
            checkpoint.save(large, path)
    with monkeypatch.context() as patch, pytest.raises(OSError, match=r"No space left.*last\.pth"):
        patch.setattr(checkpoint, "atomic_write", full_disk)
        checkpoint.save(large, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.pth"]


def test_export_says_in_one_line_what_it_cannot_do(trained, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    small = tmp_path / "small.pth"
    for source, target, size, words in (
        (trained, small, 10**6, "too large"),
        (trained, tmp_path / "file" / "small.pth", resource.RLIM_INFINITY, "small.pth"),
        (trained, tmp_path, resource.RLIM_INFINITY, str(tmp_path)),
        (tmp_path / "no.pth", small, resource.RLIM_INFINITY, "no.pth: No such file"),
        (tmp_path / "file", small, resource.RLIM_INFINITY, "not a checkpoint"),
        (trained, tmp_path / "last.pth", resource.RLIM_INFINITY, "what its run resumes from"),
    ):
        monkeypatch.setattr("sys.argv", ["checkpoint.py", str(source), str(target)])
        with file_size_limit(size), pytest.raises(SystemExit) as stop:
            cli.run(checkpoint.main)
        error = capsys.readouterr().err
        assert stop.value.code == 2 and words in error and error.count("\n") == 1
        assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_export_keeps_what_half_precision_cannot_hold(trained, tmp_path):
    saved = checkpoint.load(trained)
    name = "conv1.conv.weight"
    saved["state_dict"][name] = torch.full_like(saved["state_dict"][name], 1e6)
    checkpoint.save(saved, tmp_path / "large.pth")
    checkpoint.export(tmp_path / "large.pth", tmp_path / "small.pth")
    small = checkpoint.load(tmp_path / "small.pth")["state_dict"]
    assert torch.equal(small[name], saved["state_dict"][name])
    assert small["conv2.conv.conv.weight"].dtype == torch.float16


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
    with pytest.raises(UserError, match=r"bad\.pth") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "gotcha").exists()


def test_checkpoint_of_another_shape_is_refused(trained, tmp_path):
    saved = checkpoint.load(trained)
    model = create_model("googlenet", in_channels=1, num_classes=3, image_size=32, batch_norm=True)
    with pytest.raises(UserError, match="do not fit") as caught:
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


SHIPPED = sorted((fashionmnist.DATA.parent / "checkpoints").glob("fashionmnist_*.pth"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_checkpoint_holds_its_figure_on_the_sample(run, path, tmp_path):
    out = run(test_script, "--checkpoint", path, "--sample", "--output-dir", tmp_path).out
    assert json.loads((tmp_path / "summary.json").read_text())["accuracy"] > 0.93, out
    assert path.stat().st_size < 15e6


def test_old_format_is_read_under_the_new_names(trained, tmp_path):
    """Format 1 had other names, and torchvision's GoogLeNet as a switch of the paper's."""
    new = checkpoint.load(trained)
    names = {"config": "recipe", "stored_size": "source_size", "resize_mode": "fit"}
    old = {names.get(key, key): value for key, value in new.items()}
    for fit, resize_mode in (("pad", "pad"), ("squash", "stretch")):
        for compatible, model in ((False, "padded_googlenet"), (True, "torchvision_googlenet")):
            model_args = new["model_args"] | {"torchvision_compatible": compatible}
            changed = {"format": checkpoint.OLD_FORMATS[0], "fit": fit, "model_args": model_args}
            torch.save(old | changed, tmp_path / "old.pth")
            read = checkpoint.load(tmp_path / "old.pth")
            assert same(read, new | {"resize_mode": resize_mode, "model": model})
    checkpoint.export(tmp_path / "old.pth", tmp_path / "new.pth")
    assert torch.load(tmp_path / "new.pth", weights_only=True)["format"] == checkpoint.FORMAT


def test_older_googlenets_pool_as_they_were_trained(trained, train, interrupted, tmp_path):
    """With one pixel of padding on every side; also when such a run goes on."""
    _, stopped = interrupted(step=7)
    saved = checkpoint.load(stopped / "last.pth")
    torch.save(saved | {"format": checkpoint.OLD_FORMATS[1]}, stopped / "last.pth")
    read = checkpoint.load(stopped / "last.pth")
    model = checkpoint.build(create_model, read, "last.pth")
    even = torch.arange(16.0).view(1, 1, 4, 4)
    assert model.pool1(even).flatten().tolist() == [5, 7, 13, 15]
    train("--resume", stopped / "last.pth")
    for name in ("best.pth", "last.pth"):
        again = torch.load(stopped / name, weights_only=True)
        assert (again["format"], again["model"]) == (checkpoint.FORMAT, "padded_googlenet")
