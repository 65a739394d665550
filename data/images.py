"""The one form that every dataset takes, and how batches are read from it."""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset


class DataError(Exception):
    """Data that cannot be used. The message names it and says what to do, in one line."""


@dataclass
class ImageSet(Dataset):
    """Images and their labels, as a map-style dataset that fetches a whole batch at a time.

    A DataLoader of it takes ``collate_fn=whole_batch``, and any sampler.

    Attributes:
        images: uint8, N x C x H x W, in memory or memory-mapped.
        labels: int64, N, each an index into classes.
        classes: the names of the classes.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch at these indices: uint8 N x C x H x W and int64 N."""
        indices = np.asarray(indices)
        return torch.from_numpy(self.images[indices]), torch.from_numpy(self.labels[indices])

    def subset(self, indices: np.ndarray) -> "ImageSet":
        """The images at these indices, in that order."""
        return ImageSet(self.images[indices], self.labels[indices], self.classes)

    def first(self, count: int) -> "ImageSet":
        """The first ``count`` images, or all where there are fewer."""
        return ImageSet(self.images[:count], self.labels[:count], self.classes)


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two parts, ``fraction`` of every class in the second, each in rising order.

    NumPy's RandomState is frozen by its authors: a seed gives the same split everywhere, always.
    """
    random = np.random.RandomState(seed)
    first, second = [], []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        count = round(fraction * len(members))
        second.append(members[:count])
        first.append(members[count:])
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))


class TrainBatches:
    """The batches of an epoch, as a DataLoader's ``batch_sampler`` that can begin midway.

    The order is new each epoch and follows from seed and epoch alone. Several processes share out
    each batch, so that together they take the very batches that a single one would. All batches
    have one size; what is left of the images is left out, another part each epoch.

    Set ``epoch``, and ``start`` to the number of batches already done, before iterating.
    """

    def __init__(
        self, images: int, batch_size: int, steps: int, seed: int, rank: int, world_size: int
    ) -> None:
        self.images, self.batch_size, self.steps, self.seed = images, batch_size, steps, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = self.start = 0

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 2**31 + self.epoch)
        order = torch.randperm(self.images, generator=generator).tolist()
        for step in range(self.start, self.steps):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield batch[self.rank :: self.world_size]

    def __len__(self) -> int:
        return self.steps - self.start


def train_loader(
    images: ImageSet,
    batch_size: int,
    accumulate_steps: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    **options,
) -> DataLoader:
    """Shuffled batches (``TrainBatches``), a multiple of accumulate_steps in number.

    Args:
        batch_size: images a batch, over all processes. It is lowered where there are too few
            images for accumulate_steps such batches.
        options: passed on to DataLoader (num_workers, pin_memory).

    Raises:
        DataError: the images of a batch cannot be shared out evenly, or there are too few.
    """
    if batch_size % world_size:
        raise DataError(
            f"a batch of {batch_size} cannot be shared evenly by {world_size} processes"
        )
    batch_size = min(batch_size, len(images) // accumulate_steps // world_size * world_size)
    if not batch_size:
        raise DataError(
            f"{len(images)} training images are too few for {world_size} processes "
            f"and {accumulate_steps} accumulated batches"
        )
    steps = len(images) // batch_size // accumulate_steps * accumulate_steps
    batches = TrainBatches(len(images), batch_size, steps, seed, rank, world_size)
    return DataLoader(images, batch_sampler=batches, **COMMON, **options)


def eval_loader(
    images: ImageSet, batch_size: int, rank: int = 0, world_size: int = 1, **options
) -> DataLoader:
    """Every image once, in order; process ``rank`` gets the indices rank, rank + world_size, …"""
    indices = range(rank, len(images), world_size)
    return DataLoader(images, batch_size, sampler=indices, **COMMON, **options)


def whole_batch(batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Collate nothing: ImageSet already fetched the batch in one piece."""
    return batch


def leave_ctrl_c_to_the_main_process(_worker: int) -> None:
    """Workers that died of it would take the loop with them before it has saved its state."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


COMMON = {"collate_fn": whole_batch, "worker_init_fn": leave_ctrl_c_to_the_main_process}
