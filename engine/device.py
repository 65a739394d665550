"""All that depends on the device: its choice and name, what it computes in, its memory."""

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
    """What sets a kind of device apart.

    Attributes:
        memory_format: in which convolutions are fastest, forward and backward.
        sums: the widest type, for what is added up over an epoch.
        pins: copies from pinned host memory run beside the computation.
        background: checkpoints are written by a thread, from copies. A CPU would compute no faster
            meanwhile, and have less memory.
        backend: of torch.distributed; None where there is none.
    """

    memory_format: torch.memory_format
    sums: torch.dtype
    pins: bool
    background: bool
    backend: str | None


KINDS = {
    "cpu": Kind(torch.channels_last, torch.float64, pins=False, background=False, backend="gloo"),
    # AMD's, too.
    "cuda": Kind(torch.channels_last, torch.float64, pins=True, background=True, backend="nccl"),
    # Apple: no float64; a convolution's backward pass is 30 times slower in channels last
    # (pytorch/pytorch#193349).
    "mps": Kind(torch.contiguous_format, torch.float32, pins=False, background=True, backend=None),
    # Intel: most cards have no float64.
    "xpu": Kind(torch.channels_last, torch.float32, pins=True, background=True, backend="xccl"),
}
NAMES = "auto (a GPU where there is one), cpu, cuda[:N], mps or xpu[:N]"


def kind(device: torch.device) -> Kind:
    """What is to be known of a device that ``pick_device`` returned."""
    return KINDS[device.type]


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one.

    Under torchrun each process gets a GPU of its own, whatever the name's number.

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
    """The device, its name, and its memory or threads."""
    name = device_name(device)
    if device.type == "cpu":
        return f"cpu ({name}, {torch.get_num_threads()} threads)"
    return f"{device} ({name}, {free_memory(device) / 2**30:.0f} GiB free)"


def device_name(device: torch.device) -> str:
    """The processor's or card's own name."""
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
    """The datasets; in a GPU's memory if wanted, by default if they fit into a quarter of it."""
    if on_device is None:
        size = sum(dataset.images.nbytes for dataset in datasets)
        on_device = device.type != "cpu" and size <= free_memory(device) // 4
    return [dataset.to(device) for dataset in datasets] if on_device else datasets


def eval_batch_size(pixels: int, device: torch.device) -> int:
    """How many images of so many pixels a side to judge at a time.

    More are no faster; and VGG16 at 224 px takes less memory than in training.
    """
    at_most, together = (250, 2**20) if device.type == "cpu" else (1000, 2**22)
    return min(at_most, max(1, together // pixels**2))


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was told to."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def amp_dtype(device: torch.device) -> torch.dtype:
    """The type that --amp computes in: bfloat16, or float16 on a GPU that has no bfloat16."""
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
        # Intel's AVX512-BF16 without AMX, as in many a virtual machine, trained at 0.73 of the
        # speed of float32; AMD's at twice the speed.
        return supported["amx_tile"] or (
            supported["avx512_bf16"] and "Intel" not in device_name(device)
        )
    return device.type == "xpu"  # on MPS it depends on the chip


def set_precision(device: torch.device, training: bool) -> None:
    """Choose a GPU's kernels: the fastest in training; in float32, without TF32, for judging.

    cuDNN measures which is fastest for each size of batch; and by default it convolves float32 in
    TF32, with 10 bits of 23.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = training
        torch.backends.cudnn.allow_tf32 = training


def keep_freed_memory() -> None:
    """Make glibc's malloc keep the large blocks that each training step frees and takes again.

    By default it returns them to the system, and in every step the kernel has to clear them anew.
    That is 3,000 page faults and up to a tenth of a GoogLeNet step on a CPU, and half of a VGG16
    step at 224 px. Keeping them costs about a sixth more memory, through fragmentation.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:  # glibc has it, musl does not
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: free memory to keep at the top of the heap
        mallopt(-4, 0)  # M_MMAP_MAX: no block gets a mapping of its own, unmapped when freed
