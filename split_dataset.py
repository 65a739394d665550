"""Split photos into a training, a validation and a test set, with a folder for each class.

    python split_dataset.py PetImages.zip                       # to data/catsdogs
    python split_dataset.py photos/ --output data/birds         # a folder for each class in photos/
    python split_dataset.py --download oxford-pets

Writes train/, val/ and test/, manifest.csv (the split of each photo) and rejected.csv (files left
out, and why). The source is not changed. The same photos and seed give the same split on any
machine. If the source is already split, its validation and test sets stay as they are; if one of
them is missing, it is taken from the training photos.
"""

import argparse
import math
from pathlib import Path

from data import splitting
from data.given_splits import PLAIN_NAME
from data.layout import is_altered, listed
from data.photo_folder import MANIFEST, REJECTED, SPLITS
from data.sources import OxfordPets, ZipSource, open_source
from engine import cli
from engine.errors import UserError, quote

RATIOS = [0.8, 0.1, 0.1]


def main() -> None:
    args = parse_args()
    splitting.check_output(args.output, args.source, args.overwrite)
    source = OxfordPets() if args.download else open_source(args.source)
    if args.mode != "copy" and isinstance(source, ZipSource):
        raise UserError(f"{source.path}: files in a zip cannot be linked: use --mode copy")

    # Which class each file belongs to, whether it is a usable photo, and where it goes.
    photos = splitting.find_photos(source)
    if not splitting.splits_to_deal(photos) and (args.ratios or args.seed is not None):
        raise UserError(
            f"{source.path}: everything is already split: leave out --ratios and --seed"
        )

    # Build the new folder beside the old one, then swap them. Create it before the photos are
    # examined, which takes minutes: it may not be writable.
    with splitting.built_beside(args.output) as folder:
        splitting.examine_photos(source, photos)
        splitting.reject_conflicts(photos)
        splitting.assign_splits(photos, args.ratios or RATIOS, args.seed or 0)
        splitting.name_files(photos)
        splitting.place_photos(source, photos, folder, args.mode)
        splitting.write_tables(photos, folder)
        # Check again: another program may have written to the output meanwhile.
        splitting.check_output(args.output, args.source, args.overwrite)
    report(photos, source.path, args.output)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=cli.summary(__doc__), formatter_class=cli.HelpFormatter
    )
    add = parser.add_argument
    add(
        "source",
        nargs="?",
        type=cli.pathname,
        help="folder or zip: Cat/1.jpg, cat.1.jpg, train/Cat/1.jpg",
    )
    pets = "use 7,400 cats and dogs (Oxford-IIIT Pet, 0.8 GB) instead of SOURCE"
    add("--download", choices=["oxford-pets"], help=pets)
    add("--output", type=cli.pathname, default=Path("data/catsdogs"), help="folder to write")
    add("--ratios", type=float, nargs=3, metavar="R", help="train, val and test (0.8 0.1 0.1)")
    add("--seed", type=cli.seed, help="of the random split (0)")
    mode = "copy the photos, or link to them (a zip can only be copied)"
    add("--mode", choices=["copy", "hardlink", "symlink"], default="copy", help=mode)
    add("--overwrite", action="store_true", help="replace an earlier split in --output")
    args = parser.parse_args()
    if (args.source is None) == (args.download is None):
        parser.error("name either a SOURCE or --download oxford-pets")
    ratios = args.ratios or RATIOS
    if min(ratios) <= 0 or not math.isclose(sum(ratios), 1, abs_tol=1e-6):
        parser.error(f"--ratios must be above 0 and sum to 1, got {ratios}")
    return args


def report(photos: list[splitting.Photo], source: Path, output: Path) -> None:
    """Print the number of photos in each split and class, notes, and the next command."""
    import pandas as pd

    frame = pd.DataFrame([vars(photo) for photo in photos])
    good = frame[frame.reason == ""]
    counts = pd.crosstab(good["class_name"], good["split"])[list(SPLITS)]
    counts.columns.name, counts.index.name = None, "class"
    print(counts.assign(all=counts.sum(axis=1)))
    given = [split for split in ("val", "test") if split in set(frame.part)]
    if given:
        dealt = [split for split in ("val", "test") if split not in given]
        print(f"already split: {' and '.join(given)} as given", end="")
        print("".join(f", {split} taken from train" for split in dealt))
    if len(given) < 2 and any(
        is_altered(source / name) for name in good.name[~good.part.isin(given)]
    ):
        print(
            "note: the photos seem to be augmented, judging by the folders' names: copies of one "
            "photo may be in two splits"
        )
    leaked = frame.reason.str.startswith("copy: ").sum()
    if leaked:
        print(f"{count(leaked)} left out of train, since {' or '.join(given)} has them, too")
    groups = [group for _, group in good[good.duplicated("sha256", keep=False)].groupby("sha256")]
    apart = [(group[["split", "class_name"]].nunique() > 1).any() for group in groups]
    for kind, note in (
        (False, "with several copies, all in the same split"),
        (True, "in both given splits or in two classes, kept as given"),
    ):
        names = [
            " = ".join(group.name[:3])
            for group, is_apart in zip(groups, apart, strict=True)
            if is_apart == kind
        ]
        if names:
            print(f"{count(len(names))} {note}: {listed(names)}")
    renamed = good[good.file != good.split + "/" + good.class_name + "/" + good.path]
    if len(renamed):
        names = listed(renamed.name + " is " + renamed.file)
        print(
            f"{count(len(renamed))} renamed, since some disks cannot tell two names apart: {names}"
        )
    odd = list(filter(PLAIN_NAME.fullmatch, counts.index))
    if odd:
        print(
            f"note: treated as classes, although parts of split sets have such names: {listed(odd)}"
        )
    below = good[good.path.str.contains("/")]
    if len(below):
        folders = sorted({name.rpartition("/")[0] for name in below.name})
        print(f"{count(len(below))} in subfolders of their class: {listed(folders)}")
    bad = frame[frame.reason != ""]
    if len(bad):
        print(f"{len(bad)} file{'s' * (len(bad) > 1)} rejected, see {output / REJECTED}:")
        for reason, group in list(bad.groupby("reason", sort=False))[:5]:
            more = f" (and {len(group) - 1:,} more)" if len(group) > 1 else ""
            print(f"  {group.name.iloc[0]}{more}: {reason}")
    print(f"\n{output}/: train, val, test, {MANIFEST}")
    print(f"Next:\n  python compute_mean_std.py {quote(output)}")


def count(photos: int) -> str:
    """The number of photos as text: "1 photo", "1,234 photos"."""
    return f"{photos:,} photo{'s' if photos != 1 else ''}"


if __name__ == "__main__":
    cli.run(main)
