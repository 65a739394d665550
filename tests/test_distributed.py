"""Several processes, and what is left of them in the environment."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from engine import distributed
from engine.errors import UserError

ORDER = """
import sys, time
from pathlib import Path
import torch
from engine import distributed
distributed.setup(torch.device("cpu"))
with distributed.one_process_first():
    time.sleep(0.05 * distributed.rank())
    with open(sys.argv[1], "a") as file:
        file.write(f"{distributed.rank()}\\n")
rank = distributed.rank()
assert distributed.all_reduce_max(rank) == 2
assert distributed.broadcast_object({"rank": rank}) == {"rank": 0}
rows = torch.full((rank, 2), rank) if rank else torch.empty(0, 1)  # a process without images
assert distributed.gather_rows(rows).tolist() == [[1, 1], [2, 2], [2, 2]]
distributed.cleanup()
"""


def test_one_process_goes_first(root, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    (tmp_path / "order.py").write_text(ORDER)
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, "3", tmp_path / "order.py", tmp_path / "ranks"], env=environment, check=True
    )
    ranks = (tmp_path / "ranks").read_text().split()
    assert ranks[0] == "0" and sorted(ranks) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("rank", "local_rank", "before"), [(0, 0, 0), (1, 1, 2), (2, 0, 1), (3, 1, 2)]
)
def test_each_machine_has_a_first(monkeypatch, rank, local_rank, before):
    """Two machines of two processes, each machine with a disk of its own: rank 2 is its first."""
    calls = []
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed.dist, "get_rank", lambda: rank)
    monkeypatch.setattr(distributed.dist, "barrier", lambda *_: calls.append("barrier"))
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    with pytest.raises(UserError), distributed.one_process_first():
        calls.append("work")
        raise UserError("the others are told, too")
    assert calls.index("work") == before and len(calls) == 3


@pytest.mark.parametrize(
    ("left", "lacking"),
    [
        ({"RANK": "0"}, "LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT"),
        ({"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, "MASTER_ADDR, MASTER_PORT"),
    ],
)
def test_what_an_earlier_launcher_left_is_one_line(monkeypatch, left, lacking):
    for name in distributed.TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    distributed.setup(torch.device("cpu"))  # none: a process of its own
    assert distributed.world_size() == 1
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=lacking):
        distributed.setup(torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("RANK", "one", "'one'"),
        ("RANK", "1", "RANK is 1, LOCAL_RANK is 0, WORLD_SIZE is 1"),
        ("RANK", "-1", "RANK is -1, LOCAL_RANK is 0, WORLD_SIZE is 1"),
        ("LOCAL_RANK", "1", "RANK is 0, LOCAL_RANK is 1, WORLD_SIZE is 1"),
        ("MASTER_PORT", "x", "'x'"),
    ],
)
def test_values_that_cannot_be_right_are_one_line(monkeypatch, name, value, words):
    good = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost"}
    for key, text in (good | {"MASTER_PORT": "29511", name: value}).items():
        monkeypatch.setenv(key, text)
    with pytest.raises(UserError, match=f"unset RANK.*{words}"):
        distributed.setup(torch.device("cpu"))
    assert not distributed.dist.is_initialized()


def test_a_note_comes_only_while_others_are_late(monkeypatch):
    started, calls = [], []

    class Timer(threading.Timer):
        def start(self):
            started.append(self)

    for key in distributed.TORCHRUN:
        monkeypatch.setenv(key, "1" if key == "WORLD_SIZE" else "0")
    monkeypatch.setattr(threading, "Timer", Timer)
    monkeypatch.setattr(distributed, "waiting_room", [])
    monkeypatch.setattr(distributed.dist, "new_group", lambda **_: "a group")
    monkeypatch.setattr(
        distributed.dist,
        "init_process_group",
        lambda backend: calls.append((backend, started[0].finished.is_set())),
    )
    distributed.setup(torch.device("cpu"))
    assert calls == [("gloo", False)] and distributed.waiting_room == ["a group"]
    assert len(started) == 1 and started[0].daemon and started[0].finished.is_set()


@pytest.mark.parametrize(
    ("machines", "command"),
    [
        (None, "torchrun --nproc-per-node 2"),
        ("1", "torchrun --nproc-per-node 2"),
        (
            "3",
            "torchrun --nnodes 3 --rdzv-backend c10d --rdzv-endpoint HOST:29500 --nproc-per-node 2",
        ),
    ],
)
def test_the_command_to_resume_with_starts_as_many_processes(monkeypatch, machines, command):
    assert distributed.launcher() == "python"
    monkeypatch.setattr(distributed, "world_size", lambda: 2 * int(machines or 1))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.delenv("GROUP_WORLD_SIZE", raising=False)
    if machines:
        monkeypatch.setenv("GROUP_WORLD_SIZE", machines)
    assert distributed.launcher() == command


def test_a_lost_peer_is_known_by_its_error(monkeypatch):
    lost = [RuntimeError("[gloo] Connection closed by peer [::1]:5")]
    lost += [RuntimeError("Connection reset by peer"), distributed.dist.DistBackendError("NCCL")]
    assert not any(map(distributed.is_lost_peer, lost))  # alone, it has no peers
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
    assert all(map(distributed.is_lost_peer, lost))
    assert not distributed.is_lost_peer(RuntimeError("out of memory"))
