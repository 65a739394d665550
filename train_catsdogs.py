"""Train VGG16 or GoogLeNet on photos that split_dataset.py has split: cats and dogs, or any.

    python train_catsdogs.py --model googlenet                      # data/catsdogs, from scratch
    python train_catsdogs.py --init checkpoints/fashionmnist_googlenet.pth
    python train_catsdogs.py --init imagenet --freeze-features      # the classifier alone
    python train_catsdogs.py --data-dir data/birds

Writes best.pth, last.pth, log.csv and curves.png to checkpoints/<folder of the data>_<model>/.
"""

import argparse
import shlex
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data import folders
from data.augment import Preprocess
from data.images import DataError, eval_loader, train_loader
from engine import checkpoint, distributed, options
from engine.loop import train_model
from models import create_model
from models.common import checkpoint_activations, freeze_features, transfer
from models.googlenet import AuxiliaryLoss
from models.torchvision_weights import NORMALISATION, load_imagenet

COMMON = {
    "optimizer": "adam",
    "scheduler": "onecycle",  # a high rate midway, almost none at the end: best in few epochs
    "weight_decay": 0.05,  # decoupled; more than for FashionMNIST, since the photos are few
    "label_smoothing": 0.05,  # a few of the 18,000 photos have the wrong label
    "ema_decay": 0.999,  # over the last 1000 steps: GoogLeNet's Polyak average that forgets
    "augment": True,  # 14,400 photos are few: without it the network learns them by heart
    "batch_norm": True,  # bears higher learning rates than the networks as published
    "batch_size": 64,
    "accumulate_steps": 1,
}
RECIPES = {
    "googlenet": COMMON
    | {
        "image_size": 128,  # and 96 px in training: 224 px would cost five times as much
        "lr": 3e-3,  # somewhat less than for FashionMNIST, with images of more variety
        "epochs": 45,  # 75 minutes on two cores; the last fifteen brought 0.6 points
        "warmup_epochs": 8,  # a sixth of the run; not compared with others
        "dropout": 0.2,  # training ends at 97 %, no more than a point above validation
    },
    "vgg16": COMMON
    | {
        "image_size": 64,  # 96 px costs 2.25 times as much
        "lr": 1e-3,  # as for FashionMNIST: its fully connected layers are not normalised
        "epochs": 15,  # not run to the end: docs/results.md has 8 epochs at 32 px
        "warmup_epochs": 3,
        "dropout": 0.5,  # as in the paper: 14,400 photos against 40 million weights
    },
}
# Without batch-norm a high rate can diverge, or leave the loss at ln 2, hence the lower ones.
PLAIN = {"googlenet": {"lr": 1e-3}, "vgg16": {"lr": 4e-4}}
# From ImageNet little is left to learn, and a high rate would undo what is known.
IMAGENET = {"lr": 3e-4, "epochs": 5, "warmup_epochs": 1}
FROZEN = {"lr": 1e-3, "epochs": 3, "warmup_epochs": 1}
SGD = {"lr": 1e-2, "weight_decay": 5e-4}  # VGG, Section 3.1
# A photo stays what it is when mirrored, when a quarter of it is all that is seen, and in another
# light.
AUGMENT = {"flip": True, "crop": 0.25, "jitter": 0.2, "erase": 0.1}


def recipe(given: argparse.Namespace) -> dict[str, Any]:
    """The defaults that go with the options given (see ``options.parse_training``)."""
    defaults = RECIPES.get(given.model, COMMON)
    if given.batch_norm is False:
        defaults = defaults | PLAIN.get(given.model, {})
    if given.init == "imagenet":
        defaults = defaults | IMAGENET
    if given.freeze_features:
        defaults = defaults | FROZEN
    if given.optimizer == "sgd":
        defaults = defaults | SGD
    return defaults


