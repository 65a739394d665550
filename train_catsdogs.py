"""Train VGG16 or GoogLeNet on cats and dogs, or on any photos that split_dataset.py has split.

    python train_catsdogs.py --model googlenet                  # from scratch: 96.50 %, 74 minutes
    python train_catsdogs.py --model vgg16                      # 92.56 %, 77 minutes on one core
    python train_catsdogs.py --init checkpoints/fashionmnist_googlenet.pth
    python train_catsdogs.py --init imagenet --freeze-features  # only the last layer
    python train_catsdogs.py --data-dir data/birds

Accuracies are on the 1,800 validation photos, times for two CPU cores with bfloat16 unless stated
(docs/results.md). docs/photos.md has the steps before and after. Writes best.pth, last.pth,
log.csv, run.json and curves.png to checkpoints/<name of the data's folder>_<model>/.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data import photo_folder
from data.loaders import eval_loader, train_loader
from data.transforms import Augmentation, BatchTransform
from engine import checkpoint, cli, distributed
from engine.device import eval_batch_size, kind, place
from engine.errors import UserError, as_user_error
from engine.imagenet import download_imagenet
from engine.loss import ClassWeightedLoss
from engine.optim import build_optimizer, build_scheduler
from engine.provenance import provenance
from engine.run_folder import RunFolder
from engine.seeding import derive_seed, order_generator, seed_generator
from engine.trainer import Trainer, TrainSettings
from models import create_model
from models.googlenet import AuxiliaryLoss
from models.pretrained import (
    NORMALISATION,
    freeze_features,
    from_torchvision,
    transfer,
    without_classifier,
)
from models.recompute import checkpoint_activations

COMMON = {
    "optimizer": "adam",  # as for FashionMNIST
    "scheduler": "onecycle",  # up in the warm-up, then down to almost 0; a cosine did as well
    "weight_decay": 0.05,  # decoupled; more than for FashionMNIST, since there are fewer images
    "label_smoothing": 0.05,  # a few of the 18,000 photos have the wrong label
    "ema_decay": 0.999,  # about the last 1000 steps; GoogLeNet's Polyak average never forgets
    "augment": True,  # 14,400 photos are few: without it the network memorises them
    "batch_norm": True,  # allows higher learning rates than the networks as published
    "batch_size": 64,  # as for GoogLeNet on FashionMNIST
    "accumulate_steps": 1,  # at these sizes every batch fits into memory
}
RECIPES = {
    "googlenet": COMMON
    | {
        "image_size": 128,  # trained at 96 px; for 224 px, at 168, which costs three times as much
        "lr": 3e-3,  # a little less than for FashionMNIST: the images vary more
        "epochs": 45,  # 74 minutes on two cores; the last fifteen added 0.6 percentage points
        "warmup_epochs": 8,  # a sixth of the run; not compared with other values
        "dropout": 0.2,  # enough: training accuracy ends at 97 %, half a point above validation
    },
    "vgg16": COMMON
    | {
        "image_size": 64,  # 96 px costs 2.25 times as much
        "lr": 1e-3,  # as for FashionMNIST: no batch-norm in the fully connected layers
        "epochs": 15,  # 77 minutes on one core; still learning at the end (docs/results.md)
        "warmup_epochs": 3,  # a fifth of the run; not compared with other values
        "dropout": 0.5,  # as in the paper: 14,400 photos against 40 million weights
    },
}
# Without batch-norm, too high a rate keeps the loss at chance, ln 2 (docs/debugging.md).
PLAIN = {"googlenet": {"lr": 1e-3}, "vgg16": {"lr": 4e-4}}
# ImageNet's features should need only small changes; a high learning rate could destroy them.
IMAGENET = {"lr": 3e-4, "epochs": 5, "warmup_epochs": 1}
FROZEN = {"lr": 1e-3, "epochs": 3, "warmup_epochs": 1}
SGD = {"lr": 1e-2, "weight_decay": 5e-4}  # VGG, Section 3.1
# A cat is still a cat in a quarter of the photo, or in another light. (Also when mirrored, unlike
# an arrow to the left: --flip.)
AUGMENT = {"crop": 0.25, "jitter": 0.2, "erase": 0.1}


def recipe(given: argparse.Namespace) -> dict[str, Any]:
    """The defaults that depend on the given options (see ``cli.parse_training``)."""
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
    parser = cli.training_parser(cli.summary(__doc__), list(RECIPES))
    parser.set_defaults(data_dir=Path("data/catsdogs"))
    add = parser.add_argument_group("photos").add_argument
    add("--init", default="scratch", metavar="WHAT", help="scratch, imagenet, or a checkpoint")
    add("--freeze-features", action="store_true", help="train only the last layers")
    add(
        "--train-size",
        type=cli.pixels,
        help="side of the training images, in pixels (default for GoogLeNet: 3/4 of --image-size)",
    )
    add("--class-weights", action="store_true", help="give all classes equal weight in the loss")
    args, resumed = cli.parse_training(parser, recipe, "photos/")
    if args.freeze_features and args.init == "scratch":
        raise UserError("--freeze-features needs trained weights: add --init")
    if args.freeze_features and args.aux_heads:
        raise UserError("--aux-heads: --freeze-features leaves nothing to train below the heads")
    device, amp = cli.start_training(args)
    if args.train_size is None:
        args.train_size = default_train_size(args)

    # Metadata of the photos, read before they are decoded.
    data_dir = Path(args.data_dir)
    classes = photo_folder.class_names(photo_folder.read_manifest(data_dir))
    dataset = photo_folder.dataset_name(data_dir)
    if resumed and resumed["dataset"] != dataset:
        raise UserError(f"--resume {args.resume}: was trained on another split than {data_dir}")
    if resumed:  # the values at the start of the run, even if mean_std.json has changed
        mean, std = resumed["mean"], resumed["std"]
    else:
        imagenet = args.init == "imagenet"
        mean, std = NORMALISATION[args.model] if imagenet else photo_folder.read_mean_std(data_dir)

    # Model: built before the photos are decoded, so that a wrong option fails early.
    seed_generator(torch.default_generator, derive_seed(args.seed, "weights"))
    name, model_args, model = build_model(args, classes, resumed)
    model = model.to(device, memory_format=kind(device).memory_format)
    if args.freeze_features:
        freeze_features(model)
    if args.checkpoint_activations:
        checkpoint_activations(model)

    # The run's folder, and the metadata that testing and predicting need.
    stored_size = max(args.image_size, args.train_size * 4 // 3)  # an average crop is not enlarged
    metadata = checkpoint.metadata(name, model_args, args) | {
        "dataset": dataset,
        "classes": classes,
        "stored_size": stored_size,
        "resize_mode": photo_folder.RESIZE_MODE,
        "mean": list(mean),
        "std": list(std),
        "flip": args.flip,
        "provenance": [*(resumed or {}).get("provenance", []), provenance(device)],
    }
    folder = args.output_dir or Path("checkpoints") / f"{data_dir.resolve().name}_{args.model}"
    run = RunFolder(folder, metadata, args.dry_run)
    run.take()  # if it is not writable, fail before minutes of decoding

    # Data: files -> uint8 arrays.
    with distributed.one_process_first():  # the first process may have to decode the photos
        train_set, val_set = (
            photo_folder.load_split(data_dir, split, stored_size, args.limit, not args.dry_run)
            for split in ("train", "val")
        )

    # Arrays -> batches on the device.
    train_set, val_set = place((train_set, val_set), device, args.data_on_device)
    options = cli.loader_options(args, device)
    generators = partial(order_generator, args.seed)
    train = train_loader(train_set, args.batch_size, args.accumulate_steps, generators, **options)
    val = eval_loader(val_set, eval_batch_size(args.image_size, device), **options)
    parts = cli.augmentation_options(args, AUGMENT)
    augmentation = Augmentation(flip=args.flip, train_size=args.train_size, **parts)
    transform = BatchTransform(mean, std, args.image_size, augmentation)

    # Criterion, optimizer and schedule.
    loss = nn.CrossEntropyLoss(label_smoothing=args.label_smoothing)
    if args.class_weights:
        loss = ClassWeightedLoss(train_set.class_weights().to(device), args.label_smoothing)
    criterion = AuxiliaryLoss(loss)
    optimizer = build_optimizer(model, args.optimizer, args.lr, args.weight_decay)
    steps = len(train) // args.accumulate_steps  # of the optimizer, in an epoch
    total, warmup = args.epochs * steps, round(args.warmup_epochs * steps)
    scheduler = build_scheduler(optimizer, args.scheduler, args.lr, total, warmup)

    # Training.
    settings = TrainSettings(
        epochs=args.epochs,
        accumulate_steps=args.accumulate_steps,
        clip_grad_norm=args.clip_grad_norm,
        ema_decay=args.ema_decay,
        amp=amp,
        compile=args.compile,
        seed=args.seed,
    )
    trainer = Trainer(model, criterion, transform, optimizer, scheduler, settings)
    if resumed:
        trainer.load_state_dict(resumed, args.resume)
        resumed = None  # free its memory
    if distributed.is_main():
        print(
            f"{data_dir}: {len(train_set)} photos of {', '.join(classes)} for training, at "
            f"{args.train_size} px, {len(val_set)} for validation"
        )
        if args.flip:
            print("mirrored at random: use --no-flip if left and right distinguish classes")
    trainer.fit(train, val, run)
    run.print_results(trainer)


def default_train_size(args: argparse.Namespace) -> int:
    """The height and width of the training images in pixels.

    In random crops, objects appear larger than in whole photos, and the network is most accurate
    on objects that appear as large as in training (Touvron et al. 2019, "Fixing the train-test
    resolution discrepancy"). So GoogLeNet, which accepts any size, trains on smaller images than it
    is evaluated on, at 56 % of the cost. VGG16's fully connected layers accept only one size.
    """
    is_smaller = args.model == "googlenet" and args.augment
    return max(32, args.image_size * 3 // 4) if is_smaller else args.image_size


def build_model(
    args: argparse.Namespace, classes: list[str], resumed: dict[str, Any] | None
) -> tuple[str, dict[str, Any], nn.Module]:
    """Build the network with the weights of --init; return its name, its arguments, and itself.

    Raises:
        UserError: it cannot be built with these options, or the weights are not available.
    """
    start = None  # the checkpoint to take weights from
    if resumed:  # the trainer loads the weights later, with the rest of the run's state
        name, model_args = resumed["model"], resumed["model_args"]
        checkpoint.build(create_model, resumed, args.resume)  # checks that they fit, on meta
    else:
        if args.init not in ("scratch", "imagenet"):
            start = checkpoint.load(args.init)
            check_start(start, args)
        name, model_args = architecture(args, len(classes), start)
    with as_user_error(ValueError):
        model = create_model(name, **model_args)
    weights = None
    if start:
        weights = checkpoint.best_weights(start)
        if start["classes"] != classes:
            weights = without_classifier(weights)
        elif start["dataset"] != photo_folder.dataset_name(args.data_dir) and distributed.is_main():
            print(f"note: --init {args.init}: was trained on another split of these classes; some")
            print("of its training photos may be validation or test photos in this one")
    elif args.init == "imagenet" and not resumed:
        with distributed.one_process_first():
            weights = from_torchvision(download_imagenet(args.model, args.batch_norm), model)
    if weights:
        left, total = transfer(weights, model), len(model.state_dict())
        new = f"newly initialised: {', '.join(left)}" if left else "none is newly initialised"
        if distributed.is_main():
            print(f"{args.init}: copied {total - len(left)} of {total} tensors; {new}")
    return name, model_args, model


def check_start(start: dict[str, Any], args: argparse.Namespace) -> None:
    """Raise a UserError unless the checkpoint of --init has the same network."""
    if start["model"].rpartition("_")[2] != args.model:  # torchvision_ or padded_googlenet count
        raise UserError(f"--init {args.init}: holds a {start['model']}, not {args.model}")
    if start["model_args"].get("batch_norm", False) != args.batch_norm:
        option = "--no-batch-norm" if args.batch_norm else "--batch-norm"
        raise UserError(f"--init {args.init}: was trained with {option}: add it here, too")


def architecture(
    args: argparse.Namespace, num_classes: int, start: dict[str, Any] | None
) -> tuple[str, dict[str, Any]]:
    """The network's name and arguments, for ``models.create_model``.

    Args:
        start: the checkpoint to take weights from.
    """
    model_args = {
        "in_channels": 3,
        "num_classes": num_classes,
        "image_size": args.image_size,
        "batch_norm": args.batch_norm,
        "dropout": args.dropout,
    }
    if args.train_size != args.image_size:
        model_args["train_size"] = args.train_size
    if args.aux_heads is not None:  # else GoogLeNet decides; VGG16 has none
        model_args["aux_heads"] = args.aux_heads
    if args.model == "vgg16":
        return args.model, model_args
    if args.freeze_features:
        model_args["aux_heads"] = False  # there is nothing below them to train
    # ImageNet weights fit only torchvision's variant.
    is_torchvisions = args.init == "imagenet" or (
        start is not None and start["model"] == "torchvision_googlenet"
    )
    return "torchvision_googlenet" if is_torchvisions else "googlenet", model_args


if __name__ == "__main__":
    cli.run(main)
