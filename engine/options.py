"""The command line of the scripts, and what its options build."""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine import checkpoint, distributed
from engine.checkpoint import CheckpointError


class UsageError(Exception):
    """Wrong use or unusable input: one line that names it and says what to do."""


class Interrupted(Exception):
    """Stopped by Ctrl-C or SIGTERM, after the state was saved to the file that this names."""


def run(main: Callable[[], None], *expected: type[Exception]) -> None:
    """Run a script's main and exit: with 2 and one line on standard error for bad input.

    Args:
        expected: exceptions, beside UsageError and CheckpointError, whose message is meant for
            the user.
    """
    name = Path(sys.argv[0]).name
    code = 0
    try:
        main()
    except Interrupted as stop:
        if distributed.is_main():
            print(f"interrupted; go on with: python {name} --resume {stop}", file=sys.stderr)
        code = 130
    except (UsageError, CheckpointError, OSError, *expected) as error:
        if distributed.is_main():
            print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        code = 130
    finally:
        distributed.cleanup()
    sys.exit(code)


def positive(kind: type) -> Callable[[str], Any]:
    """An argparse type: a finite number of that kind above zero."""

    def convert(text: str) -> Any:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
        return value

    convert.__name__ = kind.__name__  # for argparse's own "invalid int value"
    return convert


def not_negative(text: str) -> float:
    """An argparse type: a finite number from 0 up."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be 0 or above, got {text}")
    return value


def fraction(text: str) -> float:
    """An argparse type: a number from 0 up to, but not including, 1."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, got {text}")
    return value


