"""A folder of split photos: its tables, mean_std.json, and each split as an array.

split_dataset.py writes the folder, compute_mean_std.py adds mean_std.json, and training and testing
read both. Only this module defines the file formats.
"""

import errno
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

import numpy as np

from data.cache import CACHE, read_cache, remove_leftovers, writable_cache, write_cache
from data.dataset import ImageDataset
from data.parallel import map_threads
from data.photos import SUFFIXES, decode, is_junk, to_channels, to_square
from engine.errors import UserError, quote
from engine.files import write_json, write_table

if TYPE_CHECKING:  # pandas takes 0.4 s to import, and predict.py does not need it
    import pandas as pd
    from PIL import Image

SPLITS = ("train", "val", "test")
MANIFEST, REJECTED, MEAN_STD = "manifest.csv", "rejected.csv", "mean_std.json"
MANIFEST_COLUMNS = ("file", "class", "split", "sha256", "width", "height")
REJECTED_COLUMNS = ("file", "reason")
DECODER = 2  # to be changed whenever data.photos decodes to other pixels: makes caches outdated
WEIGHTING = "each photo counts the same, whatever its size"  # in mean_std.json
RESIZE_MODE = "stretch"  # the whole photo without bars; distorted cats are still cats


def write_manifest(folder: Path, rows: Iterable[tuple[str, str, str, str, int, int]]) -> None:
    """Write manifest.csv: a row for each photo (``MANIFEST_COLUMNS``), sorted by file."""
    write_rows(folder / MANIFEST, sorted(rows), MANIFEST_COLUMNS)


