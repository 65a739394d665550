"""The folder of a run: one run at a time, nothing lost, nothing announced that is not there."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from engine import checkpoint, run_folder
from engine.errors import Interrupted, UserError
from engine.run_folder import RunFolder, lock
from tests.conftest import SMALL, interrupt_at, same


def test_a_second_run_in_the_same_folder_is_refused(train, tmp_path):
    (tmp_path / "run").mkdir()
    held = lock(tmp_path / "run")
    with pytest.raises(UserError, match="another run is writing there"):
        train(*SMALL)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    held.close()
    folder = train(*SMALL, "--epochs", "1")
    held = lock(folder)
    with pytest.raises(UserError, match="another run"):
        train("--resume", folder / "last.pth")
    held.close()


def test_a_folder_that_cannot_be_written_to(train, tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write there .*: name another --output-dir"):
        train(*SMALL)


def test_the_lock_of_a_killed_run_is_free(root, tmp_path):
    code = f"from engine.run_folder import lock; from pathlib import Path; import time; \
held = lock(Path({str(tmp_path)!r})); print('locked', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match="another run"):
            lock(tmp_path)
        process.send_signal(signal.SIGKILL)
    lock(tmp_path).close()


def test_an_earlier_run_moves_aside(train):
    folder = train(*SMALL, "--epochs", "1")
    first = checkpoint.load(folder / "best.pth")
    for number in (1, 2):
        train(*SMALL, "--epochs", "1", "--seed", number)
        assert {p.name for p in (folder / f"previous-{number}").iterdir()} == {
            "best.pth", "last.pth", "log.csv", "run.json", "curves.png"
        }  # fmt: skip
    assert same(checkpoint.load(folder / "previous-1" / "best.pth"), first)


def test_what_a_kill_left_half_written_is_removed(train, tmp_path):
    (tmp_path / "run").mkdir()
    left, others = [".last.pth-x1y2", ".log.csv-abc"], [".notes-1", "thesis.pth", ".best"]
    for name in (*left, *others):
        (tmp_path / "run" / name).write_text("half")
    folder = train(*SMALL, "--epochs", "1")
    there = {path.name for path in folder.iterdir()}
    assert not there & set(left) and there > set(others)


def test_best_is_looked_for_beside_the_last_that_is_resumed(train, interrupted, capsys, tmp_path):
    """Stopped in the second epoch; then best.pth of the first is lost, or is of another run."""
    whole, stopped = interrupted(step=7)
    capsys.readouterr()
    for name in ("without", "other"):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(stopped / "last.pth", folder)
        if name == "other":
            other = checkpoint.load(whole / "best.pth")
            checkpoint.save(
                other | {"metrics": other["metrics"] | {"val_loss": 9.9}}, folder / "best.pth"
            )
        train("--resume", folder / "last.pth")
        out = capsys.readouterr().out
        assert "best.pth: missing, or not from this run (epoch 1)" in out
        assert "validation accuracy in epoch 2" in out
        assert checkpoint.load(folder / "best.pth")["epoch"] == 2
    (whole / "best.pth").unlink()
    with pytest.raises(UserError, match="no epoch left to train"):
        train("--resume", whole / "last.pth")


def test_a_run_that_has_lost_its_best_can_stop_again(train, interrupted, monkeypatch):
    """Stopped in the second epoch, best.pth deleted, and stopped in that epoch once more."""
    _, folder = interrupted(step=7)
    (folder / "best.pth").unlink()
    with monkeypatch.context() as patch:
        interrupt_at(patch, 8)
        with pytest.raises(Interrupted):
            train("--resume", folder / "last.pth")
    train("--resume", folder / "last.pth")
    assert checkpoint.load(folder / "best.pth")["epoch"] == 2


def test_all_processes_know_that_best_is_lost(monkeypatch, tmp_path):
    """Otherwise only the main process saves the next epoch, and waits for the others' logits."""
    monkeypatch.setattr(run_folder, "is_main", lambda: False)
    monkeypatch.setattr(run_folder, "broadcast_object", lambda value: value and {})
    trainer = SimpleNamespace(best={"epoch": 1})
    RunFolder(tmp_path, {}).begin(trainer, 2, 1)
    assert trainer.best == {}


