"""On a GPU: the same numbers as on a CPU, without waiting for it. Skipped where there is none.

    python -m pytest tests/test_accelerator.py

In a run with other tests, which need the arithmetic of a CPU, the GPU is hidden from these, too.
"""

import os
from functools import partialmethod

import pandas as pd
import pytest
import torch
from torch import nn

import train_fashionmnist
from engine import checkpoint, cli
from engine.device import accelerators, describe, kind, set_precision
from engine.errors import Interrupted
from engine.trainer import Trainer
from models import create_model
from models.googlenet import AuxiliaryLoss
from tests.conftest import SMALL, interrupt_at, same

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for deterministic products

there = accelerators()
pytestmark = pytest.mark.skipif(not there, reason="torch can use no GPU here")
needs_cuda = pytest.mark.skipif(
    not there or there[0].type != "cuda", reason="a test of CUDA's own means"
)
GPU = there[0] if there else torch.device("cpu")


@pytest.mark.parametrize(("name", "size"), [("vgg16", 32), ("googlenet", 96)])
def test_loss_and_gradients_are_those_of_the_cpu(name, size):
    """In float32, GoogLeNet with its heads."""
    set_precision(GPU, training=False)  # no TF32
    torch.manual_seed(0)
    model = create_model(name, in_channels=1, num_classes=10, image_size=size, batch_norm=True)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    images, labels = torch.randn(8, 1, size, size), torch.arange(8)
    criterion = AuxiliaryLoss(nn.CrossEntropyLoss())
    results = []
    for where in (torch.device("cpu"), GPU):
        model = model.to(where, memory_format=kind(where).memory_format)
        model.zero_grad()
        loss, _ = criterion(model(images.to(where)), labels.to(where))
        loss.backward()
        gradients = {name: p.grad.cpu() for name, p in model.named_parameters()}
        results.append((loss.item(), gradients))
    (loss, gradients), (other_loss, others) = results
    assert other_loss == pytest.approx(loss, rel=1e-4)
    for name, gradient in gradients.items():
        error = (others[name] - gradient).norm() / gradient.norm().clamp(min=1e-6)
        assert error < 1e-2, name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_train(train, monkeypatch, dtype):
    monkeypatch.setattr(cli, "amp_dtype", lambda _: dtype)
    start = torch.amp.GradScaler.__init__
    monkeypatch.setattr(torch.amp.GradScaler, "__init__", partialmethod(start, init_scale=2.0**24))
    folder = train("--sample", "--limit", "1280", "--image-size", "32", "--epochs", "3", "--amp")
    losses = pd.read_csv(folder / "log.csv").train_loss
    assert losses.iloc[-1] < losses.iloc[0] - 0.2
    saved = checkpoint.load(folder / "last.pth")
    steps = {int(state["step"]) for state in saved["optimizer"]["state"].values()}
    if dtype == torch.float16:  # the first steps overflowed, and the scale was halved
        assert saved["scaler"]["scale"] < 2.0**24 and max(steps) < 60
    else:
        assert steps == {60}


def test_resumed_bit_for_bit_by_deterministic_algorithms(train, monkeypatch):
    monkeypatch.setattr(cli, "set_precision", lambda *_, **__: None)  # does not try kernels out
    torch.use_deterministic_algorithms(True, warn_only=True)
    options = (*SMALL, "--model", "vgg16")
    try:
        whole = train(*options, folder="whole")
        with monkeypatch.context() as patch:
            interrupt_at(patch, 7)
            with pytest.raises(Interrupted):
                train(*options, folder="stopped")
        stopped = whole.parent / "stopped"
        train("--resume", stopped / "last.pth")
    finally:
        torch.use_deterministic_algorithms(False)
    assert same(checkpoint.load(whole / "last.pth"), checkpoint.load(stopped / "last.pth"))


@needs_cuda
@pytest.mark.parametrize("place", ["--data-on-device", "--no-data-on-device"])
def test_steps_wait_for_nothing(train, monkeypatch, place):
    """Between two looks at the loss, with the images on the GPU or copied from the host."""
    seed_draws, read_totals = Trainer.seed_draws, Trainer.read_totals
    watched = []

    def watch(self, step):
        torch.cuda.set_sync_debug_mode("error" if step else "default")  # the first one warms up
        watched.append(step)
        seed_draws(self, step)

    def look(self):
        torch.cuda.set_sync_debug_mode("default")
        return read_totals(self)

    monkeypatch.setattr(Trainer, "seed_draws", watch)
    monkeypatch.setattr(Trainer, "read_totals", look)
    try:
        train(*SMALL, "--limit", "960", "--epochs", "1", "--clip-grad-norm", "1", place)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert watched == list(range(30))


def test_images_on_the_gpu_are_those_from_the_host(train):
    losses = []
    for place in ("--data-on-device", "--no-data-on-device"):
        folder = train(*SMALL, "--no-amp", place, folder=place)
        losses.append(pd.read_csv(folder / "log.csv").train_loss.iloc[0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_checkpoints_written_beside_the_training(train, monkeypatch):
    """What is saved is the state of its epoch, although the weights change meanwhile."""
    saves, save = [], checkpoint.save

    def keep(saved, path):
        assert all(t.device.type == "cpu" for t in saved["state_dict"].values())
        saves.append(path.name)
        save(saved, path)

    monkeypatch.setattr(checkpoint, "save", keep)
    folder = train(*SMALL)
    assert {"best.pth", "last.pth"} <= set(saves)
    log = pd.read_csv(folder / "log.csv")
    assert checkpoint.load(folder / "last.pth")["epoch"] == len(log) == 2


@needs_cuda
def test_one_process_with_nccl(script, tmp_path):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1")
    arguments = ("train_fashionmnist.py", *SMALL, "--output-dir", tmp_path)
    done = script(*torchrun, *arguments)
    assert "on cuda:0" in done.stdout
    assert "strides" not in done.stderr
    assert checkpoint.load(tmp_path / "last.pth")["epoch"] == 2


@needs_cuda
def test_out_of_memory_is_one_line(error_of, tmp_path):
    torch.cuda.set_per_process_memory_fraction(0.01)
    try:
        error = error_of(
            train_fashionmnist,
            *("--sample", "--model", "vgg16", "--image-size", "224", "-b", "256"),
            *("--output-dir", tmp_path / "run"),
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert "in training, lower --batch-size" in error


@needs_cuda
def test_memory_of_vgg16_at_224_px(train):
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    train(
        *("--sample", "--model", "vgg16", "--image-size", "224", "-b", "32", "--limit", "64"),
        *("--epochs", "1"),
    )
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"VGG16, 224 px, batch 32: {peak:.2f} GiB on {describe(GPU)}")
    assert peak < 9


def test_compiled(train, tmp_path):
    """With the default backend."""
    losses = []
    for options in (("--compile",), ()):
        folder = train(*SMALL, "--no-amp", *options, folder=f"run{len(options)}")
        losses.append(pd.read_csv(folder / "log.csv").train_loss.iloc[0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
