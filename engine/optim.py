"""Optimizers and learning-rate schedules, by their names on the command line."""

import torch
from torch import nn
from torch.optim import lr_scheduler

OPTIMIZERS = ("adam", "sgd")
SCHEDULERS = ("onecycle", "cosine", "step", "constant")


def build_optimizer(
    model: nn.Module, name: str, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Build AdamW (Adam with decoupled weight decay) or SGD with the papers' momentum of 0.9.

    Weight decay applies to kernels and weight matrices, not to biases and batch-norm parameters.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if name == "adam":
        optimizer = torch.optim.AdamW(groups, lr, fused=True)
    else:
        optimizer = torch.optim.SGD(groups, lr, momentum=0.9, fused=True)
        # Fused SGD would leave its momentum uninitialised if float16 skipped the first step.
        for p in trained:
            optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    optimizer.register_load_state_dict_post_hook(lay_out_averages)
    return optimizer


def lay_out_averages(optimizer: torch.optim.Optimizer) -> None:
    """Give loaded averages the memory layout of their weights, which fused optimizers assume.

    On another kind of device, the layout may have been another one (``engine.device.Kind``).
    """
    for p, state in optimizer.state.items():
        for name in state.keys() - {"step"}:
            state[name] = torch.empty_like(p).copy_(state[name])


def build_scheduler(
    optimizer: torch.optim.Optimizer, name: str, lr: float, total_steps: int, warmup_steps: int
) -> lr_scheduler.LRScheduler:
    """Build a schedule for the whole run. Call its ``step`` after each optimizer step.

    Args:
        lr: the highest learning rate, reached at the end of the warm-up.
        total_steps: optimizer steps in the whole run.
        warmup_steps: optimizer steps in which the rate rises, at most half of the total.
    """
    total = max(3, total_steps)  # OneCycleLR needs three, two of them in the warm-up
    warmup = min(warmup_steps, total // 2)
    if name == "onecycle":
        # From lr / 25 up to lr, then down to almost 0. Adam's beta1 falls while the rate rises and
        # vice versa; SGD's momentum stays at the papers' 0.9.
        pct_start, cycle_momentum = max(warmup, 2) / total, "betas" in optimizer.defaults
        return lr_scheduler.OneCycleLR(
            optimizer, lr, total, pct_start=pct_start, cycle_momentum=cycle_momentum
        )
    rest = total - warmup
    if name == "cosine":
        main = lr_scheduler.CosineAnnealingLR(optimizer, rest)
    elif name == "step":  # divide by 10 at one half and at three quarters of the rest
        main = lr_scheduler.MultiStepLR(optimizer, [rest // 2, 3 * rest // 4])
    else:
        main = lr_scheduler.ConstantLR(optimizer, factor=1.0)
    if not warmup:
        return main
    rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rise, main], [warmup])
