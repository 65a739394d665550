"""train_fashionmnist.py as a user meets it: what it writes, Ctrl-C, processes, bad input."""

import re
import signal
import subprocess
import sys

import pandas as pd
import pytest
import torch
from PIL import Image

import train_fashionmnist
from engine import checkpoint
from engine.trainer import Trainer
from tests.conftest import SMALL, same


def test_what_a_run_writes(train):
    folder = train(*SMALL)
    log = pd.read_csv(folder / "log.csv")
    assert list(log.epoch) == [1, 2]
    columns = "train_loss train_accuracy val_loss val_accuracy lr seconds images_per_second"
    assert list(log.columns) == ["epoch", *columns.split()]
    assert list(log.images_per_second * log.seconds) == pytest.approx([160, 160], rel=1e-4)
    assert Image.open(folder / "curves.png").width == 1200
    best = checkpoint.load(folder / "best.pth")
    assert best["metrics"]["val_accuracy"] == pytest.approx(log.val_accuracy.max())
    assert best["config"]["lr"] == train_fashionmnist.RECIPES["googlenet"]["lr"]
    assert "optimizer" not in best
    assert [path.name for path in folder.glob(".*")] == [".lock"]  # no temporary file is left
    train(*SMALL)  # a second run keeps the first
    assert same(checkpoint.load(folder / "previous-1" / "best.pth"), best)


def test_at_equal_accuracy_the_lower_loss_is_best(train, monkeypatch):
    judged = iter([(1.0, 0.5), (0.9, 0.5), (0.7, 0.4), (0.95, 0.5)])
    validate = Trainer.validate
    monkeypatch.setattr(Trainer, "validate", lambda *args: (*next(judged), *validate(*args)[2:]))
    folder = train("--sample", "--limit", "16", "-b", "8", "--image-size", "32", "--epochs", "4")
    assert checkpoint.load(folder / "best.pth")["epoch"] == 2


def test_dry_run_keeps_nothing(train, tmp_path, capsys):
    for model in ("googlenet", "vgg16"):
        train("--sample", "--dry-run", "--model", model, "-b", "8", "--image-size", "32")
        said = capsys.readouterr().out
        assert "no files are kept" in said and "Best:" not in said
    assert not (tmp_path / "run").exists()


def test_ctrl_c_saves_and_says_how_to_go_on(script, root, tmp_path):
    command = [sys.executable, "train_fashionmnist.py", "--sample", "--limit", "320", "-b", "32"]
    command += ["--image-size", "32", "--epochs", "1", "--output-dir", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=root) as process:
        shown = read = process.stderr.read(1)
        # Until the progress bar says that training is under way.
        while read and not re.search(r" [1-9]\d*/10 ", shown):
            read = process.stderr.read(1)
            shown += read
        process.send_signal(signal.SIGINT)
        shown += process.stderr.read()
    assert process.returncode == 130, shown
    assert f"--resume {tmp_path}/last.pth" in shown
    script("train_fashionmnist.py", "--resume", tmp_path / "last.pth")
    assert checkpoint.load(tmp_path / "best.pth")["epoch"] == 1


COMPILED = """
import functools, torch
torch.compile = functools.partial(torch.compile, backend="aot_eager")  # needs no C++ compiler
import train_fashionmnist
from engine import cli
cli.run(train_fashionmnist.main)
"""


def test_two_processes_equal_one(script, monkeypatch, root, tmp_path):
    """Without draws of their own (augmentation, dropout) and batch statistics, the same run.

    Compiled, too; and nothing is said of gradients whose layout is unlike the weights'.
    """
    arguments = [
        "train_fashionmnist.py",
        *SMALL,
        "--no-augment",
        "--dropout",
        "0",
        "--no-batch-norm",
    ]
    arguments += ["--no-amp", "--optimizer", "sgd", "--lr", "0.005", "--output-dir"]
    script(*arguments, tmp_path / "one")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    (tmp_path / "compiled.py").write_text(COMPILED)
    monkeypatch.setenv("PYTHONPATH", str(root))
    arguments[0] = tmp_path / "compiled.py"
    done = script(*torchrun, *arguments, tmp_path / "two", "--compile")
    assert "strides" not in done.stderr
    one, two = (checkpoint.load(tmp_path / name / "last.pth") for name in ("one", "two"))
    for name, tensor in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], tensor, rtol=1e-3, atol=1e-4)
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        for rows in zip(one["history"], two["history"], strict=True):
            assert rows[0][name] == pytest.approx(rows[1][name], rel=1e-3), name
    one, two = (checkpoint.load(tmp_path / name / "best.pth") for name in ("one", "two"))
    assert one["temperature"] == pytest.approx(two["temperature"], rel=0.01)


def test_plain_vgg16_leaves_the_plateau(train):
    """Without batch-norm a bad start leaves the loss at ln 10 = 2.303 for good.

    The default recipe, squeezed into 46 steps.
    """
    arguments = ("--model", "vgg16", "--no-batch-norm", "--sample", "--epochs", "1")
    arguments += ("--limit", "3000")
    log = pd.read_csv(train(*arguments) / "log.csv")
    assert log.val_loss.min() < 1.8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--epochs", "0"), "--epochs"),
        (("--lr", "-1"), "--lr"),
        (("--lr", "nan"), "--lr"),
        (("--dropout", "1"), "--dropout"),
        (("--model", "resnet"), "--model"),
        (("--model", "vgg16", "--image-size", "50"), "multiple of 32"),
        (("--image-size", "8"), "32 or more"),
        (("--aux-heads",), "too small"),  # at 64 px
        (("--model", "vgg16", "--aux-heads"), "vgg16 has no argument aux_heads"),
        (("--sample", "--limit", "1"), "at least 2 images"),
        (("-j", "-1"), "--workers"),
        (("--seed", "4294967296"), "--seed"),
        (("--device", "tpu"), "--device tpu"),
        (("--device", "cuda:99"), "--device cuda:99"),
        (("--data-dir", "nowhere"), "nowhere"),
        (("--resume", "README.md"), "README.md"),
        (("--sample", "--data-dir", "data/sample"), "--data-dir: does not go with --sample"),
        (("--epochs", "2", "--warmup-epochs", "1.5"), "--warmup-epochs 1.5: must be at most half"),
    ],
)
def test_bad_input_is_one_line(error_of, arguments, words, root, monkeypatch, tmp_path):
    monkeypatch.chdir(root)
    assert words in error_of(train_fashionmnist, *arguments, "--output-dir", tmp_path / "run")
    assert not (tmp_path / "run").exists()
