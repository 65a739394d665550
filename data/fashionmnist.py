"""FashionMNIST: 70,000 grey 28 x 28 images of ten kinds of clothing (Xiao et al. 2017).

python -m data.fashionmnist     # rebuild data/sample/ from the full set
"""

import argparse
import gzip
import hashlib
import os
import shutil
import signal
import sys
import tempfile
import zlib
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import numpy as np

from data import cache
from data.dataset import ImageDataset, stratified_split
from engine.errors import UserError

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SIZE = 28  # pixels a side
# Over all 60,000 training images, for pixels between 0 and 1: the values in common use.
# compute_mean_std.py prints the values over the 55,000 images outside the validation set.
MEAN, STD = (0.2860,), (0.3530,)

# SHA-256 of the uncompressed files, since packages compress them differently.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
SAMPLE_SHA256 = {
    "train-images-idx3-ubyte": "cf313073c7eb485392848071d5c433571d7166043e971e3345b095cc30518084",
    "train-labels-idx1-ubyte": "097b93fbcf9bd5bc648b1a457ddc55c9e4ab49afb33f9ecae8ce068399a75e3a",
    "t10k-images-idx3-ubyte": "7cee33c3c6414b1b86c25e665a6c4f41584269de3b7cc9768b1d351922845eef",
    "t10k-labels-idx1-ubyte": "3128d790775889812b73c4f13923559c8b9e281d112c6ea7862acf60a206a909",
}

DATA = Path(__file__).parent
SAMPLE = DATA / "sample"
DOWNLOADED = DATA / "FashionMNIST" / "raw"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")

VALIDATION_FRACTION = 1 / 12  # 5,000 of 60,000
SPLIT_SEED = 2017  # independent of --seed: all runs have the same validation images


def load_train_val(folder: Path, sample: bool = False) -> tuple[ImageDataset, ImageDataset]:
    """Read the training files in ``find()``'s folder; split them 11 to 1 into train and val."""
    images = read_set(folder, "train", sample)
    train, val = stratified_split(images.labels, VALIDATION_FRACTION, SPLIT_SEED)
    return images.subset(train), images.subset(val)


def load_test(folder: Path, sample: bool = False) -> ImageDataset:
    """Read the test files in ``find()``'s folder. Only test.py uses them."""
    return read_set(folder, "t10k", sample)


def find(data_dir: str | os.PathLike | None = None, sample: bool = False) -> Path:
    """Find the folder with the four files, or download them into data/.

    Args:
        data_dir: look only here and in the folders around it (``near``). By default, look in
            data/FashionMNIST/raw, then in the folder of Debian's package dataset-fashion-mnist.
        sample: use the bundled sample.

    Raises:
        UserError: a file is missing or is not FashionMNIST's, or the download failed.
    """
    if sample:
        return check(SAMPLE, sample=True)
    if data_dir is not None:
        return check(near(Path(data_dir)))
    for folder in (DOWNLOADED, DEBIAN):
        if is_complete(folder):
            return check(folder)
    return download()


def near(folder: Path) -> Path:
    """The folder with the four files: this one, one above or one below; if none has them, this one.

    torchvision puts the files into FashionMNIST/raw/ in its root folder, beside
    FashionMNIST/processed/. The files of other sets have the same names, in MNIST/raw/ and so on.
    If several folders have all four files, take the one with the right labels.
    """
    if is_complete(folder) or not folder.exists():
        return folder
    below = [path for pattern in ("*", "*/raw") for path in sorted(folder.glob(pattern))]
    above = folder.resolve().parent
    around = [path for path in (*below, above, above / "raw") if is_complete(path)]
    for path in around:
        with suppress(UserError):
            read_file(path, "t10k-labels-idx1-ubyte", sample=False)
            return path
    return around[0] if around else folder


def is_complete(folder: Path) -> bool:
    """Whether the folder has files with all four names."""
    return all(path_of(folder, name) for name in SHA256)


