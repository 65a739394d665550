"""Data loaders: shuffled batches for training, batches in order for evaluation."""

import atexit
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from multiprocessing.connection import wait
from pathlib import Path

import torch
from torch.utils.data import BatchSampler, DataLoader, Sampler

from data.dataset import ImageDataset
from engine.errors import STOP_SIGNALS, UserError

SHARED_MEMORY = Path("/dev/shm")  # Linux's file system for shared memory

Generators = Callable[[int], torch.Generator]  # epoch -> generator of its order


class ShuffledBatchSampler(Sampler[list[int]]):
    """Yields the shuffled batches of an epoch, which can start midway.

    The order depends only on ``generators`` and the epoch. Several processes divide each batch, so
    together they process exactly the batches that a single process would. All batches have the
    same size; the remaining images, different ones in each epoch, are skipped.

    Before iterating, set ``epoch``, and ``start`` to the number of batches already done.

    Args:
        images: number of images in the dataset.
        batch_size: images per batch, over all processes.
        steps: batches per epoch.
        generators: maps an epoch to the generator of its order.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        steps: int,
        generators: Generators,
        rank: int,
        world_size: int,
    ) -> None:
        self.images, self.batch_size, self.steps = images, batch_size, steps
        self.generators, self.rank, self.world_size = generators, rank, world_size
        self.epoch = self.start = 0

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.images, generator=self.generators(self.epoch)).tolist()
        for step in range(self.start, self.steps):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield batch[self.rank :: self.world_size]

    def __len__(self) -> int:
        return self.steps - self.start


def train_loader(
    dataset: ImageDataset,
    batch_size: int,
    accumulate_steps: int,
    generators: Generators,
    rank: int = 0,
    world_size: int = 1,
    **options: object,
) -> "DataLoader | DeviceLoader":
    """Shuffled batches; their number is a multiple of ``accumulate_steps``.

    The ``ShuffledBatchSampler`` is the loader's ``sampler``.

    Args:
        batch_size: images per batch, over all processes. Lowered if the dataset is too small for
            ``accumulate_steps`` batches of that size.
        options: for DataLoader (num_workers, pin_memory); not used for images on a device.

    Raises:
        UserError: the batch size is not a multiple of the number of processes, there are too few
            images, or there is too little shared memory for the workers.
    """
    if batch_size % world_size:
        raise UserError(
            f"a batch of {batch_size} cannot be divided evenly among {world_size} processes"
        )
    batch_size = min(batch_size, len(dataset) // accumulate_steps // world_size * world_size)
    if not batch_size:
        raise UserError(
            f"{len(dataset)} training images are too few for {world_size} processes "
            f"and {accumulate_steps} accumulated batches"
        )
    steps = len(dataset) // batch_size // accumulate_steps * accumulate_steps
    sampler = ShuffledBatchSampler(len(dataset), batch_size, steps, generators, rank, world_size)
    return batch_loader(dataset, sampler, batch_size, **options)


def eval_loader(
    dataset: ImageDataset, batch_size: int, rank: int = 0, world_size: int = 1, **options: object
) -> "DataLoader | DeviceLoader":
    """Every image once, in order; process ``rank`` gets images rank, rank + world_size, …

    If there are fewer images than processes, the last processes get no batch.

    Args:
        batch_size: images per batch, in each process.
        options: for DataLoader (num_workers, pin_memory); not used for images on a device.

    Raises:
        UserError: there is too little shared memory for the workers.
    """
    indices = range(rank, len(dataset), world_size)
    sampler = BatchSampler(indices, batch_size, drop_last=False)
    return batch_loader(dataset, sampler, batch_size * world_size, **options)


def batch_loader(
    dataset: ImageDataset, sampler: Sampler[list[int]], batch_size: int, **options: object
) -> "DataLoader | DeviceLoader":
    """A loader that indexes the dataset once per batch, with a list of indices.

    Args:
        batch_size: images per batch, over all processes.
    """
    if torch.is_tensor(dataset.images):
        return DeviceLoader(dataset, sampler)
    if options.get("num_workers"):
        check_shared_memory(dataset, batch_size, options["num_workers"])
        options |= {"worker_init_fn": begin_worker, "collate_fn": share}
    # batch_size=None turns off DataLoader's own batching, which reads single images and collates.
    return BatchLoader(dataset, batch_size=None, sampler=sampler, **options)


class DeviceLoader:
    """Batches of a dataset in a device's memory, indexed there: no copies from the host per step.

    Attributes:
        sampler: as in a DataLoader.
    """

    def __init__(self, dataset: ImageDataset, sampler: Sampler[list[int]]) -> None:
        self.dataset, self.sampler = dataset, sampler

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        batches = list(self.sampler)  # the indices of the whole epoch, in one copy to the device
        indices = torch.tensor(list(chain.from_iterable(batches)), dtype=torch.int64)
        for batch in indices.to(self.dataset.images.device).split([len(b) for b in batches]):
            yield self.dataset[batch]

    def __len__(self) -> int:
        return len(self.sampler)


class BatchLoader(DataLoader):
    """A DataLoader whose workers leave signals to the main process from the start.

    If the workers run out of shared memory, it raises a UserError of one line.
    """

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        try:
            with signals_blocked():
                batches = super().__iter__()
            yield from batches
        except RuntimeError as error:  # torch has no special type for it
            lines = [s for s in str(error).splitlines() if "shared memory" in s or "/torch_" in s]
            if not lines:
                raise
            reason = lines[-1].removeprefix("RuntimeError: ")
            raise UserError(f"{reason}: use --workers 0, or make {SHARED_MEMORY} larger") from None


def check_shared_memory(dataset: ImageDataset, batch_size: int, workers: int) -> None:
    """Raise a UserError unless the batches that wait for the network fit into shared memory.

    Containers often have only 64 MB of it.

    Args:
        batch_size: images per batch, over all processes, which may be on one machine.
        workers: per process.
    """
    if not SHARED_MEMORY.is_dir():  # not Linux
        return
    batch = min(batch_size, len(dataset)) * dataset.images[:1].nbytes
    needed = batch * (2 * workers + 2)  # two for each worker, the present one, and the one before
    free = shutil.disk_usage(SHARED_MEMORY).free
    if needed > free:
        raise UserError(
            f"{SHARED_MEMORY}: {free / 1e6:,.0f} MB of shared memory are free, but --workers "
            f"{workers} needs {needed / 1e6:,.0f} MB: use --workers 0, or make it larger (docker "
            "run --shm-size)"
        )


def share(batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Move a worker's batch to shared memory in the worker itself.

    DataLoader would do this in a thread whose exceptions are lost: the main process would wait
    forever for a batch that does not fit.
    """
    for tensor in batch:
        tensor.share_memory_()
    return batch


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block the signals that stop a run, in this process and in processes that it starts."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker(_worker: int) -> None:
    """Initialise a worker: ignore stop signals, since the main process needs it until it has saved.

    A worker ends when the main process stops it or has ended.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=end_with_main, daemon=True).start()


def end_with_main() -> None:
    """End this worker when the main process has ended for any reason.

    DataLoader checks the parent process instead, which may be multiprocessing's fork server.
    """
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


@atexit.register
def kill_workers() -> None:
    """Kill the workers that still run at exit, since they ignore multiprocessing's SIGTERM."""
    workers = [process for process in multiprocessing.active_children() if process.daemon]
    if workers and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise an exception
    for worker in workers:
        worker.kill()
