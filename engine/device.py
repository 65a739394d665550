"""What depends on the device: its choice, the 16-bit type it computes in, its memory."""

import ctypes
import os
import platform
import re
import sys
from pathlib import Path

import torch

from engine.errors import UserError


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one.

    Under torchrun, "cuda" is the GPU of this process.

    Raises:
        UserError: this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    try:
        device = torch.device(name)
        usable = device.type == "cpu" or (
            device.type == "cuda" and device.index < torch.cuda.device_count()
        )
    except RuntimeError:
        usable = False
    if not usable:
        raise UserError(f"--device {name}: this machine has cpu and {gpus()}")
    return device


def gpus() -> str:
    """The machine's GPUs, for a message."""
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return " and ".join(names) or "no GPU that torch can use"


def device_name(device: torch.device) -> str:
    """The processor's or card's own name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")  # of Linux; platform.processor() is empty there
    found = re.search("model name\\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def amp_dtype(device: torch.device) -> torch.dtype:
    """The type that --amp computes in: bfloat16, or float16 on a GPU that has no bfloat16."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return torch.float16
    return torch.bfloat16


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices faster than float32 ones."""
    if device.type == "cuda":
        return amp_dtype(device) == torch.bfloat16
    # Without AVX512-BF16 or AMX, a CPU emulates bfloat16, which is slower.
    return any(
        getattr(torch.cpu, f"_is_{name}_supported", lambda: False)()
        for name in ("avx512_bf16", "amx_tile")
    )


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
