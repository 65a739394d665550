"""Writing files beside the training: the loop goes on while a thread waits for the disk."""

import threading
from collections.abc import Callable, Sequence


class Writer:
    """Writes the files of a run, in a thread of its own or at once.

    Of each file at most one version waits: a newer one takes its place. What waits is written in
    the order of ``names``, so that a file never speaks of another that is yet to be written.

    Args:
        names: the files, those first that others speak of.
        background: use a thread; what ``put`` is given must not change any more.
    """

    def __init__(self, names: Sequence[str], background: bool) -> None:
        self.names, self.background = names, background
        self.waiting: dict[str, Callable[[], None]] = {}
        self.busy = False
        self.error: BaseException | None = None
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None

    def put(self, name: str, write: Callable[[], None]) -> None:
        """Have a file written.

        Raises:
            OSError: of the file, or in the background of an earlier one.
        """
        if not self.background:
            write()
            return
        with self.changed:
            self.raise_error()
            self.waiting[name] = write
            self.changed.notify_all()
        if not self.thread:
            self.thread = threading.Thread(target=self.work, daemon=True)
            self.thread.start()

    def flush(self) -> None:
        """Wait until all is written.

        Raises:
            OSError: a file could not be written.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.error or not (self.waiting or self.busy))
            self.raise_error()

    def raise_error(self) -> None:
        """Raise what the thread met, once."""
        error, self.error = self.error, None
        if error:
            raise error

    def work(self) -> None:
        """The thread: write what waits, until the process ends or a file cannot be written."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting)
                jobs, self.waiting, self.busy = self.waiting, {}, True
            try:
                for name in sorted(jobs, key=self.names.index):
                    jobs.pop(name)()  # popped, so that its memory is free when it is written
            except BaseException as error:  # for the main thread to raise
                self.error = error
            with self.changed:
                self.busy = False
                self.changed.notify_all()
