"""How batches are read from a dataset: shuffled for training, in order for evaluation."""

import signal
from collections.abc import Iterator

import torch
from torch.utils.data import BatchSampler, DataLoader, Sampler

from data.dataset import ImageDataset
from engine.errors import UserError


class ShuffledBatchSampler(Sampler[list[int]]):
    """The shuffled batches of an epoch, which can start midway.

    The order depends on seed and epoch alone. Several processes share each batch, so that together
    they take exactly the batches that a single one would. All batches have the same size; the
    images left over, different ones each epoch, are skipped.

    Before iterating, set ``epoch``, and ``start`` to the number of batches already done.

    Args:
        images: number of images in the dataset.
        batch_size: images a batch, over all processes.
        steps: batches an epoch.
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
    dataset: ImageDataset,
    batch_size: int,
    accumulate_steps: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    **options: object,
) -> DataLoader:
    """Shuffled batches; their number is a multiple of ``accumulate_steps``.

    The ``ShuffledBatchSampler`` is the loader's ``sampler``.

    Args:
        batch_size: images a batch, over all processes. Lowered if the dataset is too small for
            ``accumulate_steps`` batches of that size.
        options: passed on to DataLoader (num_workers, pin_memory).

    Raises:
        UserError: the processes cannot share a batch evenly, or there are too few images.
    """
    if batch_size % world_size:
        raise UserError(
            f"a batch of {batch_size} cannot be shared evenly by {world_size} processes"
        )
    batch_size = min(batch_size, len(dataset) // accumulate_steps // world_size * world_size)
    if not batch_size:
        raise UserError(
            f"{len(dataset)} training images are too few for {world_size} processes "
            f"and {accumulate_steps} accumulated batches"
        )
    steps = len(dataset) // batch_size // accumulate_steps * accumulate_steps
    sampler = ShuffledBatchSampler(len(dataset), batch_size, steps, seed, rank, world_size)
    return batch_loader(dataset, sampler, **options)


def eval_loader(
    dataset: ImageDataset, batch_size: int, rank: int = 0, world_size: int = 1, **options: object
) -> DataLoader:
    """Every image once, in order; process ``rank`` gets every ``world_size``-th, from ``rank``."""
    indices = range(rank, len(dataset), world_size)
    return batch_loader(dataset, BatchSampler(indices, batch_size, drop_last=False), **options)


def batch_loader(
    dataset: ImageDataset, sampler: Sampler[list[int]], **options: object
) -> DataLoader:
    """A DataLoader that hands each list of indices to the dataset as a whole."""
    # batch_size=None turns off DataLoader's own batching: image by image, then collate.
    return DataLoader(
        dataset, batch_size=None, sampler=sampler, worker_init_fn=ignore_ctrl_c, **options
    )


def ignore_ctrl_c(_worker: int) -> None:
    """Leave Ctrl-C to the main process: it still needs the workers until its state is saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
