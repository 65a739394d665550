"""UserError, the conversion of other exceptions to it, and helpers for its messages."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

OUT_OF_MEMORY = (
    "out of memory: close other programs; in training, lower --batch-size (--accumulate-steps "
    "keeps the larger batch's gradients, --checkpoint-activations takes less) or --image-size; see "
    "docs/tuning.md"
)


class UserError(Exception):
    """Wrong use or unusable input. The message is one line: what, where, what to do about it."""


# Control characters, and lone surrogates, which stand for bytes that are not valid UTF-8.
NOT_IN_NAMES = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")

# The signals that stop a run: Ctrl-C, kill, a lost connection, and the warnings of batch systems
# before they kill a job. Windows lacks some of them.
STOP_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]


class Interrupted(Exception):
    """Raised when a signal has stopped the run, after the state was saved.

    Attributes:
        path: the file that holds the state; None after a dry run, which keeps nothing.
        signal: the signal's number.
    """

    def __init__(self, path: os.PathLike | None, number: int) -> None:
        super().__init__(path, number)
        self.path, self.signal = path, number


@contextmanager
def as_user_error(*kinds: type[Exception], prefix: str = "") -> Iterator[None]:
    """Turn exceptions of these kinds into a UserError with a one-line message.

    For calls of libraries, and of our modules that raise ValueError, not UserError.
    """
    try:
        yield
    except kinds as error:
        raise UserError(prefix + " ".join(str(error).split())[:300]) from None


def quote(argument: object) -> str:
    """Quote an argument for the shell: a POSIX shell, or cmd.exe and PowerShell on Windows."""
    text = str(argument)
    return subprocess.list2cmdline([text]) if os.name == "nt" else shlex.quote(text)


def one_line(text: object) -> str:
    """Escape control characters in a text.

    A file's name may contain a line break, or an escape sequence for the terminal.
    """
    controls = "[\0-\x1f\x7f-\x9f\u2028\u2029]"
    return re.sub(controls, lambda found: found[0].encode("unicode_escape").decode(), str(text))


def known_problem(error: Exception) -> str:
    """The message for an error that is not a bug of this program; empty for any other error."""
    text = str(error)
    if "DataLoader worker (pid" in text:  # torch reports that one was killed
        return f"{text.partition('. ')[0]}: out of memory? --workers 0 takes less"
    # Errors of NumPy (MemoryError), of torch's CPU allocator, of GPUs ("MPS backend out of
    # memory") and of their libraries (CUBLAS_STATUS_ALLOC_FAILED).
    signs = ("CPUAllocator", "out of memory", "_ALLOC_FAILED")
    if isinstance(error, MemoryError) or any(sign in text for sign in signs):
        return OUT_OF_MEMORY
    if "no kernel image" in text:  # the GPU is older or newer than this build of torch supports
        return "this torch does not support this GPU: install another build, or use --device cpu"
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return f"--compile: does not work here, leave it out: {text.partition(chr(10))[0]}"
    return ""
