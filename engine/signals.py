"""The signals that stop a run, as a question that the training loop asks between steps.

``Trainer`` then saves last.pth and raises ``Interrupted``, for which ``cli.run`` says how to go on.
"""

import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from engine.distributed import all_reduce_max, world_size
from engine.errors import STOP_SIGNALS, Interrupted


def stopping() -> list[int]:
    """The signals that stop a run here: not SIGHUP under nohup, which ignores it."""
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    under_nohup = hang_up and signal.getsignal(hang_up) == signal.SIG_IGN
    return [number for number in STOP_SIGNALS if not (under_nohup and number == hang_up)]


class StopSignal:
    """Remembers the first signal to stop while it is entered, instead of dying of it.

    A second Ctrl-C stops at once, as usual.

    Args:
        path: the file that the state is saved to; None: nothing is kept of the run.

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
        """The signal handler."""
        if self.received == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or number

    def asked(self) -> int:
        """The signal that any of the processes received; 0 for none. The same in all of them."""
        return all_reduce_max(self.received)

    def check(self) -> None:
        """Raise Interrupted if any of the processes was asked to stop. The state must be saved."""
        number = self.asked()
        if number:
            raise Interrupted(self.path, number)

    def watch(self, loader: Iterable) -> Iterator[Any]:
        """The batches of validation; checks before each, where no other process has to agree."""
        for batch in loader:
            if world_size() == 1:
                self.check()
            yield batch
