"""Classify photos: print the most probable classes of each, with their probabilities.

    python predict.py docs/examples/cat.jpg --checkpoint checkpoints/catsdogs_googlenet.pth
    python predict.py docs/examples --checkpoint checkpoints/clothing_googlenet.pth --json

Name image files or folders. Photos that cannot be read are listed at the end, after the
predictions for the others; the exit code is then 2.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from data.parallel import map_threads
from data.photos import SUFFIXES, NotAPhoto, open_photo, photos_at
from engine import cli
from engine.errors import UserError, one_line
from engine.inference import Classifier, Prediction, load_classifier


def main() -> None:
    parser = argparse.ArgumentParser(description=cli.summary(__doc__))
    cli.add_checkpoint_options(parser)
    add = parser.add_argument
    add("photos", nargs="+", type=cli.pathname, metavar="PHOTO", help="image files or folders")
    add("--top-k", type=cli.positive(int), default=3, metavar="K", help="classes per photo (3)")
    add("--invert", action="store_true", help="swap dark and light before classifying")
    add(
        "--min-confidence",
        type=cli.fraction,
        metavar="P",
        help='mark a photo "unsure" if its top probability is below P, such as 0.9',
    )
    add("--json", action="store_true", help="print JSON, for programs")
    add("--save-figure", type=figure, metavar="PNG", help="draw the first 32 photos with answers")
    args = parser.parse_args()
    classifier = load_classifier(cli.chosen_checkpoint(args.checkpoint), args.device)

    photos = Photos(classifier, args.photos, args.invert)
    rows = classifier.predict_prepared(photos, args.top_k)

    if args.json:
        print(json.dumps(as_json(photos, rows, args.min_confidence), indent=2))
    else:
        print_table(photos.files, rows, args.min_confidence or 0)
    if args.save_figure and rows:
        from engine.report import draw_predictions

        channels = classifier.metadata["channels"]
        pictures = [thumbnail(file, channels) for file in photos.files[:32]]
        draw_predictions(pictures, rows[:32], args.save_figure, args.min_confidence or 0)
    if photos.passed_over:
        names = ", ".join(map(one_line, photos.passed_over[:5]))
        more = ", …" if len(photos.passed_over) > 5 else ""
        count = len(photos.passed_over)
        what = "1 file that is not a photo" if count == 1 else f"{count} files that are not photos"
        print(f"predict.py: skipped {what}: {names}{more}", file=sys.stderr)
    for _, message in photos.problems:
        print(f"predict.py: error: {one_line(message)}", file=sys.stderr)
    if photos.problems:
        sys.exit(2)


class Photos:
    """Yields the photos at some paths, prepared in parallel, in order; skips those that fail.

    Attributes:
        files: the photos read so far.
        passed_over: files in folders that are not photos, judging by content and by name.
        problems: (path, message) of photos that could not be read.
    """

    def __init__(self, classifier: Classifier, paths: list[Path], invert: bool) -> None:
        self.classifier, self.invert = classifier, invert
        self.found: list[tuple[Path, Path]] = []  # a file, and the path that led to it
        self.files: list[Path] = []
        self.passed_over: list[Path] = []
        self.problems: list[tuple[Path, str]] = []
        for path in paths:
            try:
                self.found += [(file, path) for file in photos_at(path)]
            except UserError as error:
                self.problems.append((path, str(error)))

    def __iter__(self) -> Iterator[np.ndarray]:
        empty = {path for _, path in self.found}
        arrays = map_threads(self.prepare, [file for file, _ in self.found], "photos")
        for (file, path), result in zip(self.found, arrays, strict=True):
            named = file == path or file.suffix.lower() in SUFFIXES
            if isinstance(result, NotAPhoto) and not named:
                self.passed_over.append(file)
                continue
            empty.discard(path)
            if isinstance(result, UserError):
                self.problems.append((file, str(result)))
            else:
                self.files.append(file)
                yield result
        self.problems += [(path, f"{path}: no photos in this folder") for path in sorted(empty)]

    def prepare(self, file: Path) -> np.ndarray | UserError:
        """The photo as an array for the network, or the error if it cannot be read."""
        try:
            return self.classifier.prepare(file, self.invert)
        except UserError as error:
            return error


def figure(text: str) -> Path:
    """An argparse type: a path that ends in .png."""
    path = Path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"must end in .png, got {text}")
    return path


def thumbnail(file: Path, channels: int) -> Image.Image:
    """The photo, small: at full size, drawing a few photos may take gigabytes."""
    photo = open_photo(file, channels)
    photo.thumbnail((480, 480))
    return photo


def print_table(files: list[Path], rows: list[list[Prediction]], min_confidence: float) -> None:
    """Print a line for each photo in aligned columns, and mark unsure answers."""
    lines = [
        [one_line(file)]
        + [f"{name} {probability:.1%}" for name, probability in row]
        + ["unsure" if row[0].probability < min_confidence else ""]
        for file, row in zip(files, rows, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def as_json(
    photos: Photos, rows: list[list[Prediction]], min_confidence: float | None
) -> list[dict]:
    """A dict for each photo: its file and predictions, or its file and error.

    With a minimum confidence, "unsure" says whether the top probability is below it.
    """
    predicted = [
        {"file": str(f), "predictions": [{"class": n, "probability": p} for n, p in row]}
        | ({} if min_confidence is None else {"unsure": row[0].probability < min_confidence})
        for f, row in zip(photos.files, rows, strict=True)
    ]
    return predicted + [{"file": str(f), "error": message} for f, message in photos.problems]


if __name__ == "__main__":
    cli.run(main)
