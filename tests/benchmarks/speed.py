"""Images a second: training end to end, inference, the input pipelines, two processes for one."""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from data import fashionmnist
from data.augment import Preprocess
from data.images import train_loader
from engine import options
from engine.loop import predict
from models import create_model, googlenet, vgg16
from models.summary import summarise
from tests.benchmarks import peers
from tests.benchmarks.turns import PYTHON, in_turns, matrix_peak, run, summary

# Model, pixels, batch size, images trained on: 224 px, and the defaults of train_fashionmnist.py.
WORKLOADS = (
    ("vgg16", 224, 32, 64),
    ("googlenet", 224, 32, 256),
    ("vgg16", 32, 128, 1280),
    ("googlenet", 64, 64, 2560),
)
# As torchvision's of that name, and with one loss, as the peers have it.
SAME_NETWORK = {"vgg16": ["--no-batch-norm"], "googlenet": ["--no-aux-heads"]}
LAST = torch.channels_last
OURS, PLAIN, TIMM = "this repository", "plain recipe", "timm-style recipe"
HEADS = "this repository, auxiliary heads"


def training(args: argparse.Namespace) -> list[dict]:
    """train_fashionmnist.py beside the two recipes of peers.py: loader, augmentation and all."""
    rows = []
    with raw_fashionmnist() as raw:
        for model, size, batch, limit in WORKLOADS:
            what = ["--model", model, "--image-size", size, "-b", batch, "--limit", limit]
            peer = [PYTHON, "-m", "tests.benchmarks.peers", *what, "--data-dir", raw]
            tasks = {
                OURS: partial(train, *what, *SAME_NETWORK[model]),
                PLAIN: partial(train_peer, *peer),
                TIMM: partial(train_peer, *peer, "--timm-style"),
                "peak": lambda: (matrix_peak(torch.bfloat16), matrix_peak(torch.float32)),
            }
            if model == "googlenet" and size >= googlenet.AUX_MIN_SIZE:  # as it is by default
                tasks[HEADS] = partial(train, *what)
            results = in_turns(tasks, args.rounds, f"{model}, {size} px")
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
    *options_given: object,
    epochs: int = 2,
    launcher: tuple[object, ...] = (),
    environment: dict[str, str] | None = None,
) -> tuple[float, float]:
    """Some epochs of train_fashionmnist.py: images a second in the last of them, megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        where = ("--epochs", epochs, "--output-dir", folder)
        script = ("train_fashionmnist.py", *options_given, *where)
        process = run(PYTHON, *launcher, *script, environment=environment)
        log = pd.read_csv(Path(folder) / "log.csv")
    return float(log.images_per_second.iloc[-1]), process.megabytes


def train_peer(*command: object) -> tuple[float, float]:
    """The same of a recipe of peers.py."""
    process = run(*command)
    return json.loads(process.output)["images_per_second"], process.megabytes


def training_operations(model: str, size: int, aux_heads: bool) -> int:
    """Operations of training on one image: two for each MAC, forward and twice as many back.

    (But for the first layer, whose input needs no gradient.)
    """
    module = {"vgg16": vgg16, "googlenet": googlenet}[model]
    model_args = {"in_channels": 1, "num_classes": 10, "image_size": size}
    if model == "googlenet":
        model_args["aux_heads"] = aux_heads
    with torch.device("meta"):
        network = create_model(model, **model_args)
    rows = summarise(network, module.table_rows(network))
    return 6 * sum(row.macs for row in rows) - 2 * rows[0].macs


def inference(args: argparse.Namespace) -> list[dict]:
    """The networks alone at 224 px, in batches of 32, beside torchvision's."""
    rows = []
    images = torch.randint(256, (32, 1, 224, 224), dtype=torch.uint8)
    preprocess = Preprocess(fashionmnist.MEAN, fashionmnist.STD, 224)
    amp = torch.bfloat16 if options.has_bfloat16(torch.device("cpu")) else None
    for name in ("vgg16", "googlenet"):
        model_args = {"in_channels": 1, "num_classes": 10, "batch_norm": name == "googlenet"}
        ours = options.build_model(create_model, name, model_args, torch.device("cpu"))
        plain = peers.build(name, 224).eval()
        timm = peers.build(name, 224).eval().to(memory_format=LAST)
        batches = [(images, torch.zeros(32))] * 2
        tasks = {
            OURS: partial(predict, ours, batches, preprocess, amp),
            PLAIN: partial(predict_peer, plain, images.float(), len(batches), amp=False),
            TIMM: partial(predict_peer, timm, images.float(), len(batches), amp=True),
        }
        rows += speed_rows({"model": name}, tasks, 32 * len(batches), args.rounds)
    return rows


@torch.inference_mode()
def predict_peer(model: nn.Module, images: torch.Tensor, batches: int, amp: bool) -> None:
    for _ in range(batches):
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            model(images.contiguous(memory_format=LAST) if amp else images)


def input_pipelines(args: argparse.Namespace) -> list[dict]:
    """Reading and augmenting alone: in the training process here, in two workers there."""
    rows = []
    with raw_fashionmnist() as raw:
        train_set, _ = fashionmnist.load_train_val(fashionmnist.find())
        for size, batch in ((224, 32), (32, 128), (64, 64)):
            preprocess = Preprocess(
                fashionmnist.MEAN, fashionmnist.STD, size, flip=True, shift=2, erase=0.2
            ).train()
            mine = train_loader(train_set.first(6400), batch, 1, 0)
            theirs = peers.loader(raw, size, batch, 6400)
            tasks = {
                OURS: partial(drain, mine, preprocess),
                PLAIN: partial(drain, theirs, lambda images: images),
            }
            rows += speed_rows({"pixels": size, "batch": batch}, tasks, 6400, args.rounds)
    return rows


def drain(loader: torch.utils.data.DataLoader, prepare: Callable) -> None:
    for images, _ in loader:
        prepare(images)


def processes(args: argparse.Namespace) -> list[dict]:
    """torchrun with two processes of one thread, beside one process of two threads."""
    what = ("--model", "googlenet", "--limit", 6400)
    threads = {"OMP_NUM_THREADS": "2"}
    two = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    tasks = {
        "one process": partial(train, *what, environment=threads),
        "torchrun, two processes": partial(train, *what, launcher=two),
    }
    results = in_turns(tasks, args.rounds, "processes")
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
    """A row for each task that takes that many images: images a second, and their ratio."""
    timed = {name: partial(discard, task) for name, task in tasks.items()}
    for task in timed.values():
        task()  # once to warm up
    results = in_turns(timed, rounds, " ".join(map(str, labels.values())))
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
    """Run a task whose result does not matter, so that its time is taken."""
    task()


@contextmanager
def raw_fashionmnist() -> Iterator[str]:
    """A folder as torchvision.datasets.FashionMNIST wants it."""
    source = fashionmnist.find()
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for name in fashionmnist.SHA256:
            (raw / name).write_bytes(fashionmnist.read_file(source, name, sample=False))
        yield folder
