"""One process, or several under torchrun: the few calls that the rest needs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist


def setup(device: torch.device) -> None:
    """Join the other processes, if torchrun started this one, to compute on this device."""
    if "RANK" in os.environ:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


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


def any_rank(flag: bool) -> bool:
    """Whether the flag is set in any process; the same answer in all of them."""
    if not dist.is_initialized():
        return flag
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    return all_reduce_sum(torch.tensor(float(flag), device=device)).item() > 0


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
def main_process_first() -> Iterator[None]:
    """Let the main process do what this encloses, and then the others."""
    if dist.is_initialized() and not is_main():
        dist.barrier()
    try:
        yield
    finally:
        if dist.is_initialized() and is_main():
            dist.barrier()
