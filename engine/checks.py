"""Checks before a run starts, resumes or saves."""

import math
from typing import Any

import torch
from torch import nn
from torch.nn.utils import get_total_norm
from torch.optim.lr_scheduler import LRScheduler

from engine.checkpoint_fields import is_int, is_number, leaves
from engine.errors import UserError

# What changes in the state of an optimizer or a schedule during a run.
VARYING = {"lr", "betas", "momentum", "last_epoch", "_step_count", "_last_lr", "_is_initial"}
VARYING |= {"_get_lr_called_within_step"}


def check_batch_size(model: nn.Module, images: int) -> None:
    """Raise a UserError if batch-norm would get fewer than two images per batch and process."""
    if images < 2 and any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        raise UserError(
            "batch normalisation needs at least 2 images per batch in each process: "
            "raise --batch-size (or --limit), or use --no-batch-norm"
        )


def check_finite(number: float, what: str = "the loss") -> None:
    """Raise a UserError with advice if the number is infinite or NaN."""
    if not math.isfinite(number):
        raise UserError(
            f"{what} became {number}: start again with a lower --lr, more --warmup-epochs, "
            "--batch-norm or --no-amp (what was saved before is untouched)"
        )


def check_tensors(state: dict[str, Any]) -> None:
    """Raise a UserError with advice if a float tensor of a run's state is not finite.

    A step may corrupt the weights although its loss was finite. Synchronises with the device once.
    """
    floats = [v for v in leaves(state) if torch.is_tensor(v) and v.is_floating_point()]
    total = get_total_norm(floats, 1)  # a sum of absolute values: it keeps every NaN and infinity
    check_finite(total.item(), "a weight or an average of weights")


def check_progress(scheduler: LRScheduler, done: int) -> None:
    """Raise a UserError unless a resumed schedule is at the same optimizer step as the run."""
    if scheduler.last_epoch != done:
        position = f"its schedule is at step {scheduler.last_epoch}"
        raise UserError(f"--resume: {position}, but the run is at {done}")


def check_state(
    saved: dict[str, Any], optimizer: torch.optim.Optimizer, scheduler: LRScheduler
) -> None:
    """Check that a saved state fits this newly built optimizer and scheduler.

    torch checks little of it: if saved averages are too small, fused Adam writes out of bounds.

    Raises:
        ValueError: the state belongs to other weights or to another schedule.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, state in saved["optimizer"]["state"].items():
        shapes = {tensor.shape for name, tensor in state.items() if name != "step"}
        if not is_int(index, 0, len(weights) - 1) or shapes != {weights[index].shape}:
            raise ValueError("the optimizer's averages belong to other weights")
    for name, fresh in (("optimizer", optimizer), ("scheduler", scheduler)):
        if not continues(saved[name], fresh.state_dict()):
            raise ValueError(f"the {name} is a different one")
    if saved["scheduler"]["last_epoch"] > getattr(scheduler, "total_steps", math.inf):
        raise ValueError("the schedule is past its end")


def continues(saved: object, fresh: object, varies: bool = False) -> bool:
    """Whether a saved state equals a fresh one, except for the numbers that change in a run.

    Keys that only one of the two has are ignored: they come from another version of torch.

    Args:
        varies: compare only types.
    """
    if torch.is_tensor(fresh):
        return torch.is_tensor(saved) and saved.shape == fresh.shape
    if isinstance(fresh, dict):
        return isinstance(saved, dict) and all(
            continues(saved.get(key), value, varies or key in VARYING)
            for key, value in fresh.items()
            if key in saved or isinstance(key, int)
        )
    if isinstance(fresh, list | tuple):
        return (
            isinstance(saved, list | tuple)
            and len(saved) == len(fresh)
            and all(continues(one, other, varies) for one, other in zip(saved, fresh, strict=True))
        )
    if varies:
        return is_number(saved) if is_number(fresh) else type(saved) is type(fresh)
    return saved == fresh