def training_parser(
    description: str, recipes: dict[str, dict[str, Any]]
) -> argparse.ArgumentParser:
    """The options that training has whatever the dataset. Defaults come from the recipes."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="Defaults depend on the model: --model NAME --help shows those of the other one.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    on_off = argparse.BooleanOptionalAction
    add("--model", choices=list(recipes), default=next(iter(recipes)), help="the network")
    add("--epochs", type=positive(int), help="passes over the training set")
    add("-b", "--batch-size", type=positive(int), help="images a batch, over all processes")
    add("--accumulate-steps", type=positive(int), help="batches a step of the optimizer")
    add("--image-size", type=positive(int), help="pixels a side that the network sees")
    add(
        "--optimizer",
        choices=["adam", "sgd"],
        help="adam: decoupled weight decay; sgd: momentum 0.9",
    )
    add("--lr", type=positive(float), help="highest learning rate")
    add("--weight-decay", type=not_negative, help="of weight matrices and kernels")
    add(
        "--scheduler",
        choices=["onecycle", "cosine", "step", "constant"],
        help="of the learning rate",
    )
    add("--warmup-epochs", type=not_negative, help="epochs in which the learning rate rises")
    add("--label-smoothing", type=fraction, help="share of the target spread over all classes")
    add("--ema-decay", type=fraction, help="of the moving average of the weights; 0: none")
    add("--augment", action=on_off, help="vary the training images")
    add("--batch-norm", action=on_off, help="normalise after each convolution")
    add("--dropout", type=fraction, help="probability, before the last linear layers")
    add("--amp", action=on_off, help="bfloat16 autocast; on where the hardware has bfloat16")
    add("--seed", type=int, default=0, help="of initial weights, data order, augmentation, dropout")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("-j", "--workers", type=int, default=0, help="processes that read data; 0: none is needed")
    add("--data-dir", type=Path, help="folder of the data, where it is not in the usual places")
    add("--output-dir", type=Path, help="folder to write to; None: checkpoints/<dataset>_<model>")
    add("--resume", type=Path, metavar="PATH", help="last.pth of a run to go on with, as it was")
    add(
        "--limit",
        type=positive(int),
        metavar="N",
        help="use only N training and N validation images",
    )
    add("--dry-run", action=on_off, default=False, help="one batch of everything, nothing kept")
    return parser


RUN_FILES = ("best.pth", "last.pth", "log.csv", "curves.png")

# What may change when a run is resumed, since the result does not depend on it.
FREE_ON_RESUME = ("resume", "device", "workers", "data_dir", "output_dir")


def parse_training(
    parser: argparse.ArgumentParser,
    recipes: dict[str, dict[str, Any]],
    **switches: dict[str, Any],
) -> tuple[argparse.Namespace, dict[str, Any] | None]:
    """The options, over the defaults of the chosen model's recipe; and the checkpoint to resume.

    A switch such as --sample changes some defaults once more. With --resume, the options are those
    of the interrupted run.

    Raises:
        UsageError: an option was given that would make a resumed run another one.
        CheckpointError: the file to resume is none.
    """
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--model", default=next(iter(recipes)))
    for switch in switches:
        chosen.add_argument(f"--{switch}", action="store_true")
    early = chosen.parse_known_args()[0]
    parser.set_defaults(**recipes.get(early.model, {}))
    for switch, defaults in switches.items():
        if getattr(early, switch):
            parser.set_defaults(**defaults)
    args = parser.parse_args()
    if args.dry_run:
        args.epochs, args.limit = 1, args.batch_size * args.accumulate_steps
    if not args.resume:
        return args, None

    resumed = checkpoint.load(args.resume)
    if "optimizer" not in resumed:
        raise UsageError(
            f"--resume {args.resume}: not the last.pth of a run, which is what it takes"
        )
    parser.set_defaults(**dict.fromkeys(vars(args)))
    given = {k: v for k, v in vars(parser.parse_args()).items() if v is not None}
    recipe = resumed["recipe"]
    for name, value in given.items():
        if name not in FREE_ON_RESUME and recipe.get(name) != value:
            raise UsageError(
                f"--{name.replace('_', '-')} {value} does not fit the run in {args.resume}, which "
                f"has {recipe.get(name)}: leave it out, or start a new run without --resume"
            )
    given.setdefault("output_dir", args.resume.parent)
    return argparse.Namespace(**{**recipe, "data_dir": None, **given}), resumed


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """What test.py and predict.py ask; the checkpoint tells them the rest."""
    parser.add_argument("--checkpoint", type=Path, metavar="PATH", help="best.pth of a run, say")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")


def chosen_checkpoint(path: Path | None) -> Path:
    """The file that --checkpoint names.

    Raises:
        UsageError: none was named; lists those that are there.
    """
    if path is None:
        there = sorted(Path("checkpoints").rglob("*.pth"))
        listed = ", ".join(p.as_posix() for p in there if p.name != "last.pth")
        raise UsageError(f"name one with --checkpoint PATH; there are: {listed or 'none yet'}")
    return path


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is the GPU where there is one.

    Raises:
        UsageError: there is no such device on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise UsageError(f"--device {name}: not usable here ({reason})") from None
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices faster than float32 ones."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Without AVX512-BF16 or AMX, bfloat16 is emulated, and slower.
    return any(
        getattr(torch.cpu, f"_is_{name}_supported", lambda: False)()
        for name in ("avx512_bf16", "amx_tile")
    )


def prepare_folder(folder: Path) -> None:
    """Make the folder of a new run; what an earlier run left there moves to previous-N/ in it."""
    if not distributed.is_main():
        return
    folder.mkdir(parents=True, exist_ok=True)
    left = [folder / name for name in RUN_FILES if (folder / name).exists()]
    if left:
        number = 1
        while (folder / f"previous-{number}").exists():
            number += 1
        previous = folder / f"previous-{number}"
        previous.mkdir()
        for path in left:
            path.rename(previous / path.name)
        print(f"the run that was in {folder} is now in {previous}")


def build_model(
    create: Callable[..., nn.Module], name: str, model_args: dict[str, Any]
) -> nn.Module:
    """``create(name, **model_args)``; a network that cannot be built is the user's to mend.

    Raises:
        UsageError: with the reason that the model gives.
    """
    try:
        return create(name, **model_args)
    except ValueError as error:
        raise UsageError(error) from None


def build_optimizer(args: argparse.Namespace, model: nn.Module) -> torch.optim.Optimizer:
    """--optimizer over the model's parameters; biases and batch-norm's vectors do not decay."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": args.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if args.optimizer == "sgd":
        return torch.optim.SGD(groups, args.lr, momentum=0.9, fused=True)
    return torch.optim.AdamW(groups, args.lr, fused=True)  # Adam with decoupled weight decay


def build_scheduler(
    args: argparse.Namespace, optimizer: torch.optim.Optimizer, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """--scheduler over the whole run, to be stepped once for each step of the optimizer."""
    schedulers = torch.optim.lr_scheduler
    total = max(2, args.epochs * steps_per_epoch)
    warmup = min(round(args.warmup_epochs * steps_per_epoch), total // 2)
    if args.scheduler == "onecycle":
        # From lr / 25 up to lr, then down to almost nothing; the momentum moves against it.
        return schedulers.OneCycleLR(optimizer, args.lr, total, pct_start=max(warmup, 2) / total)
    if args.scheduler == "cosine":
        main = schedulers.CosineAnnealingLR(optimizer, total - warmup)
    elif args.scheduler == "step":  # a tenth after a half, and again after three quarters
        rest = total - warmup
        main = schedulers.MultiStepLR(optimizer, [rest // 2, 3 * rest // 4])
    else:
        main = schedulers.ConstantLR(optimizer, factor=1.0)
    if not warmup:
        return main
    rise = schedulers.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup)
    return schedulers.SequentialLR(optimizer, [rise, main], [warmup])
