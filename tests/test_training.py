"""Training: resuming bit for bit, stopping, several processes, and what a run writes."""

import copy
import os
import re
import signal
import subprocess
import sys
from functools import partialmethod

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import train_fashionmnist
from engine import checkpoint, options
from engine.loop import MovingAverage, Trainer, fold_batch_norm
from models import create_model
from models.common import checkpoint_activations
from models.googlenet import AuxiliaryLoss

SMALL = ("--sample", "--limit", "160", "--image-size", "32", "-b", "32", "--epochs", "2")


@pytest.fixture
def train(monkeypatch, tmp_path):
    """Run the training script in this process: train("--epochs", "1") -> the folder written."""

    def run(*arguments: object, folder: str = "run"):
        output = [] if "--resume" in arguments else ["--output-dir", str(tmp_path / folder)]
        monkeypatch.setattr("sys.argv", ["train", *map(str, arguments), *output])
        train_fashionmnist.main()
        return tmp_path / folder

    return run


def same(one, other) -> bool:
    """Equal to the last bit, but for times and for what a resumed run is told of itself."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        ignored = {"seconds", "images_per_second", "recipe"}
        keys = [key for key in one if key not in ignored]
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in keys)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def interrupt_at(monkeypatch, step: int) -> None:
    """As Ctrl-C in the batch with that number of the whole run."""
    seed_draws = Trainer.seed_draws

    def press_ctrl_c(trainer, number):
        if number == step:
            os.kill(os.getpid(), signal.SIGINT)
        seed_draws(trainer, number)

    monkeypatch.setattr(Trainer, "seed_draws", press_ctrl_c)


@pytest.fixture
def interrupted(train, monkeypatch):
    """The folders of a whole run, and of one like it stopped by Ctrl-C."""

    def run(*arguments, step):
        whole = train(*SMALL, *arguments, folder="whole")
        with monkeypatch.context() as patch:
            interrupt_at(patch, step)
            with pytest.raises(options.Interrupted):
                train(*SMALL, *arguments, folder="stopped")
        return whole, whole.parent / "stopped"

    return run


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
    good = checkpoint.load(path)
    without = {
        "state_dict": {k: torch.zeros_like(v) for k, v in good["state_dict"].items()},
        "ema": good["state_dict"],
        "ema_updates": 0,
        "optimizer": good["optimizer"] | {"state": {}},
        "scheduler": good["scheduler"] | {"last_epoch": 0},
        "step": 4,
        "totals": [0.0, 0.0, 0.0],
        "history": [],
        "best": good["best"] | {"val_accuracy": 1.1},
    }
    apart = {"format", "seconds", "scaler"}  # the last is empty here, and has a test of its own
    assert set(without) | set(checkpoint.KEYS) | apart == set(good)
    outcome = ("state_dict", "ema", "history", "best")  # not the counters that were changed
    for part, lost in without.items():
        checkpoint.save(good | {part: lost}, path)
        train("--resume", path)
        ends = [{key: end[key] for key in outcome} for end in (expected, checkpoint.load(path))]
        assert not same(*ends), part
    checkpoint.save(good, path)
    train("--resume", path)
    assert same(expected, checkpoint.load(path))


def test_float16_scales_the_loss_and_resumes(train, interrupted, monkeypatch):
    """As on a graphics card without bfloat16: the gradients' scale is part of the run, too."""
    monkeypatch.setattr(options, "amp_dtype", lambda device: torch.float16)
    # A scale that overflows at once: the first steps are left out, and the scale is halved.
    start = torch.amp.GradScaler.__init__
    monkeypatch.setattr(torch.amp.GradScaler, "__init__", partialmethod(start, init_scale=2.0**24))
    whole, stopped = interrupted("--amp", step=7)
    for folder, steps in ((whole, 10), (stopped, 8)):
        saved = checkpoint.load(folder / "last.pth")
        scale = saved["scaler"]["scale"]
        skipped = steps - max(s["step"].item() for s in saved["optimizer"]["state"].values())
        assert skipped > 0 and scale == 2.0 ** (24 - skipped)
    train("--resume", stopped / "last.pth")
    assert same(checkpoint.load(whole / "last.pth"), checkpoint.load(stopped / "last.pth"))


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_first_step_that_is_left_out_leaves_nothing(name):
    """Where the first gradients overflow, the optimizer's state stays 0, and the weights as well
    as they were."""
    args = options.training_parser("", ["googlenet"]).parse_args(["--optimizer", name, "--lr", "1"])
    args.weight_decay = 0.1
    model = nn.Linear(64, 64)
    before = copy.deepcopy(model.state_dict())
    optimizer = options.build_optimizer(args, model)
    scaler = torch.amp.GradScaler("cpu")
    torch.use_deterministic_algorithms(True)  # fills memory that is not written with NaN
    try:
        scaler.scale(model(torch.full((1, 64), float("inf"))).sum()).backward()
        scaler.step(optimizer)
    finally:
        torch.use_deterministic_algorithms(False)
    assert same(model.state_dict(), before)
    for state in optimizer.state.values():
        assert all((tensor == 0).all() for tensor in state.values())


