"""Standard output and standard error, whatever becomes of what reads them."""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO


class Unfailing:
    """A stream that drops what it cannot write.

    For standard error, which holds progress bars and notes: in ``2>&1 | tee log`` tee dies of the
    same Ctrl-C as the run, which must live until it has saved.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.stream, name)

    def write(self, text: str) -> None:
        with suppress(OSError):
            self.stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self.stream.flush()


def prepare() -> None:
    """Make both streams take any text, also where what started this process closed them."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed; print and tqdm need it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        if hasattr(getattr(sys, name), "reconfigure"):  # a file's name may be in no encoding
            getattr(sys, name).reconfigure(errors="backslashreplace")
    sys.stderr = Unfailing(sys.stderr)


def finish() -> None:
    """Write what standard output still holds, or drop it where nothing reads it any more."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
