"""Split photos into training, validation and test set, with a folder for each class.

    python split_dataset.py PetImages.zip                       # to data/catsdogs
    python split_dataset.py photos/ --output data/birds         # a folder for each class in it
    python split_dataset.py --download oxford-pets

Writes train/, val/ and test/, manifest.csv (what went where) and rejected.csv (what went nowhere,
and why). The same photos and seed give the same split on any machine; the source stays as it is.
"""

import argparse
import hashlib
import io
import math
import os
import shlex
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from data.folders import MANIFEST, REJECTED, SPLITS
from data.images import DataError
from data.parallel import map_threads
from data.photos import decode
from data.sources import OxfordPets, Source, ZipSource, open_source
from engine import options

CSV = {"index": False, "lineterminator": "\n"}  # the same bytes on any machine


@dataclass
class Photo:
    """A file of the source, and what was found in it."""

    name: str  # in the source
    kind: str  # its class
    rest: str  # its path within the class
    size: int = 0  # bytes
    sha256: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""  # why it cannot be used, if it cannot
    split: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=options.HelpFormatter
    )
    add = parser.add_argument
    add("source", nargs="?", type=Path, help="folder or zip: Cat/1.jpg … or cat.1.jpg …")
    add("--download", choices=["oxford-pets"], help="7,400 cats and dogs (Oxford-IIIT Pet, 0.8 GB)")
    add("--output", type=Path, default=Path("data/catsdogs"), help="folder to write")
    add("--ratios", type=float, nargs=3, default=[0.8, 0.1, 0.1], metavar="R", help="of the splits")
    add("--seed", type=options.seed, default=0, help="of the draw")
    add("--mode", choices=["copy", "hardlink", "symlink"], default="copy", help="how files get in")
    add("--overwrite", action="store_true", help="replace an earlier split")
    args = parser.parse_args()
    if (args.source is None) == (args.download is None):
        parser.error("name either a SOURCE or --download oxford-pets")
    if min(args.ratios) <= 0 or not math.isclose(sum(args.ratios), 1, abs_tol=1e-6):
        parser.error(f"--ratios must be above 0 and sum to 1, got {args.ratios}")
    check_output(args.output, args.source, args.overwrite)

    # Which class every file is of, and whether it is a photo at all.
    source = OxfordPets() if args.download else open_source(args.source)
    if args.mode != "copy" and isinstance(source, ZipSource):
        raise DataError(f"{source.path}: files in a zip cannot be linked, only --mode copy")
    labels, strays = source.labels()
    photos = [Photo(name, kind, rest) for name, (kind, rest) in labels.items()]
    photos = list(map_threads(lambda photo: examine(source, photo), photos, "checking"))
    photos += [Photo(name, "", name, reason="in no class folder") for name in strays]
    refuse_conflicts(photos)

    assign_splits(photos, sorted({kind for kind, _ in labels.values()}), args.ratios, args.seed)
    good = [photo for photo in photos if not photo.reason]
    with built_beside(args.output) as folder:
        write(source, good, folder, args.mode)
        write_tables(photos, folder)
        check_output(args.output, args.source, args.overwrite)  # what came there meanwhile stays
    report(photos, args.output)


def examine(source: Source, photo: Photo) -> Photo:
    """Read and decode the photo in full; fill in what it is, or why it cannot be used."""
    try:
        content = source.read(photo.name)
        photo.size, photo.sha256 = len(content), hashlib.sha256(content).hexdigest()
        if not content:
            raise DataError("empty file")
        photo.width, photo.height = decode(io.BytesIO(content)).size
    except OSError as error:
        photo.reason = error.strerror or str(error)
    except DataError as error:
        photo.reason = str(error)
    return photo


def refuse_conflicts(photos: list[Photo]) -> None:
    """Give photos a reason that are byte for byte in two classes: one of the two is wrong."""
    copies = defaultdict(list)
    for photo in photos:
        if not photo.reason:
            copies[photo.sha256].append(photo)
    for group in copies.values():
        for photo in group:
            others = [copy.name for copy in group if copy.kind != photo.kind]
            if others:
                photo.reason = f"conflict: the same photo is {others[0]}"


