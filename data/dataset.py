"""The one form that every dataset takes, and how one set of images becomes two."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset


@dataclass
class ImageDataset(Dataset):
    """Images and their labels.

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

    def __getitem__(self, index: int | Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """One image (C x H x W) and its label, or the batch (N x C x H x W, N) at these indices.

        A batch is one NumPy index: with no call for each image and nothing to collate, reading
        costs next to nothing.
        """
        indices = np.asarray(index)
        return torch.from_numpy(self.images[indices]), torch.as_tensor(self.labels[indices])

    def subset(self, indices: np.ndarray) -> "ImageDataset":
        """The images at these indices, in that order."""
        return ImageDataset(self.images[indices], self.labels[indices], self.classes)

    def first(self, count: int) -> "ImageDataset":
        """The first ``count`` images, or all if there are fewer."""
        return ImageDataset(self.images[:count], self.labels[:count], self.classes)


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split indices in two, with ``fraction`` of every class in the second part.

    The indices in each part are in ascending order. NumPy has frozen RandomState: a seed gives the
    same split on every machine and in every version.
    """
    random = np.random.RandomState(seed)
    first, second = [], []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        count = round(fraction * len(members))
        second.append(members[:count])
        first.append(members[count:])
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))
