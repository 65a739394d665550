"""The dataset as an array, and the stratified split."""

import numpy as np
import torch

from data.dataset import ImageDataset, stratified_split


def test_an_index_gives_an_image_and_a_list_a_batch():
    images = np.random.RandomState(0).randint(0, 256, (5, 3, 4, 2), np.uint8)
    images.flags.writeable = False  # as a memory-mapped cache is
    dataset = ImageDataset(images, np.arange(5) + 10, ["one"])
    image, label = dataset[3]
    assert image.shape == (3, 4, 2) and image.dtype == torch.uint8
    assert label == 13 and label.shape == () and label.dtype == torch.int64
    batch, labels = dataset[[3, 0]]
    assert batch.shape == (2, 3, 4, 2) and torch.equal(batch[0], image)
    assert labels.tolist() == [13, 10]
    batch.zero_()  # a copy: the dataset stays as it is
    assert torch.equal(dataset[3][0], image)
    assert len(dataset) == 5 and len(dataset.first(9)) == 5
    assert dataset.first(2).labels.tolist() == [10, 11]
    assert dataset.subset(np.array([4, 1])).labels.tolist() == [14, 11]


def test_split_is_stratified_and_fixed():
    labels = np.repeat(np.arange(3), (24, 120, 60))
    train, val = stratified_split(labels, 1 / 12, seed=1)
    assert np.bincount(labels[val]).tolist() == [2, 10, 5]
    assert sorted([*train, *val]) == list(range(len(labels)))
    again = stratified_split(labels, 1 / 12, seed=1)
    assert np.array_equal(val, again[1])
    assert not np.array_equal(val, stratified_split(labels, 1 / 12, seed=2)[1])
