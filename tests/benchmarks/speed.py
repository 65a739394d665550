"""Images per second: training end to end, inference, input pipelines, one process against two."""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from data import fashionmnist
from data.loaders import train_loader
from data.transforms import Augmentation, BatchTransform
from engine.device import has_bfloat16
from engine.evaluate import predict_logits
from engine.seeding import order_generator
from models import create_model, googlenet, vgg16
from models.summary import summarise
from tests.benchmarks import baselines
from tests.benchmarks.harness import PYTHON, Process, matrix_peak, round_robin, run, summary

# Model, pixels, batch size, images trained on: 224 px, and the defaults of train_fashionmnist.py.
WORKLOADS = (
    ("vgg16", 224, 32, 64),
    ("googlenet", 224, 32, 256),
    ("vgg16", 32, 128, 1280),
    ("googlenet", 64, 64, 2560),
)
# Like torchvision's network of the same name, and with a single loss, like the baselines.
SAME_NETWORK = {"vgg16": ["--no-batch-norm"], "googlenet": ["--no-aux-heads"]}
LAST = torch.channels_last
OURS, PLAIN, TIMM = "this repository", "plain recipe", "timm-style recipe"
HEADS = "this repository, auxiliary heads"


def training(args: argparse.Namespace) -> list[dict]:
    """train_fashionmnist.py and the recipes of baselines.py, including loader and augmentation."""
    rows = []
    with raw_fashionmnist() as raw:
        for model, size, batch, limit in WORKLOADS:
            what = ["--model", model, "--image-size", size, "-b", batch, "--limit", limit]
            baseline = [PYTHON, "-m", "tests.benchmarks.baselines", *what, "--data-dir", raw]
            tasks = {
                OURS: partial(train, *what, *SAME_NETWORK[model]),
                PLAIN: partial(train_baseline, *baseline),
                TIMM: partial(train_baseline, *baseline, "--timm-style"),
                "peak": lambda: (matrix_peak(torch.bfloat16), matrix_peak(torch.float32)),
            }
            if model == "googlenet" and size >= googlenet.AUX_MIN_SIZE:  # its default
                tasks[HEADS] = partial(train, *what)
            results = round_robin(tasks, args.rounds, f"{model}, {size} px")
            bfloat16, float32 = (max(peaks) for peaks in zip(*results.pop("peak"), strict=True))
            speeds = {name: summary([s for s, _ in r]) for name, r in results.items()}
            for name, speed in speeds.items():
                share = None
                if name in (OURS, HEADS):
                    operations = training_operations(model, size, aux_heads=name == HEADS)
                    share = speed["median"] * operations / bfloat16
                rows.append(
                    {"model": model, "pixels": size, "batch": batch, "recipe": name}
                    | {f"images/s {key}": value for key, value in speed.items()}
                    | {
                        "ratio to plain": speed["median"] / speeds[PLAIN]["median"],
                        "share of bf16 peak": share,
                        "peak memory, MB": max(megabytes for _, megabytes in results[name]),
                        "bf16 peak, GFLOP/s": bfloat16 / 1e9,
                        "fp32 peak, GFLOP/s": float32 / 1e9,
                    }
                )
    return rows


def train(
    *options: object,
    epochs: int = 2,
    launcher: tuple[object, ...] = (),
    environment: dict[str, str] | None = None,
) -> tuple[float, float]:
    """Run train_fashionmnist.py; return images per second in its last epoch, and megabytes."""
    log, process = run_training(*options, epochs=epochs, launcher=launcher, environment=environment)
    return float(log.images_per_second.iloc[-1]), process.megabytes


def train_log(*options: object) -> pd.DataFrame:
    """Run train_fashionmnist.py for three epochs; return its log."""
    return run_training(*options, epochs=3)[0]


def run_training(
    *options: object,
    epochs: int,
    launcher: tuple[object, ...] = (),
    environment: dict[str, str] | None = None,
) -> tuple[pd.DataFrame, Process]:
    """Run train_fashionmnist.py in a process; return its log, and the process."""
    with tempfile.TemporaryDirectory() as folder:
        where = ("--epochs", epochs, "--output-dir", folder)
        script = ("train_fashionmnist.py", *options, *where)
        process = run(PYTHON, *launcher, *script, environment=environment)
        return pd.read_csv(Path(folder) / "log.csv"), process


def train_baseline(*command: object) -> tuple[float, float]:
    """Run a recipe of baselines.py; return images per second and megabytes."""
    process = run(*command)
    return json.loads(process.output)["images_per_second"], process.megabytes


def training_operations(model: str, size: int, aux_heads: bool) -> int:
    """Operations of training on one image: two per MAC, once forward and twice backward.

    The first layer counts only once backward, since its input needs no gradient.
    """
    module = {"vgg16": vgg16, "googlenet": googlenet}[model]
    model_args = {"in_channels": 1, "num_classes": 10, "image_size": size}
    if model == "googlenet":
        model_args["aux_heads"] = aux_heads
    with torch.device("meta"):
        network = create_model(model, **model_args)
    rows = summarise(network, module.table_rows(network))
    return 6 * sum(row.macs for row in rows) - 2 * rows[0].macs


