"""The training loop: resuming bit for bit, float16, a loss that is not finite, accumulation."""

from functools import partial, partialmethod

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from data.dataset import ImageDataset
from data.loaders import train_loader
from data.transforms import BatchTransform
from engine import checkpoint, cli, trainer
from engine.errors import Interrupted, UserError
from engine.optim import build_optimizer, build_scheduler
from engine.run_folder import RunFolder
from engine.seeding import order_generator
from engine.signals import StopSignal
from engine.totals import Totals
from models.googlenet import AuxiliaryLoss
from tests.conftest import SMALL, interrupt_at, same

SGD = ("--optimizer", "sgd", "--scheduler", "cosine", "--lr", "0.01", "--clip-grad-norm", "0.1")


@pytest.mark.parametrize("step", [2, 4, 7])
@pytest.mark.parametrize("arguments", [(), SGD])
def test_resume_is_bit_for_bit(train, interrupted, step, arguments):
    """Stopped within the first epoch, after its last batch, and within the second."""
    whole, stopped = interrupted(*arguments, step=step)
    train("--resume", stopped / "last.pth")
    for name in ("best.pth", "last.pth"):
        assert same(checkpoint.load(whole / name), checkpoint.load(stopped / name))
    logs = [
        pd.read_csv(folder / "log.csv").drop(columns=["seconds", "images_per_second"])
        for folder in (whole, stopped)
    ]
    pd.testing.assert_frame_equal(*logs)
    if arguments is SGD:  # a momentum of 0.9 holds ten clipped gradients at most; unclipped, 51
        states = checkpoint.load(whole / "last.pth")["optimizer"]["state"].values()
        norms = torch.stack([state["momentum_buffer"].norm() for state in states])
        assert norms.norm() < 10 * 0.1


def test_resume_would_notice_a_missing_piece(train, interrupted):
    """Each part of last.pth matters: without it the run ends elsewhere."""
    whole, stopped = interrupted(step=7)
    expected = checkpoint.load(whole / "last.pth")
    path = stopped / "last.pth"
    good, best = checkpoint.load(path), (stopped / "best.pth").read_bytes()
    without = {
        "state_dict": {k: torch.zeros_like(v) for k, v in good["state_dict"].items()},
        "ema": good["state_dict"],
        "ema_updates": 0,
        "optimizer": good["optimizer"] | {"state": {}},
        "scheduler": good["scheduler"] | {"last_epoch": 0},
        "step": 4,
        "history": [],
    }
    apart = {
        "format",
        "seconds",
        "scaler",
        "best",
        "totals",
        "provenance",
    }  # with tests of their own
    assert set(without) | set(checkpoint.KEYS) | apart == set(good)
    outcome = ("state_dict", "ema", "history", "best")  # not the counters that were changed
    for part, lost in without.items():
        checkpoint.save(good | {part: lost}, path)
        (stopped / "best.pth").write_bytes(best)
        try:
            train("--resume", path)
        except UserError:  # noticed at once
            continue
        ends = [{key: end[key] for key in outcome} for end in (expected, checkpoint.load(path))]
        assert not same(*ends), part
    checkpoint.save(good, path)
    (stopped / "best.pth").write_bytes(best)
    train("--resume", path)
    assert same(expected, checkpoint.load(path))


def test_float16_scales_the_loss_and_resumes(train, interrupted, monkeypatch):
    """As on a graphics card without bfloat16: the gradients' scale is part of the run, too."""
    monkeypatch.setattr(cli, "amp_dtype", lambda device: torch.float16)
    # A scale that overflows at once: the first steps are left out, and the scale is halved.
    start = torch.amp.GradScaler.__init__
    monkeypatch.setattr(torch.amp.GradScaler, "__init__", partialmethod(start, init_scale=2.0**24))
    small = ("--amp", "--limit", "24", "-b", "8")  # float16 is slow on a CPU
    whole, stopped = interrupted(*small, step=4)
    for folder, steps in ((whole, 6), (stopped, 5)):
        saved = checkpoint.load(folder / "last.pth")
        scale = saved["scaler"]["scale"]
        skipped = steps - max(s["step"].item() for s in saved["optimizer"]["state"].values())
        assert skipped > 0 and scale == 2.0 ** (24 - skipped)
    train("--resume", stopped / "last.pth")
    assert same(checkpoint.load(whole / "last.pth"), checkpoint.load(stopped / "last.pth"))


