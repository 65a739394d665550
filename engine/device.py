"""Everything that depends on the device: its choice and name, precision and memory."""

import ctypes
import os
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from engine.errors import UserError


class Kind(NamedTuple):
    """The properties of a type of device.

    Attributes:
        memory_format: the one with the fastest convolutions, forward and backward.
        sums: the widest dtype, for sums over an epoch.
        pins: whether copies from pinned host memory overlap with the computation. Elsewhere, copies
            to the device must block: MPS may read memory that is freed meanwhile, and give wrong
            numbers without an error (pytorch/pytorch#189690).
        background: whether a thread writes checkpoints, from copies. On a CPU that would save no
            time and take more memory.
        backend: of torch.distributed; None if there is none.
    """

    memory_format: torch.memory_format
    sums: torch.dtype
    pins: bool
    background: bool
    backend: str | None


KINDS = {
    "cpu": Kind(torch.channels_last, torch.float64, pins=False, background=False, backend="gloo"),
    # AMD's ROCm, too.
    "cuda": Kind(torch.channels_last, torch.float64, pins=True, background=True, backend="nccl"),
    # Apple: no float64; a convolution's backward pass is 30 times slower in channels last
    # (pytorch/pytorch#193349).
    "mps": Kind(torch.contiguous_format, torch.float32, pins=False, background=True, backend=None),
    # Intel: most cards have no float64.
    "xpu": Kind(torch.channels_last, torch.float32, pins=True, background=True, backend="xccl"),
}
NAMES = "auto (a GPU if there is one), cpu, cuda[:N], mps or xpu[:N]"


def kind(device: torch.device) -> Kind:
    """The properties of a device that ``pick_device`` returned."""
    return KINDS[device.type]


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU if there is one.

    Under torchrun each process gets its own GPU; the number in the name is ignored.

    Raises:
        UserError: this machine has no such device.
    """
    there = [torch.device("cpu"), *accelerators()]
    if name == "auto":
        name = there[-1].type
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device and device.type not in ("cpu", "mps"):
        number = os.environ.get("LOCAL_RANK", "0") if "RANK" in os.environ else device.index or 0
        name = f"{device.type}:{number}"
        device = torch.device(name) if re.fullmatch(r"\w+:\d{1,3}", name) else None
    if device not in there:
        raise UserError(f"--device {name}: this machine has {' and '.join(map(str, there))}")
    return device


def accelerators() -> list[torch.device]:
    """The machine's GPUs."""
    if not torch.accelerator.is_available():
        return []
    name = torch.accelerator.current_accelerator().type
    if name == "mps":
        return [torch.device(name)]
    count = torch.accelerator.device_count() if name in KINDS else 0
    return [torch.device(name, index) for index in range(count)]


def describe(device: torch.device) -> str:
    """The device, its name, and its free memory or threads, as text."""
    name = device_name(device)
    if device.type == "cpu":
        return f"cpu ({name}, {torch.get_num_threads()} threads)"
    return f"{device} ({name}, {free_memory(device) / 2**30:.0f} GiB free)"


def device_name(device: torch.device) -> str:
    """The model name of the processor or GPU."""
    if device.type in ("cuda", "xpu"):
        return torch.get_device_module(device).get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")  # of Linux; platform.processor() is empty there
    found = re.search("model name\\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU's memory that are free."""
    if device.type == "mps":  # shared with the processor
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return torch.get_device_module(device).mem_get_info(device)[0]


class Movable(Protocol):
    """A dataset that can be moved to a device: ``data.dataset.ImageDataset``."""

    images: np.ndarray | torch.Tensor

    def to(self, device: torch.device) -> "Movable": ...


def place(
    datasets: Sequence[Movable], device: torch.device, on_device: bool | None
) -> Sequence[Movable]:
    """Move the datasets to the GPU if ``on_device``; None: if they fit into 1/4 of what is free."""
    if on_device is None:
        size = sum(dataset.images.nbytes for dataset in datasets)
        on_device = device.type != "cpu" and size <= free_memory(device) // 4
    return [dataset.to(device) for dataset in datasets] if on_device else datasets


def eval_batch_size(pixels: int, device: torch.device) -> int:
    """The batch size of evaluation, for images of pixels x pixels.

    Larger batches are no faster. VGG16 at 224 px takes less memory with it than in training.
    """
    at_most, together = (250, 2**20) if device.type == "cpu" else (1000, 2**22)
    return min(at_most, max(1, together // pixels**2))


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished all queued work."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def amp_dtype(device: torch.device) -> torch.dtype:
    """The dtype of --amp: bfloat16, or float16 on a GPU without bfloat16."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return torch.float16
    return torch.bfloat16


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device is known to multiply bfloat16 matrices faster than float32 ones."""
    if device.type == "cuda":
        return amp_dtype(device) == torch.bfloat16
    if device.type == "cpu":  # without AMX or AVX512-BF16 it emulates bfloat16, which is slower
        supported = {
            name: getattr(torch.cpu, f"_is_{name}_supported", lambda: False)()
            for name in ("amx_tile", "avx512_bf16")
        }
        # With Intel's AVX512-BF16 but no AMX, as in many virtual machines, training ran at 0.73 of
        # the speed of float32; with AMD's at twice the speed.
        return supported["amx_tile"] or (
            supported["avx512_bf16"] and "Intel" not in device_name(device)
        )
    return device.type == "xpu"  # on MPS it depends on the chip


def set_precision(device: torch.device, training: bool) -> None:
    """Choose a GPU's kernels: in training the fastest, in evaluation float32 without TF32.

    cuDNN benchmarks the kernels for each batch size. By default, it convolves float32 in TF32,
    which keeps 10 of the 23 bits of the mantissa.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = training
        torch.backends.cudnn.allow_tf32 = training


def keep_freed_memory() -> None:
    """Make glibc's malloc keep the large blocks that each training step frees and reallocates.

    By default, malloc returns them to the system, and in every step the kernel clears new pages:
    3,000 page faults and up to a tenth of a GoogLeNet step on a CPU, and half of a VGG16 step at
    224 px. Keeping the blocks costs about a sixth more memory, due to fragmentation.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:  # glibc has it, musl does not
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: free memory to keep at the top of the heap
        mallopt(-4, 0)  # M_MMAP_MAX: no block gets a mapping of its own, unmapped when freed