def compiled(args: argparse.Namespace) -> list[dict]:
    """train_fashionmnist.py with and without --compile, and the seconds of compiling."""
    rows = []
    for model, size, batch, limit in WORKLOADS[2:]:
        what = ("--model", model, "--image-size", size, "-b", batch, "--limit", limit)
        tasks = {}
        for name, options in (("as it is", ()), ("--compile", ("--compile",))):
            tasks[name] = partial(train_log, *what, *options)
        results = round_robin(tasks, args.rounds, f"{model}, compiled")
        for name, logs in results.items():
            speed = summary([log.images_per_second.iloc[-1] for log in logs])
            extra = [log.seconds.iloc[0] - log.seconds.iloc[1] for log in logs]
            row = {"model": model, "pixels": size, "batch": batch, "options": name}
            row |= {f"images/s {key}": value for key, value in speed.items()}
            rows.append(row | {"first epoch longer by, s": statistics.median(extra)})
    return rows


def inference(args: argparse.Namespace) -> list[dict]:
    """Only the networks, at 224 px in batches of 32, against torchvision's."""
    rows = []
    images = torch.randint(256, (32, 1, 224, 224), dtype=torch.uint8)
    transform = BatchTransform(fashionmnist.MEAN, fashionmnist.STD, 224)
    amp = torch.bfloat16 if has_bfloat16(torch.device("cpu")) else None
    for name in ("vgg16", "googlenet"):
        norm = name == "googlenet"
        ours = create_model(name, in_channels=1, num_classes=10, batch_norm=norm)
        ours = ours.to(memory_format=LAST)
        plain = baselines.build(name, 224).eval()
        timm = baselines.build(name, 224).eval().to(memory_format=LAST)
        batches = [(images, torch.zeros(32))] * 2
        tasks = {
            OURS: partial(predict_logits, ours, batches, transform, amp),
            PLAIN: partial(predict_baseline, plain, images.float(), len(batches), amp=False),
            TIMM: partial(predict_baseline, timm, images.float(), len(batches), amp=True),
        }
        rows += speed_rows({"model": name}, tasks, 32 * len(batches), args.rounds)
    return rows


@torch.inference_mode()
def predict_baseline(model: nn.Module, images: torch.Tensor, batches: int, amp: bool) -> None:
    for _ in range(batches):
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            model(images.contiguous(memory_format=LAST) if amp else images)


def input_pipelines(args: argparse.Namespace) -> list[dict]:
    """Only reading and augmenting: ours in the training process, theirs in two workers."""
    rows = []
    with raw_fashionmnist() as raw:
        train_set, _ = fashionmnist.load_train_val(fashionmnist.find())
        for size, batch in ((224, 32), (32, 128), (64, 64)):
            augmentation = Augmentation(flip=True, translate=2, erase=0.2)
            transform = BatchTransform(fashionmnist.MEAN, fashionmnist.STD, size, augmentation)
            mine = train_loader(train_set.first(6400), batch, 1, partial(order_generator, 0))
            theirs = baselines.loader(raw, size, batch, 6400)
            tasks = {
                OURS: partial(drain, mine, partial(augment, transform.train())),
                PLAIN: partial(drain, theirs, lambda images: images),
            }
            rows += speed_rows({"pixels": size, "batch": batch}, tasks, 6400, args.rounds)
    return rows


def drain(loader: torch.utils.data.DataLoader, prepare: Callable) -> None:
    for images, _ in loader:
        prepare(images)


def augment(transform: BatchTransform, images: torch.Tensor) -> None:
    transform(images, transform.draw(len(images)))


def processes(args: argparse.Namespace) -> list[dict]:
    """torchrun with two processes of one thread, against one process of two threads."""
    what = ("--model", "googlenet", "--limit", 6400)
    threads = {"OMP_NUM_THREADS": "2"}
    two = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    tasks = {
        "one process": partial(train, *what, environment=threads),
        "torchrun, two processes": partial(train, *what, launcher=two),
    }
    results = round_robin(tasks, args.rounds, "processes")
    speeds = {name: summary([s for s, _ in r]) for name, r in results.items()}
    first = speeds["one process"]["median"]
    return [
        {"what": name, **speed, "ratio": speed["median"] / first}
        | {"memory, MB": max(megabytes for _, megabytes in results[name])}
        for name, speed in speeds.items()
    ]


def speed_rows(
    labels: dict, tasks: dict[str, Callable[[], object]], images: int, rounds: int
) -> list[dict]:
    """Time tasks of so many images; return a row for each: images per second, and ratio."""
    timed = {name: partial(discard, task) for name, task in tasks.items()}
    for task in timed.values():
        task()  # warm up
    results = round_robin(timed, rounds, " ".join(map(str, labels.values())))
    speeds = {name: summary([images / s for s in seconds]) for name, seconds in results.items()}
    plain = speeds[PLAIN]["median"]
    return [
        labels
        | {"recipe": name}
        | {f"images/s {key}": value for key, value in speed.items()}
        | {"ratio to plain": speed["median"] / plain}
        for name, speed in speeds.items()
    ]


def discard(task: Callable[[], object]) -> None:
    """Run a task and return nothing, so that it is timed."""
    task()


@contextmanager
def raw_fashionmnist(sample: bool = False) -> Iterator[str]:
    """A folder in the layout of torchvision.datasets.FashionMNIST."""
    source = fashionmnist.find(sample=sample)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for name in fashionmnist.SHA256:
            (raw / name).write_bytes(fashionmnist.read_file(source, name, sample))
        yield folder