def write_rejected(folder: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write rejected.csv: each file that was left out, and why."""
    write_rows(folder / REJECTED, rows, REJECTED_COLUMNS)


def write_rows(path: Path, rows: Iterable[tuple], columns: tuple[str, ...]) -> None:
    """Write a CSV file with these columns."""
    import pandas as pd

    write_table(pd.DataFrame(rows, columns=columns), path, index=False)


def read_manifest(folder: Path) -> "pd.DataFrame":
    """Read manifest.csv, with the columns ``MANIFEST_COLUMNS``.

    Raises:
        UserError: there is no manifest, or the folder does not hold exactly the listed photos.
    """
    import pandas as pd

    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder}: no {MANIFEST} here: make one with split_dataset.py")
    try:
        manifest = pd.read_csv(path, dtype={"file": str, "class": str}, keep_default_na=False)
        listed = set(manifest["file"][manifest["split"].isin(SPLITS)])
        complete = {"class", "sha256"}.issubset(manifest) and len(listed) == len(manifest)
    except (KeyError, ValueError):  # pandas' parser errors are ValueErrors
        complete = False
    if not complete:
        raise UserError(f"{path}: not a manifest of split_dataset.py: split again")
    present = {
        # The spelling of split_dataset.py; disks of older Macs change it.
        normalize("NFC", Path(root, name).relative_to(folder).as_posix())
        for split in SPLITS
        for root, _, names in os.walk(folder / split)
        for name in names
        if os.path.exists(os.path.join(root, name))  # false for a broken link
    }
    # Files of file managers (.DS_Store, Thumbs.db) and servers are harmless.
    added = [f for f in present - listed if Path(f).suffix.lower() in SUFFIXES and not is_junk(f)]
    for file in sorted([*(listed - present), *added])[:1]:
        reason = "lists it, but it is gone" if file in listed else "does not list it"
        raise UserError(f"{folder / file}: {MANIFEST} {reason}: split again")
    return manifest


def rows_of(manifest: "pd.DataFrame", split: str, folder: Path) -> "pd.DataFrame":
    """The manifest's rows of "train", "val" or "test".

    Raises:
        UserError: the split has no photos.
    """
    rows = manifest[manifest["split"] == split]
    if rows.empty:
        raise UserError(f"{folder / MANIFEST}: lists no photos of {split}: split again")
    return rows


def class_names(manifest: "pd.DataFrame") -> list[str]:
    """The classes in alphabetical order; a label is an index into them."""
    return sorted(manifest["class"].unique())


def manifest_key(folder: Path) -> str:
    """The SHA-256 of manifest.csv. It identifies the split, since the file lists every photo's."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def dataset_name(folder: Path) -> str:
    """The name of the split in checkpoints, which tells it from other splits."""
    return f"photos/{manifest_key(folder)}"


def read_listed(folder: Path, file: str, sha256: str) -> "Image.Image":
    """Read a photo of the manifest as RGB.

    Raises:
        UserError: the photo cannot be read, or has changed since the manifest was written.
    """
    try:
        content = (folder / file).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise UserError(f"not the photo that {MANIFEST} lists: split again")
        return to_channels(decode(io.BytesIO(content)), 3)
    except OSError as error:
        raise UserError(f"{folder / file}: {error.strerror}") from None
    except UserError as error:
        raise UserError(f"{folder / file}: {error}") from None


def load_split(
    folder: Path, split: str, size: int, limit: int | None = None, cache: bool = True
) -> ImageDataset:
    """Load the photos of "train", "val" or "test": uint8, N x 3 x size x size, memory-mapped.

    The first call decodes them into a file (``data.cache``).

    Args:
        limit: decode only the first ``limit`` photos, in an order that mixes the classes. A rare
            class may be missing.
        cache: False: write no file, and decode the photos into memory if there is no file yet.

    Raises:
        UserError: the folder does not match its manifest, has no photos of that split, or the disk
            is full.
    """
    manifest = read_manifest(folder)
    classes = class_names(manifest)
    # Sorted by hash, so that the first few photos are not all of one class.
    rows = rows_of(manifest, split, folder).sort_values(["sha256", "file"])[:limit]
    files, labels = rows["file"].tolist(), rows["class"].map(classes.index).to_numpy(np.int64)
    shape = (len(rows), 3, size, size)

    def pixels(row: tuple[str, str]) -> np.ndarray:
        return to_square(read_listed(folder, *row), size, RESIZE_MODE)

    def decoded() -> Iterator[np.ndarray]:
        return map_threads(pixels, list(zip(files, rows["sha256"], strict=True)), split)

    key = hashlib.sha256(f"{manifest_key(folder)} {DECODER}".encode()).hexdigest()[:16]
    what = (f"{split}_{size}px", key, shape)
    if cache:
        remove_leftovers(folder / CACHE)
    images = read_cache(folder / CACHE, *what)
    if images is None and cache:
        place = writable_cache(folder)
        images = read_cache(place, *what)
        if images is None:
            images = write_cache(place, *what, decoded())
    elif images is None:
        images = np.empty(shape, np.uint8)
        for image, photo in zip(images, decoded(), strict=True):
            image[:] = photo
    return ImageDataset(images, labels, classes, files)


def write_mean_std(folder: Path, mean: np.ndarray, std: np.ndarray, images: int) -> Path:
    """Write mean_std.json: mean and standard deviation of the training photos.

    Args:
        mean, std: of each channel, for pixels between 0 and 1, with equal weights for all photos.
        images: the number of photos, for information.

    Returns the path of the file.

    Raises:
        UserError: the file cannot be written.
    """
    path = folder / MEAN_STD
    content = {
        "mean": mean.tolist(),
        "std": std.tolist(),
        "images": images,
        "weighting": WEIGHTING,
        "manifest_sha256": manifest_key(folder),
    }
    try:
        write_json(content, path)
    except OSError as error:
        advice = "make room, or copy the folder to a writable place"
        raise UserError(f"{path}: {error.strerror}: {advice}") from None
    return path


def read_mean_std(folder: Path) -> tuple[list[float], list[float]]:
    """Read mean and standard deviation of each channel, for pixels between 0 and 1.

    Raises:
        UserError: compute_mean_std.py has not been run, was run for another split, or was an older
            version, which weighted each photo by its size.
    """
    path = folder / MEAN_STD
    run = f"run: python compute_mean_std.py {quote(folder)}"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        key, mean, std = found["manifest_sha256"], found["mean"], found["std"]
        values = np.array([mean, std], np.float64)
        # The comparison is false for NaN, too.
        if values.shape != (2, 3) or not ((values >= 0) & (values <= 1)).all() or min(std) <= 0:
            raise ValueError
    except OSError as error:
        reason = "does not exist yet" if error.errno == errno.ENOENT else error.strerror
        raise UserError(f"{path}: {reason}: {run}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: cannot be read: {run}") from None
    if key != manifest_key(folder):
        raise UserError(f"{path}: was computed for another split: {run}")
    if found.get("weighting") != WEIGHTING:
        raise UserError(f"{path}: weights photos by their size, as older versions did: {run}")
    return mean, std
