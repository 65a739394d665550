"""Decoded photos on disk: one array a file, read through a memory map.

A file is named after all that its content follows from, and never changes: what is mapped by
another process need not be replaced, which Windows does not allow.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from engine.errors import UserError
from engine.files import atomic_write

CACHE = ".cache"  # in the split folder

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed anyway
    fcntl = None


def read_cache(place: Path, name: str, key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """The first images of a file in the folder, memory-mapped; None if there is none of them.

    Args:
        name, key: as for ``write_cache``.
        shape: of the array, which may be the first part of what the file holds.
    """
    for path in place.glob(f"{name}_*_{key}.npy"):
        with suppress(OSError, ValueError, EOFError):  # gone, unreadable, cut off, something else
            array = np.lib.format.open_memmap(path, mode="r")
            is_whole = array.dtype == np.uint8 and array.shape[1:] == shape[1:]
            if is_whole and len(array) >= shape[0]:
                return array[: shape[0]]
    return None


def write_cache(
    place: Path, name: str, key: str, shape: tuple[int, ...], images: Iterable[np.ndarray]
) -> np.ndarray:
    """Write images to a new file in the folder, and remove those that are out of date.

    Args:
        name: what the images are, such as "train_128px".
        key: what else the file's content follows from; files with another key are out of date.
        shape: of the array: number, channels, height, width.
        images: the images one by one, uint8.

    Returns the array, memory-mapped.

    Raises:
        UserError: the disk is full.
    """
    path = place / f"{name}_{shape[0]}_{key}.npy"
    remove_leftovers(place)
    for other in place.glob(f"{name}_*.npy"):
        # Shorter ones with this key may be in use: workers that are not forked map them by name.
        if not other.stem.endswith(f"_{key}"):
            with suppress(OSError):  # another process has mapped it, on Windows
                other.unlink()
    needed, free = int(np.prod(shape)), shutil.disk_usage(place).free
    print(f"{path}: decoding {shape[0]:,} photos once, {needed / 1e6:,.0f} MB", flush=True)
    if needed > free:
        raise UserError(
            f"{place}: the decoded photos need {needed / 1e6:,.0f} MB and "
            f"{free / 1e6:,.0f} MB are free: make room, or lower --image-size"
        )
    try:
        with atomic_write(path) as file:
            with suppress(OSError):  # some network disks have no locks
                lock(file)
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for image in images:
                file.write(image.tobytes())
    except OSError as error:
        # Another process may have written the same meanwhile, and, on Windows, have it mapped.
        array = read_cache(place, name, key, shape)
        if array is None:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            advice = ": make room, and start again" if is_full else ""
            raise UserError(f"{path}: {error.strerror}{advice}") from None
        return array
    return np.lib.format.open_memmap(path, mode="r")


YOUNG = 60  # seconds for which a file may have been begun, and not be locked yet


def lock(file: IO[bytes]) -> None:
    """Lock an open file while it is written; the system unlocks it when the process ends.

    Raises:
        OSError: another process holds the lock, or the disk has no locks.
    """
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_leftovers(place: Path, pattern: str = ".*.npy-*") -> list[Path]:
    """Remove what killed processes have left half-written, and nothing that is being written.

    Returns what was removed.
    """
    removed = []
    for path in place.glob(pattern):
        with suppress(OSError):  # being written, or another user's
            if time.time() - path.stat().st_mtime < YOUNG:
                continue
            if fcntl:
                with path.open("r+b") as file:
                    lock(file)
                    path.unlink()
            else:
                path.unlink()
            removed.append(path)
    return removed


def writable_cache(folder: Path) -> Path:
    """The folder that the photos of a split folder are decoded to.

    That is .cache/ in it, or, where nothing can be written there, one for temporary files.

    Raises:
        UserError: nothing can be written to either of them.
    """
    place = folder / CACHE
    try:
        place.mkdir(exist_ok=True)
        tempfile.TemporaryFile(dir=place).close()
        return place
    except OSError as error:
        reason = f"{place}: {error.strerror}"
    user = os.getuid() if hasattr(os, "getuid") else 0  # Windows has such folders for each user
    digest = hashlib.sha256(f"{user} {folder.resolve()}".encode()).hexdigest()[:16]
    place = Path(tempfile.gettempdir()) / f"photos-{digest}"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        if place.lstat().st_uid != user:  # who might have put other images there
            raise PermissionError(errno.EPERM, "belongs to somebody else")
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise UserError(
            f"{reason}; {place}: {error.strerror}: the decoded photos need one of these places"
        ) from None
    if not any(place.iterdir()):
        print(f"{reason}: the decoded photos go to {place}", flush=True)
    return place
