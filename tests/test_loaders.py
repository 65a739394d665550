"""Batches: shuffled and shared out for training, in order for evaluation."""

import numpy as np
import pytest
import torch

from data.dataset import ImageDataset
from data.loaders import eval_loader, train_loader
from engine.errors import UserError


def numbered(count: int) -> ImageDataset:
    """Images each of whose pixels is its own number."""
    images = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 1, 4, 4)
    )
    return ImageDataset(images, np.arange(count, dtype=np.int64), ["one"])


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_shuffles_whole_batches(workers):
    loader = train_loader(numbered(50), 8, 1, seed=3, num_workers=workers)
    epochs = []
    for epoch in (0, 1):
        loader.sampler.epoch = epoch
        batches = list(loader)
        assert [tuple(images.shape) for images, _ in batches] == [(8, 1, 4, 4)] * 6
        seen = torch.cat([labels for _, labels in batches])
        assert torch.equal(seen, torch.cat([images[:, 0, 0, 0] for images, _ in batches]).long())
        assert len(seen.unique()) == 48
        epochs.append(seen)
    assert not torch.equal(*epochs)
    loader.sampler.epoch, loader.sampler.start = 1, 4
    assert torch.equal(torch.cat([labels for _, labels in loader]), epochs[1][32:])


def test_processes_share_the_batches_of_one():
    def batches(rank, world_size):
        loader = train_loader(numbered(50), 8, 2, seed=3, rank=rank, world_size=world_size)
        return [labels for _, labels in loader]

    alone = batches(0, 1)
    shared = zip(batches(0, 2), batches(1, 2), strict=True)
    for one, (first, second) in zip(alone, shared, strict=True):
        assert sorted(one.tolist()) == sorted([*first.tolist(), *second.tolist()])

    parts = [torch.cat([y for _, y in eval_loader(numbered(7), 2, r, 3)]) for r in range(3)]
    assert sorted(torch.cat(parts).tolist()) == list(range(7))


def test_loader_of_few_images():
    assert len(train_loader(numbered(5), 128, 2, seed=0)) == 2
    with pytest.raises(UserError, match="too few"):
        train_loader(numbered(1), 128, 2, seed=0)
    with pytest.raises(UserError, match="evenly"):
        train_loader(numbered(50), 9, 1, seed=0, world_size=2)
