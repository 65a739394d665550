"""Experiments that show a mistake where the curves do not.

    python -m docs.probes tested FOLDER

docs/debugging.py calls each in a copy of the repository with the mistake and in one without. It
takes the folder of a run and prints its figures as JSON. FOLDER/start holds the same run at a rate
too low to change a weight.
"""

import argparse
import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from PIL import Image, ImageOps
from torch import nn

from data import fashionmnist
from data.dataset import ImageDataset
from data.loaders import eval_loader
from data.transforms import BatchTransform
from engine import checkpoint, cli
from engine.evaluate import predict_logits
from engine.inference import Classifier, load_classifier, open_split
from models import create_model
from models.pretrained import transfer, without_classifier

SHIPPED = Path("checkpoints/fashionmnist_googlenet.pth")
CLOTHES = 100  # photos of each class for the run with frozen layers
Figures = dict[str, float]


def opened(run: Path) -> tuple[Classifier, ImageDataset]:
    """The best network of the run, and its validation images."""
    classifier = load_classifier(run / "best.pth", "cpu")
    return classifier, open_split(classifier.metadata, "val", sample=True)


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return (logits.argmax(1) == labels).float().mean().item()


def inputs(run: Path) -> Figures:
    """Mean and standard deviation of the network's input: 0 and 1 if all is correct."""
    classifier, images = opened(run)
    transform = BatchTransform(classifier.metadata["mean"], classifier.metadata["std"], 28).eval()
    x = transform(torch.from_numpy(images.images))
    return {"mean of the input": x.mean().item(), "deviation of the input": x.std().item()}


def parameters(_run: Path) -> Figures:
    """Those of the paper's network, at 224 px with 1000 classes."""
    with torch.device("meta"):
        model = create_model("googlenet", aux_heads=False)
    return {"parameters": sum(p.numel() for p in model.parameters())}


def twice(run: Path) -> Figures:
    """How many predictions change if the same images are classified a second time."""
    classifier, images = opened(run)
    one, two = (classifier.logits(eval_loader(images, 250))[0] for _ in range(2))
    return {"answers that change": (one.argmax(1) != two.argmax(1)).float().mean().item()}


def batches(run: Path) -> Figures:
    """Validate the network as training leaves it, in batches of 250 and of 4."""
    classifier, images = opened(run)
    figures = {}
    for size in (250, 4):
        model = copy.deepcopy(classifier.model).train()
        found = predict_logits(model, eval_loader(images, size), classifier.transform)
        figures[f"accuracy in batches of {size}"] = accuracy(*found)
    return figures


def prediction(run: Path) -> Figures:
    """The same network on the same images, in training's validation and as programs load it."""
    classifier, images = opened(run)
    logits, labels = classifier.logits(eval_loader(images, 250))
    return {
        "accuracy in training": classifier.metadata["metrics"]["val_accuracy"],
        "accuracy in prediction": accuracy(logits, labels),
    }


def tested(run: Path) -> Figures:
    """Accuracy on the sample's validation and test images."""
    classifier, val = opened(run)
    test = open_split(classifier.metadata, "test", sample=True)
    return {
        f"accuracy, {name}": accuracy(*classifier.logits(eval_loader(images, 250)))
        for name, images in (("validation", val), ("test", test))
    }


def moved(run: Path) -> Figures:
    """The share of weight tensors that training has changed."""
    start, end = (checkpoint.load(path / "last.pth")["state_dict"] for path in (run / "start", run))
    names = [name for name in end if name.endswith((".weight", ".bias"))]
    changed = [not torch.equal(start[name], end[name]) for name in names]
    return {"weights that changed": sum(changed) / len(changed)}


def features(run: Path) -> Figures:
    """How the frozen layers changed, and the accuracy on the task they were trained for."""
    shipped = checkpoint.load(SHIPPED)
    old = create_model(shipped["model"], **shipped["model_args"])
    checkpoint.load_weights(old, shipped, SHIPPED)
    new = copy.deepcopy(old)
    transfer(without_classifier(checkpoint.load(run / "best.pth")["state_dict"]), new)
    images = open_split(shipped, "val", sample=True)
    transform = BatchTransform(shipped["mean"], shipped["std"], shipped["image_size"])
    before, after = (
        accuracy(*predict_logits(model, eval_loader(images, 250), transform))
        for model in (old, new)
    )
    norms = [name for name, m in old.named_modules() if isinstance(m, nn.BatchNorm2d)]
    changed = [
        not torch.equal(old.get_submodule(n).running_mean, new.get_submodule(n).running_mean)
        for n in norms
    ]
    return {
        "frozen statistics that changed": sum(changed) / len(changed),
        "old task before": before,
        "old task after": after,
    }


def again(run: Path) -> Figures:
    """The difference between the losses of two short runs with the same seed."""
    logs = []
    for name in ("one", "two"):
        options = f"--sample --image-size 32 --limit 640 --epochs 2 --output-dir {run / name}"
        command = [sys.executable, "train_fashionmnist.py", *options.split()]
        subprocess.run(command, check=True, capture_output=True)
        logs.append(pd.read_csv(run / name / "log.csv"))
    losses = [log[["train_loss", "val_loss"]] for log in logs]
    return {"difference of two runs": float((losses[0] - losses[1]).abs().to_numpy().max())}


def photos(folder: Path) -> Figures:
    """Write clothes of the sample as photos, dark on white, with a folder for each class."""
    images, _ = fashionmnist.load_train_val(fashionmnist.find(sample=True), sample=True)
    for label, name in enumerate(images.classes):
        path = folder / name.replace("/", " or ")
        path.mkdir(parents=True)
        for number, image in enumerate(images.images[images.labels == label][:CLOTHES]):
            ImageOps.invert(Image.fromarray(image[0])).save(path / f"{number}.png")
    return {"photos": CLOTHES * len(images.classes)}


PROBES: dict[str, Callable[[Path], Figures]] = {
    probe.__name__: probe
    for probe in (
        inputs, parameters, twice, batches, prediction, tested, moved, features, again, photos
    )
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=cli.summary(__doc__))
    parser.add_argument("probe", choices=PROBES)
    parser.add_argument("folder", type=Path, help="of the run; of photos: to write them to")
    args = parser.parse_args()
    print(json.dumps(PROBES[args.probe](args.folder)))


if __name__ == "__main__":
    cli.run(main)
