"""Evaluate a trained VGG16 on larger images than it was trained on (VGG, Section 3.2).

    python -m docs.dense --checkpoint checkpoints/fashionmnist_vgg16/best.pth

Prints the accuracy on the validation images at the trained size, at 32 and at 64 pixels more, and
that of the mean of the three probabilities: the paper's Table 4 judges at several scales, too.
Writes them to dense.csv beside the checkpoint.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from data.loaders import eval_loader
from engine import cli
from engine.device import eval_batch_size
from engine.errors import UserError
from engine.files import write_table
from engine.inference import load_classifier, open_split


def main() -> None:
    parser = argparse.ArgumentParser(description=cli.summary(__doc__))
    cli.add_checkpoint_options(parser)
    parser.add_argument("--data-dir", type=Path, help="folder of the data, if not the usual one")
    args = parser.parse_args()
    path = cli.chosen_checkpoint(args.checkpoint)
    classifier = load_classifier(path, args.device)
    if classifier.metadata["model"] != "vgg16":
        raise UserError(f"{path}: holds a {classifier.metadata['model']}, not a vgg16")
    images = open_split(classifier.metadata, "val", args.data_dir)

    classifier.model = classifier.model.fully_convolutional()
    trained, probabilities, rows = classifier.metadata["image_size"], 0, []
    for size in (trained, trained + 32, trained + 64):
        classifier.transform.image_size = size
        batches = eval_loader(images, eval_batch_size(size, classifier.device))
        logits, labels = classifier.logits(tqdm(batches, desc=f"{size} px", leave=False))
        probabilities = probabilities + logits.softmax(1)
        rows.append(judged(f"{size} px", logits, labels))
    rows.append(judged("all three", probabilities, labels))
    table = pd.DataFrame(rows, columns=["shown at", "val_accuracy"])
    write_table(table, path.parent / "dense.csv", index=False, float_format="%.6g")


def judged(name: str, scores: torch.Tensor, labels: torch.Tensor) -> tuple[str, float]:
    """Print the accuracy with its name, and return both."""
    accuracy = (scores.argmax(1) == labels).double().mean().item()
    print(f"{name}: {accuracy:.2%}", flush=True)
    return name, accuracy


if __name__ == "__main__":
    cli.run(main)
