"""A folder that split_dataset.py wrote: its manifest, and each split as an array, decoded once."""

import hashlib
import io
import json
import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.images import DataError, ImageSet
from data.parallel import map_threads
from data.photos import SUFFIXES, decode, is_hidden, to_channels, to_square

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

SPLITS = ("train", "val", "test")
MANIFEST, REJECTED = "manifest.csv", "rejected.csv"
MEAN_STD = "mean_std.json"
FIT = "squash"  # all of the photo is seen, and nothing else; cats bear it


def read_manifest(folder: Path) -> "pd.DataFrame":
    """manifest.csv: file, class, split, sha256, width, height.

    Raises:
        DataError: there is none, or the files in the folder are not those that it lists.
    """
    import pandas as pd

    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"{folder}: no {MANIFEST} here: make one with split_dataset.py")
    try:
        manifest = pd.read_csv(path, dtype={"file": str, "class": str}, keep_default_na=False)
        listed = set(manifest["file"][manifest["split"].isin(SPLITS)])
        complete = {"class", "sha256"}.issubset(manifest) and len(listed) == len(manifest)
    except (KeyError, ValueError):  # pandas' parser errors are ValueErrors
        complete = False
    if not complete:
        raise DataError(f"{path}: not a manifest of split_dataset.py: split again")
    there = {
        Path(root, name).relative_to(folder).as_posix()
        for split in SPLITS
        for root, _, names in os.walk(folder / split)
        for name in names
        if os.path.exists(os.path.join(root, name))  # not so for a link that leads nowhere
    }
    # What file managers leave behind (.DS_Store, Thumbs.db) does no harm.
    added = [f for f in there - listed if Path(f).suffix.lower() in SUFFIXES and not is_hidden(f)]
    for file in sorted([*(listed - there), *added])[:1]:
        reason = "lists it and it is gone" if file in listed else "does not list it"
        raise DataError(f"{folder / file}: {MANIFEST} {reason}: split again")
    return manifest


def class_names(manifest: "pd.DataFrame") -> list[str]:
    """In alphabetical order, which is that of the labels."""
    return sorted(manifest["class"].unique())


def manifest_key(folder: Path) -> str:
    """SHA-256 of manifest.csv, which has that of every photo: it stands for the whole split."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def dataset_name(folder: Path) -> str:
    """What a checkpoint says that it was trained on, so that testing can tell another split."""
    return f"photos/{manifest_key(folder)}"


def read_listed(folder: Path, file: str, sha256: str) -> "Image.Image":
    """A photo of the manifest, RGB.

    Raises:
        DataError: it is no longer what it was when the manifest was written.
    """
    try:
        content = (folder / file).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DataError(f"not the photo that {MANIFEST} lists: split again")
        return to_channels(decode(io.BytesIO(content)), 3)
    except OSError as error:
        raise DataError(f"{folder / file}: {error.strerror}") from None
    except DataError as error:
        raise DataError(f"{folder / file}: {error}") from None


def load_split(folder: Path, split: str, size: int) -> ImageSet:
    """The photos of "train", "val" or "test" as uint8, N x 3 x size x size, memory-mapped.

    They are decoded at the first call, into a file under .cache/ in the folder that is named after
    the manifest, so that another split never meets it.

    Raises:
        DataError: the folder is not as its manifest says, or the disk has no room.
    """
    manifest = read_manifest(folder)
    classes = class_names(manifest)
    # In the order of their hashes, so that the first few are of all classes.
    rows = manifest[manifest["split"] == split].sort_values(["sha256", "file"])
    labels = rows["class"].map(classes.index).to_numpy(np.int64)
    shape = (len(rows), 3, size, size)
    path = folder / ".cache" / f"{split}_{size}px_{manifest_key(folder)[:16]}.npy"
    images = read_cache(path, shape)
    if images is None:
        write_cache(path, folder, rows, shape)
        images = np.load(path, mmap_mode="r")
    return ImageSet(images, labels, classes)


def read_cache(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The file's array, memory-mapped; None where it is no whole uint8 array of that shape."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == np.uint8 else None


def write_cache(path: Path, folder: Path, rows: "pd.DataFrame", shape: tuple[int, ...]) -> None:
    """Decode the photos of these rows into one .npy file, which is there whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    for stale in path.parent.glob(f"{path.stem.rpartition('_')[0]}_*.npy"):
        stale.unlink(missing_ok=True)
    needed, free = np.prod(shape), shutil.disk_usage(path.parent).free
    print(f"{path}: decoding {shape[0]:,} photos once, {needed / 1e6:,.0f} MB", flush=True)
    if needed > free:
        raise DataError(
            f"{path.parent}: {needed / 1e6:,.0f} MB are needed for the decoded photos and "
            f"{free / 1e6:,.0f} MB are free: make room, or lower --image-size"
        )

    def pixels(row: tuple[str, str]) -> bytes:
        return to_square(read_listed(folder, *row), shape[-1], FIT).tobytes()

    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            listed = list(zip(rows["file"], rows["sha256"], strict=True))
            for photo in map_threads(pixels, listed, path.stem.rpartition("_")[0]):
                file.write(photo)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}: make room, and start again") from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_mean_std(folder: Path) -> tuple[list[float], list[float]]:
    """What compute_mean_std.py found of the training split, for pixels between 0 and 1.

    Raises:
        DataError: it was not run, or was for another split.
    """
    path = folder / MEAN_STD
    run = f"run: python compute_mean_std.py {shlex.quote(str(folder))}"
    try:
        found = json.loads(path.read_text())
        key, mean, std = found["manifest_sha256"], found["mean"], found["std"]
        values = np.array([mean, std], np.float64)
        if values.shape != (2, 3) or not np.isfinite(values).all() or min(std) <= 0:
            raise ValueError
    except OSError:
        raise DataError(f"{path}: is not there yet: {run}") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path}: cannot be read: {run}") from None
    if key != manifest_key(folder):
        raise DataError(f"{path}: was computed for another split: {run}")
    return mean, std
