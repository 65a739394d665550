"""Distributed training: the few calls that the other modules need, for one process or several."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from engine.device import kind
from engine.errors import UserError, as_user_error

TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ADVICE = "if it did not, unset RANK"
# How long one process may download or decode a dataset while the others wait.
PATIENCE = timedelta(days=1)
waiting_room: list[dist.ProcessGroup] = []  # a gloo group with this timeout


def setup(device: torch.device) -> None:
    """Join the process group, on this device, if torchrun started this process.

    Raises:
        UserError: torchrun's environment variables are incomplete or inconsistent.
    """
    if "RANK" not in os.environ:
        return
    said = f"the environment says that torchrun started this process ({ADVICE}), but "
    lacking = [name for name in TORCHRUN if name not in os.environ]
    if lacking:
        raise UserError(f"{said}{', '.join(lacking)} is not set")
    with as_user_error(ValueError, prefix=said):
        ranks = {name: int(os.environ[name]) for name in TORCHRUN if name != "MASTER_ADDR"}
    if not 0 <= ranks["LOCAL_RANK"] <= ranks["RANK"] < ranks["WORLD_SIZE"]:
        numbers = ", ".join(f"{name} is {number}" for name, number in list(ranks.items())[:3])
        raise UserError(f"{said}{numbers}")
    backend = kind(device).backend
    if not backend:
        raise UserError(f"{said}processes cannot share {device}: use python, or --device cpu")
    if device.type != "cpu":
        torch.get_device_module(device).set_device(device)
    late = "note: still waiting for torchrun's other processes (not started by it? unset RANK)"
    note = threading.Timer(20, print, [late], {"file": sys.stderr})
    note.daemon = True
    note.start()
    with as_user_error(RuntimeError, ValueError, prefix=said):
        dist.init_process_group(backend)
        waiting_room[:] = [dist.new_group(backend="gloo", timeout=PATIENCE)]
    note.cancel()


def cleanup() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that prints and writes."""
    return rank() == 0


def all_reduce_max(value: int) -> int:
    """The largest value of all processes, returned in each of them. Does not wait for GPUs."""
    if not dist.is_initialized():
        return value
    largest = torch.tensor(value)
    dist.all_reduce(largest, dist.ReduceOp.MAX, *waiting_room)
    return int(largest)


def all_reduce_sum(values: torch.Tensor) -> torch.Tensor:
    """The sum of this tensor over all processes, as a new tensor."""
    total = values.clone()
    if dist.is_initialized():
        dist.all_reduce(total)
    return total


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Concatenate the rows of all processes, on the CPU."""
    if not dist.is_initialized():
        return rows
    parts = [rows] * world_size()
    dist.all_gather_object(parts, rows, *waiting_room)
    return torch.cat([part for part in parts if len(part)])


def broadcast_object(value: object) -> Any:  # noqa: ANN401
    """The main process's value, returned in each process."""
    values = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(values, 0, *waiting_room)
    return values[0]


def broadcast_buffers(model: torch.nn.Module) -> None:
    """Copy the main process's buffers, such as batch-norm's statistics, to all processes."""
    if dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


@contextmanager
def one_process_first() -> Iterator[None]:
    """Run the enclosed code in the main process, then in one on each other machine, then the rest.

    So the later processes find the files that the first one wrote, on shared and on local disks.
    """
    turn = 0 if is_main() else 1 if os.environ.get("LOCAL_RANK") == "0" else 2
    for _ in range(turn):
        dist.barrier(*waiting_room)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # the others stop too, and reach no barrier
        turn = 2
        raise
    finally:
        if dist.is_initialized():
            for _ in range(2 - turn):
                dist.barrier(*waiting_room)


def launcher() -> str:
    """The command that started this process, without the script and its options."""
    if world_size() == 1:
        return "python"
    machines, processes = (os.environ.get(f"{kind}_WORLD_SIZE") for kind in ("GROUP", "LOCAL"))
    meeting = "--rdzv-backend c10d --rdzv-endpoint HOST:29500"
    several = f"--nnodes {machines} {meeting} " if machines not in (None, "1") else ""
    return f"torchrun {several}--nproc-per-node {processes or world_size()}"


def is_lost_peer(error: Exception) -> bool:
    """Whether an error only reports that another process ended; that one printed the reason."""
    closed = "closed by peer" in str(error) or "Connection reset by peer" in str(error)
    return dist.is_initialized() and (closed or isinstance(error, dist.DistError))
