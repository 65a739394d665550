"""The command line of the scripts, and what its options build."""

import argparse
import ctypes
import math
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
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


OUT_OF_MEMORY = (
    "out of memory: lower --batch-size (in training, --accumulate-steps keeps the gradients of the "
    "larger batch, and --checkpoint-activations takes less), or --image-size; see docs/tuning.md"
)


def run(main: Callable[[], None], *expected: type[Exception]) -> None:
    """Run a script's main and exit: with 2 and one line on standard error for bad input.

    Args:
        expected: exceptions, beside UsageError and CheckpointError, whose message is meant for
            the user.
    """
    name = Path(sys.argv[0]).name
    code = 0
    for stream in (sys.stdout, sys.stderr):  # a file's name may be in no encoding
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that this, too, tidies up
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # of "| head", which has read enough: not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the rest of it
        code = 141  # as of a program that SIGPIPE stops
    except Interrupted as stop:
        if distributed.is_main():
            path = shlex.quote(str(stop))
            print(f"interrupted; go on with: python {name} --resume {path}", file=sys.stderr)
        code = 130
    except (UsageError, CheckpointError, OSError, *expected) as error:
        if distributed.is_main():
            print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
        code = 2
    except (RuntimeError, MemoryError) as error:
        # Of NumPy, a GPU's allocator, and the CPU's where the system refuses it memory beforehand.
        is_known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not is_known and "CPUAllocator" not in str(error):
            raise
        print(f"{name}: error: {OUT_OF_MEMORY}", file=sys.stderr)
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


def not_negative(kind: type) -> Callable[[str], Any]:
    """An argparse type: a finite number of that kind, 0 or above."""

    def convert(text: str) -> Any:
        value = kind(text)
        if not 0 <= value < math.inf:
            raise argparse.ArgumentTypeError(f"must be 0 or above, got {text}")
        return value

    convert.__name__ = kind.__name__
    return convert


def seed(text: str) -> int:
    """An argparse type: 0 to 2**31 - 1, so that seeds made from it fit into 64 bits."""
    value = int(text)
    if not 0 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"must be from 0 to {2**31 - 1}, got {text}")
    return value


def fraction(text: str) -> float:
    """An argparse type: a number from 0 up to, but not including, 1."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, got {text}")
    return value


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def training_parser(description: str, models: Sequence[str]) -> argparse.ArgumentParser:
    """The options that training has whatever the dataset; a recipe gives most of the defaults."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="Defaults depend on the model: --model NAME --help shows those of the other one.",
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    on_off = argparse.BooleanOptionalAction
    schedules = ["onecycle", "cosine", "step", "constant"]
    add("--model", choices=models, default=models[0], help="the network")
    add("--epochs", type=positive(int), help="passes over the training set")
    add("-b", "--batch-size", type=positive(int), help="images a batch, over all processes")
    add("--accumulate-steps", type=positive(int), help="batches a step of the optimizer")
    add("--image-size", type=positive(int), help="pixels a side that the network sees")
    add("--optimizer", choices=["adam", "sgd"], help="adam decays weights decoupled (AdamW)")
    add("--lr", type=positive(float), help="highest learning rate")
    add("--weight-decay", type=not_negative(float), help="of weight matrices and kernels")
    add("--scheduler", choices=schedules, help="of the learning rate")
    add("--warmup-epochs", type=not_negative(float), help="epochs in which the rate rises")
    add("--label-smoothing", type=fraction, help="share of the target spread over all classes")
    add("--ema-decay", type=fraction, help="of the moving average of the weights; 0: none")
    add("--augment", action=on_off, help="vary the training images")
    add("--batch-norm", action=on_off, help="normalise after each convolution")
    add("--dropout", type=fraction, help="probability, before the last linear layers")
    add("--aux-heads", action=on_off, help="GoogLeNet's side classifiers (default: from 80 px)")
    add("--amp", action=on_off, help="16-bit autocast (default: where the hardware has bfloat16)")
    add(
        "--checkpoint-activations",
        action=on_off,
        default=False,
        help="less memory, more time: compute activations again instead of keeping them",
    )
    add("--seed", type=seed, default=0, help="of weights, data order, augmentation and dropout")
    add("--device", default="auto", help="auto (a GPU where there is one), cpu, cuda or cuda:N")
    add("-j", "--workers", type=not_negative(int), default=0, help="processes that read data")
    add("--data-dir", type=Path, help="folder of the data, where it is not in the usual places")
    add("--output-dir", type=Path, help="folder to write to (default: one in checkpoints/)")
    add("--resume", type=Path, metavar="PATH", help="last.pth of a run, to go on with it as it was")
    add("--limit", type=positive(int), metavar="N", help="train and validate on N images each")
    add("--dry-run", action="store_true", help="one batch of everything, nothing kept")
    return parser


RUN_FILES = ("best.pth", "last.pth", "log.csv", "curves.png")

# What may change when a run is resumed: but for rounding, the result does not depend on it. (Only
# another kind of device draws other numbers.)
FREE_ON_RESUME = ("resume", "device", "workers", "data_dir", "checkpoint_activations")


