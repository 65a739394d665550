"""Time and memory of preparing photos, compared with the usual way."""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from compute_mean_std import count_values
from data import photo_folder
from data.dataset import ImageDataset
from data.loaders import train_loader
from data.transforms import Augmentation, BatchTransform
from engine.device import has_bfloat16, keep_freed_memory
from engine.seeding import order_generator
from models import create_model
from models.googlenet import AuxiliaryLoss
from tests.benchmarks.harness import PYTHON, round_robin, run, summary

STEPS, BATCH, SIZE = 30, 64, 96  # of train_catsdogs.py's GoogLeNet


def benchmark(args: argparse.Namespace) -> list[dict]:
    """Seconds of each step, and their ratio to the first of its group."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as temporary:
        split = Path(temporary) / "split"
        folder = iter([split, *(Path(temporary) / str(number) for number in range(args.rounds))])
        command = [PYTHON, "split_dataset.py", args.photos.resolve(), "--output"]
        rows = group({"split_dataset.py": lambda: seconds(*command, next(folder))}, args.rounds)
        rows += group(mean_and_deviation(split), args.rounds)
        cached = photo_folder.load_split(split, "train", SIZE * 4 // 3)
        in_memory = ImageDataset(np.array(cached.images), cached.labels, cached.classes)
        augmentation = Augmentation(flip=True, crop=0.25, jitter=0.2, erase=0.1)
        transform = BatchTransform([0.5] * 3, [0.25] * 3, SIZE, augmentation).train()
        step = training_step(transform)

        def augment(images: torch.Tensor, _: torch.Tensor) -> None:
            with autocast():
                transform(images, transform.draw(len(images)))

        tasks = {
            f"{STEPS} steps of GoogLeNet from memory": lambda: train(step, in_memory),
            f"{STEPS} steps of GoogLeNet from the cache": lambda: train(step, cached),
            "reading and augmenting alone": lambda: train(augment, cached),
        }
        return rows + group(tasks, args.rounds)


def mean_and_deviation(split: Path) -> dict[str, Callable[[], object]]:
    """Our method, the usual one, and compute_mean_std.py including the start of Python."""
    return {
        "256 counts a channel, as compute_mean_std.py": lambda: discard(count_values(split)),
        "two passes with Pillow and NumPy": lambda: two_passes(split),
        "compute_mean_std.py, from its start": partial(
            seconds, PYTHON, "compute_mean_std.py", split
        ),
    }


def memory(args: argparse.Namespace) -> list[dict]:
    """The peak memory of each step with 2,000 photos and with all."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        first = Path(temporary) / "first"
        run(PYTHON, "split_dataset.py", args.photos.resolve(), "--output", first)
        photos = sorted(first.glob("*/*/*.*"))  # split, class, photo
        sources, splits = [], []
        for name, chosen in (
            ("few", photos[:: max(1, len(photos) // 2000)][:2000]),
            ("all", photos),
        ):
            sources.append(Path(temporary) / f"{name}_source")
            splits.append(Path(temporary) / name)
            for photo in chosen:
                link = sources[-1] / photo.parent.name / photo.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.hardlink_to(photo)
        pair = [
            run(PYTHON, "split_dataset.py", source, "--output", split)
            for source, split in zip(sources, splits, strict=True)
        ]
        rows.append(("split_dataset.py", *pair))
        pair = [run(PYTHON, "compute_mean_std.py", split) for split in splits]
        rows.append(("compute_mean_std.py", *pair))
        training = ("train_catsdogs.py", "--epochs", 1, "--data-dir")
        pair = [
            run(PYTHON, *training, split, "--output-dir", Path(temporary) / "run")
            for split in splits
        ]
        rows.append(("train_catsdogs.py, one epoch", *pair))
    return [
        {"what": what, "2,000 photos, MB": few.megabytes, "all photos, MB": all_photos.megabytes}
        for what, few, all_photos in rows
    ]


def group(tasks: dict[str, Callable[[], object]], rounds: int) -> list[dict]:
    results = round_robin(tasks, rounds, " / ".join(tasks))
    rows = [{"what": name, **summary(times)} for name, times in results.items()]
    return [row | {"ratio": row["median"] / rows[0]["median"]} for row in rows]


def discard(_: object) -> None:
    """Return nothing instead of a result, so that the task is timed."""


def seconds(*command: object) -> float:
    return run(*command).seconds


def two_passes(split: Path) -> None:
    """The method of tutorials: one pass for the mean, another for the standard deviation."""
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


def training_step(transform: nn.Module) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """Build a function that does one training step of GoogLeNet as train_catsdogs.py does."""
    model = create_model("googlenet", num_classes=2, image_size=SIZE, batch_norm=True)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    criterion = AuxiliaryLoss(nn.CrossEntropyLoss())

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        with autocast():
            loss, _ = criterion(model(transform(images, transform.draw(len(images)))), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def autocast() -> torch.autocast:
    """The default of train_catsdogs.py."""
    return torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16(torch.device("cpu")))


def train(step: Callable[[torch.Tensor, torch.Tensor], None], images: ImageDataset) -> None:
    for _, (batch, labels) in zip(
        range(STEPS), train_loader(images, BATCH, 1, partial(order_generator, 0)), strict=False
    ):
        step(batch, labels)
