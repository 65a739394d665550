"""Checkpoints: tensors and plain Python values in one file, enough to test, predict or go on.

    python -m engine.checkpoint best.pth small.pth     # the weights alone, in half precision

The same command brings a file of an older format up to date.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import torch

from engine.errors import UserError, as_user_error
from engine.files import atomic_write

FORMAT = "vgg16-googlenet/2"
OLD_FORMAT = "vgg16-googlenet/1"
# What testing and predicting need. A last.pth also has Trainer.state_dict().
KEYS = {
    "model": str,
    "model_args": dict,
    "state_dict": dict,
    "dataset": str,
    "classes": list,
    "image_size": int,
    "stored_size": int,
    "resize_mode": str,
    "mean": list,
    "std": list,
    "flip": bool,
    "channels": int,
    "epoch": int,
    "metrics": dict,
    "config": dict,
}


def metadata(model: str, model_args: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """What a checkpoint says of the network and of the options that trained it."""
    return {
        "model": model,
        "model_args": model_args,
        "image_size": args.image_size,
        "channels": model_args["in_channels"],
        "config": {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()},
    }


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        torch.save({"format": FORMAT, **checkpoint}, file)


def load(path: str | os.PathLike) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU. Nothing in the file can run code.

    Raises:
        UserError: it is missing, broken, or not one that these scripts wrote.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except Exception:  # the unpickler meets broken files with many kinds of exception
        raise UserError(
            f"{path}: not a checkpoint: damaged, or written by another program"
        ) from None
    if isinstance(checkpoint, dict) and checkpoint.get("format") == OLD_FORMAT:
        checkpoint = from_old_format(checkpoint)
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != FORMAT:
        raise UserError(f"{path}: not a checkpoint of these scripts (no format {FORMAT!r})")
    missing = [key for key in KEYS if key not in checkpoint]
    if missing:
        raise UserError(f"{path}: this checkpoint lacks {', '.join(missing)}")
    wrong = [key for key, kind in KEYS.items() if not isinstance(checkpoint[key], kind)]
    if not wrong and len(checkpoint["classes"]) != checkpoint["model_args"].get("num_classes"):
        wrong = ["classes"]
    if wrong:
        raise UserError(f"{path}: this checkpoint's {', '.join(wrong)} cannot be right")
    return checkpoint


def from_old_format(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of format 1 under the names of format 2."""
    renamed = {"recipe": "config", "source_size": "stored_size", "fit": "resize_mode"}
    new = {renamed.get(key, key): value for key, value in checkpoint.items()}
    new["format"] = FORMAT
    if new.get("resize_mode") == "squash":
        new["resize_mode"] = "stretch"
    if isinstance(new.get("model_args"), dict):
        new["model_args"] = dict(new["model_args"])
        if new["model_args"].pop("torchvision_compatible", False):
            new["model"] = "torchvision_googlenet"
    return new


def best_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights that validation judged: the averaged ones where the run kept an average."""
    return checkpoint.get("ema") or checkpoint["state_dict"]


def load_weights(model: torch.nn.Module, checkpoint: dict[str, Any], path: object) -> None:
    """Load ``best_weights`` into the model.

    Raises:
        UserError: they do not fit.
    """
    with as_user_error(
        RuntimeError, AttributeError, TypeError, prefix=f"{path}: the weights do not fit: "
    ):
        model.load_state_dict(best_weights(checkpoint))


def export(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Write what testing and predicting need, in half the bytes of best.pth.

    Vectors (biases, batch-norm statistics) are a thousandth of the whole and stay in float32.
    """
    checkpoint = load(source)
    half = {k: v.half() if v.dim() > 1 else v for k, v in best_weights(checkpoint).items()}
    save({key: checkpoint[key] for key in KEYS} | {"state_dict": half}, Path(target))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a checkpoint's weights in half precision.")
    parser.add_argument("source", help="best.pth of a run")
    parser.add_argument("target", help="the file to write")
    args = parser.parse_args()
    try:
        export(args.source, args.target)
    except UserError as error:
        parser.exit(2, f"error: {error}\n")
