"""Ask the FashionMNIST network about photos of real clothes, and count its answers.

    python split_dataset.py clothing-small.zip --output data/clothing
    python -m docs.clothes

Writes docs/results/clothing_by_fashionmnist.csv: how often predict.py gave which answer to the
validation photos of each class, as they are and with --invert; and docs/figures/clothes.jpg, three
images of FashionMNIST beside photos of such things.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from PIL import Image, ImageOps

from data import fashionmnist
from docs.style import EXAMPLES, FIGURES, LIGHT, PX, WIDTH, colour, save_pixels
from engine import cli
from engine.report import pyplot, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
ANSWERS = ROOT / "docs" / "results" / "clothing_by_fashionmnist.csv"
# What FashionMNIST calls the photos' classes. It has no hats, shorts and skirts.
SAME = {
    "dress": ["Dress"],
    "longsleeve": ["Pullover"],
    "outwear": ["Coat"],
    "pants": ["Trouser"],
    "shirt": ["Shirt"],
    "shoes": ["Ankle boot", "Sandal", "Sneaker"],
    "t-shirt": ["T-shirt/top"],
}
PAIRS = (("Dress", "dress"), ("Trouser", "pants"), ("Sneaker", "shoes"))  # of docs/examples/


def main() -> None:
    parser = argparse.ArgumentParser(description=cli.summary(__doc__))
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data" / "clothing")
    photos = parser.parse_args().data_dir / "val"
    with pyplot().style.context([LIGHT], after_reset=True):
        save_pixels(drawing(), FIGURES / "clothes.jpg")
    folders = [str(photos / name) for name in SAME]
    checkpoint = ["--checkpoint", str(ROOT / "checkpoints" / "fashionmnist_googlenet.pth")]
    with ANSWERS.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["option", "class", "answer", "photos"])
        for option in ("", "--invert"):
            command = [sys.executable, "predict.py", *folders, *checkpoint, "--json"]
            command += [option] if option else []
            found = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
            answers = Counter(
                (Path(one["file"]).parent.name, one["predictions"][0]["class"])
                for one in json.loads(found)
            )
            table.writerows([option, *pair, count] for pair, count in sorted(answers.items()))


def drawing() -> "Figure":
    """Images of FashionMNIST, and photos of the same kinds of things."""
    _, images = fashionmnist.load_train_val(fashionmnist.find(sample=True), sample=True)
    side, gap, above, apart = 127, 6, 30, 44
    height = above + side
    figure = pyplot().figure(figsize=(WIDTH * PX, height * PX))
    for half, title in enumerate(("FashionMNIST: 28 px, grey, on black", "photos taken at home")):
        start = half * (3 * side + 2 * gap + apart)
        style = {"fontsize": 13.5, "color": colour("muted"), "va": "top"}
        figure.text(start / WIDTH, 1 - 4 / height, title, **style)
        for number, (name, file) in enumerate(PAIRS):
            left = start + number * (side + gap)
            axes = figure.add_axes((left / WIDTH, 0, side / WIDTH, side / height))
            axes.set_axis_off()
            if half:
                with Image.open(EXAMPLES / f"{file}.jpg") as photo:
                    axes.imshow(ImageOps.fit(photo, (288, 288)))
            else:
                label = fashionmnist.CLASSES.index(name)
                show_image(axes, images.images[int((images.labels == label).argmax())])
    return figure


def right(option: str) -> tuple[int, int]:
    """How many photos were classified as ``SAME`` says, and the number of photos."""
    answers = pd.read_csv(ANSWERS).fillna("")
    answers = answers[answers.option == option]
    agree = [
        answer in SAME[name] for name, answer in zip(answers["class"], answers.answer, strict=True)
    ]
    return int(answers.photos[agree].sum()), int(answers.photos.sum())


if __name__ == "__main__":
    cli.run(main)
