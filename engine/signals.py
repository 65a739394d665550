"""The signals that stop a run. The training loop polls them between steps.

``Trainer`` then saves last.pth and raises ``Interrupted``; ``cli.run`` prints how to resume.
"""

import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from engine.distributed import all_reduce_max, world_size
from engine.errors import STOP_SIGNALS, Interrupted


def stopping() -> list[int]:
    """The signals that stop this run: all of STOP_SIGNALS, without SIGHUP under nohup."""
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    under_nohup = hang_up and signal.getsignal(hang_up) == signal.SIG_IGN
    return [number for number in STOP_SIGNALS if not (under_nohup and number == hang_up)]


class StopSignal:
    """A context manager that records the first stop signal, which would otherwise end the process.

    A second Ctrl-C stops at once, as usual.

    Args:
        path: the file that the state is saved to; None if the run keeps no files.

    Attributes:
        received: the signal's number; 0 for none.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def __enter__(self) -> "StopSignal":
        self.received = 0
        self.before = {number: signal.signal(number, self.note) for number in stopping()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Record a signal: the signal handler."""
        if self.received == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or number

    def asked(self) -> int:
        """The signal that any process received, the same answer in all processes; 0 for none."""
        return all_reduce_max(self.received)

    def check(self) -> None:
        """Raise Interrupted if any process received a signal. Save the state before."""
        number = self.asked()
        if number:
            raise Interrupted(self.path, number)

    def watch(self, loader: Iterable) -> Iterator[Any]:
        """Yield the validation batches; a single process checks for a signal before each batch."""
        for batch in loader:
            if world_size() == 1:
                self.check()
            yield batch
