"""Split photos into training, validation and test set, with a folder for each class.

    python split_dataset.py PetImages.zip                       # to data/catsdogs
    python split_dataset.py photos/ --output data/birds         # a folder for each class in it
    python split_dataset.py --download oxford-pets

Writes train/, val/ and test/, manifest.csv (what went where) and rejected.csv (what was left out,
and why). The same photos and seed give the same split on any machine. The source is not changed.
"""

import argparse
import math
import shlex
from pathlib import Path

from data import splitting
from data.photo_folder import MANIFEST, REJECTED, SPLITS
from data.sources import OxfordPets, ZipSource, open_source
from engine import cli
from engine.errors import UserError


def main() -> None:
    args = parse_args()
    splitting.check_output(args.output, args.source, args.overwrite)
    source = OxfordPets() if args.download else open_source(args.source)
    if args.mode != "copy" and isinstance(source, ZipSource):
        raise UserError(f"{source.path}: files in a zip cannot be linked, only --mode copy")

    # Which class each file belongs to, whether it is a usable photo, and where it goes.
    photos = splitting.find_photos(source)
    splitting.reject_conflicts(photos)
    splitting.assign_splits(photos, args.ratios, args.seed)

    # Build the new folder beside the old one, then swap them.
    with splitting.built_beside(args.output) as folder:
        splitting.place_photos(source, photos, folder, args.mode)
        splitting.write_tables(photos, folder)
        # Someone may have written to the output meanwhile: keep that.
        splitting.check_output(args.output, args.source, args.overwrite)
    report(photos, args.output)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=cli.HelpFormatter
    )
    add = parser.add_argument
    add("source", nargs="?", type=Path, help="folder or zip: Cat/1.jpg … or cat.1.jpg …")
    add("--download", choices=["oxford-pets"], help="7,400 cats and dogs (Oxford-IIIT Pet, 0.8 GB)")
    add("--output", type=Path, default=Path("data/catsdogs"), help="folder to write")
    add("--ratios", type=float, nargs=3, default=[0.8, 0.1, 0.1], metavar="R", help="of the splits")
    add("--seed", type=cli.seed, default=0, help="of the draw")
    add("--mode", choices=["copy", "hardlink", "symlink"], default="copy", help="how files get in")
    add("--overwrite", action="store_true", help="replace an earlier split")
    args = parser.parse_args()
    if (args.source is None) == (args.download is None):
        parser.error("name either a SOURCE or --download oxford-pets")
    if min(args.ratios) <= 0 or not math.isclose(sum(args.ratios), 1, abs_tol=1e-6):
        parser.error(f"--ratios must be above 0 and sum to 1, got {args.ratios}")
    return args


def report(photos: list[splitting.Photo], output: Path) -> None:
    """Print how many photos went where, what was noticed, and what to do next."""
    import pandas as pd

    frame = pd.DataFrame([vars(photo) for photo in photos])
    good = frame[frame.reason == ""]
    counts = pd.crosstab(good["class_name"], good["split"])[list(SPLITS)]
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
    cli.run(main)
