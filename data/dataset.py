"""The class of all datasets in memory, and the stratified split of a set of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from engine.errors import UserError


@dataclass
class ImageDataset(Dataset):
    """Images and their labels.

    Attributes:
        images: uint8, N x C x H x W, in memory or memory-mapped; or a tensor on a device.
        labels: int64, N, each an index into classes; in the same place as the images.
        classes: the names of the classes.
        files: the file names of the images; None if they have none.
    """

    images: np.ndarray | torch.Tensor
    labels: np.ndarray | torch.Tensor
    classes: Sequence[str]
    files: Sequence[str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For pickle: of memory-mapped images, store the position in the file, not the content.

        DataLoader pickles the dataset for each worker that is not forked.
        """
        return self.__dict__ | {"images": mapped_from(self.images) or self.images}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state["images"], dict):
            state = state | {"images": np.memmap(**state["images"])}
        self.__dict__.update(state)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """One image (C x H x W) and its label, or the batch (N x C x H x W, N) at these indices.

        For images on a device, the indices are a tensor there.

        Reading a batch is one NumPy indexing operation. With no call for each image and no
        collation, it costs almost nothing.
        """
        if torch.is_tensor(self.images):
            return self.images[index], self.labels[index]
        indices = np.asarray(index)
        return torch.from_numpy(self.images[indices]), torch.as_tensor(self.labels[indices])

    def to(self, device: torch.device) -> "ImageDataset":
        """Copy the images and labels to the memory of a device."""
        images = torch.empty(self.images.shape, dtype=torch.uint8, device=device)
        for start in range(0, len(images), 1000):  # in parts, to avoid a second copy on the host
            part = np.array(self.images[start : start + 1000])
            images[start : start + 1000] = torch.from_numpy(part).to(device)
        labels = torch.as_tensor(self.labels).to(device)
        return ImageDataset(images, labels, self.classes, self.files)

    def subset(self, indices: np.ndarray) -> "ImageDataset":
        """The images at these indices, in this order."""
        files = self.files and [self.files[index] for index in indices]
        return ImageDataset(self.images[indices], self.labels[indices], self.classes, files)

    def first(self, count: int) -> "ImageDataset":
        """The first ``count`` images, or all if there are fewer."""
        files = self.files and self.files[:count]
        return ImageDataset(self.images[:count], self.labels[:count], self.classes, files)

    def class_weights(self) -> torch.Tensor:
        """The inverse frequency of each class (float32, one per class), to balance a loss.

        The weights are 1 on average over the images, and 0 for a class without images.
        """
        counts = torch.bincount(torch.tensor(self.labels.tolist()), minlength=len(self.classes))
        weights = len(self) / (counts.count_nonzero() * counts)
        return weights.where(counts > 0, 0.0)

    def labelled_as(self, classes: Sequence[str], source: Path) -> "ImageDataset":
        """The same images, with labels as indices into a checkpoint's classes.

        Args:
            source: the path of the images, for the message.

        Raises:
            UserError: the checkpoint does not have all classes of the images.
        """
        if unknown := sorted({*self.classes} - {*classes}):
            raise UserError(unknown_classes(source, unknown, classes))
        indices = np.array([classes.index(name) for name in self.classes], np.int64)
        return ImageDataset(self.images, indices[self.labels], classes, self.files)


def unknown_classes(source: Path, unknown: Sequence[str], known: Sequence[str]) -> str:
    """The message about images with classes that a checkpoint does not know."""
    there = f"the classes {', '.join(unknown)[:300]}" if unknown else "no class folders"
    return f"{source}: has {there}, but the checkpoint knows {', '.join(known)[:300]}"


def mapped_from(array: np.ndarray) -> dict[str, Any] | None:
    """The arguments of ``np.memmap`` that map the array, if it is a contiguous part of a file."""
    whole = array
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    if not isinstance(whole, np.memmap) or not whole.filename or not array.flags.c_contiguous:
        return None
    offset = whole.offset + array.ctypes.data - whole.ctypes.data
    place = {"filename": whole.filename, "mode": "r", "offset": offset}
    return place | {"dtype": array.dtype, "shape": array.shape}


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split indices in two, with ``fraction`` of every class in the second part.

    The indices in each part are in ascending order. NumPy has frozen RandomState, so a seed gives
    the same split on every machine and in every version.

    Args:
        labels: N class indices.
    """
    random = np.random.RandomState(seed)
    first, second = [], []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        count = round(fraction * len(members))
        second.append(members[:count])
        first.append(members[count:])
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))
