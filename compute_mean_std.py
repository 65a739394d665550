"""Mean and standard deviation of each colour channel over the training images, exactly.

    python compute_mean_std.py data/catsdogs                # writes data/catsdogs/mean_std.json
    python compute_mean_std.py --dataset fashionmnist

Pixels are bytes, so it suffices to count how often each of the 256 values occurs in each channel:
one pass over the photos, in integers, and no rounding before the last step. Validation and test
images are left out: nothing about them may influence training.
"""

import argparse
import shlex
from pathlib import Path

import numpy as np

from data import fashionmnist, photo_folder
from data.parallel import map_threads
from engine import cli
from engine.errors import UserError


def main() -> None:
    args = parse_args()
    if args.dataset:
        train, _ = fashionmnist.load_train_val(fashionmnist.find())
        counts, images = np.bincount(train.images.ravel(), minlength=256)[None], len(train)
    else:
        counts, images = count_values(args.folder)
    mean, std = mean_and_std(counts)
    pixels = int(counts[0].sum())

    print(f"{images:,} training images, {pixels:,} pixels")
    print("mean", *(f"{value:.6f}" for value in mean))
    print("std ", *(f"{value:.6f}" for value in std))
    if args.folder:
        if not std.all():
            raise UserError(f"{args.folder}: all training photos are of one colour")
        path = photo_folder.write_mean_std(args.folder, mean, std, images, pixels)
        print(f"{path}: train_catsdogs.py takes them from here")
        print(f"Next:\n  python train_catsdogs.py --data-dir {shlex.quote(str(args.folder))}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("folder", nargs="?", type=Path, help="what split_dataset.py wrote")
    add("--dataset", choices=["fashionmnist"], help="instead of a folder")
    args = parser.parse_args()
    if (args.folder is None) == (args.dataset is None):
        parser.error("name either a FOLDER or --dataset fashionmnist")
    return args


def count_values(folder: Path) -> tuple[np.ndarray, int]:
    """Count how often each value occurs in each channel of the training photos.

    Returns the counts, 3 x 256, and the number of photos.

    Raises:
        UserError: the folder does not match its manifest.
    """
    manifest = photo_folder.read_manifest(folder)
    rows = manifest[manifest["split"] == "train"]

    def histogram(row: tuple[str, str]) -> np.ndarray:
        return np.array(photo_folder.read_listed(folder, *row).histogram(), np.int64)

    listed = list(zip(rows["file"], rows["sha256"], strict=True))
    counts = np.zeros(3 * 256, np.int64)
    for photo in map_threads(histogram, listed, "counting"):
        counts += photo
    return counts.reshape(3, 256), len(rows)


def mean_and_std(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, for pixels between 0 and 1.

    Args:
        counts: channels x 256, how often each value occurs.
    """
    values, pixels = np.arange(256) / 255, counts.sum(1)  # pixels in each channel
    mean = counts @ values / pixels
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / pixels
    return mean, np.sqrt(variance)


if __name__ == "__main__":
    cli.run(main)
