"""A network's table, row by row as in its paper: ``python -m models.vgg16``."""

import argparse
import signal
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn


class Row(NamedTuple):
    """One row: output shape without the batch, number of parameters, multiply-accumulates."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    macs: int


def summarise(model: nn.Module, rows: list[tuple[str, list[str]]]) -> list[Row]:
    """Measure each row by a forward pass of one image, with hooks.

    A multiply-accumulate (MAC) is one use of one weight, the "ops" of GoogLeNet's Table 1. Biases,
    pooling and normalisation do not count.

    Args:
        model: the network, which is left in evaluation mode. It is best built on the meta device,
            where a forward pass computes only shapes.
        rows: (title, names of the modules that make up the row), as the networks' ``table_rows``
            returns them. The shape is that of the last module.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    macs: dict[str, int] = {}
    hooks = []
    for name, module in model.named_modules():

        def record(
            module: nn.Module, _inputs: tuple, output: torch.Tensor, name: str = name
        ) -> None:
            shapes[name] = tuple(output.shape[1:])
            if isinstance(module, nn.Conv2d):
                macs[name] = module.weight.numel() * output.shape[-1] * output.shape[-2]
            elif isinstance(module, nn.Linear):
                macs[name] = module.weight.numel()

        if name:
            hooks.append(module.register_forward_hook(record))
    device = next(model.parameters()).device
    with torch.no_grad():
        size = model.image_size
        image = torch.empty(1, model.in_channels, size, size, device=device)
        model.eval()(image)
        # Auxiliary heads run only in training: call them on a map of the shape that they take.
        for head in ("aux4a", "aux4d"):
            if getattr(model, head, None) is not None:
                source = shapes[head.replace("aux", "inception")]
                getattr(model, head)(torch.empty(1, *source, device=device))
    for hook in hooks:
        hook.remove()

    modules = dict(model.named_modules())
    table = []
    for title, names in rows:
        names = [name for name in names if name in modules]
        parameters = sum(p.numel() for name in names for p in modules[name].parameters())
        ops = sum(
            count
            for layer, count in macs.items()
            if any(layer == name or layer.startswith(f"{name}.") for name in names)
        )
        table.append(Row(title, shapes[names[-1]], parameters, ops))
    return table


def main(
    model_class: type[nn.Module], table_rows: Callable[[nn.Module], list[tuple[str, list[str]]]]
) -> None:
    """Print the table of a network built from the command-line options."""
    parser = argparse.ArgumentParser(
        description=f"Print the table of {model_class.__name__}, row by row as in its paper.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--image-size", type=int, default=224, help="height and width in pixels")
    parser.add_argument("--in-channels", type=int, default=3, help="1 for grey, 3 for RGB")
    parser.add_argument("--num-classes", type=int, default=1000, help="number of logits")
    parser.add_argument(
        "--batch-norm",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="normalise after each convolution",
    )
    args = parser.parse_args()
    if hasattr(signal, "SIGPIPE"):  # not on Windows
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # "| head" may close the pipe: not an error
    if min(args.in_channels, args.num_classes) < 1:
        parser.error("--in-channels and --num-classes must be at least 1")
    try:
        with torch.device("meta"):
            model = model_class(**vars(args))
    except (ValueError, RuntimeError) as error:  # RuntimeError: sizes overflow
        parser.exit(2, f"{parser.prog}: error: {error}\n")

    table = summarise(model, table_rows(model))
    print(f"{'layer':<20}{'output':>16}{'parameters':>14}{'MACs':>17}")
    for row in table:
        shape = " x ".join(map(str, row.shape))
        print(f"{row.name:<20}{shape:>16}{row.parameters:>14,}{row.macs:>17,}")
    main_rows = [row for row in table if not row.name.startswith("auxiliary")]
    parts = [("total", main_rows)]
    if len(main_rows) < len(table):
        parts.append(("with auxiliary heads", table))
    for title, part in parts:
        parameters, macs = sum(r.parameters for r in part), sum(r.macs for r in part)
        print(f"{title:<20}{'':>16}{parameters:>14,}{macs:>17,}")
