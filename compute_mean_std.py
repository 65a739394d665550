"""Compute the mean and standard deviation of each colour channel over the training images.

    python compute_mean_std.py data/catsdogs                # writes data/catsdogs/mean_std.json
    python compute_mean_std.py --dataset fashionmnist       # only prints them

All photos have equal weight whatever their size, since the network sees them all at one size. So
the mean is the average of the photos' means, and the standard deviation is that of a random pixel
of a random photo. One pass over the photos is enough: it counts how often each of the 256 pixel
values occurs in each channel. Validation and test images are left out, since no information about
them may influence training.
"""

import argparse
from pathlib import Path

import numpy as np

from data import fashionmnist, photo_folder
from data.parallel import map_threads
from engine import cli
from engine.errors import UserError, quote


def main() -> None:
    args = parse_args()
    if args.dataset:  # FashionMNIST: all images have the same size
        train, _ = fashionmnist.load_train_val(fashionmnist.find())
        counts, images = np.bincount(train.images.ravel(), minlength=256)[None], len(train)
    else:
        counts, images = count_values(args.folder)
    mean, std = mean_and_std(counts)
    constant = (counts > 0).sum(1) == 1  # by counts: rounding may leave a deviation just above 0
    if constant.all():
        raise UserError(f"{args.folder}: all training photos are of one colour")
    if constant.any():
        names = ", ".join(np.array(["red", "green", "blue"])[constant])
        print(f"{names}: constant in all training photos: 1 instead of a deviation of 0")
        std[constant] = 1

    print(f"{images:,} training images, all with the same weight")
    print("mean", *(f"{value:.6f}" for value in mean))
    print("std ", *(f"{value:.6f}" for value in std))
    if args.folder:
        path = photo_folder.write_mean_std(args.folder, mean, std, images)
        print(f"{path}: written; train_catsdogs.py reads it")
        print(f"Next:\n  python train_catsdogs.py --data-dir {quote(args.folder)}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=cli.summary(__doc__))
    add = parser.add_argument
    add("folder", nargs="?", type=cli.pathname, help="folder that split_dataset.py wrote")
    add("--dataset", choices=["fashionmnist"], help="a built-in dataset, instead of a folder")
    args = parser.parse_args()
    if (args.folder is None) == (args.dataset is None):
        parser.error("name either a FOLDER or --dataset fashionmnist")
    return args


def count_values(folder: Path) -> tuple[np.ndarray, int]:
    """Sum, over the training photos, the share of pixels with each value in each channel.

    Returns the sums, 3 x 256, and the number of training photos.

    Raises:
        UserError: the folder does not match its manifest, or has no training photos.
    """
    manifest = photo_folder.read_manifest(folder)
    rows = photo_folder.rows_of(manifest, "train", folder)

    def histogram(row: tuple[str, str]) -> np.ndarray:
        photo = photo_folder.read_listed(folder, *row)
        return np.array(photo.histogram(), np.int64) / (photo.width * photo.height)

    listed = list(zip(rows["file"], rows["sha256"], strict=True))
    counts = np.zeros(3 * 256)
    for photo in map_threads(histogram, listed, "counting"):
        counts += photo
    return counts.reshape(3, 256), len(rows)


def mean_and_std(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, for pixels between 0 and 1.

    Args:
        counts: channels x 256, how often each value occurs, as numbers or shares of pixels.
    """
    values, pixels = np.arange(256) / 255, counts.sum(1)  # pixels per channel
    mean = counts @ values / pixels
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / pixels
    return mean, np.sqrt(variance)


if __name__ == "__main__":
    cli.run(main)
