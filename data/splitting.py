"""Split photos into training, validation and test set: the steps of split_dataset.py."""

import errno
import hashlib
import io
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data.layout import disk_key
from data.parallel import map_threads
from data.photo_folder import MANIFEST, REJECTED, SPLITS, write_manifest, write_rejected
from data.photos import decode
from data.sources import Source
from engine.errors import UserError


@dataclass
class Photo:
    """A file of the source, and what is known about it."""

    name: str  # in the source
    class_name: str  # empty if it belongs to no class
    path: str  # below the folder of its class
    part: str = ""  # the split that it is already in; empty if the set is not split
    size: int = 0  # bytes
    sha256: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""  # why it cannot be used; empty if it can
    split: str = ""
    file: str = ""  # in the split folder

    @property
    def stays(self) -> bool:
        """Whether it is in a given validation or test set, which is not changed."""
        return self.part in ("val", "test")


def find_photos(source: Source) -> list[Photo]:
    """All files of the source, with their classes as far as their names tell them.

    Raises:
        UserError: the source has no classes, or they are ambiguous.
    """
    labels, strays = source.labels()
    photos = [Photo(name, *label) for name, label in labels.items()]
    return photos + [Photo(name, "", name, reason=reason) for name, reason in strays.items()]


def splits_to_deal(photos: Iterable[Photo]) -> list[str]:
    """The splits that the source lacks, and train, from which they are taken.

    Empty if the source holds all three splits.
    """
    given = {photo.part for photo in photos} & set(SPLITS)
    missing = [split for split in SPLITS if split not in given]
    return missing and ["train", *(split for split in missing if split != "train")]


def examine_photos(source: Source, photos: Iterable[Photo]) -> None:
    """Read each file that belongs to a class, decode it in full, and record its properties."""
    photos = [photo for photo in photos if not photo.reason]
    for _ in map_threads(lambda photo: examine(source, photo), photos, "checking"):
        pass


def examine(source: Source, photo: Photo) -> None:
    """Set the photo's size, hash, width and height, or the reason why it cannot be used."""
    try:
        content = source.read(photo.name)
        photo.size, photo.sha256 = len(content), hashlib.sha256(content).hexdigest()
        if not content:
            raise UserError("empty file")
        photo.width, photo.height = decode(io.BytesIO(content)).size
    except OSError as error:
        photo.reason = error.strerror or str(error)
    except UserError as error:
        photo.reason = str(error)


def reject_conflicts(photos: Iterable[Photo]) -> None:
    """Reject photos with identical copies in two classes: one of the two labels is wrong.

    If the source has a validation or test set, also reject copies of its photos in the training
    set. The photos in that validation or test set are kept.
    """
    for group in group_copies(photos):
        given = [copy for copy in group if copy.stays]
        for photo in group:
            others = [copy for copy in group if copy.class_name != photo.class_name]
            if given and not photo.stays:
                photo.reason = f"copy: the same photo is {given[0].name}"
            elif others and not photo.stays:
                photo.reason = f"conflict: the same photo is {others[0].name}"


def group_copies(photos: Iterable[Photo]) -> list[list[Photo]]:
    """The usable photos, grouped by content."""
    copies = defaultdict(list)
    for photo in photos:
        if not photo.reason:
            copies[photo.sha256].append(photo)
    return list(copies.values())


def assign_splits(photos: list[Photo], ratios: list[float], seed: int) -> None:
    """Assign a split to each usable photo.

    Splits of the source stay as they are. Missing splits are taken from the training photos of
    every class in the given ratios; all copies of a photo go to the same split. Photos are assigned
    in the order of a hash of seed and content, so their names and their order do not matter.

    Args:
        ratios: the shares of ``SPLITS``, in that order; they sum to 1. If the source has a split,
            the others keep their proportion.

    Raises:
        UserError: a class has fewer different photos than there are splits, or a split is empty.
    """
    splits = splits_to_deal(photos) or ["train"]
    share = dict(zip(SPLITS, ratios, strict=True))
    whole = 1 - sum(share[split] for split in SPLITS if split not in splits)
    classes = defaultdict(list)
    for photo in photos:
        if photo.class_name and not photo.stays:
            classes[photo.class_name].append(photo)
    for class_name, members in sorted(classes.items()):
        copies = group_copies(members)
        if len(copies) < len(splits):
            bad = [f"; {photo.name}: {photo.reason}" for photo in members if photo.reason]
            raise UserError(
                f"class {class_name!r} needs at least {len(splits)} usable photos, one for each "
                f"split, but has {len(copies)} (copies not counted){''.join(bad[:3])}"
            )
        copies.sort(key=lambda group: draw(seed, group[0].sha256))
        total = sum(map(len, copies))
        for keep, split in reversed(list(enumerate(splits))):  # train last
            wanted = max(1, round(share[split] / whole * total)) if keep else total
            while wanted > 0 and len(copies) > keep:  # keep one group for each remaining split
                group = copies.pop()
                wanted -= len(group)
                for photo in group:
                    photo.split = split
    for photo in photos:
        if photo.stays and not photo.reason:
            photo.split = photo.part
    for split in SPLITS:
        if not any(photo.split == split for photo in photos):
            raise UserError(f"its {split} part has no usable photos")


