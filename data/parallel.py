"""Process many photos in parallel."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item, Result = TypeVar("Item"), TypeVar("Result")


def allowed_cores() -> int:
    """The CPU cores that this process may use: a container or batch system can allow only some."""
    on_linux = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if on_linux else os.cpu_count() or 1


def map_threads(
    function: Callable[[Item], Result], items: Sequence[Item], description: str
) -> Iterator[Result]:
    """``map(function, items)``, in order, on all allowed cores; from 20 items on with a bar.

    Threads are enough, since Pillow, hashlib and file reads release Python's global interpreter
    lock (GIL). Only a few results wait at a time, so memory does not grow with their number.
    """
    threads = allowed_cores()
    few = len(items) < 20
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=len(items), desc=description, unit="photo", leave=False, disable=few) as bar,
    ):
        waiting = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 8 * threads:
                    yield waiting.popleft().result()
                    bar.update()
            while waiting:
                yield waiting.popleft().result()
                bar.update()
        finally:
            pool.shutdown(cancel_futures=True)
