"""Batches: shuffled and shared out for training, in order for evaluation; when workers end."""

import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from data import loaders
from data.dataset import ImageDataset
from data.loaders import ShuffledBatchSampler, eval_loader, train_loader
from engine.errors import UserError
from engine.seeding import order_generator


def numbered(count: int) -> ImageDataset:
    """Images each of whose pixels is its own number."""
    images = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 1, 4, 4)
    )
    return ImageDataset(images, np.arange(count, dtype=np.int64), ["one"])


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_shuffles_whole_batches(workers):
    loader = train_loader(numbered(50), 8, 1, partial(order_generator, 3), num_workers=workers)
    epochs = []
    for epoch in (0, 1):
        loader.sampler.epoch = epoch
        batches = list(loader)
        assert [tuple(images.shape) for images, _ in batches] == [(8, 1, 4, 4)] * 6
        seen = torch.cat([labels for _, labels in batches])
        assert torch.equal(seen, torch.cat([images[:, 0, 0, 0] for images, _ in batches]).long())
        assert len(seen.unique()) == 48
        epochs.append(seen)
    assert not torch.equal(*epochs)
    loader.sampler.epoch, loader.sampler.start = 1, 4
    assert torch.equal(torch.cat([labels for _, labels in loader]), epochs[1][32:])


def test_processes_share_the_batches_of_one():
    def batches(rank, world_size):
        loader = train_loader(
            numbered(50), 8, 2, partial(order_generator, 3), rank=rank, world_size=world_size
        )
        return [labels for _, labels in loader]

    alone = batches(0, 1)
    shared = zip(batches(0, 2), batches(1, 2), strict=True)
    for one, (first, second) in zip(alone, shared, strict=True):
        assert sorted(one.tolist()) == sorted([*first.tolist(), *second.tolist()])

    parts = [torch.cat([y for _, y in eval_loader(numbered(7), 2, r, 3)]) for r in range(3)]
    assert sorted(torch.cat(parts).tolist()) == list(range(7))


def test_loader_of_few_images():
    assert len(train_loader(numbered(5), 128, 2, partial(order_generator, 0))) == 2
    with pytest.raises(UserError, match="too few"):
        train_loader(numbered(1), 128, 2, partial(order_generator, 0))
    with pytest.raises(UserError, match="evenly"):
        train_loader(numbered(50), 9, 1, partial(order_generator, 0), world_size=2)


def order(seed: int, epoch: int = 0, images: int = 100) -> tuple[int, ...]:
    """The order of the images in an epoch."""
    sampler = ShuffledBatchSampler(
        images, images, 1, partial(order_generator, seed), rank=0, world_size=1
    )
    sampler.epoch = epoch
    (batch,) = sampler
    return tuple(batch)


def test_each_seed_and_each_epoch_has_its_own_order():
    orders = [order(seed) for seed in range(1000)]
    orders += [order(seed, epoch) for seed in (0, 1, 2, 2**31 - 1) for epoch in range(1, 50)]
    orders += [order(2**31 - 1), order(2**32), order(2**62)]
    assert len(set(orders)) == len(orders)
    assert all(sorted(one) == list(range(100)) for one in orders[:10])
    # No image has a favourite place, whatever the seed.
    first = np.bincount([one[0] for one in orders], minlength=100)
    assert first.max() < 35 and (first == 0).sum() < 5
    assert order(3, 1) == order(3, 1)  # as a resumed run has it


def test_more_processes_than_images():
    parts = [list(eval_loader(numbered(2), 4, rank, 3)) for rank in range(3)]
    assert [[labels.tolist() for _, labels in part] for part in parts] == [[[0]], [[1]], []]
    assert len(eval_loader(numbered(2), 4, 2, 3)) == 0
    assert list(eval_loader(numbered(2), 4, 2, 3, num_workers=1)) == []


