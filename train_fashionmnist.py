"""Train VGG16 or GoogLeNet on FashionMNIST.

    python train_fashionmnist.py --model googlenet --sample     # bundled sample, 2 to 3 minutes
    python train_fashionmnist.py --model googlenet              # all of FashionMNIST
    python train_fashionmnist.py --model vgg16
    torchrun --nproc-per-node 2 train_fashionmnist.py --model googlenet

Writes best.pth, last.pth, log.csv and curves.png to checkpoints/fashionmnist_<model>/.
"""

import argparse
import shlex
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data import fashionmnist
from data.augment import Preprocess
from data.images import DataError, eval_loader, train_loader
from engine import distributed, options
from engine.loop import train_model
from models import create_model
from models.common import checkpoint_activations
from models.googlenet import AuxiliaryLoss

COMMON = {
    "optimizer": "adam",  # forgives a learning rate that is not the best (docs/papers.md)
    "scheduler": "onecycle",  # a high rate midway, almost none at the end: best in few epochs
    "weight_decay": 0.02,  # decoupled, so it may be larger than the 5e-4 of VGG's SGD
    "label_smoothing": 0.05,  # some labels are arguable: shirts, coats, pullovers
    "ema_decay": 0.999,  # over the last 1000 steps: GoogLeNet's Polyak average that forgets
    "augment": True,  # against learning the training images by heart
    "batch_norm": True,  # bears higher learning rates than the networks as published
    "batch_size": 128,  # half of VGG's 256: more steps in few epochs
    "accumulate_steps": 1,  # at these sizes every batch fits into memory
}
RECIPES = {
    "googlenet": COMMON
    | {
        "image_size": 64,  # 0.7 points above 48 px, for 1.7 times the MACs (docs/results.md)
        "batch_size": 64,  # twice the steps of 128 in an epoch
        "lr": 4e-3,  # 3e-3 and 5e-3 did equally well in 4 epochs
        "epochs": 22,  # 37 minutes at 540 images/s (docs/results.md)
        "warmup_epochs": 4,  # a fifth of the run; not compared with others
        "dropout": 0.2,  # the paper's 0.4 is for a longer training: here the network underfits
    },
    "vgg16": COMMON
    | {
        "image_size": 32,  # five poolings leave 1 x 1; 64 px, at four times the cost, was not tried
        "lr": 1e-3,  # a quarter of GoogLeNet's: its fully connected layers are not normalised
        "epochs": 18,  # 53 minutes at 310 images/s (docs/results.md)
        "warmup_epochs": 4,  # not compared with others
        "dropout": 0.3,  # as for GoogLeNet: the paper's 0.5 is for 74 epochs
    },
}
# Without batch-norm a high rate can diverge, or leave the loss at ln 10, hence lower ones.
PLAIN = {"googlenet": {"lr": 1e-3}, "vgg16": {"lr": 4e-4}}
SGD = {"lr": 1e-2, "weight_decay": 5e-4}  # VGG, Section 3.1
# 5,500 images make 42 batches of 128, too few steps for an epoch: half the batch makes 85. Eight
# epochs take two to three minutes on two cores.
SAMPLE = {"batch_size": 64, "epochs": 8, "warmup_epochs": 2}
# Clothes have no left and right. Two of 28 pixels is how far they stray from the centre. Erasing
# (a fifth of the images) keeps the network from learning single images by heart.
AUGMENT = {"flip": True, "shift": 2, "erase": 0.2}


def recipe(given: argparse.Namespace) -> dict[str, Any]:
    """The defaults that go with the options given (see ``options.parse_training``)."""
    defaults = RECIPES.get(given.model, COMMON)
    if given.sample:
        defaults = defaults | SAMPLE
    if given.batch_norm is False:
        defaults = defaults | PLAIN.get(given.model, {})
    if given.optimizer == "sgd":
        defaults = defaults | SGD
    return defaults


def main() -> None:
    parser = options.training_parser(__doc__.split("\n")[0], list(RECIPES))
    parser.add_argument("--sample", action="store_true", help="train on the bundled 6,000 images")
    args, resumed = options.parse_training(parser, recipe, "fashionmnist")
    device = options.pick_device(args.device)
    distributed.setup(device)
    if args.amp is None:
        args.amp = options.has_bfloat16(device)

    # The network and its loss.
    torch.manual_seed(args.seed)
    model_args = {
        "in_channels": 1,
        "num_classes": len(fashionmnist.CLASSES),
        "image_size": args.image_size,
        "batch_norm": args.batch_norm,
        "dropout": args.dropout,
    }
    if args.aux_heads is not None:  # else GoogLeNet decides; VGG16 has none
        model_args["aux_heads"] = args.aux_heads
    model = options.build_model(create_model, args.model, model_args, device)
    if args.checkpoint_activations:
        checkpoint_activations(model)
    criterion = AuxiliaryLoss(nn.CrossEntropyLoss(label_smoothing=args.label_smoothing))

    # Files -> uint8 arrays -> batches on the device.
    with distributed.main_process_first():  # it may have to download
        found = fashionmnist.find(args.data_dir, args.sample)
    train_set, val_set = fashionmnist.load_train_val(found, args.sample)
    if args.limit:
        train_set, val_set = train_set.first(args.limit), val_set.first(args.limit)
    how = options.loader_options(args, device)
    train = train_loader(train_set, args.batch_size, args.accumulate_steps, args.seed, **how)
    val = eval_loader(val_set, args.batch_size, **how)
    augment = AUGMENT if args.augment else {}
    preprocess = Preprocess(fashionmnist.MEAN, fashionmnist.STD, args.image_size, **augment)

    # Everything that testing and predicting will need to know, for the checkpoint.
    header = {
        "model": args.model,
        "model_args": model_args,
        "dataset": "fashionmnist",
        "classes": list(fashionmnist.CLASSES),
        "image_size": args.image_size,
        "source_size": fashionmnist.SIZE,
        "fit": "pad",  # as FashionMNIST's makers did
        "mean": list(fashionmnist.MEAN),
        "std": list(fashionmnist.STD),
        "flip": preprocess.flip,
        "channels": 1,
    }
    folder = args.output_dir or Path("checkpoints") / f"fashionmnist_{args.model}"
    if distributed.is_main():
        print(f"{found}: {len(train_set)} images for training, {len(val_set)} for validation")
    train_model(args, model, criterion, preprocess, train, val, header, folder, resumed)

    if distributed.is_main() and not args.dry_run:
        sample = " --sample" if args.sample else ""
        best = shlex.quote(str(folder / "best.pth"))
        print(f"\nNext:\n  python test.py --checkpoint {best}{sample}")
        print(f"  python predict.py PHOTO --checkpoint {best}")
        if args.sample:
            print(f"  python train_fashionmnist.py --model {args.model}    # all of FashionMNIST")


if __name__ == "__main__":
    options.run(main, DataError)
