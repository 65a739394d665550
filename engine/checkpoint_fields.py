"""What each field of a checkpoint may hold, checked before a network is built from it."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unicodedata import normalize

import torch

from engine.errors import NOT_IN_NAMES, UserError

LARGEST_SIZE = 8192  # largest height and width of images, in pixels
TEMPERATURES = (0.05, 20.0)  # smallest and largest divisor of logits
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LARGEST_FLOAT = torch.finfo(torch.float32).max  # networks compute in float32


class Field(NamedTuple):
    """What a field may hold: a predicate of its value and the checkpoint, and a description."""

    holds: Callable[[Any, dict[str, Any]], bool]
    wanted: str


def is_int(value: object, lowest: int, highest: int = 2**53) -> bool:
    return type(value) is int and lowest <= value <= highest  # True and False are ints, too


def is_number(
    value: object, lowest: float = -sys.float_info.max, highest: float = sys.float_info.max
) -> bool:
    return type(value) in (int, float) and lowest <= value <= highest  # false for NaN


def is_text(value: object) -> object:
    """Whether it is visible text without control characters, which can name a class's folder."""
    return isinstance(value, str) and value.strip() and not NOT_IN_NAMES.search(value)


def is_path(value: object) -> bool:
    """Whether it may be the path of a file, whose name need not be valid UTF-8."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | bool) or is_number(value)


def is_list(value: object, length: int, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and len(value) == length and all(map(holds, value))


def is_dict(value: object, holds: Callable[[Any], bool], *keys: str) -> bool:
    """Whether it is a dict of named values that ``holds`` accepts, with at least these keys."""
    return (
        isinstance(value, dict)
        and all(isinstance(key, str) for key in value)
        and all(map(holds, value.values()))
        and set(keys) <= value.keys()
    )


def is_row(value: object) -> bool:
    """Whether it is a row of log.csv."""
    losses = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    return is_dict(value, is_number, "epoch", *losses, "lr", "seconds", "images_per_second")


def is_optimizer(value: object) -> bool:
    """Whether it has the form of a state_dict of Adam or SGD."""
    if not is_dict(value, lambda part: isinstance(part, dict | list), "state", "param_groups"):
        return False
    states, groups = value["state"], value["param_groups"]
    kinds = ({"step", "exp_avg", "exp_avg_sq"}, {"momentum_buffer"})
    return (
        isinstance(states, dict)
        and all(
            is_dict(state, torch.is_tensor) and set(state) in kinds for state in states.values()
        )
        and isinstance(groups, list)
        and all(is_dict(g, is_setting, "params", "lr") and is_number(g["lr"], 0) for g in groups)
        and all(is_numbers(g.get("betas", (0, 0))) for g in groups)
    )


def is_setting(value: object) -> bool:
    return value is None or isinstance(value, bool) or is_number(value) or is_numbers(value)


def is_numbers(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(is_number, value))


def agrees(config: dict[str, Any], checkpoint: dict[str, Any]) -> bool:
    """Whether the options of the run agree with the arguments of its network."""
    built = checkpoint["model_args"] | {"model": checkpoint["model"].rpartition("_")[2]}
    names = ("model", "image_size", "batch_norm", "dropout", "train_size")
    return all(config[name] == built[name] for name in names if name in config and name in built)


SIZE = Field(lambda v, _: is_int(v, 1, LARGEST_SIZE), f"a number of pixels, 1 to {LARGEST_SIZE}")
COUNT = Field(lambda v, _: is_int(v, 0), "a whole number, 0 or above")
FLAG = Field(lambda v, _: isinstance(v, bool), "True or False")
ARGUMENTS = {  # of the networks in models/
    "in_channels": Field(lambda v, _: is_int(v, 1, 3) and v != 2, "1 or 3"),
    "num_classes": Field(lambda v, _: is_int(v, 1), "a whole number, 1 or above"),
    "image_size": SIZE,
    "batch_norm": FLAG,
    "dropout": Field(lambda v, _: is_number(v, 0) and v < 1, "0 or above and below 1"),
    "aux_heads": Field(lambda v, _: v is None or isinstance(v, bool), "True, False or None"),
    "train_size": Field(lambda v, c: v is None or SIZE.holds(v, c), SIZE.wanted),
}
# What testing and predicting need, in the order of the checks: later checks rely on earlier ones.
KEYS = {
    "model": Field(
        lambda v, _: isinstance(v, str) and re.fullmatch(r"\w{1,64}", v) is not None,
        "a network's name",
    ),
    "model_args": Field(
        lambda v, _: is_dict(v, is_plain, "in_channels", "num_classes", "image_size"),
        "a network's arguments, with in_channels, num_classes and image_size",
    ),
    "dataset": Field(
        lambda v, _: isinstance(v, str) and bool(re.fullmatch(r"fashionmnist|photos/\w+", v)),
        "fashionmnist, or photos/ and the key of a split",
    ),
    "classes": Field(
        lambda v, c: (
            is_list(v, c["model_args"]["num_classes"], is_text)
            and len({normalize("NFC", name) for name in v}) == len(v)
        ),
        "different names, one for each class of the network",
    ),
    "channels": Field(
        lambda v, c: type(v) is int and v == c["model_args"]["in_channels"], "the network's"
    ),
    "image_size": Field(
        lambda v, c: type(v) is int and v == c["model_args"]["image_size"], "the network's"
    ),
    "stored_size": SIZE,
    "resize_mode": Field(lambda v, _: v in ("pad", "stretch"), "pad or stretch"),
    "mean": Field(
        lambda v, c: is_list(v, c["channels"], lambda number: is_number(number, 0, 1)),
        "a number for each channel, 0 to 1",
    ),
    "std": Field(
        lambda v, c: is_list(v, c["channels"], lambda number: is_number(number, 1e-9, 1)),
        "a number for each channel, above 0 and up to 1",
    ),
    "flip": FLAG,
    "epoch": COUNT,
    "metrics": Field(lambda v, _: is_dict(v, is_number), "finite numbers by their names"),
    "config": Field(
        lambda v, c: is_dict(v, is_plain) and agrees(v, c) and is_path(v.get("data_dir") or "."),
        "plain values by the names of options, in agreement with the network's",
    ),
    "state_dict": Field(lambda v, _: is_dict(v, torch.is_tensor), "named tensors"),
}
# Fields that older files lack.
OPTIONAL = {
    "temperature": Field(lambda v, _: is_number(v, *TEMPERATURES), "a number, 0.05 to 20"),
    "provenance": Field(
        lambda v, _: isinstance(v, list) and all(is_dict(start, is_plain) for start in v),
        "a dict of engine.provenance for each start of the run",
    ),
}
# What resuming needs in addition, only in last.pth: Trainer.state_dict().
STATE = {
    "ema": Field(
        lambda v, c: v is None or (is_dict(v, torch.is_tensor) and v.keys() == {*c["state_dict"]}),
        "the averages of the weights, or None",
    ),
    "ema_updates": COUNT,
    "optimizer": Field(lambda v, _: is_optimizer(v), "the state of an optimizer"),
    "scheduler": Field(
        lambda v, _: is_dict(v, lambda _: True, "last_epoch") and is_int(v["last_epoch"], 0),
        "the state of a schedule",
    ),
    "scaler": Field(lambda v, _: is_dict(v, is_number), "finite numbers by their names"),
    "step": COUNT,
    "totals": Field(
        lambda v, _: is_list(v, 3, lambda number: is_number(number, 0)), "three numbers from 0 on"
    ),
    "seconds": Field(lambda v, _: is_number(v, 0), "a number, 0 or above"),
    "history": Field(
        lambda v, c: isinstance(v, list) and len(v) == c["epoch"] and all(map(is_row, v)),
        "rows of log.csv, one for each epoch",
    ),
    "best": Field(
        # Empty before the first epoch, or if the run has lost its best.pth and goes on without it.
        lambda v, c: (
            is_row(v) or (v == {} and is_int(c["config"].get("epochs", 1), c["epoch"] + 1))
        ),
        "a row of log.csv, or empty while epochs are left",
    ),
}


def check(checkpoint: dict[str, Any], path: str | os.PathLike, size: int) -> None:
    """Check every field of a checkpoint by itself, and fields that depend on each other together.

    ``engine.checkpoint.build`` checks whether the network exists and the weights fit it.

    Args:
        size: of the file in bytes. No tensor can be larger.

    Raises:
        UserError: a field is missing or impossible.
    """
    has_state = "optimizer" in checkpoint
    fields = KEYS | {k: field for k, field in STATE.items() if has_state or k in checkpoint}
    fields |= {k: field for k, field in OPTIONAL.items() if k in checkpoint}
    missing = [name for name in fields if name not in checkpoint]
    if missing:
        raise UserError(f"{path}: this checkpoint lacks {', '.join(missing)}")

    def refuse(name: str, reason: str) -> None:
        raise UserError(f"{path}: this checkpoint's {name} is invalid: {reason}")

    for name, field in fields.items():
        if not field.holds(checkpoint[name], checkpoint):
            refuse(name, f"it must be {field.wanted}")
        for argument, value in checkpoint[name].items() if name == "model_args" else ():
            if argument not in ARGUMENTS:
                refuse(name, f"no network has an argument {' '.join(argument.split())[:50]}")
            if not ARGUMENTS[argument].holds(value, checkpoint):
                refuse(f"model_args[{argument!r}]", f"it must be {ARGUMENTS[argument].wanted}")
    for name in ("state_dict", "ema"):
        tensors = checkpoint.get(name) or {}
        if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > size:
            refuse(name, "its tensors are larger than the file")  # some share their numbers
        for tensor_name, tensor in tensors.items():
            if problem := tensor_problem(tensor_name, tensor, size):
                refuse(name, f"{' '.join(tensor_name.split())[:100]} {problem}")
    for name in ("optimizer", "scheduler", "scaler"):
        for value in leaves(checkpoint.get(name)):
            problem = "" if is_plain(value) else "holds something other than finite numbers"
            if torch.is_tensor(value):
                problem = tensor_problem(name, value, size)
            if problem:
                refuse(name, f"it {problem}")


def tensor_problem(name: str, tensor: torch.Tensor, size: int) -> str:
    """What is wrong with a tensor from a file of this size, in bytes; empty if nothing is."""
    is_counter = tensor.dtype == torch.int64 and tensor.dim() == 0  # batch-norm's, of batches
    if tensor.layout != torch.strided or not (tensor.dtype in FLOATS or is_counter):
        return "is not a float tensor"
    # A stride of 0 expands one number to gigabytes; a tensor without data is on "meta".
    if not 0 < tensor.numel() * tensor.element_size() <= size or tensor.device.type != "cpu":
        return "has no data"
    low, high = (bound.item() for bound in tensor.detach().aminmax())  # NaN if any number is NaN
    if not -LARGEST_FLOAT <= low <= high <= LARGEST_FLOAT:
        return "holds numbers that are not finite"
    if low < 0 and (is_counter or name.endswith("running_var")):
        return "is negative"
    return ""


def leaves(value: object) -> Iterator[object]:
    """All values in nested dicts, lists and tuples; each container is visited once."""
    waiting, seen = [value], set()
    while waiting:
        value = waiting.pop()
        if not isinstance(value, dict | list | tuple):
            yield value
        elif id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value
