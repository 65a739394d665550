"""UserError, the conversion of other exceptions to it, and what its messages need."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

OUT_OF_MEMORY = (
    "out of memory: lower --batch-size (in training, --accumulate-steps keeps the gradients of the "
    "larger batch, and --checkpoint-activations takes less), or --image-size; see docs/tuning.md"
)


class UserError(Exception):
    """Wrong use or unusable input. The message is one line: what, where, what to do about it."""


# Control characters and halves of surrogate pairs, which stand for bytes that are no UTF-8.
NOT_IN_NAMES = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")

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
        path: the file that holds the state; None after a dry run, which keeps nothing.
        signal: the signal's number.
    """

    def __init__(self, path: os.PathLike | None, number: int) -> None:
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


def one_line(text: object) -> str:
    """Text with control characters written out.

    A file's name may hold the end of a line, or what moves a terminal's cursor.
    """
    controls = "[\0-\x1f\x7f-\x9f\u2028\u2029]"
    return re.sub(controls, lambda found: found[0].encode("unicode_escape").decode(), str(text))


def known_problem(error: Exception) -> str:
    """What to tell the user of an error that is no fault of this program; else nothing."""
    text = str(error)
    if "DataLoader worker (pid" in text:  # torch's notice that one was killed
        return f"{text.partition('. ')[0]}: out of memory? --workers 0 takes less"
    # NumPy's, the CPU's if the system refuses at once, a GPU's ("MPS backend out of memory"), and
    # its libraries' (CUBLAS_STATUS_ALLOC_FAILED).
    signs = ("CPUAllocator", "out of memory", "_ALLOC_FAILED")
    if isinstance(error, MemoryError) or any(sign in text for sign in signs):
        return OUT_OF_MEMORY
    if "no kernel image" in text:  # for cards older or newer than those it was built for
        return "this torch has no code for this GPU: install another build of it, or --device cpu"
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return f"--compile: cannot be done here, leave it out: {text.partition(chr(10))[0]}"
    return ""
