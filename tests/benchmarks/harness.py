"""Measurement: tasks in turn, processes and their memory, and the machine's peak speed."""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from engine.device import synchronize

ROOT = Path(__file__).parents[2]
PYTHON = sys.executable
CPU = torch.device("cpu")


class Process(NamedTuple):
    """A finished command: its output, its seconds, its peak memory in MB."""

    output: str
    seconds: float
    megabytes: float


def run(*command: object, environment: dict[str, str] | None = None) -> Process:
    """Run a command in the repository's folder and measure it and the processes it starts.

    Raises:
        RuntimeError: it failed; the message is its standard error.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        command = list(map(str, command))
        started = time.perf_counter()
        # On the CPU, like the baselines, even if there is a GPU.
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", **(environment or {})}
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=errors, env=environment)
        samples = [0]
        sampler = threading.Thread(target=sample_memory, args=(process, samples))
        sampler.start()
        process.wait()
        seconds = time.perf_counter() - started
        sampler.join()
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: {errors.read()}")
        return Process(output.read(), seconds, max(samples) / 1e6)


def sample_memory(process: subprocess.Popen, samples: list[int]) -> None:
    """Record repeatedly how many bytes the process and its children use (Linux).

    Pages of files, which the system can drop and read again, do not count. Counting takes longer
    with more memory, so sleep fifty times as long: it must not slow the process down.
    """
    while process.returncode is None:
        started = time.perf_counter()
        samples.append(memory_of(process.pid))
        time.sleep(max(0.05, 50 * (time.perf_counter() - started)))


def memory_of(pid: int) -> int:
    """The bytes that a process and its children use; shared memory counts once."""
    total = 0
    with suppress(OSError):  # it has just ended
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Pss_Anon", "Pss_Shmem")):
                total += 1024 * int(line.split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        total += sum(memory_of(int(child)) for child in children)
    return total


def round_robin(tasks: dict[str, Callable[[], Any]], rounds: int, title: str) -> dict[str, list]:
    """Run all tasks in turn, ``rounds`` times; collect their results, or their seconds if None."""
    results: dict[str, list] = {name: [] for name in tasks}
    with tqdm(total=rounds * len(tasks), desc=title, leave=False) as bar:
        for _ in range(rounds):
            for name, task in tasks.items():
                started = time.perf_counter()
                result = task()
                seconds = time.perf_counter() - started
                results[name].append(seconds if result is None else result)
                bar.update()
    return results


def summary(values: list[float]) -> dict[str, float]:
    """Median, lowest and highest, as columns of a table."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def matrix_peak(dtype: torch.dtype, size: int = 2048, device: torch.device = CPU) -> float:
    """Operations per second in the product of two size x size matrices, best of ten."""
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    best = float("inf")
    for _ in range(10):
        synchronize(device)
        started = time.perf_counter()
        a @ b
        synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
