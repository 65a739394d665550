"""Judge a checkpoint on the test set, which no other script opens.

    python test.py --checkpoint checkpoints/fashionmnist_googlenet.pth

Prints accuracy, loss, and precision, recall and F1 of each class, and writes them beside the
checkpoint, with confusion matrix (PNG and CSV) and the most confident mistakes (PNG).
"""

import argparse
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from data import fashionmnist, folders
from data.augment import Preprocess
from data.images import DataError, ImageSet, eval_loader
from engine import checkpoint, options, report
from engine.loop import predict
from models import create_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_checkpoint_options(parser)
    add = parser.add_argument
    add("--data-dir", type=Path, help="folder of the data, where it is not in the usual places")
    add("--sample", action="store_true", help="judge on the bundled 1,000 test images")
    add("--output-dir", type=Path, help="folder to write to (default: beside the checkpoint)")
    add("-b", "--batch-size", type=options.positive(int), default=250, help="images a batch (250)")
    args = parser.parse_args()
    device = options.pick_device(args.device)
    path = options.chosen_checkpoint(args.checkpoint)
    saved = checkpoint.load(path)

    images = open_test_set(saved, args)
    model = options.build_model(create_model, saved["model"], saved["model_args"], device)
    checkpoint.load_weights(model, saved, path)
    preprocess = Preprocess(saved["mean"], saved["std"], saved["image_size"], saved["flip"])
    preprocess.to(device)
    batches = tqdm(eval_loader(images, args.batch_size), desc="test", unit="batch", leave=False)
    logits, labels = predict(model, batches, preprocess)

    probabilities, labels = logits.softmax(1).numpy(), labels.numpy()
    predictions = probabilities.argmax(1)
    confusion = report.confusion_matrix(labels, predictions, len(images.classes))
    table = report.class_table(confusion, images.classes)
    summary = {
        "checkpoint": path.as_posix(),
        "model": saved["model"],
        "epoch": saved["epoch"],
        "images": len(images),
        "accuracy": float((predictions == labels).mean()),
        "loss": F.cross_entropy(logits, torch.from_numpy(labels)).item(),
        "classes": table.to_dict("index"),
    }
    folder = args.output_dir or path.with_name(f"{path.stem}_test")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    table.to_csv(folder / "classes.csv", float_format="%.4f")
    report.write_confusion(confusion, images.classes, folder)
    report.draw_mistakes(
        images.images, labels, probabilities, images.classes, folder / "mistakes.png"
    )

    print(table.to_string(float_format="{:.4f}".format))
    print(f"\n{len(images):,} test images: accuracy {summary['accuracy']:.2%}", end="")
    print(f", loss {summary['loss']:.4f}")
    print(f"{folder}/: summary.json, classes.csv, confusion_matrix.png and .csv, mistakes.png")


def open_test_set(saved: dict, args: argparse.Namespace) -> ImageSet:
    """The test set of the data that the checkpoint was trained on."""
    if saved["dataset"] == "fashionmnist":
        return fashionmnist.load_test(fashionmnist.find(args.data_dir, args.sample), args.sample)
    if args.sample:
        raise DataError(f"--sample: {args.checkpoint} was not trained on FashionMNIST")
    folder = args.data_dir or Path(saved["recipe"].get("data_dir", "data/catsdogs"))
    images = folders.load_split(folder, "test", saved["source_size"])
    if list(images.classes) != saved["classes"]:
        raise DataError(
            f"{folder}: has the classes {', '.join(images.classes)}, and {args.checkpoint} knows "
            f"{', '.join(saved['classes'])}"
        )
    if folders.dataset_name(folder) != saved["dataset"]:
        print(
            f"note: {folder} is not the split that {args.checkpoint} was trained on; some of its "
            "test photos may have been training photos",
            file=sys.stderr,
        )
    return images


if __name__ == "__main__":
    options.run(main, DataError)
