"""Types of options for argparse: numbers within bounds, and paths."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any


def number(
    kind: type, lowest: float, highest: float = math.inf, open_below: bool = False
) -> Callable[[str], Any]:
    """An argparse type: a number from ``lowest`` up to, but not including, ``highest``.

    Args:
        kind: int or float.
        open_below: exclude ``lowest``, too.
    """

    def convert(text: str) -> Any:  # noqa: ANN401
        value = kind(text)
        if not lowest <= value < highest or (open_below and value == lowest):
            above = f"above {lowest}" if open_below else f"{lowest} or above"
            below = "" if highest == math.inf else f" and below {highest}"
            raise argparse.ArgumentTypeError(f"must be {above}{below}, got {text}")
        return value

    convert.__name__ = kind.__name__  # for argparse's own "invalid int value"
    return convert


def positive(kind: type) -> Callable[[str], Any]:
    """An argparse type: a finite number above 0."""
    return number(kind, 0, open_below=True)


def not_negative(kind: type) -> Callable[[str], Any]:
    """An argparse type: a finite number, 0 or above."""
    return number(kind, 0)


def pathname(text: str) -> Path:
    """An argparse type: a path that is not empty. Path("") would be the current folder.

    A shell passes an empty path if a variable is not set: --output-dir "$OUTPUT".
    """
    if not text:
        raise argparse.ArgumentTypeError("must not be empty; the current folder is .")
    return Path(text)


seed = number(int, 0, 2**31)
fraction = number(float, 0, 1)
pixels = number(int, 1, 6145)  # photos for crops of this size are stored with up to 8192 px
