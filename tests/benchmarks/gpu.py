"""Measure a GPU: tests, training speed against three baselines, and seconds to an accuracy.

    python -m tests.benchmarks gpu --output-dir DIR                 # all parts
    python -m tests.benchmarks gpu --output-dir DIR --only tests    # or training, accuracy, ...
    python -m tests.benchmarks gpu --output-dir DIR --smoke         # every line, on any machine

Writes environment.json, gpu.log and gpu_*.csv to the folder, a row as soon as it is measured, so
that an interruption costs nothing that was done. What would start after --minutes (8) is left out.
All runs but the tests are in this process: starting and compiling are measured separately.
"""

import argparse
import json
import os
import subprocess
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from engine.device import pick_device
from engine.errors import UserError
from engine.files import write_json, write_table
from engine.provenance import provenance
from tests.benchmarks import baselines
from tests.benchmarks.bookkeeping import call, share_of_bookkeeping, train, train_timed
from tests.benchmarks.harness import PYTHON, ROOT, matrix_peak
from tests.benchmarks.speed import SAME_NETWORK, raw_fashionmnist, training_operations

# Model, pixels, batch, images of an epoch: the defaults of train_fashionmnist.py, and 224 px.
WORKLOADS = (
    ("googlenet", 64, 64, 12_800),
    ("vgg16", 32, 128, 25_600),
    ("googlenet", 224, 128, 6_400),
    ("vgg16", 224, 128, 3_840),
)
OURS = {"this repository": (), "this repository, compiled": ("--compile",)}
THEIRS = {
    "plain tutorial": (),
    "channels last, bf16": ("--timm-style",),
    "channels last, bf16, compiled": ("--timm-style", "--compile"),
}
# Larger batches than the default, which keep a large GPU busy, and a short schedule.
FAST = (
    "--epochs",
    "12",
    "--warmup-epochs",
    "3",
    "-b",
    "256",
    "--lr",
    "8e-3",
    "--ema-decay",
    "0.99",
)
SHORT_EPOCHS = ("--limit", "20000", "-b", "256", "--epochs", "8", "--image-size", "32")
ACCURACIES = (0.926, 0.94)
PARTS = ("tests", "training", "accuracy", "bookkeeping", "compiled")


class Measurement:
    """A folder of results, and the remaining time."""

    def __init__(self, folder: Path, minutes: float) -> None:
        self.folder, self.end = folder, time.monotonic() + 60 * minutes
        self.rows: dict[str, list[dict]] = {}

    def say(self, text: str) -> None:
        print(text, flush=True)
        with (self.folder / "gpu.log").open("a", encoding="utf-8") as log:
            log.write(f"{text}\n")

    def add(self, name: str, row: dict) -> None:
        """Write a row to gpu_<name>.csv."""
        self.rows.setdefault(name, []).append(row)
        write_table(pd.DataFrame(self.rows[name]), self.folder / f"gpu_{name}.csv", index=False)
        self.say(f"{name}: {row}")

    def attempt(self, what: str, task: Callable[[], None]) -> None:
        """Run a task if there is time, and continue after any exception."""
        left = self.end - time.monotonic()
        if left <= 0:
            self.say(f"{what}: left out, no time is left")
            return
        started = time.monotonic()
        try:
            task()
        except Exception as error:
            last = traceback.format_exc() if not isinstance(error, UserError) else str(error)
            self.say(f"{what}: failed: {last}")
        self.say(f"{what}: {time.monotonic() - started:.1f} s, {max(0, left):.0f} s were left")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def benchmark(args: argparse.Namespace) -> None:
    """Run all parts, or those of --only, the most important first."""
    device = torch.device("cpu") if args.smoke else pick_device("auto")
    if device.type == "cpu" and not args.smoke:
        raise UserError("gpu: torch can use none here; --smoke runs all of it on the CPU")
    unknown = set(args.only or ()) - set(PARTS)
    if unknown:
        raise UserError(f"--only {min(unknown)}: there are {', '.join(PARTS)}")
    measurement = Measurement(args.output_dir, args.minutes or 8)
    versions = {"cuda": torch.version.cuda, "hip": torch.version.hip, "driver": driver()}
    write_json(provenance(device) | versions, args.output_dir / "environment.json")
    compile_before = torch.compile
    if args.smoke:
        torch.compile = partial(compile_before, backend="eager")  # there may be no C++ compiler
    try:
        measure(measurement, device, args)
    finally:
        torch.compile = compile_before