def shared_memory(monkeypatch, folder: Path, free: int) -> None:
    """Let it be so much that is free, in a folder that is there."""
    usage = shutil.disk_usage(folder)._replace(free=free)
    monkeypatch.setattr(loaders, "SHARED_MEMORY", folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_too_little_shared_memory(monkeypatch, tmp_path):
    images = numbered(50)  # of 16 bytes each
    shared_memory(monkeypatch, tmp_path, 6 * 8 * 16)
    assert len(list(train_loader(images, 8, 1, partial(order_generator, 0), num_workers=2))) == 6
    shared_memory(monkeypatch, tmp_path, 6 * 8 * 16 - 1)
    train_loader(images, 8, 1, partial(order_generator, 0))
    for make in (
        lambda: train_loader(images, 8, 1, partial(order_generator, 0), num_workers=2),
        lambda: train_loader(
            images, 16, 1, partial(order_generator, 0), 1, 2, num_workers=2
        ),  # 8 in each of 2 processes
        lambda: eval_loader(images, 8, num_workers=2),
        lambda: eval_loader(images, 4, 0, 2, num_workers=2),  # 4 in each
    ):
        with pytest.raises(UserError, match=r"--workers 2 needs .*: use --workers 0") as caught:
            make()
        assert "\n" not in str(caught.value)
    # An evaluation in one small batch.
    assert len(list(eval_loader(numbered(4), 1000, num_workers=2))) == 1
    monkeypatch.setattr(loaders, "SHARED_MEMORY", tmp_path / "not Linux")
    train_loader(images, 8, 1, partial(order_generator, 0), num_workers=2)


class Refused:
    """Stands in for a tensor of which shared memory takes no more."""

    def share_memory_(self):
        raise RuntimeError("unable to write to file </torch_1_2_3>: No space left on device (28)")


class FullMemory(ImageDataset):
    def __getitem__(self, index):
        return (Refused(),)


def test_shared_memory_that_fills_up_later():
    """torch alone would wait for ever for the batch that did not fit."""
    loader = eval_loader(FullMemory(*vars(numbered(4)).values()), 2, num_workers=1)
    with pytest.raises(UserError, match=r"^unable to write .*\(28\): use --workers 0") as caught:
        list(loader)
    assert "\n" not in str(caught.value)


WORK = """
import multiprocessing, signal, sys, time
import numpy as np
import torch
from data.dataset import ImageDataset
from data.loaders import train_loader

if __name__ == "__main__":
    how, method = sys.argv[1:]
    images = ImageDataset(np.zeros((400, 1, 8, 8), np.uint8), np.zeros(400, np.int64), ["one"])
    options = {"num_workers": 2, "persistent_workers": True, "multiprocessing_context": method}
    loader = train_loader(images, 8, 1, lambda _: torch.Generator(), **options)
    batches = iter(loader)
    next(batches)
    signal.signal(signal.SIGTERM, lambda *_: None)
    print(*[worker.pid for worker in multiprocessing.active_children()], flush=True)
    if how == "wait to be killed":
        time.sleep(600)
    sys.stdin.readline()
    print(sum(1 for _ in batches), flush=True)
    next(iter(loader))
    sys.exit(3)  # with workers that are at work
"""


@pytest.fixture
def started(root, tmp_path):
    """A program with two workers: started(how, method) -> the process, and its workers' numbers."""
    script, programs = tmp_path / "work.py", []
    script.write_text(WORK)

    def start(how: str, method: str) -> tuple[subprocess.Popen, list[int]]:
        program = subprocess.Popen(
            [sys.executable, script, how, method],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # torch warns of two workers on one core, which is not what is tested.
            env=os.environ | {"PYTHONPATH": str(root), "PYTHONWARNINGS": "ignore"},
        )
        programs.append(program)
        return program, [int(number) for number in program.stdout.readline().split()]

    yield start
    for program in programs:
        program.kill()
        program.communicate()


def is_running(pid: int) -> bool:
    """Whether the process does more than wait to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")


@needs_proc
def test_workers_leave_signals_to_the_main_process(started):
    program, workers = started("finish", "fork")
    for worker in workers:
        for number in loaders.STOP_SIGNALS:
            os.kill(worker, number)
    assert len(workers) == 2
    out, err = program.communicate("go on\n", timeout=60)
    assert (out.strip(), err, program.returncode) == ("49", "", 3)  # nothing hangs at the end
    assert not any(map(is_running, workers))


@needs_proc
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_workers_end_with_a_main_process_that_is_killed(started, method):
    program, workers = started("wait to be killed", method)
    assert len(workers) == 2 and all(map(is_running, workers))
    program.kill()
    deadline = time.monotonic() + 60
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, workers))


def test_spawned_workers_map_the_file(tmp_path):
    """The name of the file is sent to them, not its content."""
    content = np.random.RandomState(0).randint(0, 256, (12, 1, 4, 4), np.uint8)
    np.save(tmp_path / "images.npy", content)
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    dataset = ImageDataset(images, np.arange(12), ["one"]).first(10)
    options = {"num_workers": 1, "multiprocessing_context": "spawn"}
    batches = list(eval_loader(dataset, 5, **options))
    assert np.array_equal(torch.cat([batch for batch, _ in batches]), content[:10])
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(10))
