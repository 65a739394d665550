"""A cache of decoded photos on disk: one array per file, memory-mapped.

A file is named after everything that determines its content, and never changes. So a file that
another process has mapped is never replaced, which Windows does not allow.
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
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None


def read_cache(place: Path, name: str, key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Memory-map the first images of a cache file in the folder; None if there is no such file.

    Args:
        name, key: as for ``write_cache``.
        shape: of the array. The file may hold more images.
    """
    for path in place.glob(f"{name}_*_{key}.npy"):
        with suppress(OSError, ValueError, EOFError):  # gone, unreadable, truncated, another format
            array = np.lib.format.open_memmap(path, mode="r")
            is_whole = array.dtype == np.uint8 and array.shape[1:] == shape[1:]
            if is_whole and len(array) >= shape[0]:
                return array[: shape[0]]
    return None


def write_cache(
    place: Path, name: str, key: str, shape: tuple[int, ...], images: Iterable[np.ndarray]
) -> np.ndarray:
    """Write images to a new cache file in the folder, and remove outdated ones.

    Args:
        name: what the images are, such as "train_128px".
        key: a hash of everything else that determines the content; files with another key are
            outdated.
        shape: of the array: N, channels, height, width.
        images: N images, uint8, channels x height x width each.

    Returns the array, memory-mapped.

    Raises:
        UserError: the disk is full.
    """
    path = place / f"{name}_{shape[0]}_{key}.npy"
    remove_leftovers(place)
    for other in place.glob(f"{name}_*.npy"):
        # Shorter files with this key may be in use: workers that are not forked map them by name.
        if not other.stem.endswith(f"_{key}"):
            with suppress(OSError):  # another process has mapped it, on Windows
                other.unlink()
    needed, free = int(np.prod(shape)), shutil.disk_usage(place).free
    print(f"{path}: decoding {shape[0]:,} photos once, {needed / 1e6:,.0f} MB", flush=True)
    if needed > free:
        raise UserError(
            f"{place}: the decoded photos need {needed / 1e6:,.0f} MB, but only "
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
        # Another process may have written the same file meanwhile, and have it mapped on Windows.
        array = read_cache(place, name, key, shape)
        if array is None:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            advice = ": make room, and start again" if is_full else ""
            raise UserError(f"{path}: {error.strerror}{advice}") from None
        return array
    return np.lib.format.open_memmap(path, mode="r")


YOUNG = 60  # seconds: a temporary file that is younger may exist without being locked yet


def lock(file: IO[bytes]) -> None:
    """Lock a file that is being written; the system unlocks it when the process ends.

    Raises:
        OSError: another process holds the lock, or the disk does not support locks.
    """
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_leftovers(place: Path, pattern: str = ".*.npy-*") -> list[Path]:
    """Remove temporary files of processes that were killed, but none that is being written.

    Returns the removed paths.
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
    """The folder for the decoded photos of a split folder.

    This is .cache/ in the split folder or, if that is not writable, a folder for temporary files.

    Raises:
        UserError: neither of them is writable.
    """
    place = folder / CACHE
    try:
        place.mkdir(exist_ok=True)
        tempfile.TemporaryFile(dir=place).close()
        return place
    except OSError as error:
        reason = f"{place}: {error.strerror}"
    user = os.getuid() if hasattr(os, "getuid") else 0  # on Windows, each user has such a folder
    digest = hashlib.sha256(f"{user} {folder.resolve()}".encode()).hexdigest()[:16]
    place = Path(tempfile.gettempdir()) / f"photos-{digest}"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        if place.lstat().st_uid != user:  # its owner might have put other images there
            raise PermissionError(errno.EPERM, "belongs to another user")
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise UserError(
            f"{reason}; {place}: {error.strerror}: the decoded photos need one of these folders"
        ) from None
    if not any(place.iterdir()):
        print(f"{reason}: the decoded photos go to {place}", flush=True)
    return place
