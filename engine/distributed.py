"""One process, or several under torchrun: the few calls that the rest needs."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from engine.errors import UserError, as_user_error

TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ADVICE = "if it did not, unset RANK"
# In which one process may download or decode a dataset while the others wait.
PATIENCE = timedelta(days=1)
waiting_room: list[dist.ProcessGroup] = []  # whose barrier is patient


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
    if device.type == "cuda":
        torch.cuda.set_device(device)
    late = f"note: waiting for the other processes of torchrun ({ADVICE})"
    note = threading.Timer(20, print, [late], {"file": sys.stderr})
    note.daemon = True
    note.start()
    with as_user_error(RuntimeError, ValueError, prefix=said):
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
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
    """The largest of all processes' values; the same answer in all of them."""
    if not dist.is_initialized():
        return value
    largest = torch.tensor(value, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def all_reduce_sum(values: torch.Tensor) -> torch.Tensor:
    """The sum of this tensor over all processes, as a new tensor."""
    total = values.clone()
    if dist.is_initialized():
        dist.all_reduce(total)
    return total


def broadcast_buffers(model: torch.nn.Module) -> None:
    """Give every process the buffers of the main one, such as batch-norm's statistics."""
    if dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


@contextmanager
def one_process_first() -> Iterator[None]:
    """Let one process do what this encloses, then one on each other machine, then the rest.

    What one process leaves on a disk, the others need not make, be the disk shared or not.
    """
    turn = 0 if is_main() else 1 if os.environ.get("LOCAL_RANK") == "0" else 2
    for _ in range(turn):
        dist.barrier(*waiting_room)
    try:
        yield
    finally:
        if dist.is_initialized():
            for _ in range(2 - turn):
                dist.barrier(*waiting_room)
