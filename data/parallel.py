"""Process many photos in parallel."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item, Result = TypeVar("Item"), TypeVar("Result")


def map_threads(
    function: Callable[[Item], Result], items: Sequence[Item], description: str
) -> Iterator[Result]:
    """``map(function, items)``, in order, on all cores; from 20 items on with a progress bar.

    Threads are enough, since Pillow, hashlib and file reads release Python's global interpreter
    lock (GIL). Only a few results wait at a time, so memory does not grow with their number.
    """
    threads = os.cpu_count() or 1
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
