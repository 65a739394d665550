"""Files written by a thread: their order, their errors, and what a kill leaves."""

import signal
import subprocess
import sys
import threading
from functools import partial

import pandas as pd
import pytest
import torch

from engine import checkpoint, run_folder
from engine.device import KINDS
from engine.errors import Interrupted
from engine.writer import Writer
from tests.conftest import SMALL, interrupt_at, same

NAMES = ("best", "last", "log")


@pytest.fixture
def background(monkeypatch):
    """Training writes by a thread, as it does beside a GPU."""
    monkeypatch.setitem(KINDS, "cpu", KINDS["cpu"]._replace(background=True))


def test_newest_version_of_each_file_in_order():
    writer, written, free = Writer(NAMES, background=True), [], threading.Event()

    def write(name, version):
        free.wait(10)
        written.append((name, version))

    writer.put("log", partial(write, "log", 0))
    while not writer.busy:
        pass
    for version in (1, 2):  # meanwhile the thread writes the first
        for name in ("log", "last"):
            writer.put(name, partial(write, name, version))
    writer.put("best", partial(write, "best", 2))
    assert len(writer.waiting) == 3
    free.set()
    writer.flush()
    assert written == [("log", 0), ("best", 2), ("last", 2), ("log", 2)]


def test_an_error_of_the_thread_is_raised_once():
    writer = Writer(NAMES, background=True)

    def fail():
        raise OSError(28, "No space left on device", "last.pth")

    writer.put("last", fail)
    with pytest.raises(OSError, match="No space left"):
        writer.flush()
    written = []
    writer.put("log", partial(written.append, 1))  # the thread goes on
    writer.flush()
    assert written == [1]


def test_the_same_files_as_without_a_thread(train, monkeypatch, request):
    plain = train(*SMALL, folder="plain")
    request.getfixturevalue("background")
    folder = train(*SMALL, folder="other")
    for name in ("best.pth", "last.pth"):
        assert same(checkpoint.load(plain / name), checkpoint.load(folder / name))
    columns = ["seconds", "images_per_second"]
    one, two = (pd.read_csv(f / "log.csv").drop(columns=columns) for f in (plain, folder))
    assert one.equals(two)
    assert (folder / "curves.png").stat().st_size > 10_000


def test_stopped_and_resumed(train, background, monkeypatch):
    whole = train(*SMALL, folder="whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7)
        with pytest.raises(Interrupted) as stop:
            train(*SMALL, folder="stopped")
    assert checkpoint.load(stop.value.path)["step"] == 3  # written before the message
    assert (stop.value.path.parent / "curves.png").exists()
    train("--resume", stop.value.path)
    resumed = stop.value.path.parent / "last.pth"
    assert same(checkpoint.load(whole / "last.pth"), checkpoint.load(resumed))


def test_what_is_written_is_what_was_saved(train, background, monkeypatch, tmp_path):
    """Training goes on while the thread writes: the copy must not change with the weights."""
    saves, save = [], checkpoint.save

    def slow(saved, path):
        if path.name == "last.pth":
            before = saved["state_dict"]["linear.weight"].clone()
            threading.Event().wait(0.3)
            saves.append(torch.equal(before, saved["state_dict"]["linear.weight"]))
        save(saved, path)

    monkeypatch.setattr(checkpoint, "save", slow)
    folder = train(*SMALL)
    assert saves and all(saves)
    log = pd.read_csv(folder / "log.csv")
    assert checkpoint.load(folder / "last.pth")["epoch"] == len(log) == 2


def test_a_full_disk_ends_the_run_in_one_line(error_of, background, monkeypatch, tmp_path):
    import train_fashionmnist

    def full(_, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(run_folder.checkpoint, "save", full)
    error = error_of(train_fashionmnist, *SMALL, "--output-dir", tmp_path / "run")
    assert "No space left on device" in error and "pth" in error
    assert not (tmp_path / "run" / "log.csv").exists()  # not ahead of last.pth


def test_killed_while_the_thread_writes(root, tmp_path):
    """At any instant there is a whole last.pth, never older than log.csv says."""
    code = """
import sys, time
from engine import checkpoint, device
device.KINDS["cpu"] = device.KINDS["cpu"]._replace(background=True)
save = checkpoint.save
def slow(*saved):
    save(*saved)
    print(saved[1].name, flush=True)
checkpoint.save = slow
import train_fashionmnist
train_fashionmnist.main()
"""
    options = [*SMALL, "--epochs", "20", "--output-dir", tmp_path]
    command = [sys.executable, "-c", code, *map(str, options)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line == "last.pth\n" and (tmp_path / "log.csv").exists():
                break
        process.send_signal(signal.SIGKILL)
    saved = checkpoint.load(tmp_path / "last.pth")
    assert saved["epoch"] >= len(pd.read_csv(tmp_path / "log.csv")) >= 1
