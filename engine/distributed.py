"""One process, or several under torchrun: the few calls that the rest needs."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from engine.device import kind
from engine.errors import UserError, as_user_error

TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ADVICE = "if it did not, unset RANK"
# One process may download or decode a dataset for as long while the others wait.
PATIENCE = timedelta(days=1)
waiting_room: list[dist.ProcessGroup] = []  # a gloo group with that patience


def setup(device: torch.device) -> None:
    """Join the other processes, if torchrun started this one, to compute on this device.

    Raises:
        UserError: the environment says that torchrun did, and cannot be right.
    """
    if "RANK" not in os.environ:
        return
    said = f"the environment says that torchrun started this process ({ADVICE}), but "
    lacking = [name for name in TORCHRUN if name not in os.environ]
    if lacking:
        raise UserError(f"{said}has no {', '.join(lacking)}")
    with as_user_error(ValueError, prefix=said):
        ranks = {name: int(os.environ[name]) for name in TORCHRUN if name != "MASTER_ADDR"}
    if not 0 <= ranks["LOCAL_RANK"] <= ranks["RANK"] < ranks["WORLD_SIZE"]:
        raise UserError(f"{said}not as process {ranks['RANK']} of {ranks['WORLD_SIZE']}")
    backend = kind(device).backend
    if not backend:
        raise UserError(f"{said}{device} cannot be shared by several: use python, or --device cpu")
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
    """Leave the other processes, if there are any."""
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
    """The largest of all processes' values; the same answer in all of them. GPUs do not wait."""
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
    """The rows of all processes, one below the other; on the CPU."""
    if not dist.is_initialized():
        return rows
    parts = [rows] * world_size()
    dist.all_gather_object(parts, rows, *waiting_room)
    return torch.cat([part for part in parts if len(part)])


def broadcast_buffers(model: torch.nn.Module) -> None:
    """Give every process the buffers of the main one, such as batch-norm's statistics."""
    if dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


@contextmanager
def one_process_first() -> Iterator[None]:
    """Let one process do what this encloses, then one on each other machine, then the rest.

    The others then find the files already there, on shared and on local disks.
    """
    turn = 0 if is_main() else 1 if os.environ.get("LOCAL_RANK") == "0" else 2
    for _ in range(turn):
        dist.barrier(*waiting_room)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # the others stop as well, and come to no barrier
        turn = 2
        raise
    finally:
        if dist.is_initialized():
            for _ in range(2 - turn):
                dist.barrier(*waiting_room)


def launcher() -> str:
    """What started this process: a command goes on with the script and its options."""
    if world_size() == 1:
        return "python"
    return f"torchrun --nproc-per-node {os.environ.get('LOCAL_WORLD_SIZE', world_size())}"


def is_lost_peer(error: Exception) -> bool:
    """Whether an error only says that another process has ended, which has said why."""
    closed = "closed by peer" in str(error) or "Connection reset by peer" in str(error)
    return dist.is_initialized() and (closed or isinstance(error, dist.DistError))