def name_files(photos: list[Photo]) -> None:
    """Set each usable photo's file name in the split folder: split/class/path below the class.

    If some disk cannot tell two names apart, the second one gets a number.
    """
    taken = set()
    for photo in sorted(photos, key=lambda photo: photo.name):
        path, number = PurePosixPath(photo.split, photo.class_name, photo.path), 1
        if not photo.reason:
            photo.file = str(path)
            while disk_key(photo.file) in taken:
                number += 1
                photo.file = str(path.with_name(f"{path.stem} ({number}){path.suffix}"))
            taken.add(disk_key(photo.file))


def draw(seed: int, sha256: str) -> bytes:
    """A pseudo-random key to sort by: the same for the same seed and content."""
    return hashlib.sha256(f"{seed}:{sha256}".encode()).digest()


def check_output(output: Path, source: Path | None, overwrite: bool) -> None:
    """Check that writing to ``output`` destroys none of the user's files.

    Raises:
        UserError: it overlaps with the source, is the current folder or above it, holds other
            files, or holds a split and ``overwrite`` is false.
    """
    if source is not None:
        inside, outside = output.resolve(), source.resolve()
        if inside == outside or inside in outside.parents or outside in inside.parents:
            raise UserError(f"--output {output}: must be outside the source, {source}")
    if not output.exists():
        return
    if output.resolve() in (Path.cwd(), *Path.cwd().parents):  # the shell would stay in the old one
        raise UserError(
            f"--output {output}: would replace the current folder: run this from another one"
        )
    if output.is_dir() and not any(output.iterdir()):
        return
    if not all((output / name).exists() for name in (*SPLITS, MANIFEST, REJECTED)):
        raise UserError(f"--output {output}: exists and is not a split: name another folder")
    if not overwrite:
        raise UserError(f"--output {output}: already holds a split: add --overwrite to replace it")


@contextmanager
def built_beside(target: Path) -> Iterator[Path]:
    """Yield a new folder that replaces the target on success and is removed on failure.

    Raises:
        UserError: a file cannot be written or moved. The target is not changed.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    new, old = folder / "new", folder / "old"
    try:
        new.mkdir()
        yield new
        if target.exists():
            target.rename(old)
        new.rename(target)
    except OSError as error:
        raise UserError(f"{target}: {error.strerror or error}; nothing was changed") from None
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(folder, ignore_errors=True)


def place_photos(source: Source, photos: Iterable[Photo], folder: Path, mode: str) -> None:
    """Put each usable photo into split/class/, keeping its path below the class.

    Args:
        mode: "copy", "hardlink" or "symlink".

    Raises:
        UserError: the disk is too small for the copies, or a file cannot be written.
    """
    photos = [photo for photo in photos if not photo.reason]
    needed, free = sum(photo.size for photo in photos), shutil.disk_usage(folder).free
    if mode == "copy" and needed > free:
        raise UserError(
            f"{folder.parent.parent}: the photos need {needed / 1e6:,.0f} MB, but only "
            f"{free / 1e6:,.0f} MB are free: make room, or name another --output"
        )

    def place(photo: Photo) -> None:
        path = folder / photo.file
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if mode == "copy":
                path.write_bytes(source.read(photo.name))
            elif mode == "symlink":
                path.symlink_to((source.path / photo.name).resolve())
            else:
                os.link((source.path / photo.name).resolve(), path)
        except OSError as error:
            bad_name = error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
            advice = ": rename it, or name an --output on another disk" if bad_name else ""
            raise UserError(
                f"{photo.name}: {error.strerror or error}{advice}; nothing was changed"
            ) from None

    for _ in map_threads(place, photos, "writing"):
        pass


def write_tables(photos: list[Photo], folder: Path) -> None:
    """Write manifest.csv (the photos of each split) and rejected.csv (files left out, and why)."""
    good = [photo for photo in photos if not photo.reason]
    write_manifest(
        folder,
        [(p.file, p.class_name, p.split, p.sha256, p.width, p.height) for p in good],
    )
    write_rejected(folder, [(p.name, p.reason) for p in photos if p.reason])
