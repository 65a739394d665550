"""UserError, the conversion of other exceptions to it, and what its messages need."""

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Wrong use or unusable input. The message is one line: what, where, what to do about it."""


# The signals that stop a run: Ctrl-C, kill, a lost connection, and what batch systems send before
# they kill. Windows lacks some of them.
STOP_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]


class Interrupted(Exception):
    """Stopped by a signal, after the state was saved.

    Attributes:
        path: the file that holds the state.
        signal: the signal's number.
    """

    def __init__(self, path: os.PathLike, number: int) -> None:
        super().__init__(path, number)
        self.path, self.signal = path, number


@contextmanager
def as_user_error(*kinds: type[Exception], prefix: str = "") -> Iterator[None]:
    """Turn exceptions of these kinds into a UserError of one line.

    For calls into code that raises ValueError and the like because it knows no user.
    """
    try:
        yield
    except kinds as error:
        raise UserError(prefix + " ".join(str(error).split())[:300]) from None


def quote(argument: object) -> str:
    """An argument as the shell takes it: POSIX shells, or on Windows cmd.exe and PowerShell."""
    text = str(argument)
    return subprocess.list2cmdline([text]) if os.name == "nt" else shlex.quote(text)