def path_of(folder: Path, name: str) -> Path | None:
    """The file of that name in the folder, plain or gzipped; None if it has neither."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def check(folder: Path, sample: bool = False) -> Path:
    """Return the folder if it holds all four files with the right SHA-256, else raise UserError."""
    for name in SHA256:
        read_file(folder, name, sample)
    return folder


def read_file(folder: Path, name: str, sample: bool) -> bytes:
    """The uncompressed content of a file, with its SHA-256 checked.

    Raises:
        UserError: it is missing, unreadable or not FashionMNIST's.
    """
    path = path_of(folder, name)
    if path is None:
        raise UserError(
            f"{folder}: no {name} or {name}.gz here: name the folder that holds FashionMNIST's "
            "four files, or the folder above it"
        )
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}): download it again") from None
    if hashlib.sha256(content).hexdigest() != (SAMPLE_SHA256 if sample else SHA256)[name]:
        raise UserError(
            f"{path}: not FashionMNIST's {name} (its SHA-256 differs): download it again"
        )
    return content


def read_set(folder: Path, prefix: str, sample: bool) -> ImageDataset:
    """Read the images (uint8, N x 1 x 28 x 28) and labels of the "train" or "t10k" files."""
    content = read_file(folder, f"{prefix}-images-idx3-ubyte", sample)
    # IDX: big-endian 32-bit integers (magic number, sizes), then the bytes.
    _, count, height, width = np.frombuffer(content, ">i4", 4)
    images = np.frombuffer(content, np.uint8, offset=16).reshape(count, 1, height, width)
    content = read_file(folder, f"{prefix}-labels-idx1-ubyte", sample)
    labels = np.frombuffer(content, np.uint8, offset=8).astype(np.int64)
    return ImageDataset(images, labels, CLASSES)


def download() -> Path:
    """Download the four files with torchvision into data/FashionMNIST/raw, all or none.

    Raises:
        UserError: the download failed. The message lists other ways to get the files.
    """
    from torchvision.datasets import FashionMNIST

    print(f"downloading FashionMNIST to {DOWNLOADED}")
    try:
        for left in cache.remove_leftovers(DATA, ".download-*/lock"):
            shutil.rmtree(left.parent, ignore_errors=True)
        with (
            tempfile.TemporaryDirectory(dir=DATA, prefix=".download-") as temporary,
            (Path(temporary) / "lock").open("wb") as lock,
        ):
            with suppress(OSError):  # some network disks have no locks
                cache.lock(lock)
            FashionMNIST(temporary, download=True)
            raw = check(Path(temporary) / "FashionMNIST" / "raw")
            DOWNLOADED.mkdir(parents=True, exist_ok=True)
            for name in SHA256:
                path = path_of(raw, name)
                os.replace(path, DOWNLOADED / path.name)
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: all mirrors failed
        reason = str(error).replace("\n", " ").strip()
        raise UserError(
            f"FashionMNIST is not on this machine and cannot be downloaded ({reason}). Either "
            f"`apt-get install dataset-fashion-mnist`, or copy its four files to {DOWNLOADED} or "
            "to a folder named with --data-dir, or use the bundled --sample"
        ) from None
    return DOWNLOADED


def write_sample(source: Path, target: Path) -> None:
    """Write the first 600 training and 100 test images of each class as gzipped IDX files.

    Nothing is random and no time is stored, so the same version of zlib gives the same files byte
    for byte. Any version gives the same uncompressed content, whose SHA-256 is checked.
    """
    target.mkdir(parents=True, exist_ok=True)
    for prefix, per_class in (("train", 600), ("t10k", 100)):
        full = read_set(source, prefix, sample=False)
        first = [np.flatnonzero(full.labels == c)[:per_class] for c in range(len(CLASSES))]
        chosen = full.subset(np.sort(np.concatenate(first)))
        count, _, height, width = chosen.images.shape
        files = {
            "images-idx3": ((0x803, count, height, width), chosen.images),
            "labels-idx1": ((0x801, count), chosen.labels.astype(np.uint8)),
        }
        for name, (header, array) in files.items():
            content = np.array(header, ">i4").tobytes() + array.tobytes()
            path = target / f"{prefix}-{name}-ubyte.gz"
            path.write_bytes(gzip.compress(content, mtime=0))
            print(f"{hashlib.sha256(content).hexdigest()}  {path.name}")


if __name__ == "__main__":
    argparse.ArgumentParser(description="Write the bundled sample anew.").parse_args()
    if hasattr(signal, "SIGPIPE"):  # not on Windows
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # "| head" may close the pipe: not an error
    try:
        write_sample(find(), SAMPLE)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
