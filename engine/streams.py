"""Make standard output and standard error robust: against closed pipes and any text."""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO


class Unfailing:
    """A stream that drops text which it cannot write.

    It is for standard error (progress bars, notes). In ``2>&1 | tee log``, Ctrl-C also ends tee,
    and the run must still save before it ends.
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
    """Make both streams accept any text, even if the parent process has closed them."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, but print and tqdm need a stream
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        if hasattr(getattr(sys, name), "reconfigure"):  # file names may not be encodable
            getattr(sys, name).reconfigure(errors="backslashreplace")
    sys.stderr = Unfailing(sys.stderr)


def finish() -> None:
    """Flush standard output, or drop its buffer if the reader has closed the pipe."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
