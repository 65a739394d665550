"""GoogLeNet's accuracy by the number of training photos and the weights it starts from.

    python -m tests.benchmarks starts                           # all that is missing, hours
    python -m tests.benchmarks starts --minutes 120             # start no run after two hours
    python -m tests.benchmarks starts --only clothing scratch --seeds 0
    python -m tests.benchmarks starts --only imagenet           # downloads ImageNet's weights

--only takes sets of photos and starts; with some of both, these starts on these sets. Training
starts from ImageNet only where --only says so, since its weights come over the network. Each start
but scratch is tried twice: with all layers trained, and with the last one alone.

Adds a row to docs/results/starts.csv when a run ends, and goes on as ablations.py does: runs that
are there are left out, first come those of seed 0, Ctrl-C stops at any point, and two commands with
different --seeds or --only can run side by side. Photos are taken away from training alone: all
runs of a set are validated on its whole validation set, after their last epoch.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import train_catsdogs
from data import photo_folder
from data.dataset import ImageDataset
from data.photo_folder import MANIFEST
from engine.errors import UserError
from tests.benchmarks.choices import WARMUP
from tests.benchmarks.runs import SMOKE, Job, make_missing

DATA = Path("data")  # each set is a folder in it
STARTS = {  # name -> the value of --init
    "scratch": "scratch",
    "fashionmnist_googlenet": "checkpoints/fashionmnist_googlenet.pth",
    "catsdogs_googlenet": "checkpoints/catsdogs_googlenet.pth",
    "imagenet": "imagenet",
}
NETWORK = {"imagenet"}  # starts that need an internet connection
FROZEN = 1 / 3  # share of the epochs if only the last layer is trained: it learns fast


class Photos(NamedTuple):
    """A set of photos.

    Attributes:
        epochs: number of training photos (None: all) -> epochs. The fewer photos, the more epochs,
            though not so many more that all runs take equally long.
        starts: names in ``STARTS``; none was trained on these photos.
    """

    epochs: dict[int | None, int]
    starts: tuple[str, ...]


SETS = {
    "clothing": Photos({300: 150, 1000: 60, None: 40}, tuple(STARTS)),
    "catsdogs": Photos(
        {500: 100, 2000: 45, None: 12}, ("scratch", "fashionmnist_googlenet", "imagenet")
    ),
}


def benchmark(args: argparse.Namespace) -> None:
    """Train the missing runs, and add each to the file when it ends.

    Raises:
        UserError: --only has an unknown name, a set cannot be read, or the file has a run with
            other options.
    """
    sets, starts = chosen(args.only)
    totals = {}
    for name in sets:
        if (DATA / name / MANIFEST).is_file():
            manifest = photo_folder.read_manifest(DATA / name)
            totals[name] = len(photo_folder.rows_of(manifest, "train", DATA / name))
        else:
            print(f"{name}: left out, {DATA / name} has no photos (split_dataset.py makes it)")
    jobs = list(planned(args.seeds, totals, starts, args.smoke))
    make_missing(jobs, args.output_dir / "starts.csv", args.minutes)


def chosen(only: list[str] | None) -> tuple[list[str], list[str]]:
    """The sets and starts of --only; if it names no set, all; if no start, all offline ones.

    Raises:
        UserError: one of the names does not exist.
    """
    only = only or []
    if unknown := set(only) - {*SETS, *STARTS}:
        raise UserError(f"--only {min(unknown)}: there are {', '.join([*SETS, *STARTS])}")
    sets = [name for name in SETS if name in only] or [*SETS]
    starts = [name for name in STARTS if name in only]
    return sets, starts or [name for name in STARTS if name not in NETWORK]


def planned(
    seeds: list[int], totals: dict[str, int], starts: list[str], smoke: bool
) -> Iterator[Job]:
    """All runs in order: by seed, then by set, then from few photos to all.

    Args:
        totals: set -> how many training photos it has. Where they are fewer than a number of
            photos to try, that one is left out.
    """
    for seed in seeds:
        for name, total in totals.items():
            # A later entry replaces an earlier one with the same key: the last is for all photos.
            epochs = {min(count or total, total): n for count, n in SETS[name].epochs.items()}
            for count, whole in epochs.items():
                for start in SETS[name].starts:
                    if start in starts:
                        columns = {"set": name, "photos": count, "start": start}
                        yield job_of(columns, seed, "whole", whole, smoke)
                        if start != "scratch":
                            short = max(1, round(FROZEN * whole))
                            yield job_of(columns, seed, "last layer", short, smoke)


def job_of(columns: dict[str, str | int], seed: int, trained: str, epochs: int, smoke: bool) -> Job:
    """A run of train_catsdogs.py, with its own learning rates.

    Args:
        columns: of its row: set, photos, start.
        trained: "whole" or "last layer".
    """
    name, count, start = columns.values()
    options = (
        *("--model", "googlenet", "--data-dir", (DATA / name).as_posix(), "--init", STARTS[start]),
        *(("--freeze-features",) if trained == "last layer" else ()),
        *("--image-size", 64, "-b", 32 if count < 500 else 64),
        *("--epochs", epochs, "--warmup-epochs", f"{WARMUP * epochs:.3g}"),
        *(SMOKE if smoke else ()),
    )
    return Job(
        f"{name}, {count} photos, {start}, {trained}",
        train_catsdogs,
        columns | {"trained": trained, "seed": seed},
        [*map(str, options)],
        {"photo_folder": with_training_photos(count)},
    )


def with_training_photos(count: int) -> SimpleNamespace:
    """``data.photo_folder`` with a ``load_split`` that limits the number of training photos.

    They are of all classes, since photos are sorted by hash. (--limit would leave out validation
    photos, too.) All photos are decoded, so that runs with more photos find them in the cache.
    """

    def load_split(
        folder: Path, split: str, size: int, limit: int | None = None, cache: bool = True
    ) -> ImageDataset:
        photos = photo_folder.load_split(folder, split, size, limit, cache)
        return photos.first(count) if split == "train" else photos

    return SimpleNamespace(**(vars(photo_folder) | {"load_split": load_split}))
