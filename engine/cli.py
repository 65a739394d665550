"""The command line that the scripts share: option groups, a recipe's defaults, exit codes."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from engine import checkpoint, distributed, streams
from engine.argument_types import fraction, not_negative, pathname, pixels, positive, seed
from engine.device import (
    NAMES,
    amp_dtype,
    has_bfloat16,
    keep_freed_memory,
    kind,
    pick_device,
    set_precision,
)
from engine.errors import Interrupted, UserError, known_problem, one_line, quote
from engine.optim import OPTIMIZERS, SCHEDULERS
from engine.signals import stopping


def run(main: Callable[[], None]) -> None:
    """Run a script's main and exit: for bad input, with code 2 and one line on standard error."""
    name, code = Path(sys.argv[0]).name, 0
    streams.prepare()
    for number in stopping():
        if number != signal.SIGINT:  # which raises KeyboardInterrupt
            signal.signal(number, lambda number, _: sys.exit(128 + number))  # cleans up
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # "| head" has closed the pipe: not an error
        code = 141  # the exit code of a program that SIGPIPE stops
    except Interrupted as stop:
        if distributed.is_main():
            command = f"{distributed.launcher()} {quote(sys.argv[0])} --resume {quote(stop.path)}"
            advice = f"; resume with: {command}" if stop.path else ""  # a dry run keeps nothing
            print(f"interrupted{advice}", file=sys.stderr)
        code = 128 + stop.signal
    except (UserError, OSError) as error:
        print(f"{name}: error: {one_line(' '.join(str(error).split()))}{who()}", file=sys.stderr)
        code = 2
    except (RuntimeError, MemoryError) as error:
        if distributed.is_lost_peer(error):
            print(f"{name}: error: another process has ended{who()}", file=sys.stderr)
            sys.exit(2)
        known = known_problem(error)
        if not known:
            raise
        print(f"{name}: error: {known}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        code = 130
    finally:
        distributed.cleanup()
        streams.finish()
    sys.exit(code)


def who() -> str:
    """Which of several processes a message comes from; empty for the main process."""
    return "" if distributed.is_main() else f" (in process {distributed.rank()})"


def summary(doc: str | None) -> str:
    """The first line of a docstring; empty under ``python -OO``, which removes docstrings."""
    return (doc or "").split("\n")[0]


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def training_parser(description: str, models: Sequence[str]) -> argparse.ArgumentParser:
    """The options of training on any dataset. ``parse_training`` fills in a recipe's defaults."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="Defaults depend on other options: --model vgg16 --help shows those of VGG16.",
        formatter_class=HelpFormatter,
        add_help=False,  # parse_training adds --help once the defaults are known
    )
    on_off = argparse.BooleanOptionalAction

    add = parser.add_argument_group("model").add_argument
    add("--model", choices=models, default=models[0], help="which network to train")
    add("--image-size", type=pixels, help="side of the network's input, in pixels")
    add("--batch-norm", action=on_off, help="batch normalisation after each convolution")
    add("--dropout", type=fraction, help="dropout probability in the classifier")
    add("--aux-heads", action=on_off, help="GoogLeNet's auxiliary heads (default: from 80 px on)")

    add = parser.add_argument_group("data").add_argument
    add("--data-dir", type=pathname, help="folder of the data, if not in the usual place")
    add("--limit", type=positive(int), metavar="N", help="use at most N images of each set")
    add("-j", "--workers", type=not_negative(int), default=0, help="extra processes to read data")
    add(
        "--data-on-device",
        action=on_off,
        help="keep all images on the GPU (default: if they fit into a quarter of its free memory)",
    )

    add = parser.add_argument_group("optimisation").add_argument
    add("--epochs", type=positive(int), help="passes over the training set")
    add("-b", "--batch-size", type=positive(int), help="images per batch, over all processes")
    add("--accumulate-steps", type=positive(int), help="batches per optimizer step")
    clip = "scale gradients down to this norm if their norm is larger; 0: never"
    add("--clip-grad-norm", type=not_negative(float), default=0.0, metavar="X", help=clip)
    add("--optimizer", choices=OPTIMIZERS, help="adam is AdamW; sgd has momentum 0.9")
    add("--lr", type=positive(float), help="peak learning rate")
    add("--weight-decay", type=not_negative(float), help="of kernels and weight matrices only")
    add("--scheduler", choices=SCHEDULERS, help="learning-rate schedule")
    add("--warmup-epochs", type=not_negative(float), help="epochs in which the learning rate rises")
    add("--label-smoothing", type=fraction, help="share of each label spread over all classes")
    add("--ema-decay", type=fraction, help="decay of the weights' moving average; 0: none")

    add = parser.add_argument_group("augmentation").add_argument
    add("--augment", action=on_off, help="vary the training images at random")
    add(
        "--flip",
        action=on_off,
        help="mirror training images at random, and average over both views in validation and test "
        "(default: with --augment)",
    )
    erase = "chance to erase a part of a training image (default: the recipe's, with --augment)"
    add("--erase", type=fraction, metavar="P", help=erase)

    add = parser.add_argument_group("run").add_argument
    add("--device", default="auto", help=NAMES)
    add("--amp", action=on_off, help="16-bit autocast (default: where bfloat16 is faster)")
    text = "compile the network (torch.compile): a slow first step; slower throughout on a CPU"
    add("--compile", action=on_off, default=False, help=text)
    text = "save memory at the cost of time: recompute activations instead of storing them"
    add("--checkpoint-activations", action=on_off, default=False, help=text)
    add("--seed", type=seed, default=0, help="for weights, data order, augmentation, dropout")
    add("--output-dir", type=pathname, help="folder to write to (default: one in checkpoints/)")
    add("--resume", type=pathname, metavar="PATH", help="continue the run that wrote this last.pth")
    add("--dry-run", action="store_true", help="run each step on one batch, keep no files")
    return parser


# What may change when a run is resumed: except for rounding, the result does not depend on it.
# (Only another kind of device draws other random numbers.)
FREE_ON_RESUME = ("resume", "device", "workers", "data_dir", "checkpoint_activations")
FREE_ON_RESUME += ("compile", "data_on_device")


def parse_training(
    parser: argparse.ArgumentParser,
    recipe: Callable[[argparse.Namespace], dict[str, Any]],
    dataset: str,
) -> tuple[argparse.Namespace, dict[str, Any] | None]:
    """Parse the options, with the recipe's defaults, and load the checkpoint to resume, if any.

    With --resume, the options are those of the interrupted run.

    Args:
        recipe: maps the given options (None where not given) to the defaults of the others.
        dataset: what the dataset's name begins with in checkpoints that may be resumed.

    Raises:
        UserError: the file cannot be resumed, or an option conflicts with the saved run.
    """
    # Parse twice: first to see what was given, then with the recipe's defaults for the rest.
    given, _ = parser.parse_known_args()
    parser.set_defaults(**recipe(given))
    parser.add_argument("-h", "--help", action="help", help="show this page and exit")
    args = parser.parse_args()
    if not args.resume and (given.warmup_epochs or 0) > args.epochs / 2:
        raise UserError(
            f"--warmup-epochs {args.warmup_epochs:g}: must be at most half of {args.epochs} epochs"
        )
    if args.dry_run:
        args.epochs, args.limit = 1, args.batch_size * args.accumulate_steps
    args.warmup_epochs = min(args.warmup_epochs, args.epochs / 2)
    if not args.resume:
        args.flip = args.augment if args.flip is None else args.flip
        return args, None

    resumed = checkpoint.load(args.resume)
    if "optimizer" not in resumed:
        raise UserError(f"--resume {args.resume}: this is not the last.pth of a run")
    if not resumed["dataset"].startswith(dataset):
        raise UserError(f"--resume {args.resume}: belongs to another script")
    check_config(parser, resumed["config"], args.resume)
    last = args.resume.with_name("last.pth")
    if last.exists() and not last.samefile(args.resume):
        raise UserError(
            f"--resume {args.resume}: would overwrite {last}: move it to a folder of its own"
        )
    parser.set_defaults(**dict.fromkeys(vars(args)))
    given = {k: v for k, v in vars(parser.parse_args()).items() if v is not None}
    for name, value in given.items():
        stored = resumed["config"].get(name)
        is_path = isinstance(value, Path)  # paths are stored as text
        same = Path(str(stored)) == value if is_path else str(stored) == str(value)
        if name not in FREE_ON_RESUME and not same:
            raise UserError(
                f"--{name.replace('_', '-')} {value} does not fit the run in {args.resume}, which "
                f"has {stored}: leave it out, or start a new run without --resume"
            )
    args = argparse.Namespace(**{**vars(args), **resumed["config"], **given})
    args.flip = args.augment if args.flip is None else args.flip
    args.output_dir = args.resume.parent
    return args, resumed


def check_config(parser: argparse.ArgumentParser, config: dict[str, Any], path: Path) -> None:
    """Raise a UserError if an option stored in a checkpoint has a value that argparse rejects."""
    for action in parser._actions:
        value, is_switch = config.get(action.dest), action.nargs == 0
        if value is None:
            continue
        try:
            converted = value if is_switch else (action.type or str)(str(value))
            is_text = action.type in (None, pathname) or not isinstance(value, str)
            good = isinstance(value, bool) == is_switch and is_text
        except (ValueError, argparse.ArgumentTypeError):
            good = False
        if not good or (action.choices and converted not in action.choices):
            name = action.dest.replace("_", "-")
            raise UserError(f"--resume {path}: its option --{name} cannot be {value!r}")


def start_training(args: argparse.Namespace) -> tuple[torch.device, torch.dtype | None]:
    """Return the device to train on and the dtype of autocast, None for float32.

    Joins the other processes under torchrun, and sets the default of --amp.
    """
    device = pick_device(args.device)
    distributed.setup(device)
    processes = distributed.world_size()
    before = getattr(args, "processes", processes)  # of the run that is resumed
    if before != processes and distributed.is_main():
        print(
            f"note: the run had {before} processes and resumes with {processes}: dropout and "
            "augmentation draw different random numbers"
        )
    args.processes = processes
    if args.amp is None:
        args.amp = has_bfloat16(device)
    if device.type == "cpu" and args.data_on_device:
        raise UserError("--data-on-device: no GPU here (see --device): use --no-data-on-device")
    if args.compile and args.checkpoint_activations and old_torch():
        raise UserError("--compile with --checkpoint-activations needs torch 2.9 or newer")
    if not args.checkpoint_activations:  # with it, memory matters more than speed
        keep_freed_memory()
    set_precision(device, training=True)
    return device, amp_dtype(device) if args.amp else None


def old_torch() -> bool:
    """Whether torch is older than 2.9, where compiled recomputation updates batch-norm twice."""
    return tuple(map(int, torch.__version__.split(".")[:2])) < (2, 9)


def loader_options(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """The options of ``data.loaders`` other than the images and the batch size."""
    return {
        "rank": distributed.rank(),
        "world_size": distributed.world_size(),
        "num_workers": args.workers,
        "persistent_workers": args.workers > 0,
        "pin_memory": kind(device).pins,
    }


def augmentation_options(args: argparse.Namespace, recipe: dict[str, float]) -> dict[str, float]:
    """The arguments of ``Augmentation`` but for flip: the recipe's, or none, and --erase."""
    parts = recipe if args.augment else {}
    return parts if args.erase is None else parts | {"erase": args.erase}


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """The options that test.py and predict.py share; the checkpoint supplies the rest."""
    parser.add_argument(
        "--checkpoint", type=pathname, metavar="PATH", help="the trained network, such as best.pth"
    )
    parser.add_argument("--device", default="auto", help=NAMES)


def chosen_checkpoint(path: Path | None) -> Path:
    """The file that --checkpoint names.

    Raises:
        UserError: none was named. The message lists those in checkpoints/.
    """
    if path is None:
        there = sorted(Path("checkpoints").rglob("*.pth"))
        listed = ", ".join(p.as_posix() for p in there if p.name != "last.pth")
        raise UserError(f"name one with --checkpoint PATH; available: {listed or 'none yet'}")
    return path
