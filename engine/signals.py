"""Ctrl-C and SIGTERM as a question that the training loop asks between steps."""

import signal
from types import FrameType

from engine.distributed import any_rank


class StopSignal:
    """Remembers the first Ctrl-C or SIGTERM while it is entered, instead of dying of it.

    A second Ctrl-C stops at once, as usual.
    """

    def __enter__(self) -> "StopSignal":
        self.received = False
        self.before = {s: signal.signal(s, self.note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def note(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler."""
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = True

    def asked(self) -> bool:
        """Whether any of the processes was asked to stop; the same answer in all of them."""
        return any_rank(self.received)
