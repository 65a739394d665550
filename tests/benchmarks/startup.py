"""The time of predict.py from the start of the process to its prediction for one photo."""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tests.benchmarks.harness import PYTHON, ROOT, round_robin, run, summary


def benchmark(args: argparse.Namespace) -> list[dict]:
    """Compare it with merely starting Python and importing torch, or torch and torchvision."""
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.png"
        noise = np.random.default_rng(0).integers(256, size=(480, 640, 3), dtype=np.uint8)
        Image.fromarray(noise).save(photo)
        tasks = {"import torch": partial(seconds, "-c", "import torch")}
        tasks["import torch, torchvision"] = partial(seconds, "-c", "import torch, torchvision")
        for checkpoint in sorted((ROOT / "checkpoints").glob("*.pth")):
            predict = ["predict.py", photo, "--checkpoint", checkpoint]
            tasks[f"predict.py, {checkpoint.stem}"] = partial(seconds, *predict)
        for task in tasks.values():
            task()  # once, so that all files are cached in memory
        results = round_robin(tasks, 3 * args.rounds, "startup")
    medians = {name: summary(times) for name, times in results.items()}
    base = medians["import torch, torchvision"]["median"]
    return [{"what": n, **s, "ratio": s["median"] / base} for n, s in medians.items()]


def seconds(*arguments: object) -> float:
    return run(PYTHON, *arguments).seconds