def test_resume_refuses_another_run_and_other_files(train, interrupted):
    whole, stopped = interrupted(step=7)
    with pytest.raises(options.UsageError, match=r"--lr 0\.5 does not fit"):
        train("--resume", stopped / "last.pth", "--lr", "0.5")
    with pytest.raises(options.UsageError, match=r"takes the last\.pth"):
        train("--resume", whole / "best.pth")
    with pytest.raises(checkpoint.CheckpointError, match="No such file"):
        train("--resume", stopped / "missing.pth")
    before = (whole / "log.csv").read_bytes()
    train("--resume", whole / "last.pth")  # nothing is left to do
    assert (whole / "log.csv").read_bytes() == before


def test_what_a_run_writes(train):
    folder = train(*SMALL)
    log = pd.read_csv(folder / "log.csv")
    assert list(log.epoch) == [1, 2]
    columns = "train_loss train_accuracy val_loss val_accuracy lr seconds images_per_second"
    assert list(log.columns) == ["epoch", *columns.split()]
    assert Image.open(folder / "curves.png").width == 1200
    best = checkpoint.load(folder / "best.pth")
    assert best["metrics"]["val_accuracy"] == pytest.approx(log.val_accuracy.max())
    assert best["recipe"]["lr"] == train_fashionmnist.RECIPES["googlenet"]["lr"]
    assert "optimizer" not in best
    assert not list(folder.glob(".*"))  # no temporary file is left
    train(*SMALL)  # a second run keeps the first
    assert same(checkpoint.load(folder / "previous-1" / "best.pth"), best)


def test_dry_run_keeps_nothing(train, tmp_path):
    for model in ("googlenet", "vgg16"):
        train("--sample", "--dry-run", "--model", model, "-b", "8", "--image-size", "32")
    assert not (tmp_path / "run").exists()


def test_loss_that_is_not_finite_stops_the_run(train, tmp_path, monkeypatch):
    forward = AuxiliaryLoss.forward
    calls = []

    def explode(loss, outputs, labels):
        calls.append(1)
        value, logits = forward(loss, outputs, labels)
        return (value * float("nan") if len(calls) > 7 else value), logits

    monkeypatch.setattr(AuxiliaryLoss, "forward", explode)
    with pytest.raises(options.UsageError, match="lower --lr"):
        train(*SMALL)
    for name in ("best.pth", "last.pth"):  # those of the first epoch
        saved = checkpoint.load(tmp_path / "run" / name)
        assert saved["epoch"] == 1
        assert all(torch.isfinite(tensor).all() for tensor in saved["state_dict"].values())


def test_ctrl_c_saves_and_says_how_to_go_on(script, root, tmp_path):
    command = [sys.executable, "train_fashionmnist.py", "--sample", "--limit", "640", "-b", "32"]
    command += ["--image-size", "32", "--epochs", "1", "--output-dir", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=root) as process:
        shown = read = process.stderr.read(1)
        # Until the progress bar says that training is under way.
        while read and not re.search(r" [1-9]\d*/20 ", shown):
            read = process.stderr.read(1)
            shown += read
        process.send_signal(signal.SIGINT)
        shown += process.stderr.read()
    assert process.returncode == 130, shown
    assert f"--resume {tmp_path}/last.pth" in shown
    script("train_fashionmnist.py", "--resume", tmp_path / "last.pth")
    assert checkpoint.load(tmp_path / "best.pth")["epoch"] == 1


def test_two_processes_equal_one(script, tmp_path):
    """Without draws of their own (augmentation, dropout) and batch statistics, the same run."""
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
    script(*torchrun, *arguments, tmp_path / "two")
    one, two = (checkpoint.load(tmp_path / name / "last.pth") for name in ("one", "two"))
    for name, tensor in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], tensor, rtol=1e-3, atol=1e-4)
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        for rows in zip(one["history"], two["history"], strict=True):
            assert rows[0][name] == pytest.approx(rows[1][name], rel=1e-3), name


def test_accumulated_batches_equal_a_large_one(train):
    """Two batches of 16 step as one of 32 does, at a rate that does not magnify rounding."""
    base = ("--no-augment", "--dropout", "0", "--no-batch-norm", "--no-amp", "--optimizer", "sgd")
    base += ("--lr", "0.002")
    one = checkpoint.load(train(*SMALL, *base, folder="one") / "last.pth")
    half = (*SMALL, "-b", "16", "--accumulate-steps", "2")
    two = checkpoint.load(train(*half, *base, folder="two") / "last.pth")
    for name, tensor in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize(("name", "size"), [("vgg16", 32), ("googlenet", 96)])
