"""Whether a saved optimizer and schedule go on where newly built ones would begin."""

import math
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from engine.checkpoint_fields import is_int, is_number

# What changes in the state of an optimizer or a schedule as a run goes on.
VARYING = {"lr", "betas", "momentum", "last_epoch", "_step_count", "_last_lr", "_is_initial"}
VARYING |= {"_get_lr_called_within_step"}


def check_state(
    saved: dict[str, Any], optimizer: torch.optim.Optimizer, scheduler: LRScheduler
) -> None:
    """Check that a saved state goes on where these, newly built, would begin.

    torch checks little of it: fused Adam would write beyond the ends of averages that are too
    small.

    Raises:
        ValueError: it is that of other weights or of another schedule.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, state in saved["optimizer"]["state"].items():
        shapes = {tensor.shape for tensor in state.values() if tensor.dim()}
        if not is_int(index, 0, len(weights) - 1) or shapes - {weights[index].shape}:
            raise ValueError("the optimizer's averages are those of other weights")
    for name, fresh in (("optimizer", optimizer), ("scheduler", scheduler)):
        if not continues(saved[name], fresh.state_dict()):
            raise ValueError(f"the {name} is another one")
    if saved["scheduler"]["last_epoch"] > getattr(scheduler, "total_steps", math.inf):
        raise ValueError("the schedule has ended long ago")


def continues(saved: object, fresh: object, varies: bool = False) -> bool:
    """Whether a saved state is like a fresh one, but for the numbers that change.

    Named entries that one of the two lacks are those of another version of torch.
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