def assign_splits(photos: list[Photo], classes: list[str], ratios: list[float], seed: int) -> None:
    """Give each good photo its split: in every class the ratios, and copies all in the same one.

    The order in which photos are dealt out is that of a hash of seed and content, so that it hangs
    neither on names nor on the order in which they were found.

    Raises:
        DataError: a class has fewer photos than there are splits.
    """
    for kind in classes:
        copies = defaultdict(list)
        for photo in photos:
            if photo.kind == kind and not photo.reason:
                copies[photo.sha256].append(photo)
        if len(copies) < len(SPLITS):
            bad = [f"; {p.name}: {p.reason}" for p in photos if p.kind == kind and p.reason]
            raise DataError(
                f"class {kind!r} has {len(copies)} different photos that can be used: it takes "
                f"{len(SPLITS)} at least, one for each split{''.join(bad[:3])}"
            )
        order = sorted(copies, key=lambda sha: hashlib.sha256(f"{seed}:{sha}".encode()).digest())
        total = sum(map(len, copies.values()))
        _, val, test = (max(1, round(ratio * total)) for ratio in ratios)
        for split, wanted in (("test", test), ("val", val), ("train", total)):
            keep = SPLITS.index(split)  # leave a photo for each split still to be filled
            while order and wanted > 0 and len(order) > keep:
                group = copies[order.pop()]
                wanted -= len(group)
                for photo in group:
                    photo.split = split


def check_output(output: Path, source: Path | None, overwrite: bool) -> None:
    """Refuse a target that would cost the user files."""
    if source is not None:
        inside, outside = output.resolve(), source.resolve()
        if inside == outside or inside in outside.parents or outside in inside.parents:
            raise DataError(f"--output {output}: must lie outside of the source, {source}")
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not all((output / name).exists() for name in (*SPLITS, MANIFEST, REJECTED)):
        raise DataError(f"--output {output}: is there, and is no earlier split: name another")
    if not overwrite:
        raise DataError(f"--output {output}: holds a split already: add --overwrite to replace it")


@contextmanager
def built_beside(target: Path) -> Iterator[Path]:
    """A new folder beside the target that takes its place if all goes well, or disappears."""
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
        raise DataError(f"{target}: {error.strerror or error}; nothing was changed") from None
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(folder, ignore_errors=True)


def write(source: Source, photos: list[Photo], folder: Path, mode: str) -> None:
    """Put each photo into split/class/, under the path that it had in its class.

    Raises:
        DataError: the disk has no room for them.
    """
    needed, free = sum(photo.size for photo in photos), shutil.disk_usage(folder).free
    if mode == "copy" and needed > free:
        raise DataError(
            f"{folder.parent.parent}: the photos take {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} "
            "MB are free: make room, or name another --output"
        )

    def place(photo: Photo) -> None:
        path = folder / photo.split / photo.kind / photo.rest
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode == "copy":
            path.write_bytes(source.read(photo.name))
        elif mode == "symlink":
            path.symlink_to((source.path / photo.name).resolve())
        else:
            os.link((source.path / photo.name).resolve(), path)

    for _ in map_threads(place, photos, "writing"):
        pass


def write_tables(photos: list[Photo], folder: Path) -> None:
    """manifest.csv and rejected.csv."""
    import pandas as pd

    columns = ["file", "class", "split", "sha256", "width", "height"]
    rows = [
        (f"{p.split}/{p.kind}/{p.rest}", p.kind, p.split, p.sha256, p.width, p.height)
        for p in photos
        if not p.reason
    ]
    pd.DataFrame(sorted(rows), columns=columns).to_csv(folder / MANIFEST, **CSV)
    rows = [(photo.name, photo.reason) for photo in photos if photo.reason]
    pd.DataFrame(rows, columns=["file", "reason"]).to_csv(folder / REJECTED, **CSV)


def report(photos: list[Photo], output: Path) -> None:
    """Print what came of it, and what to do next."""
    import pandas as pd

    frame = pd.DataFrame([vars(photo) for photo in photos])
    good = frame[frame.reason == ""]
    counts = pd.crosstab(good["kind"], good["split"])[list(SPLITS)]
    counts.columns.name, counts.index.name = None, "class"
    print(counts.assign(all=counts.sum(axis=1)))
    copies = good[good.duplicated("sha256", keep=False)]
    if len(copies):
        groups = [", ".join(group) for _, group in copies.groupby("sha256").name]
        print(f"{len(groups)} photos are there more than once, all copies in one split: ", end="")
        print("; ".join(groups[:3]) + ("; …" if len(groups) > 3 else ""))
    bad = frame[frame.reason != ""]
    if len(bad):
        print(f"{len(bad)} files rejected, see {output / REJECTED}:")
        for name, reason in list(zip(bad.name, bad.reason, strict=True))[:5]:
            print(f"  {name}: {reason}")
    print(f"\n{output}/: train, val, test, {MANIFEST}")
    print(f"Next:\n  python compute_mean_std.py {shlex.quote(str(output))}")


if __name__ == "__main__":
    options.run(main, DataError)
