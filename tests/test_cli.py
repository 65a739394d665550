"""The command line that scripts share: errors, the recipe's defaults, argument types."""

import argparse
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo

import train_fashionmnist
from engine import cli, distributed
from engine.errors import UserError


@pytest.mark.parametrize("empty", [torch.empty, np.empty])
def test_out_of_memory_says_what_to_do(empty, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: empty(2**56))
    assert stop.value.code == 2
    assert "lower --batch-size" in capsys.readouterr().err


def test_without_checkpoint_those_that_are_there_are_listed(script, trained):
    # From elsewhere, where checkpoints/ is this one's.
    home = trained.parent.parent / "home"
    (home / "checkpoints").mkdir(parents=True, exist_ok=True)
    (home / "checkpoints" / "small.pth").write_bytes(trained.read_bytes())
    for name, arguments in (("test.py", []), ("predict.py", ["photo.jpg"])):
        done = script(name, *arguments, code=2, cwd=home)
        assert "checkpoints/small.pth" in done.stderr


def test_errors_that_users_can_mend_are_one_line(capsys, monkeypatch):
    killed = "DataLoader worker (pid 7) is killed by signal: Killed. \nIt may be out of memory."
    for error, words in (
        (MemoryError(), "in training, lower --batch-size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "in training, lower --batch-size"),
        (RuntimeError("MPS backend out of memory (MPS"), "in training, lower --batch-size"),
        (
            RuntimeError(killed),
            "worker (pid 7) is killed by signal: Killed: out of memory? --workers",
        ),
        (OSError(28, "No space left on device", "log.csv"), "No space left on device: 'log.csv'"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
            "out of memory: close",
        ),
        (RuntimeError("CUDA error: no kernel image is available for"), "does not support this GPU"),
        (UserError("photos/\x1b[2J: gone"), r"error: photos/\x1b[2J: gone"),
        (
            torch._dynamo.exc.Unsupported("x"),
            "--compile: does not work here, leave it out: x",
        ),
    ):

        def main(error=error):
            raise error

        with pytest.raises(SystemExit) as stop:
            cli.run(main)
        assert stop.value.code == 2
        assert words in capsys.readouterr().err
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(distributed, "is_lost_peer", lambda _: True)
        cli.run(lambda: torch.ones(2) @ torch.ones(3))
    assert stop.value.code == 2 and "error: another process has ended" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="a bug"):

        def bug():
            raise RuntimeError("a bug")

        cli.run(bug)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_what_nobody_reads_is_noticed_at_the_end(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as stdout, pytest.raises(SystemExit) as stop:
        monkeypatch.setattr("sys.stdout", stdout)
        cli.run(lambda: print("a line, kept in memory until then"))
    assert stop.value.code == 141


def parse(monkeypatch, *arguments):
    """The options of train_fashionmnist.py, with the recipe's defaults."""
    monkeypatch.setattr("sys.argv", ["train_fashionmnist.py", *arguments])
    parser = cli.training_parser("", list(train_fashionmnist.RECIPES))
    parser.add_argument("--sample", action="store_true")
    return cli.parse_training(parser, train_fashionmnist.recipe, "fashionmnist")[0]


def test_defaults_follow_from_what_was_given(monkeypatch):
    recipes = train_fashionmnist.RECIPES
    assert parse(monkeypatch).image_size == recipes["googlenet"]["image_size"]
    assert parse(monkeypatch, "--model", "vgg16").image_size == recipes["vgg16"]["image_size"]
    assert parse(monkeypatch, "--sample").epochs == train_fashionmnist.SAMPLE["epochs"]
    plain = parse(monkeypatch, "--no-batch-norm", "--model=vgg16")
    assert plain.lr == train_fashionmnist.PLAIN["vgg16"]["lr"]
    sgd = parse(monkeypatch, "--optimizer", "sgd", "--no-batch-norm", "--lr", "0.5")
    assert (sgd.weight_decay, sgd.lr) == (train_fashionmnist.SGD["weight_decay"], 0.5)
    dry = parse(monkeypatch, "--dry-run", "-b", "8", "--accumulate-steps", "3")
    assert (dry.epochs, dry.limit) == (1, 24)
    assert parse(monkeypatch, "--epochs", "1").warmup_epochs == 0.5  # a half, at most


@pytest.mark.parametrize(("model", "size"), [("vgg16", 32), ("googlenet", 64)])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_shows_the_defaults_of_the_model(monkeypatch, capsys, model, size, option):
    with pytest.raises(SystemExit) as stop:
        parse(monkeypatch, option, "--model", model)
    assert stop.value.code == 0
    help_text = " ".join(capsys.readouterr().out.split())
    assert f"side of the network's input, in pixels (default: {size})" in help_text
    for group in ("model:", "data:", "optimisation:", "run:"):
        assert group in help_text


@pytest.mark.parametrize(
    ("convert", "good", "bad"),
    [
        (cli.positive(int), {"1": 1}, ["0", "-1", "1.5", "x"]),
        (cli.positive(float), {"1e-9": 1e-9}, ["0", "inf", "nan", "-1"]),
        (cli.not_negative(int), {"0": 0}, ["-1"]),
        (cli.fraction, {"0": 0.0, "0.999": 0.999}, ["1", "-0.1", "nan"]),
        (cli.pixels, {"1": 1, "6144": 6144}, ["0", "6145"]),
        (cli.seed, {"0": 0, "2147483647": 2**31 - 1}, ["-1", "2147483648"]),
        (cli.pathname, {"a b": Path("a b"), ".": Path()}, [""]),
    ],
)
def test_types_of_options(convert, good, bad):
    assert {text: convert(text) for text in good} == good
    for text in bad:
        with pytest.raises((argparse.ArgumentTypeError, ValueError)):
            convert(text)


@pytest.mark.parametrize(
    "augment, erase, parts",
    [
        (True, None, {"translate": 2, "erase": 0.2}),
        (True, 0.5, {"translate": 2, "erase": 0.5}),
        (False, None, {}),
        (False, 0.5, {"erase": 0.5}),
    ],
)
def test_erase_goes_before_the_recipe(augment, erase, parts):
    recipe = {"translate": 2, "erase": 0.2}
    args = argparse.Namespace(augment=augment, erase=erase)
    assert cli.augmentation_options(args, recipe) == parts
    assert recipe == {"translate": 2, "erase": 0.2}


def test_another_number_of_processes_is_said(capsys):
    args = argparse.Namespace(
        device="cpu", amp=False, processes=2, checkpoint_activations=True, data_on_device=None
    )
    args.compile = False
    assert cli.start_training(args) == (torch.device("cpu"), None)
    assert "note: the run had 2 processes and resumes with 1" in capsys.readouterr().out
    assert args.processes == 1
    cli.start_training(args)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("version", "old"), [("2.8.0+cpu", True), ("2.9.1", False), ("3.0", False)]
)
def test_compiling_what_is_recomputed_needs_a_new_torch(error_of, monkeypatch, version, old):
    """Before 2.9, compiled recomputation counted batch-norm's statistics twice."""
    monkeypatch.setattr(torch, "__version__", version)
    assert cli.old_torch() == old
    if old:
        options = ("--sample", "--compile", "--checkpoint-activations")
        assert "needs torch 2.9" in error_of(train_fashionmnist, *options)
