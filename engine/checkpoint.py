"""Checkpoints: tensors and plain Python values in one file, to test, predict or resume from.

    python -m engine.checkpoint best.pth small.pth     # only the weights, in half precision

The same command converts a file of an older format to the current one.
"""

import argparse
import os
import warnings
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path, PurePath
from typing import IO, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from engine.checkpoint_fields import KEYS, OPTIONAL, check
from engine.device import kind, synchronize
from engine.errors import UserError, as_user_error
from engine.files import atomic_write

FORMAT = "vgg16-googlenet/3"
OLD_FORMATS = ("vgg16-googlenet/1", "vgg16-googlenet/2")


def metadata(model: str, model_args: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """The part of a checkpoint that describes the network and the training options."""
    # Paths with forward slashes: the run may be tested or resumed on another operating system.
    config = {k: v.as_posix() if isinstance(v, PurePath) else v for k, v in vars(args).items()}
    return {
        "model": model,
        "model_args": model_args,
        "image_size": args.image_size,
        "channels": model_args["in_channels"],
        "config": config,
    }


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically; create its folder if necessary.

    Raises:
        OSError: it cannot be written. An existing file stays as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            pipe = Pipe(file)
            try:
                torch.save({"format": FORMAT, **checkpoint}, pipe)
            except RuntimeError:
                raise pipe.error or RuntimeError(f"{path}: torch cannot save this") from None
    except OSError as error:  # name the checkpoint, not the temporary file
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


class Pipe:
    """Passes bytes on to a file, and keeps the exception if that fails: torch.save hides it.

    On a full disk, torch.save raises a RuntimeError about positions in a zip.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except BaseException as error:  # KeyboardInterrupt, for example, may be raised here, too
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def to_host(checkpoint: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Copy a checkpoint's tensors to host memory."""
    copied = copy_to_host(checkpoint, kind(device).pins)
    synchronize(device)
    return copied


def copy_to_host(value: object, pins: bool) -> object:
    """Copy all tensors in nested dicts, lists and tuples; asynchronously to pinned memory."""
    if torch.is_tensor(value):
        host = torch.empty_like(value, device="cpu", pin_memory=pins and value.device.type != "cpu")
        return host.copy_(value, non_blocking=pins)
    if isinstance(value, dict):
        return {key: copy_to_host(part, pins) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copy_to_host(part, pins) for part in value)
    return value


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Load and check a checkpoint, on the CPU. Nothing in the file can run code.

    Raises:
        UserError: the file is missing, damaged, not written by these scripts, or has an invalid
            field.
    """
    try:
        checkpoint, size = read(path), os.path.getsize(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except Exception:  # on damaged files, the unpickler raises many kinds of exceptions
        raise UserError(
            f"{path}: not a checkpoint: damaged, or written by another program"
        ) from None
    if isinstance(checkpoint, dict) and checkpoint.get("format") in OLD_FORMATS:
        checkpoint = from_old_format(checkpoint)
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != FORMAT:
        raise UserError(f"{path}: not a checkpoint of these scripts (no format {FORMAT!r})")
    check(checkpoint, path, size)
    return checkpoint


def read(path: str | os.PathLike) -> object:
    """Read a file of torch.save, on the CPU, without using more memory than the file's size.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is not such a file. torch raises many other exceptions.
    """
    if os.path.isdir(path):
        raise OSError("a folder: name the .pth file in it")
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError("not a file")  # opening a pipe would wait for its other end
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        # torch.save compresses nothing. A compressed file could unpack to fill the memory.
        if sum(member.file_size for member in archive.infolist()) > os.fstat(file.fileno()).st_size:
            raise ValueError("compressed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about kinds of tensors that check() rejects
        return torch.load(path, map_location="cpu", weights_only=True)


def from_old_format(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Convert a checkpoint of format 1 or 2 to format 3."""
    renamed = {"recipe": "config", "source_size": "stored_size", "fit": "resize_mode"}
    new = {renamed.get(key, key): value for key, value in checkpoint.items()}
    new["format"] = FORMAT
    if new.get("resize_mode") == "squash":
        new["resize_mode"] = "stretch"
    if isinstance(new.get("model_args"), dict):
        new["model_args"] = dict(new["model_args"])
        if new["model_args"].pop("torchvision_compatible", False):
            new["model"] = "torchvision_googlenet"
    if new.get("model") == "googlenet":  # its max-pools were not yet the paper's
        new["model"] = "padded_googlenet"
    if "optimizer" in new:
        new.setdefault("scaler", {})
    return new


def best_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights that were validated: their moving average (EMA) if the run kept one."""
    return checkpoint.get("ema") or checkpoint["state_dict"]


def build(
    create: Callable[..., nn.Module], checkpoint: dict[str, Any], path: str | os.PathLike
) -> nn.Module:
    """Build the network of a checkpoint, with ``best_weights`` in float32, on the CPU.

    The network is built on the meta device, where tensors take no memory, and then takes over the
    checkpoint's tensors. So a file that describes a huge network cannot fill the memory.

    Args:
        create: ``models.create_model``.

    Raises:
        UserError: there is no such network, or the weights do not fit it.
    """
    problems = as_user_error(ValueError, TypeError, prefix=f"{path}: ")
    with problems, torch.device("meta"), Undrawn():
        model = create(checkpoint["model"], **checkpoint["model_args"])
    load_weights(model, checkpoint, path)
    return model


class Undrawn(TorchFunctionMode):
    """Skips random initialisation, for which torch spends a second on imports on meta."""

    def __torch_function__(
        self,
        func: Callable,
        types: Collection[type],
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        if func.__name__ in ("normal_", "kaiming_normal_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def load_weights(model: nn.Module, checkpoint: dict[str, Any], path: str | os.PathLike) -> None:
    """Replace the model's tensors by ``best_weights``, in float32.

    Raises:
        UserError: the weights do not fit the model.
    """
    weights = {
        name: tensor.detach().float() if tensor.is_floating_point() else tensor
        for name, tensor in best_weights(checkpoint).items()
    }
    with as_user_error(
        RuntimeError, AttributeError, TypeError, prefix=f"{path}: the weights do not fit: "
    ):
        model.load_state_dict(weights, assign=True)


def export(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Write what testing and predicting need, in half the size of best.pth.

    Vectors (biases, batch-norm statistics) are a thousandth of the whole and stay in float32, as
    do tensors with numbers too large for float16.

    Raises:
        UserError: the source is not a usable checkpoint, or the target is named last.pth.
        OSError: the target cannot be written.
    """
    if Path(target).name == "last.pth":  # "*.pth" in a run's folder is best.pth last.pth
        raise UserError(f"{target}: is what its run resumes from: name another file to write")
    checkpoint = load(source)
    half = {name: halved(tensor) for name, tensor in best_weights(checkpoint).items()}
    kept = {key: checkpoint[key] for key in (*KEYS, *OPTIONAL) if key in checkpoint}
    save(kept | {"state_dict": half}, Path(target))


def halved(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float16, unless it is a vector or holds numbers too large for float16."""
    half = tensor.half()
    return half if tensor.dim() > 1 and half.isfinite().all() else tensor


def main() -> None:
    """Run ``python -m engine.checkpoint``."""
    parser = argparse.ArgumentParser(description="Write a checkpoint's weights in half precision.")
    parser.add_argument("source", help="the checkpoint to read, such as best.pth")
    parser.add_argument("target", help="the file to write")
    args = parser.parse_args()
    export(args.source, args.target)


if __name__ == "__main__":
    from engine import cli  # here: it imports this module

    cli.run(main)