def test_compiled_training_is_the_same(train, monkeypatch):
    """With recomputed activations and moving averages; stopped, then resumed uncompiled."""
    whole = train(*SMALL, folder="whole")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    recompute = () if cli.old_torch() else ("--checkpoint-activations",)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7)
        with pytest.raises(Interrupted):
            train(*SMALL, "--compile", *recompute, folder="stopped")
    last = whole.parent / "stopped" / "last.pth"
    saved = checkpoint.load(last)
    assert saved["config"]["compile"] and (saved["epoch"], saved["step"]) == (1, 3)
    train("--resume", last, "--no-compile")
    one, two = checkpoint.load(whole / "last.pth"), checkpoint.load(last)
    assert one["state_dict"].keys() == two["state_dict"].keys()  # no "_orig_mod."
    for name, tensor in one["ema"].items():
        torch.testing.assert_close(two["ema"][name], tensor, rtol=1e-3, atol=1e-4)


def test_resume_refuses_batches_that_were_not_counted(train, interrupted):
    _, stopped = interrupted(step=7)
    saved = checkpoint.load(stopped / "last.pth")
    for lost in ({"totals": [0.0, 0.0, 0.0]}, {"step": 6}, {"seconds": 0.0}):
        checkpoint.save(saved | lost, stopped / "last.pth")
        with pytest.raises(UserError, match=r"there is no batch|its schedule is at step"):
            train("--resume", stopped / "last.pth")


def test_resume_refuses_another_run_and_other_files(train, interrupted):
    whole, stopped = interrupted(step=7)
    with pytest.raises(UserError, match=r"--lr 0\.5 does not fit"):
        train("--resume", stopped / "last.pth", "--lr", "0.5")
    with pytest.raises(UserError, match=r"--warmup-epochs 15\.0 does not fit"):  # the recipe's 22
        train("--resume", stopped / "last.pth", "--warmup-epochs", "15")
    with pytest.raises(UserError, match=r"not the last\.pth of a run"):
        train("--resume", whole / "best.pth")
    with pytest.raises(UserError, match="No such file"):
        train("--resume", stopped / "missing.pth")
    before = (whole / "log.csv").read_bytes()
    train("--resume", whole / "last.pth")  # nothing is left to do
    assert (whole / "log.csv").read_bytes() == before


def test_loss_that_is_not_finite_stops_the_run(train, tmp_path, monkeypatch):
    forward = AuxiliaryLoss.forward
    calls = []

    def explode(loss, outputs, labels):
        calls.append(1)
        value, logits = forward(loss, outputs, labels)
        return (value * float("nan") if len(calls) > 7 else value), logits

    monkeypatch.setattr(AuxiliaryLoss, "forward", explode)
    with pytest.raises(UserError, match="lower --lr"):
        train(*SMALL)
    for name in ("best.pth", "last.pth"):  # those of the first epoch
        saved = checkpoint.load(tmp_path / "run" / name)
        assert saved["epoch"] == 1
        assert all(torch.isfinite(tensor).all() for tensor in saved["state_dict"].values())


@pytest.mark.parametrize("save", ["after validation", "before validation", "on Ctrl-C"])
def test_weights_that_are_not_finite_are_not_saved(train, tmp_path, monkeypatch, save):
    """The last step of the second epoch spoils them, or an average alone; its loss is finite."""
    step, steps = torch.optim.AdamW.step, []

    def spoil(optimizer, *arguments):
        step(optimizer, *arguments)
        steps.append(1)
        if len(steps) == 10:
            weight, state = next(iter(optimizer.state.items()))
            (state["exp_avg_sq"] if save == "after validation" else weight.data)[0] = float("inf")

    monkeypatch.setattr(torch.optim.AdamW, "step", spoil)
    if save == "before validation":
        monkeypatch.setattr(trainer, "WORTH_SAVING", -1)
    if save == "on Ctrl-C":
        interrupt_at(monkeypatch, 9)
    with pytest.raises(UserError, match=r"an average of weights became \w+: .* lower --lr"):
        train(*SMALL)
    best, last = (checkpoint.load(tmp_path / "run" / name) for name in ("best.pth", "last.pth"))
    assert (best["epoch"], last["epoch"], last["step"]) == (1, 1, 0)  # and --resume goes on