def parse_training(
    parser: argparse.ArgumentParser,
    recipe: Callable[[argparse.Namespace], dict[str, Any]],
    dataset: str,
) -> tuple[argparse.Namespace, dict[str, Any] | None]:
    """The options, with the recipe's defaults, and the content of the checkpoint to resume.

    With --resume, the options are those of the interrupted run.

    Args:
        recipe: the defaults that go with the options given: ``model``, ``sample``,
            ``batch_norm``, ``optimizer``, ``init`` and ``freeze_features``, None where not given.
        dataset: how the name of the data begins in checkpoints that may be resumed.

    Raises:
        UsageError: an option was given that would make a resumed run another one.
        CheckpointError: the file to resume is none.
    """
    early = argparse.ArgumentParser(add_help=False)
    early.add_argument("--model", default=parser.get_default("model"))
    early.add_argument("--sample", action="store_true")
    early.add_argument("--batch-norm", action=argparse.BooleanOptionalAction)
    early.add_argument("--optimizer")
    early.add_argument("--init")
    early.add_argument("--freeze-features", action="store_true")
    parser.set_defaults(**recipe(early.parse_known_args()[0]))
    args = parser.parse_args()
    if args.dry_run:
        args.epochs, args.limit = 1, args.batch_size * args.accumulate_steps
    if not args.resume:
        return args, None

    resumed = checkpoint.load(args.resume)
    if "optimizer" not in resumed:
        raise UsageError(f"--resume {args.resume}: takes the last.pth of a run, and this is none")
    if not resumed["dataset"].startswith(dataset):
        raise UsageError(f"--resume {args.resume}: is a run of another script, on other data")
    parser.set_defaults(**dict.fromkeys(vars(args)))
    given = {k: v for k, v in vars(parser.parse_args()).items() if v is not None}
    for name, value in given.items():
        stored = resumed["recipe"].get(name)
        if name not in FREE_ON_RESUME and str(stored) != str(value):  # paths are stored as text
            raise UsageError(
                f"--{name.replace('_', '-')} {value} does not fit the run in {args.resume}, which "
                f"has {stored}: leave it out, or start a new run without --resume"
            )
    args = argparse.Namespace(**{**vars(args), **resumed["recipe"], **given})
    args.output_dir = args.resume.parent
    return args, resumed


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
    """The device of that name; "auto" is a GPU where there is one.

    Under torchrun, "cuda" is the GPU of this process.

    Raises:
        UsageError: there is no such device on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    try:
        device = torch.device(name)
        usable = device.type == "cpu" or (
            device.type == "cuda" and device.index < torch.cuda.device_count()
        )
    except RuntimeError:
        usable = False
    if not usable:
        raise UsageError(f"--device {name}: this machine has cpu and {gpus()}")
    return device


def gpus() -> str:
    """The machine's GPUs, for a message."""
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return " and ".join(names) or "no GPU that torch can use"


def loader_options(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """What the loaders of ``data.images`` take beside images and batch size."""
    return {
        "rank": distributed.rank(),
        "world_size": distributed.world_size(),
        "num_workers": args.workers,
        "persistent_workers": args.workers > 0,
        "pin_memory": device.type == "cuda",
    }


def amp_dtype(device: torch.device) -> torch.dtype:
    """What --amp computes in: bfloat16, or float16 on a graphics card that has no bfloat16."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return torch.float16
    return torch.bfloat16


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices faster than float32 ones."""
    if device.type == "cuda":
        return amp_dtype(device) == torch.bfloat16
    # Without AVX512-BF16 or AMX, bfloat16 is emulated, and slower.
    return any(
        getattr(torch.cpu, f"_is_{name}_supported", lambda: False)()
        for name in ("avx512_bf16", "amx_tile")
    )


def keep_freed_memory() -> None:
    """Make Linux's malloc keep the large blocks that each training step frees and takes again.

    By default it returns them to the system, and each step waits for the kernel to clear them
    anew: 3,000 page faults and up to a tenth of the time of a GoogLeNet step on a CPU, half of the
    time of a VGG16 step at 224 px. What is kept lies in pieces: about a sixth more memory.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:  # glibc has it, musl has not
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: free memory at the top of the heap to keep
        mallopt(-4, 0)  # M_MMAP_MAX: no block has a mapping of its own, unmapped when freed


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
    create: Callable[..., nn.Module],
    name: str,
    model_args: dict[str, Any],
    device: torch.device,
) -> nn.Module:
    """``create(name, **model_args)`` on the device, channels last.

    Channels last is the layout in which oneDNN (CPU) and cuDNN (GPU) convolve fastest.

    Raises:
        UsageError: the network cannot be built so; with the reason that it gives.
    """
    try:
        return create(name, **model_args).to(device, memory_format=torch.channels_last)
    except (ValueError, TypeError) as error:
        raise UsageError(error) from None


def build_optimizer(args: argparse.Namespace, model: nn.Module) -> torch.optim.Optimizer:
    """--optimizer over the model's parameters; biases and batch-norm's vectors do not decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.dim() > 1]
    vectors = [p for p in trained if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": args.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if args.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, args.lr, momentum=0.9, fused=True)
        for p in trained:  # else unwritten memory, where float16 leaves out the first step
            optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
        return optimizer
    return torch.optim.AdamW(groups, args.lr, fused=True)  # Adam with decoupled weight decay


def build_scheduler(
    args: argparse.Namespace, optimizer: torch.optim.Optimizer, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """--scheduler over the whole run, to be stepped once for each step of the optimizer."""
    schedulers = torch.optim.lr_scheduler
    total = max(3, args.epochs * steps_per_epoch)  # OneCycleLR takes no fewer
    warmup = min(round(args.warmup_epochs * steps_per_epoch), total // 2)
    if args.scheduler == "onecycle":
        # From lr / 25 up to lr, then down to almost nothing. Adam's momentum moves against it;
        # SGD's stays at the papers' 0.9.
        return schedulers.OneCycleLR(
            optimizer,
            args.lr,
            total,
            pct_start=max(warmup, 2) / total,
            cycle_momentum=args.optimizer == "adam",
        )
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
