"""Mean and standard deviation of each colour channel over the training images, exactly.

    python compute_mean_std.py data/catsdogs                # writes data/catsdogs/mean_std.json
    python compute_mean_std.py --dataset fashionmnist

Pixels are bytes, so 256 counts a channel say all: they are added up over the photos as integers,
in one pass, and mean and deviation follow from them with no rounding on the way. Validation and
test images are left out, since nothing about them may reach the training.
"""

import argparse
import json
import shlex
from pathlib import Path

import numpy as np

from data import fashionmnist
from data.folders import MEAN_STD, manifest_key, read_listed, read_manifest
from data.images import DataError
from data.parallel import map_threads
from engine import options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("folder", nargs="?", type=Path, help="what split_dataset.py wrote")
    add("--dataset", choices=["fashionmnist"], help="instead of a folder")
    args = parser.parse_args()
    if (args.folder is None) == (args.dataset is None):
        parser.error("name either a FOLDER or --dataset fashionmnist")

    if args.dataset:
        train, _ = fashionmnist.load_train_val(fashionmnist.find())
        counts, images = np.bincount(train.images.ravel(), minlength=256)[None], len(train)
    else:
        counts, images = count_values(args.folder)
    mean, std = mean_and_std(counts)

    print(f"{images:,} training images, {counts[0].sum():,} pixels")
    print("mean", *(f"{value:.6f}" for value in mean))
    print("std ", *(f"{value:.6f}" for value in std))
    if args.folder:
        found = {
            "mean": mean.tolist(),
            "std": std.tolist(),
            "images": images,
            "pixels": int(counts[0].sum()),
            "manifest_sha256": manifest_key(args.folder),
        }
        path = args.folder / MEAN_STD
        if not std.all():
            raise DataError(f"{args.folder}: all training photos are of one colour")
        temporary = path.with_name(f".{path.name}")
        try:
            temporary.write_text(json.dumps(found, indent=2) + "\n")
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise DataError(f"{path}: {error.strerror}") from None
        print(f"{path}: train_catsdogs.py takes them from here")
        print(f"Next:\n  python train_catsdogs.py --data-dir {shlex.quote(str(args.folder))}")


def count_values(folder: Path) -> tuple[np.ndarray, int]:
    """How often each value occurs in each channel of the training photos (3 x 256), and in how
    many photos."""
    manifest = read_manifest(folder)
    rows = manifest[manifest["split"] == "train"]

    def histogram(row: tuple[str, str]) -> np.ndarray:
        return np.array(read_listed(folder, *row).histogram(), np.int64)

    counts = np.zeros(3 * 256, np.int64)
    for photo in map_threads(
        histogram, list(zip(rows["file"], rows["sha256"], strict=True)), "counting"
    ):
        counts += photo
    return counts.reshape(3, 256), len(rows)


def mean_and_std(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of pixels between 0 and 1, for each channel.

    Args:
        counts: channels x 256, how often each value occurs.
    """
    values, pixels = np.arange(256) / 255, counts.sum(1)  # pixels of one channel
    mean = counts @ values / pixels
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / pixels
    return mean, np.sqrt(variance)


if __name__ == "__main__":
    options.run(main, DataError)
