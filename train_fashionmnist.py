"""Train VGG16 or GoogLeNet on FashionMNIST.

    python train_fashionmnist.py --model googlenet --sample     # bundled sample: minutes
    python train_fashionmnist.py --model googlenet              # 94.82 %, 37 minutes
    python train_fashionmnist.py --model googlenet --epochs 36  # 95.28 %, 102 minutes on one core
    python train_fashionmnist.py --model vgg16                  # 94.72 %, 53 minutes
    python train_fashionmnist.py --model vgg16 --epochs 36 --dropout 0.5     # 95.28 %, 125 minutes
    torchrun --nproc-per-node 2 train_fashionmnist.py --model googlenet

Accuracies are on the validation set, times for two CPU cores with fast bfloat16 unless stated
(docs/results.md). docs/training.md explains the options. Writes best.pth, last.pth, log.csv,
run.json and curves.png to checkpoints/fashionmnist_<model>/.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data import fashionmnist
from data.loaders import eval_loader, train_loader
from data.transforms import Augmentation, BatchTransform
from engine import checkpoint, cli, distributed
from engine.device import eval_batch_size, kind, place
from engine.errors import UserError, as_user_error
from engine.optim import build_optimizer, build_scheduler
from engine.provenance import provenance
from engine.run_folder import RunFolder
from engine.seeding import derive_seed, order_generator, seed_generator
from engine.trainer import Trainer, TrainSettings
from models import create_model
from models.googlenet import AuxiliaryLoss
from models.recompute import checkpoint_activations

COMMON = {
    "optimizer": "adam",  # tolerates a learning rate that is not optimal (docs/papers.md)
    "scheduler": "onecycle",  # up in the warm-up, then down to almost 0; a cosine did as well
    "weight_decay": 0.02,  # decoupled, so it can be larger than the 5e-4 of VGG's SGD
    "label_smoothing": 0.05,  # some labels are arguable: shirts, coats, pullovers
    "ema_decay": 0.999,  # about the last 1000 steps; GoogLeNet's Polyak average never forgets
    "augment": True,  # so that the network does not memorise the training images
    "batch_norm": True,  # allows higher learning rates than the networks as published
    "batch_size": 128,  # half of VGG's 256: more steps per epoch
    "accumulate_steps": 1,  # at these sizes every batch fits into memory
}
RECIPES = {
    "googlenet": COMMON
    | {
        "image_size": 64,  # for a run this long; in short runs 32 px did as well
        "batch_size": 64,  # twice the steps of 128 in an epoch
        "lr": 4e-3,  # 2e-3 and 8e-3 did about as well in short runs (docs/results.md)
        "epochs": 22,  # 37 minutes at 540 images/s (docs/results.md)
        "warmup_epochs": 4,  # a fifth of the run; not compared with other values
        "dropout": 0.2,  # 0 and the paper's 0.4 did equally well in short runs
    },
    "vgg16": COMMON
    | {
        "image_size": 32,  # five max-pools leave 1x1; 64 px, at four times the cost, was not tried
        "lr": 1e-3,  # a quarter of GoogLeNet's: no batch-norm in the fully connected layers
        "epochs": 18,  # 53 minutes at 310 images/s (docs/results.md)
        "warmup_epochs": 4,  # not compared with other values
        "dropout": 0.3,  # for a run this short; with the paper's 0.5, 36 epochs did better
    },
}
# Without batch-norm, too high a rate keeps the loss at chance, ln 10 (docs/debugging.md).
PLAIN = {"googlenet": {"lr": 1e-3}, "vgg16": {"lr": 4e-4}}
SGD = {"lr": 1e-2, "weight_decay": 5e-4}  # VGG, Section 3.1
# 5,500 images make only 42 batches of 128; half the batch size makes 85. Eight epochs take minutes.
SAMPLE = {"batch_size": 64, "epochs": 8, "warmup_epochs": 2}
# Shift by up to two of 28 pixels: clothes need not be centred. Erase a part of every fifth image,
# so that a long run memorises less; not tested alone in one. (A mirror image has the same class,
# too: --flip.)
AUGMENT = {"translate": 2, "erase": 0.2}


def recipe(given: argparse.Namespace) -> dict[str, Any]:
    """The defaults that depend on the given options (see ``cli.parse_training``)."""
    defaults = RECIPES.get(given.model, COMMON)
    if given.sample:
        defaults = defaults | SAMPLE
    if given.batch_norm is False:
        defaults = defaults | PLAIN.get(given.model, {})
    if given.optimizer == "sgd":
        defaults = defaults | SGD
    return defaults


def main() -> None:
    parser = cli.training_parser(cli.summary(__doc__), list(RECIPES))
    add = parser.add_argument_group("FashionMNIST").add_argument
    add("--sample", action="store_true", help="use the bundled 6,000 images")
    args, resumed = cli.parse_training(parser, recipe, "fashionmnist")
    if args.sample and args.data_dir:
        raise UserError("--data-dir: does not go with --sample: leave out one of the two")
    device, amp = cli.start_training(args)

    # Data: files -> uint8 arrays -> batches on the device.
    with distributed.one_process_first():  # the first process may have to download them
        source = fashionmnist.find(args.data_dir, args.sample)
    train_set, val_set = fashionmnist.load_train_val(source, args.sample)
    if args.limit:
        train_set, val_set = train_set.first(args.limit), val_set.first(args.limit)
    train_set, val_set = place((train_set, val_set), device, args.data_on_device)
    options = cli.loader_options(args, device)
    generators = partial(order_generator, args.seed)
    train = train_loader(train_set, args.batch_size, args.accumulate_steps, generators, **options)
    val = eval_loader(val_set, eval_batch_size(args.image_size, device), **options)
    augmentation = Augmentation(flip=args.flip, **cli.augmentation_options(args, AUGMENT))
    mean, std = fashionmnist.MEAN, fashionmnist.STD
    transform = BatchTransform(mean, std, args.image_size, augmentation)

    # Model and criterion.
    seed_generator(torch.default_generator, derive_seed(args.seed, "weights"))
    model_args = {
        "in_channels": 1,
        "num_classes": len(fashionmnist.CLASSES),
        "image_size": args.image_size,
        "batch_norm": args.batch_norm,
        "dropout": args.dropout,
    }
    if args.aux_heads is not None:  # else GoogLeNet decides; VGG16 has none
        model_args["aux_heads"] = args.aux_heads
    if resumed and resumed["model_args"] != model_args:
        raise UserError(f"--resume {args.resume}: its network does not match its options")
    with as_user_error(ValueError):
        name = resumed["model"] if resumed else args.model
        model = create_model(name, **model_args)
    model = model.to(device, memory_format=kind(device).memory_format)
    if args.checkpoint_activations:
        checkpoint_activations(model)
    criterion = AuxiliaryLoss(nn.CrossEntropyLoss(label_smoothing=args.label_smoothing))

    # Optimizer and schedule.
    optimizer = build_optimizer(model, args.optimizer, args.lr, args.weight_decay)
    steps = len(train) // args.accumulate_steps  # of the optimizer, in an epoch
    total, warmup = args.epochs * steps, round(args.warmup_epochs * steps)
    scheduler = build_scheduler(optimizer, args.scheduler, args.lr, total, warmup)

    # Training, and the metadata that testing and predicting need.
    metadata = checkpoint.metadata(name, model_args, args) | {
        "dataset": "fashionmnist",
        "classes": list(fashionmnist.CLASSES),
        "stored_size": fashionmnist.SIZE,
        "resize_mode": "pad",  # like FashionMNIST's authors
        "mean": list(mean),
        "std": list(std),
        "flip": args.flip,
        "provenance": [*(resumed or {}).get("provenance", []), provenance(device)],
    }
    folder = args.output_dir or Path("checkpoints") / f"fashionmnist_{args.model}"
    run = RunFolder(folder, metadata, args.dry_run)
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
        print(f"{source}: {len(train_set)} images for training, {len(val_set)} for validation")
    trainer.fit(train, val, run)

    run.print_results(trainer, " --sample" if args.sample else "")
    if args.sample and distributed.is_main() and not args.dry_run:
        print(f"  python train_fashionmnist.py --model {args.model}    # all of FashionMNIST")


if __name__ == "__main__":
    cli.run(main)
