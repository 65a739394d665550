"""Judge a checkpoint on the test set, which no other script opens.

    python test.py --checkpoint checkpoints/fashionmnist_googlenet.pth

Prints accuracy, loss, and precision, recall and F1 of each class. Writes them to a folder beside
the checkpoint, with the confusion matrix (PNG and CSV) and the most confident mistakes (PNG).
"""

import argparse
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from data.loaders import eval_loader
from data.photo_folder import dataset_name
from engine import cli, report
from engine.files import atomic_write
from engine.inference import data_folder, load_classifier, open_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cli.add_checkpoint_options(parser)
    add = parser.add_argument
    add("--data-dir", type=Path, help="folder of the data, where it is not in the usual places")
    add("--sample", action="store_true", help="judge on the bundled 1,000 test images")
    add("--output-dir", type=Path, help="folder to write to (default: beside the checkpoint)")
    add("-b", "--batch-size", type=cli.positive(int), default=250, help="images a batch (250)")
    args = parser.parse_args()

    # The network and the test images.
    path = cli.chosen_checkpoint(args.checkpoint)
    classifier = load_classifier(path, args.device)
    images = open_split(classifier.metadata, "test", args.data_dir, args.sample)
    folder = data_folder(classifier.metadata, args.data_dir)
    if folder and dataset_name(folder) != classifier.metadata["dataset"]:
        print(
            f"note: {folder} is not the split that {path} was trained on; some of its test photos "
            "may have been training photos",
            file=sys.stderr,
        )

    # Its answers, counted.
    loader = eval_loader(images, args.batch_size)
    logits, labels = classifier.logits(tqdm(loader, desc="test", unit="batch", leave=False))
    probabilities, labels = logits.softmax(1).numpy(), labels.numpy()
    predictions = probabilities.argmax(1)
    confusion = report.confusion_matrix(labels, predictions, len(images.classes))
    table = report.class_table(confusion, images.classes)
    summary = {
        "checkpoint": path.as_posix(),
        "model": classifier.metadata["model"],
        "epoch": classifier.metadata["epoch"],
        "images": len(images),
        "accuracy": float((predictions == labels).mean()),
        "loss": F.cross_entropy(logits, torch.from_numpy(labels)).item(),
        "classes": table.to_dict("index"),
    }

    # What is left to look at.
    folder = args.output_dir or path.with_name(f"{path.stem}_test")
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "summary.json", "w") as file:
        file.write(json.dumps(summary, indent=2) + "\n")
    table.to_csv(folder / "classes.csv", float_format="%.4f")
    report.write_confusion(confusion, images.classes, folder)
    mistakes = folder / "mistakes.png"
    report.draw_mistakes(images.images, labels, probabilities, images.classes, mistakes)

    print(table.to_string(float_format="{:.4f}".format))
    print(f"\n{len(images):,} test images: accuracy {summary['accuracy']:.2%}", end="")
    print(f", loss {summary['loss']:.4f}")
    print(f"{folder}/: summary.json, classes.csv, confusion_matrix.png and .csv, mistakes.png")


if __name__ == "__main__":
    cli.run(main)
