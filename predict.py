"""Say what is on photos: the most probable classes of each, with their probabilities.

python predict.py shirt.jpg --checkpoint checkpoints/fashionmnist_googlenet.pth --invert
python predict.py photos/ --checkpoint checkpoints/fashionmnist_googlenet.pth --json
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from data.augment import Preprocess
from data.images import DataError, ImageSet, eval_loader
from data.photos import open_photo, photos_at, read_photo
from engine import checkpoint, options
from engine.loop import predict
from models import create_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_checkpoint_options(parser)
    add = parser.add_argument
    add("photos", nargs="+", type=Path, metavar="PHOTO", help="image files, or folders of them")
    add("--top-k", type=options.positive(int), default=3, metavar="K", help="classes to name (3)")
    add("--invert", action="store_true", help="swap dark and light: dark clothes on light ground")
    add("--json", action="store_true", help="print JSON, for programs")
    add("--save-figure", type=figure, metavar="PNG", help="draw the first 32 photos and their bars")
    args = parser.parse_args()
    device = options.pick_device(args.device)
    path = options.chosen_checkpoint(args.checkpoint)
    saved = checkpoint.load(path)

    # Every photo becomes what the validation images were: uint8, of their stored size.
    shape = saved["channels"], saved["source_size"], saved["fit"]
    files, arrays, problems = [], [], []
    found = []
    for named in args.photos:
        try:
            found += photos_at(named)
        except DataError as error:
            problems.append((named, str(error)))
    for file in tqdm(found, desc="reading", unit="photo", leave=False, disable=len(found) < 20):
        try:
            arrays.append(read_photo(file, *shape, args.invert))
            files.append(file)
        except DataError as error:
            problems.append((file, str(error)))

    rows = []
    if files:
        photos = ImageSet(np.stack(arrays), np.zeros(len(files), np.int64), saved["classes"])
        model = options.build_model(create_model, saved["model"], saved["model_args"], device)
        checkpoint.load_weights(model, saved, path)
        preprocess = Preprocess(saved["mean"], saved["std"], saved["image_size"], saved["flip"])
        preprocess.to(device)
        logits, _ = predict(model, eval_loader(photos, 32), preprocess)
        probabilities, indices = logits.softmax(1).topk(min(args.top_k, len(photos.classes)))
        for values, chosen in zip(probabilities.tolist(), indices.tolist(), strict=True):
            names = [photos.classes[index] for index in chosen]
            rows.append(list(zip(names, values, strict=True)))

    if args.json:
        print(json.dumps(as_json(files, rows, problems), indent=2, ensure_ascii=False))
    else:
        print_table(files, rows)
    if args.save_figure and files:
        from engine.report import draw_predictions

        pictures = [thumbnail(file, saved["channels"]) for file in files[:32]]
        draw_predictions(pictures, rows[:32], args.save_figure)
    for _, message in problems:
        print(f"predict.py: error: {message}", file=sys.stderr)
    if problems:
        sys.exit(2)


def figure(text: str) -> Path:
    """An argparse type: a path that says PNG."""
    path = Path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"must end in .png, got {text}")
    return path


def thumbnail(file: Path, channels: int) -> Image.Image:
    """The photo, small: drawn at their full size, a few may take gigabytes."""
    photo = open_photo(file, channels)
    photo.thumbnail((480, 480))
    return photo


def print_table(files: list[Path], rows: list[list[tuple[str, float]]]) -> None:
    """A line for each photo; columns aligned."""
    lines = [
        [str(file)] + [f"{n} {p:.1%}" for n, p in row]
        for file, row in zip(files, rows, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def as_json(files: list[Path], rows: list, problems: list[tuple[Path, str]]) -> list[dict]:
    """A dict for each photo: its file and predictions, or its file and error."""
    predicted = [
        {"file": str(f), "predictions": [{"class": n, "probability": p} for n, p in row]}
        for f, row in zip(files, rows, strict=True)
    ]
    return predicted + [{"file": str(f), "error": message} for f, message in problems]


if __name__ == "__main__":
    options.run(main, DataError)
