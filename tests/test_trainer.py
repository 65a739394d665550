"""The training loop: resuming bit for bit, float16, a loss that is not finite, accumulation."""

from functools import partial, partialmethod

import pandas as pd
import pytest
import torch
from torch import nn

from engine import checkpoint, cli, trainer
from engine.errors import Interrupted, UserError
from engine.run_folder import RunFolder
from engine.totals import Totals
from models.googlenet import AuxiliaryLoss
from tests.conftest import SMALL, interrupt_at, same


@pytest.mark.parametrize("step", [2, 4, 7])
@pytest.mark.parametrize(
    "arguments", [(), ("--optimizer", "sgd", "--scheduler", "cosine", "--lr", "0.01")]
)
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
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7)
        with pytest.raises(Interrupted):
            train(*SMALL, "--compile", "--checkpoint-activations", folder="stopped")
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
        with pytest.raises(UserError, match=r"there is no batch|its schedule stands"):
            train("--resume", stopped / "last.pth")


def test_resume_refuses_another_run_and_other_files(train, interrupted):
    whole, stopped = interrupted(step=7)
    with pytest.raises(UserError, match=r"--lr 0\.5 does not fit"):
        train("--resume", stopped / "last.pth", "--lr", "0.5")
    with pytest.raises(UserError, match=r"takes the last\.pth"):
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


def test_accumulated_batches_equal_a_large_one(train):
    """Two batches of 16 step as one of 32 does, at a rate that does not magnify rounding."""
    base = ("--no-augment", "--dropout", "0", "--no-batch-norm", "--no-amp", "--optimizer", "sgd")
    base += ("--lr", "0.002")
    one = checkpoint.load(train(*SMALL, *base, folder="one") / "last.pth")
    half = (*SMALL, "-b", "16", "--accumulate-steps", "2")
    two = checkpoint.load(train(*half, *base, folder="two") / "last.pth")
    for name, tensor in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], tensor, rtol=1e-3, atol=1e-4)


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