def test_checkpointed_activations_change_nothing(name, size, amp):
    """The same gradients and statistics, from two computations of what lies within a stage."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, image_size=size, batch_norm=True)
    saving = copy.deepcopy(model)
    checkpoint_activations(saving)
    saving = copy.deepcopy(saving)  # as the moving average does
    x, labels = torch.randn(4, 3, size, size), torch.tensor([0, 1, 2, 0])
    computed = []
    for network in (model, saving):
        first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
        first.register_forward_hook(lambda *_: computed.append(1))
        torch.manual_seed(1)  # of dropout
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            loss, _ = AuxiliaryLoss(nn.CrossEntropyLoss())(network(x), labels)
        loss.backward()
        computed.append(0)
    assert computed == [1, 0, 1, 1, 0]
    for (key, one), two in zip(model.named_parameters(), saving.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad), key
    assert same(model.state_dict(), saving.state_dict())


@pytest.mark.parametrize("empty", [torch.empty, np.empty])
def test_out_of_memory_says_what_to_do(empty, capsys):
    with pytest.raises(SystemExit) as stop:
        options.run(lambda: empty(2**56))
    assert stop.value.code == 2
    assert "lower --batch-size" in capsys.readouterr().err


def test_plain_vgg16_leaves_the_plateau(train):
    """Without batch-norm a bad start leaves the loss at ln 10 = 2.303 for good.

    The default recipe, squeezed into 46 steps.
    """
    arguments = ("--model", "vgg16", "--no-batch-norm", "--sample", "--epochs", "1")
    arguments += ("--limit", "3000")
    log = pd.read_csv(train(*arguments) / "log.csv")
    assert log.val_loss.min() < 1.8


@pytest.mark.parametrize("name", ["vgg16", "googlenet"])
def test_folded_batch_norm_is_the_same_function(name):
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, image_size=32, batch_norm=True).double()
    for norm in [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]:
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            tensor.uniform_(0.5, 1.5)
    before = copy.deepcopy(model.eval()).state_dict()
    folded = fold_batch_norm(model)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-9, atol=1e-9)
    assert same(model.state_dict(), before)


def test_moving_average():
    model = nn.BatchNorm1d(2)
    average = MovingAverage(model, 0.5)
    with torch.no_grad():
        model.weight.fill_(5.0)
        model.running_mean.fill_(4.0)
        model.num_batches_tracked.fill_(7)
    average.update()  # decay (1 + 1) / (10 + 1) at the first update
    torch.testing.assert_close(average.model.weight, torch.full((2,), 1 * 2 / 11 + 5 * 9 / 11))
    torch.testing.assert_close(average.model.running_mean, torch.full((2,), 4 * 9 / 11))
    assert average.model.num_batches_tracked == 7
    for _ in range(20):
        average.update()
    before = average.model.weight[0].item()
    with torch.no_grad():
        model.weight.fill_(0.0)
    average.update()
    assert average.model.weight[0].item() == pytest.approx(before / 2)


@pytest.mark.parametrize("name", ["onecycle", "cosine", "step", "constant"])
def test_schedules(name):
    parser = options.training_parser("", ["googlenet"])
    args = parser.parse_args(["--scheduler", name, "--lr", "0.1", "--epochs", "10"])
    args.warmup_epochs, args.optimizer, args.weight_decay = 2, "sgd", 0.0
    optimizer = options.build_optimizer(args, nn.Linear(2, 2))
    scheduler = options.build_scheduler(args, optimizer, steps_per_epoch=10)
    rates = []
    for _ in range(100):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates[0] < 0.01 and max(rates) == pytest.approx(0.1)
    assert 18 <= rates.index(max(rates)) <= 20
    last = {"onecycle": 1e-5, "cosine": 1e-4, "step": 1.1e-3, "constant": 0.1}[name]
    assert rates[-1] <= last
    args.epochs = 1
    options.build_scheduler(args, optimizer, steps_per_epoch=1).step()  # as in a dry run


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
        (("--model", "vgg16", "--aux-heads"), "vgg16 takes no aux_heads"),
        (("--sample", "--limit", "1"), "at least 2 images"),
        (("-j", "-1"), "--workers"),
        (("--seed", "4294967296"), "--seed"),
        (("--device", "tpu"), "--device tpu"),
        (("--device", "cuda:99"), "--device cuda:99"),
        (("--data-dir", "nowhere"), "nowhere"),
        (("--resume", "README.md"), "README.md"),
    ],
)
def test_bad_input_is_one_line(script, arguments, words, tmp_path):
    done = script("train_fashionmnist.py", *arguments, "--output-dir", tmp_path / "run", code=2)
    assert words in done.stderr
    assert not (tmp_path / "run").exists()
