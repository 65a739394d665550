"""Checkpoints: tensors and plain Python values in one file, enough to test, predict or go on.

python -m engine.checkpoint best.pth small.pth     # weights alone, in half precision
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

FORMAT = "vgg16-googlenet/1"
# What testing and predicting need; a file for going on has more (engine/loop.py).
KEYS = {
    "model": str,
    "model_args": dict,
    "state_dict": dict,
    "dataset": str,
    "classes": list,
    "image_size": int,
    "source_size": int,
    "fit": str,
    "mean": list,
    "std": list,
    "flip": bool,
    "channels": int,
    "epoch": int,
    "metrics": dict,
    "recipe": dict,
}


class CheckpointError(Exception):
    """A file that cannot be used as a checkpoint, named in one line."""


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write the file so that at no instant there is none or half of one under this name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            torch.save({"format": FORMAT, **checkpoint}, file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's own is 0600
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU. Nothing in the file can run code.

    Raises:
        CheckpointError: it is missing, broken, or not one that these scripts wrote.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    except Exception:  # the unpickler meets broken files with many kinds of it
        raise CheckpointError(
            f"{path}: not a checkpoint: damaged, or written by another program"
        ) from None
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of these scripts (no format {FORMAT!r})")
    missing = [key for key in KEYS if key not in checkpoint]
    if missing:
        raise CheckpointError(f"{path}: this checkpoint lacks {', '.join(missing)}")
    wrong = [key for key, kind in KEYS.items() if not isinstance(checkpoint[key], kind)]
    if not wrong and len(checkpoint["classes"]) != checkpoint["model_args"].get("num_classes"):
        wrong = ["classes"]
    if wrong:
        raise CheckpointError(f"{path}: this checkpoint's {', '.join(wrong)} cannot be right")
    return checkpoint


def load_weights(model: torch.nn.Module, checkpoint: dict[str, Any], path: object) -> None:
    """Load the weights that validation judged: the averaged ones where the run kept an average.

    Raises:
        CheckpointError: they do not fit the model.
    """
    weights = checkpoint.get("ema") or checkpoint["state_dict"]
    try:
        model.load_state_dict(weights)
    except (RuntimeError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: the weights do not fit the model ({reason})") from None


def export(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Write what testing and predicting need, in half the bytes of best.pth.

    Vectors (biases, batch-norm statistics) are a thousandth of the whole and stay in float32.
    """
    checkpoint = load(source)
    weights = checkpoint.get("ema") or checkpoint["state_dict"]
    half = {k: v.half() if v.dim() > 1 else v for k, v in weights.items()}
    save({key: checkpoint[key] for key in KEYS} | {"state_dict": half}, Path(target))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a checkpoint's weights in half precision.")
    parser.add_argument("source", help="best.pth of a run")
    parser.add_argument("target", help="the file to write")
    args = parser.parse_args()
    try:
        export(args.source, args.target)
    except CheckpointError as error:
        parser.exit(2, f"error: {error}\n")
