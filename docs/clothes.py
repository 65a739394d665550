"""Ask the FashionMNIST network about photos of real clothes, and count its answers.

    python split_dataset.py clothing-small.zip --output data/clothing
    python -m docs.clothes

Writes docs/results/clothing_by_fashionmnist.csv: how often predict.py gave which answer to the
validation photos of each class, as they are and with --invert.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd

from engine import cli

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


def main() -> None:
    parser = argparse.ArgumentParser(description=cli.summary(__doc__))
    parser.add_argument("--data-dir", type=Path, default=ROOT / "data" / "clothing")
    photos = parser.parse_args().data_dir / "val"
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


def right(option: str) -> tuple[int, int]:
    """How many photos got the answer that ``SAME`` names, and how many were asked about."""
    answers = pd.read_csv(ANSWERS).fillna("")
    answers = answers[answers.option == option]
    agree = [
        answer in SAME[name] for name, answer in zip(answers["class"], answers.answer, strict=True)
    ]
    return int(answers.photos[agree].sum()), int(answers.photos.sum())


if __name__ == "__main__":
    cli.run(main)
