"""Stopping a run: which signals, when, and what is left to go on from."""

import os
import signal
import time

import pytest

import train_fashionmnist
from engine import checkpoint, cli, evaluate, trainer
from engine.errors import Interrupted
from engine.signals import stopping
from engine.trainer import Trainer
from tests.conftest import SMALL, interrupt_at, same

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has Ctrl-C alone")


@posix
@pytest.mark.parametrize(
    ("name", "arguments", "step"),
    [
        ("SIGTERM", (), 3),
        ("SIGHUP", (), 3),
        ("SIGUSR1", (), 3),
        ("SIGUSR2", ("-b", "16", "--accumulate-steps", "2"), 4),  # after the optimizer's step
    ],
)
def test_signals_of_batch_systems_save(train, monkeypatch, tmp_path, name, arguments, step):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    interrupt_at(monkeypatch, 2, number)
    started = time.perf_counter()
    with pytest.raises(Interrupted) as stop:
        train(*SMALL, *arguments)
    assert (stop.value.path, stop.value.signal) == (tmp_path / "run" / "last.pth", number)
    saved = checkpoint.load(stop.value.path)
    assert saved["step"] == step and 0 < saved["seconds"] < time.perf_counter() - started
    assert signal.getsignal(number) == before


@posix
def test_a_signal_that_is_ignored_stays_so(monkeypatch):
    """``nohup`` ignores SIGHUP, so that a run outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in stopping() and signal.SIGTERM in stopping()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.SIGHUP in stopping()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_exit_code_and_the_command_to_go_on(monkeypatch, capsys, tmp_path, number):
    def main():
        raise Interrupted(tmp_path / "my run" / "last.pth", number)

    monkeypatch.setattr("sys.argv", ["train_fashionmnist.py"])
    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    assert stop.value.code == 128 + number
    error = capsys.readouterr().err
    assert "resume with: python train_fashionmnist.py --resume" in error and "my run" in error


def test_a_dry_run_leaves_nothing_to_go_on_from(train, monkeypatch, capsys):
    """Its last.pth is in a temporary folder, which is removed."""
    interrupt_at(monkeypatch, 0)
    with pytest.raises(Interrupted) as stop:
        train(*SMALL, "--dry-run")
    assert stop.value.path is None

    def main():
        raise stop.value

    with pytest.raises(SystemExit):
        cli.run(main)
    assert capsys.readouterr().err.endswith("interrupted\n")


def test_stopped_while_validating(train, monkeypatch, tmp_path):
    """Nothing of the epoch is lost, and validation need not end."""
    whole = train(*SMALL, folder="whole")
    batches = []

    def press_ctrl_c(model, loader, *arguments):
        def watched():
            for batch in loader:
                batches.append(batch)
                os.kill(os.getpid(), signal.SIGINT)
                yield batch

        return evaluate.predict_logits(model, watched(), *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(train_fashionmnist, "eval_batch_size", lambda *_: 32)
        patch.setattr(trainer, "predict_logits", press_ctrl_c)
        with pytest.raises(Interrupted):
            train(*SMALL)
    assert len(batches) == 1  # of five
    last = tmp_path / "run" / "last.pth"
    saved = checkpoint.load(last)
    assert (saved["epoch"], saved["step"]) == (0, 5)
    train("--resume", last)
    for name in ("best.pth", "last.pth"):
        assert same(checkpoint.load(whole / name), checkpoint.load(tmp_path / "run" / name))


def test_killed_while_validating(train, monkeypatch, tmp_path):
    whole = train(*SMALL, folder="whole")

    def die(*_):
        raise SystemError  # as suddenly as SIGKILL: nobody saves

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "WORTH_SAVING", 0)
        patch.setattr(Trainer, "validate", die)
        with pytest.raises(SystemError):
            train(*SMALL)
    train("--resume", tmp_path / "run" / "last.pth")
    assert same(checkpoint.load(whole / "last.pth"), checkpoint.load(tmp_path / "run" / "last.pth"))
