"""Evaluate a checkpoint on the test set, which training never uses.

    python test.py --checkpoint checkpoints/fashionmnist_googlenet.pth
    python test.py --checkpoint checkpoints/catsdogs_googlenet.pth --data-dir photos/
    python test.py --checkpoint best.pth --split val    # to compare networks as often as you like

Prints accuracy, balanced accuracy (the mean recall of all classes), loss, calibration error, and
the precision, recall and F1 of each class. Writes them to a folder beside the checkpoint, together
with the predictions for all images (CSV), the confusion matrix (PNG and CSV), the most confident
mistakes (PNG) and a reliability diagram (PNG). docs/photos.md explains them.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tqdm import tqdm

from data import photo_folder
from data.class_folders import ClassFolders
from data.dataset import ImageDataset
from data.loaders import eval_loader
from engine import calibration, cli, report
from engine.device import eval_batch_size
from engine.errors import UserError, one_line
from engine.files import write_json, write_table
from engine.inference import data_folder, load_classifier, open_split, trained_on_sample
from engine.provenance import provenance, record_look, sha256
from engine.run_folder import make_output_dir

SPLITS = {"test": "test", "val": "validation"}  # --split -> its name in messages


def main() -> None:
    args = parse_args()

    # The network and the images.
    path = cli.chosen_checkpoint(args.checkpoint)
    classifier = load_classifier(path, args.device)
    metadata, classes = classifier.metadata, classifier.classes
    images, what, results = open_images(metadata, args.data_dir, args.sample, args.split)
    folder = args.output_dir or path.with_name(f"{path.stem}_{results}")
    if results != args.split and not args.sample and not args.output_dir:
        refuse_other_results(folder / "summary.json", what)
    make_output_dir(folder)  # fail now, not after minutes of computation

    # Its predictions, and the metrics.
    pixels = max(metadata["image_size"], metadata["stored_size"])
    batch_size = args.batch_size or eval_batch_size(pixels, classifier.device)
    logits, labels = classifier.logits(batches(images, batch_size))
    if isinstance(images, ClassFolders):
        report_skipped(images.skipped)
    if not len(labels):
        raise UserError(f"{what}: no images to test on")
    probabilities, labels = logits.softmax(1).numpy(), labels.numpy()
    uncalibrated = (logits * classifier.temperature).softmax(1).numpy()  # undoes the division
    predictions = probabilities.argmax(1)
    confusion = report.confusion_matrix(labels, predictions, len(classes))
    table = report.class_table(confusion, classes)
    summary = {
        "checkpoint": path.as_posix(),
        "sha256": sha256(path),
        "model": metadata["model"],
        "epoch": metadata["epoch"],
        "data": what,
        "split": args.split,
        "sample": args.sample,
        "images": len(labels),
        "arithmetic": f"float32 on {classifier.device}",
        "accuracy": float((predictions == labels).mean()),
        "balanced_accuracy": float(table.recall[table.support > 0].mean()),
        "loss": F.cross_entropy(logits, torch.from_numpy(labels)).item(),
        "temperature": classifier.temperature,
        "ece_uncalibrated": calibration.expected_calibration_error(uncalibrated, labels),
        "ece": calibration.expected_calibration_error(probabilities, labels),
        "reliability_uncalibrated": calibration.reliability(uncalibrated, labels).tolist(),
        "reliability": calibration.reliability(probabilities, labels).tolist(),
        "coverage": calibration.coverage(probabilities, labels),
        "classes": table.to_dict("index"),
        "provenance": provenance(classifier.device),
    }
    if results == "test":  # the whole test set
        record_look(summary)

    # The metrics. Print them even if the disk is full.
    try:
        write_json(summary, folder / "summary.json")
        write_table(table, folder / "classes.csv", float_format="%.4f")
        answers = folder / "predictions.csv"
        report.write_predictions(images.files, labels, probabilities, classes, answers)
    finally:
        print(table.to_string(float_format="{:.4f}".format))
        print(f"\n{len(labels):,} {SPLITS[args.split]} images ({what}): ", end="")
        print(f"accuracy {summary['accuracy']:.2%}", end="")
        print(f", balanced {summary['balanced_accuracy']:.2%}", end="")
        print(f", loss {summary['loss']:.4f}, in {summary['arithmetic']}")
        print(f"temperature {classifier.temperature:.3f}: expected calibration error ", end="")
        print(f"{summary['ece']:.2%} ({summary['ece_uncalibrated']:.2%} without it)", flush=True)

    # The pictures.
    report.write_confusion(confusion, classes, folder)
    mistakes = folder / "mistakes.png"
    report.draw_mistakes(images.images, labels, probabilities, classes, mistakes, images.files)
    reliability = folder / "reliability.png"
    calibration.draw_reliability(uncalibrated, probabilities, labels, reliability)
    written = "summary.json, classes.csv, predictions.csv, confusion_matrix.png and .csv"
    print(f"{folder}/: {written}, mistakes.png, reliability.png")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=cli.summary(__doc__))
    cli.add_checkpoint_options(parser)
    add = parser.add_argument
    add(
        "--data-dir",
        type=cli.pathname,
        help="folder of the data, if not the usual one; or any folder or zip of photos with a "
        "folder for each class",
    )
    add("--split", choices=SPLITS, default="test", help="which images of the data (default: test)")
    add("--sample", action="store_true", help="use the bundled sample's images")
    add(
        "--output-dir",
        type=cli.pathname,
        help="folder to write to (default: beside the checkpoint)",
    )
    add(
        "-b",
        "--batch-size",
        type=cli.positive(int),
        help="images per batch (default: fewer for larger images)",
    )
    args = parser.parse_args()
    if args.sample and args.data_dir:
        parser.error("--sample has its own images: leave out --data-dir")
    return args


def open_images(
    metadata: dict[str, Any], data_dir: Path | None, sample: bool, split: str
) -> tuple[ImageDataset | ClassFolders, str, str]:
    """Open the images on which to evaluate a checkpoint.

    Returns the images, a description of them, and the suffix of the results' folder: "test" only
    for the whole test set that belongs to the checkpoint.

    Raises:
        UserError: they cannot be read, or have classes that the checkpoint does not know.
    """
    classes, size, channels = metadata["classes"], metadata["stored_size"], metadata["channels"]
    is_fashionmnist = metadata["dataset"] == "fashionmnist"
    if is_fashionmnist and not (data_dir and holds_photos(data_dir)):
        if split == "val" and sample != trained_on_sample(metadata):
            raise UserError(
                f"--split val: {'leave out' if sample else 'add'} --sample, as in training: some "
                "or most of the other validation images were training images"
            )
        images = open_split(metadata, split, data_dir, sample)
        if list(images.classes) != classes or images.images.shape[1:] != (channels, size, size):
            raise UserError(
                "the checkpoint has a wrong description of FashionMNIST: the file is damaged"
            )
        if sample:
            return images, "the bundled sample", f"{split}_sample"
        return images, "FashionMNIST", split
    if sample:
        raise UserError("--sample: the checkpoint was not trained on FashionMNIST")

    folder = data_folder(metadata, data_dir) or data_dir
    results = f"{split}_{folder.stem if folder.is_file() else folder.resolve().name}"
    if data_dir is None or (folder / photo_folder.MANIFEST).is_file():
        images = photo_folder.load_split(folder, split, size).labelled_as(classes, folder)
        if images.images.shape[1] != channels:
            raise UserError(
                f"{folder}: holds colour photos, but the checkpoint was trained on grey images"
            )
        if photo_folder.dataset_name(folder) == metadata["dataset"]:
            return images, folder.as_posix(), split
        doubt = "is not the split that the checkpoint was trained on; some of its photos"
    elif split != "test":
        raise UserError(f"--split {split}: {folder} is not a split made by split_dataset.py")
    else:
        images = ClassFolders(folder, classes, size, channels, metadata["resize_mode"])
        doubt = "is not a split made by split_dataset.py; some of its photos"
    print(f"note: {folder} {doubt} may have been training photos", file=sys.stderr)
    return images, folder.as_posix(), results


def refuse_other_results(summary: Path, what: str) -> None:
    """Raise a UserError if these are the results for another folder, which has the same name."""
    try:
        there = json.loads(summary.read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError, TypeError):  # there are none, or they are broken
        return
    if Path(there).resolve() != Path(what).resolve():
        raise UserError(
            f"{summary}: holds the results for {there}: name a folder for these with --output-dir"
        )


def holds_photos(path: Path) -> bool:
    """Whether it is a zip, or a folder with files, but not FashionMNIST's, named -ubyte."""
    files = [file.name for file in path.rglob("*") if file.is_file()]
    is_zip = any(file.is_file() for file in (path, *path.parents))  # or a folder in one
    return is_zip or (bool(files) and not any("-ubyte" in name for name in files))


def batches(images: ImageDataset | ClassFolders, batch_size: int) -> Iterable:
    """All images and their labels, batch by batch, with a progress bar."""
    if isinstance(images, ClassFolders):
        return images.batches(batch_size)
    return tqdm(eval_loader(images, batch_size), desc="test", unit="batch", leave=False)


def report_skipped(skipped: Sequence[tuple[str, str]]) -> None:
    """Print which files were skipped, and why."""
    if skipped:
        named = "; ".join(one_line(f"{file}: {reason}") for file, reason in skipped[:5])
        rest = "; …" if len(skipped) > 5 else ""
        print(
            f"note: {len(skipped):,} file{'s' * (len(skipped) > 1)} skipped: {named}{rest}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    cli.run(main)
