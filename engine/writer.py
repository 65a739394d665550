"""Write files in the background: training continues while a thread waits for the disk."""

import threading
from collections.abc import Callable, Sequence


class Writer:
    """Writes the files of a run, in a background thread or immediately.

    At most one version of each file waits: a newer version replaces it. Waiting files are written
    in the order of ``names``, so that no file refers to another one that is not written yet.

    Args:
        names: the files; a file comes after those that it refers to.
        background: use a thread; the content passed to ``put`` must then not change any more.
    """

    def __init__(self, names: Sequence[str], background: bool) -> None:
        self.names, self.background = names, background
        self.waiting: dict[str, Callable[[], None]] = {}
        self.busy = False
        self.error: BaseException | None = None
        self.changed = threading.Condition()
        self.thread: threading.Thread | None = None

    def put(self, name: str, write: Callable[[], None]) -> None:
        """Write a file, or queue it for the thread.

        Args:
            write: the function that writes the file.

        Raises:
            OSError: this file cannot be written or, in the background, an earlier one could not.
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
        """Wait until all files are written.

        Raises:
            OSError: a file could not be written.
        """
        with self.changed:
            self.changed.wait_for(lambda: self.error or not (self.waiting or self.busy))
            self.raise_error()

    def raise_error(self) -> None:
        """Raise the thread's exception, if there is one, and forget it."""
        error, self.error = self.error, None
        if error:
            raise error

    def work(self) -> None:
        """Write the waiting files, until the process ends or one cannot be written (thread)."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting)
                jobs, self.waiting, self.busy = self.waiting, {}, True
            try:
                for name in sorted(jobs, key=self.names.index):
                    jobs.pop(name)()  # popped, so that its memory is freed once it is written
            except BaseException as error:  # for the main thread to raise
                self.error = error
            with self.changed:
                self.busy = False
                self.changed.notify_all()
