"""The dataset as an array, and the stratified split."""

import pickle

import numpy as np
import pytest
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


def test_class_weights_by_hand():
    """Six images of a, two of b, none of c, four of d: each class present weighs four in all."""
    labels = np.repeat(np.arange(4), (6, 2, 0, 4))
    for given in (labels, torch.from_numpy(labels)):
        images = ImageDataset(np.zeros((12, 1, 1, 1), np.uint8), given, "abcd")
        weights = images.class_weights()
        assert weights.tolist() == pytest.approx([4 / 6, 4 / 2, 0, 4 / 4])
        assert weights.dtype == torch.float32 and weights[labels].mean() == pytest.approx(1)


def test_split_is_stratified_and_fixed():
    labels = np.repeat(np.arange(3), (24, 120, 60))
    train, val = stratified_split(labels, 1 / 12, seed=1)
    assert np.bincount(labels[val]).tolist() == [2, 10, 5]
    assert sorted([*train, *val]) == list(range(len(labels)))
    again = stratified_split(labels, 1 / 12, seed=1)
    assert np.array_equal(val, again[1])
    assert not np.array_equal(val, stratified_split(labels, 1 / 12, seed=2)[1])


@pytest.fixture
def mapped(tmp_path):
    """1.2 MB of images in a file, mapped."""
    images = np.random.RandomState(0).randint(0, 256, (100, 3, 64, 64), np.uint8)
    np.save(tmp_path / "images.npy", images)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


@pytest.mark.parametrize(
    "part", [slice(None), slice(7), slice(5, 9), slice(0), slice(99, 100)], ids=str
)
def test_mapped_images_are_pickled_by_their_place(mapped, part):
    for images in (mapped[part], np.asarray(mapped)[part], mapped[3:][:-1][part]):
        dataset = ImageDataset(images, np.arange(len(images)), ["one"])
        content = pickle.dumps(dataset)
        assert len(content) < 3000
        loaded = pickle.loads(content)
        assert np.array_equal(loaded.images, images) and not loaded.images.flags.writeable
        assert loaded.images.shape == images.shape and loaded.images.dtype == np.uint8
        assert isinstance(pickle.loads(pickle.dumps(loaded)).images, np.ndarray)
        assert len(pickle.dumps(loaded)) < 3000


def test_other_images_are_pickled_whole(mapped):
    for images in (mapped[::2], mapped[np.array([3, 1])], mapped[:, :, 1:], np.array(mapped)):
        loaded = pickle.loads(pickle.dumps(ImageDataset(images, np.arange(len(images)), ["one"])))
        assert np.array_equal(loaded.images, images) and type(loaded.images) is not dict


def test_a_first_part_stays_mapped(mapped):
    dataset = ImageDataset(mapped, np.arange(100), ["one"], [f"{n}.jpg" for n in range(100)])
    assert len(pickle.dumps(dataset.first(20))) < 3000
    assert dataset.first(20).files == [f"{n}.jpg" for n in range(20)]