@pytest.mark.parametrize("step", [2, 7])
def test_going_on_beside_another_run_moves_that_aside(train, interrupted, step):
    """Stopped in the first or second epoch, and last.pth put into the folder of another run."""
    whole, stopped = interrupted("--seed", 1, step=step)
    other = train(*SMALL, "--epochs", "1", folder="other")
    names = ("best.pth", "log.csv", "run.json", "curves.png")
    before = {name: (other / name).read_bytes() for name in names}
    shutil.copy(stopped / "last.pth", other)
    train("--resume", other / "last.pth")
    moved = other / "previous-1"
    assert {path.name: path.read_bytes() for path in moved.iterdir()} == before
    ours, expected = (checkpoint.load(folder / "last.pth") for folder in (other, whole))
    assert same(ours["state_dict"], expected["state_dict"])


def test_going_on_from_a_copy_does_not_overwrite_the_last(train):
    folder = train(*SMALL, "--epochs", "1")
    shutil.copy(folder / "last.pth", folder / "copy.pth")
    with pytest.raises(UserError, match=r"copy.pth: would overwrite .*last.pth"):
        train("--resume", folder / "copy.pth")
    os.replace(folder / "copy.pth", folder / "last.pth")
    train("--resume", folder / "last.pth")


def test_what_the_last_epoch_could_not_write_is_written_by_going_on(monkeypatch, tmp_path):
    """The disk was full when last.pth was written and log.csv was not, or log.csv was removed."""
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds")
    row = {"epoch": 1, **dict.fromkeys(names, 0.5), "images_per_second": 9.0}
    settings = SimpleNamespace(epochs=1, amp=None, compile=False)
    trainer = SimpleNamespace(epoch=1, step=0, history=[row], best=row, settings=settings)
    trainer.model, trainer.device = torch.nn.Linear(1, 1), torch.device("cpu")
    config = {"batch_size": 2}
    run = RunFolder(tmp_path, {"model": "googlenet", "image_size": 32, "config": config})
    monkeypatch.setattr(run, "find_best", lambda _: None)
    run.begin(trainer, 2, 1)
    assert (tmp_path / "log.csv").read_text().splitlines()[1].startswith("1,0.5,")
    assert json.loads((tmp_path / "run.json").read_text())["best"] == row
    assert run.undrawn == [row]  # drawn at the end
    run.lock.close()


def test_a_log_that_is_open_elsewhere_does_not_stop_the_run(monkeypatch, capsys, tmp_path):
    """As in Excel on Windows; the next epoch writes all of it."""
    replace = os.replace

    def refuse(source, target):
        if target.name == "log.csv":
            raise PermissionError(13, "Access is denied", str(target))
        replace(source, target)

    run = RunFolder(tmp_path, {})
    trainer = SimpleNamespace(history=[{"epoch": 1, "seconds": 0.5}], best={})
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        patch.setattr(time, "sleep", lambda _: None)
        run.write_history(trainer)
    assert "log.csv: not written: Access is denied" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    run.write_history(trainer)
    assert (tmp_path / "log.csv").read_text() == "epoch,seconds\n1,0.5\n"


def test_fewer_images_than_a_batch_is_said(train, capsys):
    train("--sample", "--limit", "24", "--image-size", "32", "--epochs", "1", "--no-amp")
    said = capsys.readouterr().out
    assert "note: too few images for --batch-size 64: batches of 24" in said
    assert re.search(
        r"googlenet: 5,\d{3},\d{3} parameters, 32 px, float32 on cpu \(.+\), steps an epoch: 1\n",
        said,
    )
    assert re.search(r"\nepoch  1/1  train: loss .* images/s\)  best\n", said)
