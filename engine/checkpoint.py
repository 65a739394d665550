"""Checkpoints: tensors and plain Python values in one file, enough to test, predict or go on.

    python -m engine.checkpoint best.pth small.pth     # the weights alone, in half precision

The same command brings a file of an older format up to date.
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
    """What a checkpoint says of the network and of the options that trained it."""
    # Paths with the slashes of all systems: the next may look for the data, or go on.
    config = {k: v.as_posix() if isinstance(v, PurePath) else v for k, v in vars(args).items()}
    return {
        "model": model,
        "model_args": model_args,
        "image_size": args.image_size,
        "channels": model_args["in_channels"],
        "config": config,
    }


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically; its folder is made where it is missing.

    Raises:
        OSError: it cannot be written. The path holds what it held before.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            pipe = Pipe(file)
            try:
                torch.save({"format": FORMAT, **checkpoint}, pipe)
            except RuntimeError:
                raise pipe.error or RuntimeError(f"{path}: torch cannot save this") from None
    except OSError as error:  # name the file that was meant, not the temporary one
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


class Pipe:
    """Passes bytes on to a file, and remembers why it could not: torch.save does not say.

    On a full disk its RuntimeError is about positions in a zip.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except BaseException as error:  # a signal's exception may come up here, too
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def to_host(checkpoint: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """A checkpoint whose tensors are copies in host memory."""
    copied = copy_to_host(checkpoint, kind(device).pins)
    synchronize(device)
    return copied


def copy_to_host(value: object, pins: bool) -> object:
    """Copy all tensors in nested dicts, lists and tuples. Those from a GPU may be under way yet."""
    if torch.is_tensor(value):
        host = torch.empty_like(value, device="cpu", pin_memory=pins and value.device.type != "cpu")
        return host.copy_(value, non_blocking=True)
    if isinstance(value, dict):
        return {key: copy_to_host(part, pins) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copy_to_host(part, pins) for part in value)
    return value


def load(path: str | os.PathLike) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU. Nothing in the file can run code.

    Raises:
        UserError: it is missing, broken, not one that these scripts wrote, or holds what is
            impossible.
    """
    try:
        checkpoint, size = read(path), os.path.getsize(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except Exception:  # the unpickler meets broken files with many kinds of exception
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
    """What torch.save wrote, on the CPU, in no more memory than the file has bytes.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no such file. torch raises many other exceptions.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError("not a file")  # opening a pipe would wait for its other end
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        # torch.save compresses nothing. What unpacks to more than the file could fill the memory.
        if sum(member.file_size for member in archive.infolist()) > os.fstat(file.fileno()).st_size:
            raise ValueError("compressed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tensors of kinds that are refused later
        return torch.load(path, map_location="cpu", weights_only=True)


def from_old_format(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of format 1 or 2 under the names of format 3."""
    renamed = {"recipe": "config", "source_size": "stored_size", "fit": "resize_mode"}
    new = {renamed.get(key, key): value for key, value in checkpoint.items()}
    new["format"] = FORMAT
    if new.get("resize_mode") == "squash":
        new["resize_mode"] = "stretch"
    if isinstance(new.get("model_args"), dict):
        new["model_args"] = dict(new["model_args"])
        if new["model_args"].pop("torchvision_compatible", False):
            new["model"] = "torchvision_googlenet"
    if new.get("model") == "googlenet":  # before its poolings were the paper's
        new["model"] = "padded_googlenet"
    if "optimizer" in new:
        new.setdefault("scaler", {})
    return new


def best_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights that validation judged: the averaged ones where the run kept an average."""
    return checkpoint.get("ema") or checkpoint["state_dict"]


def build(
    create: Callable[..., nn.Module], checkpoint: dict[str, Any], path: str | os.PathLike
) -> nn.Module:
    """Build the network of a checkpoint, with ``best_weights`` in float32, on the CPU.

    It is built on the meta device, where tensors take no memory, then takes over those of the
    checkpoint: nothing that a file says of its network can fill the memory.

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
    """Leaves out drawing weights, for which torch loads a second's worth of modules on meta."""

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
    """Make ``best_weights``, in float32, the tensors of the model.

    Raises:
        UserError: they do not fit.
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
    """Write what testing and predicting need, in half the bytes of best.pth.

    Vectors (biases, batch-norm statistics) are a thousandth of the whole and stay in float32, as
    does what float16 cannot hold.

    Raises:
        UserError: the source is no usable checkpoint, or the target would take a run's state away.
        OSError: the target cannot be written.
    """
    if Path(target).name == "last.pth":  # "*.pth" in a run's folder is best.pth last.pth
        raise UserError(f"{target}: holds what its run goes on from: name another file to write")
    checkpoint = load(source)
    half = {name: halved(tensor) for name, tensor in best_weights(checkpoint).items()}
    kept = {key: checkpoint[key] for key in (*KEYS, *OPTIONAL) if key in checkpoint}
    save(kept | {"state_dict": half}, Path(target))


def halved(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in half precision, unless it is a vector or some number is too large for that."""
    half = tensor.half()
    return half if tensor.dim() > 1 and half.isfinite().all() else tensor


def main() -> None:
    """``python -m engine.checkpoint``"""
    parser = argparse.ArgumentParser(description="Write a checkpoint's weights in half precision.")
    parser.add_argument("source", help="best.pth of a run")
    parser.add_argument("target", help="the file to write")
    args = parser.parse_args()
    export(args.source, args.target)


if __name__ == "__main__":
    from engine import cli  # here: it imports this module

    cli.run(main)