def main() -> None:
    parser = options.training_parser(__doc__.split("\n")[0], list(RECIPES))
    parser.set_defaults(data_dir=Path("data/catsdogs"))
    add = parser.add_argument
    add("--init", default="scratch", metavar="WHAT", help="scratch, imagenet, or a checkpoint")
    add("--freeze-features", action="store_true", help="train the classifier alone")
    add(
        "--train-size",
        type=options.positive(int),
        help="pixels a side in training (default: for GoogLeNet 3/4 of --image-size)",
    )
    args, resumed = options.parse_training(parser, recipe, "photos/")
    device = options.pick_device(args.device)
    distributed.setup(device)
    if args.amp is None:
        args.amp = options.has_bfloat16(device)
    if args.train_size is None:
        args.train_size = default_train_size(args)

    # What is needed to know of the photos.
    data_dir = Path(args.data_dir)
    classes = folders.class_names(folders.read_manifest(data_dir))
    dataset = folders.dataset_name(data_dir)
    if resumed and resumed["dataset"] != dataset:
        raise options.UsageError(
            f"--resume {args.resume}: was trained on another split than that in {data_dir}"
        )
    imagenet = args.init == "imagenet"
    mean, std = NORMALISATION[args.model] if imagenet else folders.read_mean_std(data_dir)

    # The network and its loss.
    torch.manual_seed(args.seed)
    model, model_args = build(args, classes, resumed, device)
    if args.freeze_features:
        freeze_features(model)
    if args.checkpoint_activations:
        checkpoint_activations(model)
    criterion = AuxiliaryLoss(nn.CrossEntropyLoss(label_smoothing=args.label_smoothing))

    # Files -> uint8 arrays, larger than the network sees, so that crops need no enlarging.
    source_size = max(args.image_size, args.train_size * 4 // 3)
    with distributed.main_process_first():  # it may have to decode them
        train_set = folders.load_split(data_dir, "train", source_size)
        val_set = folders.load_split(data_dir, "val", source_size)
    if args.limit:
        train_set, val_set = train_set.first(args.limit), val_set.first(args.limit)

    # Arrays -> batches on the device.
    how = options.loader_options(args, device)
    train = train_loader(train_set, args.batch_size, args.accumulate_steps, args.seed, **how)
    val = eval_loader(val_set, args.batch_size, **how)
    augment = AUGMENT if args.augment else {}
    preprocess = Preprocess(mean, std, args.image_size, train_size=args.train_size, **augment)

    # Everything that testing and predicting will need to know, for the checkpoint.
    header = {
        "model": args.model,
        "model_args": model_args,
        "dataset": dataset,
        "classes": classes,
        "image_size": args.image_size,
        "source_size": source_size,
        "fit": folders.FIT,
        "mean": list(mean),
        "std": list(std),
        "flip": preprocess.flip,
        "channels": 3,
    }
    folder = args.output_dir or Path("checkpoints") / f"{data_dir.resolve().name}_{args.model}"
    if distributed.is_main():
        print(
            f"{data_dir}: {len(train_set)} photos of {', '.join(classes)} for training, at "
            f"{args.train_size} px, {len(val_set)} for validation"
        )
    train_model(args, model, criterion, preprocess, train, val, header, folder, resumed)

    if distributed.is_main() and not args.dry_run:
        best = shlex.quote(str(folder / "best.pth"))
        print(f"\nNext:\n  python test.py --checkpoint {best}")
        print(f"  python predict.py PHOTO --checkpoint {best}")


def default_train_size(args: argparse.Namespace) -> int:
    """Pixels a side in training.

    A crop shows things larger than the whole photo does; trained on crops, a network judges best
    what is shown larger, too (Touvron et al. 2019, "Fixing the train-test resolution discrepancy").
    So GoogLeNet, which takes any size, trains on smaller images than it will judge, for 56 % of
    the cost. VGG16's fully connected layers take one size alone.
    """
    is_smaller = args.model == "googlenet" and args.augment
    return max(32, args.image_size * 3 // 4) if is_smaller else args.image_size


def build(
    args: argparse.Namespace,
    classes: list[str],
    resumed: dict[str, Any] | None,
    device: torch.device,
) -> tuple[nn.Module, dict[str, Any]]:
    """The network, with the weights that --init asks for, and the arguments it was built with.

    Raises:
        UsageError: it cannot be built so, or the weights cannot be had.
        CheckpointError: the file that --init names is none.
    """
    if resumed:  # its weights come with the rest of the run's state
        model_args = resumed["model_args"]
        return options.build_model(create_model, args.model, model_args, device), model_args
    start = None if args.init in ("scratch", "imagenet") else checkpoint.load(args.init)
    model_args = {
        "in_channels": 3,
        "num_classes": len(classes),
        "image_size": args.image_size,
        "batch_norm": args.batch_norm,
        "dropout": args.dropout,
    }
    if args.train_size != args.image_size:
        model_args["train_size"] = args.train_size
    if args.aux_heads is not None:  # else GoogLeNet decides; VGG16 has none
        model_args["aux_heads"] = args.aux_heads
    if args.model == "googlenet":
        model_args["torchvision_compatible"] = args.init == "imagenet" or bool(
            start and start["model_args"].get("torchvision_compatible")
        )
        if args.freeze_features:
            model_args["aux_heads"] = False  # there is nothing below them to train
    model = options.build_model(create_model, args.model, model_args, device)
    if start:
        take_weights(model, start, args, classes)
    elif args.init == "imagenet":
        take_imagenet(model, args.model)
    return model, model_args


def take_weights(
    model: nn.Module, start: dict[str, Any], args: argparse.Namespace, classes: list[str]
) -> None:
    """Give the new model the weights of a checkpoint, but for a classifier of other classes.

    Raises:
        UsageError: they are of another network.
    """
    if start["model"] != args.model:
        raise options.UsageError(f"--init {args.init}: holds a {start['model']}, not {args.model}")
    if start["model_args"].get("batch_norm", False) != args.batch_norm:
        option = "--no-batch-norm" if args.batch_norm else "--batch-norm"
        raise options.UsageError(f"--init {args.init}: takes {option}, as it was trained")
    weights = start.get("ema") or start["state_dict"]
    if start["classes"] != classes:
        last = ("linear", "fc3")  # GoogLeNet's and its heads', and VGG16's
        weights = {k: v for k, v in weights.items() if k.split(".")[-2] not in last}
    say_taken(args.init, model, transfer(weights, model))


def take_imagenet(model: nn.Module, name: str) -> None:
    """Give the new model torchvision's ImageNet weights.

    Raises:
        UsageError: they cannot be had.
    """
    try:
        say_taken("imagenet", model, load_imagenet(name, model))
    except (OSError, RuntimeError, HTTPException) as error:
        raise options.UsageError(f"--init imagenet: cannot be had: {error}") from None


def say_taken(init: str, model: nn.Module, left: list[str]) -> None:
    """Print what of --init was taken and what was not."""
    if distributed.is_main():
        total = len(model.state_dict())
        new = f"new: {', '.join(left)}" if left else "none is new"
        print(f"{init}: {total - len(left)} of {total} tensors taken; {new}")


if __name__ == "__main__":
    options.run(main, DataError)