def measure(measurement: Measurement, device: torch.device, args: argparse.Namespace) -> None:
    """Run each part once, then more rounds of the speed measurements."""
    parts = args.only or PARTS
    tiny = ("--sample", "--limit", 64, "-b", 16, "--epochs", 2, "--image-size", 32)
    workloads = [("googlenet", 32, 16, 48)] if args.smoke else WORKLOADS
    recipes = {
        part: {n: o for n, o in (OURS | THEIRS).items() if ("--compile" in o) == is_compiled}
        for part, is_compiled in (("training", False), ("compiled", True))
    }
    if "tests" in parts:
        measurement.attempt("tests", partial(tests, measurement))
    with raw_fashionmnist(args.smoke) as raw:
        for number in range(1 if args.smoke else args.rounds):
            for part in (part for part in PARTS if part in parts):
                for workload in workloads if part in recipes else ():
                    for name, options in recipes[part].items():
                        options += ("--sample",) if args.smoke and name in OURS else ()
                        task = partial(training, measurement, device, raw, number, workload, name)
                        measurement.attempt(f"{workload}, {name}", partial(task, options))
                for options in ((), ("--compile",)) if part == "accuracy" and not number else ():
                    task = partial(
                        accuracy, measurement, (*(tiny if args.smoke else FAST), *options)
                    )
                    measurement.attempt(f"accuracy {options}", task)
                if part == "bookkeeping" and not number:
                    for model in ("googlenet",) if args.smoke else ("googlenet", "vgg16"):
                        options = ("--model", model, *(tiny if args.smoke else SHORT_EPOCHS))
                        task = partial(bookkeeping, measurement, options)
                        measurement.attempt(f"bookkeeping, {model}", task)


def tests(measurement: Measurement) -> None:
    """Run tests/test_accelerator.py in a process that can use the GPU."""
    command = [PYTHON, "-m", "pytest", "-n", "0", "-q", "-rs", "tests/test_accelerator.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    measurement.say(done.stdout + done.stderr)
    measurement.add(
        "tests", {"exit code": done.returncode, "said": done.stdout.strip().split("\n")[-1]}
    )


def training(  # noqa: PLR0913 (what names a measurement)
    measurement: Measurement,
    device: torch.device,
    raw: str,
    number: int,
    workload: tuple[str, int, int, int],
    name: str,
    options: tuple[str, ...],
) -> None:
    """Images per second of one recipe, end to end, and the GPU's peak memory."""
    model, size, batch, limit = workload
    what = ("--model", model, "--image-size", size, "-b", batch, "--limit", limit)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    if name in OURS:
        epochs = ("--epochs", 3, "--device", device)
        log = train(*what, *epochs, *SAME_NETWORK[model], *options)
        speed, steps = log.images_per_second.iloc[-1], log.seconds.sum()
    else:
        workers = ("--workers", min(8, os.cpu_count()), "--device", device)
        printed = call(baselines.main, *what, "--data-dir", raw, *workers, *options)
        speed, steps = json.loads(printed)["images_per_second"], 0.0
    peak = matrix_peak(torch.bfloat16, 512 if device.type == "cpu" else 8192, device)
    row = {"model": model, "pixels": size, "batch": batch, "recipe": name, "round": number}
    operations = training_operations(model, size, aux_heads=False)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    row |= {"images/s": speed, "share of bf16 product": speed * operations / peak}
    row |= {"bf16 product, TFLOP/s": peak / 1e12, "memory, GiB": memory}
    row |= {"seconds in all": time.perf_counter() - started, "of them in steps": steps}
    measurement.add("training", row)


def accuracy(measurement: Measurement, options: tuple[object, ...]) -> None:
    """Seconds until GoogLeNet reaches each validation accuracy."""
    started = time.perf_counter()
    log, epochs = train_timed(*options)
    for wanted in ACCURACIES:
        reached = log[log.val_accuracy >= wanted]
        until = epochs[: reached.index[0] + 1] if len(reached) else epochs[:0]
        measurement.add(
            "accuracy",
            {
                "options": " ".join(map(str, options)),
                "validation accuracy": wanted,
                "epoch": len(until) or None,  # None: not reached
                "training, s": until.train.sum() if len(until) else None,
                "validation, s": until.validate.sum() if len(until) else None,
                # The first epoch includes choosing and compiling kernels.
                "first epoch beyond the second, s": epochs.train[0] - epochs.train[1],
                "best": log.val_accuracy.max(),
                "seconds in all": time.perf_counter() - started,
            },
        )


def bookkeeping(measurement: Measurement, options: tuple[object, ...]) -> None:
    """The share of an epoch outside training and validation."""
    measurement.add("bookkeeping", share_of_bookkeeping(*options))


def driver() -> str | None:
    """The version of NVIDIA's driver."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
