"""How fast photos are prepared, beside the usual way, and how much memory they take."""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from data import folders
from data.augment import Preprocess
from data.images import ImageSet, train_loader
from engine import options
from models import create_model
from tests.benchmarks.turns import PYTHON, in_turns, run, summary

STEPS, BATCH, SIZE = 30, 64, 96  # of train_catsdogs.py's GoogLeNet


def benchmark(args: argparse.Namespace) -> list[dict]:
    """Seconds of each step, and the ratio to the first of its group."""
    options.keep_freed_memory()
    with tempfile.TemporaryDirectory() as temporary:
        split = Path(temporary) / "split"
        command = [PYTHON, "split_dataset.py", args.photos.resolve(), "--output", split]
        rows = group({"split_dataset.py": partial(seconds, *command, "--overwrite")}, args.rounds)
        tasks = {
            "compute_mean_std.py": partial(seconds, PYTHON, "compute_mean_std.py", split),
            "two passes with Pillow and NumPy": lambda: two_passes(split),
        }
        rows += group(tasks, args.rounds)
        cached = folders.load_split(split, "train", SIZE * 4 // 3)
        in_memory = ImageSet(np.array(cached.images), cached.labels, cached.classes)
        step = training_step()
        tasks = {
            f"{STEPS} steps of GoogLeNet from memory": lambda: train(step, in_memory),
            f"{STEPS} steps of GoogLeNet from the cache": lambda: train(step, cached),
        }
        return rows + group(tasks, args.rounds)


def growth(args: argparse.Namespace) -> list[dict]:
    """The most memory that each step holds with 2,000 photos and with all."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        everything, few = Path(temporary) / "all", Path(temporary) / "few"
        split = ("split_dataset.py", args.photos.resolve(), "--output", everything)
        whole = run(PYTHON, *split)
        source = Path(temporary) / "source"
        photos = sorted((everything / "train").rglob("*.*"), key=lambda path: path.name)[:2000]
        for photo in photos:
            (source / photo.parent.name).mkdir(parents=True, exist_ok=True)
            (source / photo.parent.name / photo.name).hardlink_to(photo)
        part = run(PYTHON, "split_dataset.py", source, "--output", few)
        rows.append(("split_dataset.py", part, whole))
        pair = [run(PYTHON, "compute_mean_std.py", folder) for folder in (few, everything)]
        rows.append(("compute_mean_std.py", *pair))
        training = ("train_catsdogs.py", "--epochs", 1, "--data-dir")
        pair = [
            run(PYTHON, *training, folder, "--output-dir", Path(temporary) / "run")
            for folder in (few, everything)
        ]
        rows.append(("train_catsdogs.py, one epoch", *pair))
    return [
        {"what": what, "2,000 photos, MB": few.megabytes, "all photos, MB": all_photos.megabytes}
        for what, few, all_photos in rows
    ]


def group(tasks: dict[str, Callable[[], object]], rounds: int) -> list[dict]:
    results = in_turns(tasks, rounds, " / ".join(tasks))
    rows = [{"what": name, **summary(times)} for name, times in results.items()]
    return [row | {"ratio": row["median"] / rows[0]["median"]} for row in rows]


def seconds(*command: object) -> float:
    return run(*command).seconds


def two_passes(split: Path) -> None:
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
    np.sqrt(squares / pixels)


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