def test_accumulated_batches_equal_a_large_one(train):
    """Two batches of 16 step as one of 32 does, at a rate that does not magnify rounding."""
    base = ("--no-augment", "--dropout", "0", "--no-batch-norm", "--no-amp", "--optimizer", "sgd")
    base += ("--lr", "0.002")
    one = checkpoint.load(train(*SMALL, *base, folder="one") / "last.pth")
    half = (*SMALL, "-b", "16", "--accumulate-steps", "2")
    two = checkpoint.load(train(*half, *base, folder="two") / "last.pth")
    for name, tensor in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("accumulate_steps", "amp"), [(1, None), (2, None), (2, torch.float16)])
def test_clipped_gradients(accumulate_steps, amp, tmp_path):
    """A step of SGD has the norm asked for and the direction of the sum of all gradients."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (8, 1, 2, 2), np.uint8), random.integers(0, 2, 8)
    dataset = ImageDataset(images, labels, "ab")
    moved = {}
    for norm in (0.0, 0.01, 1e9):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        start = parameters_to_vector(model.parameters())
        optimizer = build_optimizer(model, "sgd", 1.0, 0.0)
        scheduler = build_scheduler(optimizer, "constant", 1.0, 1, 0)
        settings = trainer.TrainSettings(1, accumulate_steps, norm, 0, amp, False, 0)
        criterion, transform = AuxiliaryLoss(nn.CrossEntropyLoss()), BatchTransform([0], [1], 2)
        training = trainer.Trainer(model, criterion, transform, optimizer, scheduler, settings)
        generators = partial(order_generator, 0)
        loader = train_loader(dataset, 8 // accumulate_steps, accumulate_steps, generators)
        with StopSignal(tmp_path / "last.pth") as stop:
            training.train_epoch(loader, None, stop)  # one step
        moved[norm] = parameters_to_vector(model.parameters()) - start
    assert moved[0.0].norm() > 0.1
    assert torch.equal(moved[1e9], moved[0.0])  # far below the bound
    torch.testing.assert_close(
        moved[0.01], 0.01 * moved[0.0] / moved[0.0].norm(), rtol=1e-3, atol=0
    )


def test_totals_are_means_over_images():
    totals = Totals(torch.device("cpu"))
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    totals.add(torch.tensor(0.5), logits, torch.tensor([0, 1, 1]))
    totals.add(torch.tensor(2.5), logits[:1], torch.tensor([0]))
    assert totals.read() == (1.0, 0.75, 4) and totals.everywhere == [4.0, 3.0, 4.0]
    totals.start_from([1.0, 2.0, 3.0])
    assert totals.read() == pytest.approx((1 / 3, 2 / 3, 3))


@pytest.mark.parametrize(("seconds", "saved"), [(-1, [2, 4, 5, 5, 0]), (600, [0])])
def test_a_long_epoch_is_saved_on_its_way(train, monkeypatch, seconds, saved):
    """At every look at the loss, if it is time; then before validation, if that; and after it."""
    steps = []
    monkeypatch.setattr(trainer, "LOOK_EVERY", 2)
    monkeypatch.setattr(trainer, "SAVE_EVERY", seconds)
    monkeypatch.setattr(trainer, "WORTH_SAVING", seconds)
    monkeypatch.setattr(RunFolder, "save_last", lambda _, run: steps.append(run.step))
    train(*SMALL, "--epochs", "1")
    assert steps == saved


def test_what_is_frozen_stays_in_evaluation_mode():
    frozen = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)).requires_grad_(False)
    network = nn.Sequential(frozen, nn.Dropout(), nn.BatchNorm2d(2)).eval()
    trainer.set_train_mode(network)
    assert [module.training for module in (*frozen, *network)] == [False] * 3 + [True] * 2
