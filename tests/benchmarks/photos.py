"""How fast photos are prepared, beside the usual way, in turns in one run.

    python tests/benchmarks/photos.py PetImages.zip

Measures split_dataset.py, compute_mean_std.py against a two-pass loop with Pillow and NumPy, and
training from the memory-mapped cache against training from an array in memory. Prints a table and
writes it to docs/results/benchmark_photos.csv.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from data import folders  # noqa: E402
from data.augment import Preprocess  # noqa: E402
from data.images import ImageSet, train_loader  # noqa: E402
from engine import options  # noqa: E402
from models import create_model  # noqa: E402

STEPS, BATCH, SIZE = 30, 64, 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="zip or folder of photos, by classes")
    parser.add_argument("--rounds", type=int, default=3, help="medians are over so many (3)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/results/benchmark_photos.csv")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        split = Path(temporary) / "split"
        command = [sys.executable, "split_dataset.py", args.source.resolve(), "--output", split]
        rows = measure({"split_dataset.py": lambda: run(*command, "--overwrite")}, args.rounds)
        rows += measure(
            {
                "compute_mean_std.py": lambda: run(sys.executable, "compute_mean_std.py", split),
                "two passes with Pillow and NumPy": lambda: two_passes(split),
            },
            args.rounds,
        )
        cached = folders.load_split(split, "train", SIZE * 4 // 3)
        in_memory = ImageSet(np.array(cached.images), cached.labels, cached.classes)
        step = training_step()
        rows += measure(
            {
                "30 steps from memory": lambda: train(step, in_memory),
                "30 steps from the cache": lambda: train(step, cached),
            },
            args.rounds,
        )
    table = pd.DataFrame(rows, columns=["what", "median seconds", "lowest", "highest", "ratio"])
    table.to_csv(args.output, index=False, float_format="%.2f")
    print(table.to_string(index=False, float_format="{:.2f}".format))


def measure(
    tasks: dict[str, Callable[[], object]], rounds: int
) -> list[tuple[str, float, float, float, float]]:
    """Each task once a round, in turns: seconds (median, lowest, highest), ratio to the first."""
    seconds = {name: [] for name in tasks}
    for _ in tqdm(range(rounds), desc=" / ".join(tasks), leave=False):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - started)
    first = statistics.median(next(iter(seconds.values())))
    medians = {name: statistics.median(s) for name, s in seconds.items()}
    return [(n, medians[n], min(s), max(s), medians[n] / first) for n, s in seconds.items()]


def run(*command: object) -> None:
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True, capture_output=True)


def two_passes(split: Path) -> tuple[np.ndarray, np.ndarray]:
    """What tutorials do: a pass for the mean, and another for the deviation from it."""
    files = [file for file in (split / "train").rglob("*") if file.is_file()]
    total, pixels = np.zeros(3), 0
    for file in files:
        array = np.asarray(Image.open(file).convert("RGB"), np.float64) / 255
        total += array.sum((0, 1))
        pixels += array.shape[0] * array.shape[1]
    mean, squares = total / pixels, np.zeros(3)
    for file in files:
        array = np.asarray(Image.open(file).convert("RGB"), np.float64) / 255
        squares += ((array - mean) ** 2).sum((0, 1))
    return mean, np.sqrt(squares / pixels)


def training_step() -> Callable[[torch.Tensor, torch.Tensor], None]:
    """Forward, backward and update of GoogLeNet as train_catsdogs.py has them."""
    device = torch.device("cpu")
    model_args = {"num_classes": 2, "image_size": SIZE, "batch_norm": True, "aux_heads": False}
    model = options.build_model(create_model, "googlenet", model_args, device).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    preprocess = Preprocess([0.5] * 3, [0.25] * 3, SIZE, flip=True, crop=0.25, jitter=0.2).train()
    amp = options.has_bfloat16(device)

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            loss = nn.functional.cross_entropy(model(preprocess(images)), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def train(step: Callable[[torch.Tensor, torch.Tensor], None], images: ImageSet) -> None:
    for _, (batch, labels) in zip(range(STEPS), train_loader(images, BATCH, 1, 0), strict=False):
        step(batch, labels)


if __name__ == "__main__":
    options.keep_freed_memory()
    main()
