"""Photos in class folders, to test a network that knows the classes. They are not split."""

from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch

from data.dataset import unknown_classes
from data.given_splits import FLAT_NAME
from data.layout import disk_key
from data.parallel import map_threads
from data.photos import decode, to_channels, to_square
from data.sources import open_source
from engine.errors import UserError


class ClassFolders:
    """The photos in a folder or zip, decoded batch by batch, so that any number fits into memory.

    A photo's class is the name of its folder, or the first part of a file name like cat.0.jpg. Not
    all of the network's classes need to occur.

    Args:
        classes: those of the network, in the order of its labels.
        size: height and width of the decoded photos in pixels.
        channels: 1 for grey, 3 for RGB.
        resize_mode: see ``data.photos.to_square``.

    Attributes:
        files: the names of the photos that ``batches`` has decoded.
        skipped: (name, reason) of the files that it could not decode.

    Raises:
        UserError: there are no photos, or some have a class that the network does not know.
    """

    def __init__(
        self, path: Path, classes: Sequence[str], size: int, channels: int, resize_mode: str
    ) -> None:
        self.source = open_source(path)
        self.size, self.channels, self.resize_mode = size, channels, resize_mode
        files = [name for name in self.source.names() if not name.endswith("/")]
        found, outside = find_classes(files, classes)
        indices = spelled(classes)
        unknown = sorted({name for name in found.values() if spelling(name) not in indices})
        if unknown or not found:
            raise UserError(
                f"{unknown_classes(path, unknown, classes)}: name the folder that holds a folder "
                "for each of these, or for some of them"
            )
        self.labels = {file: indices[spelling(name)] for file, name in found.items()}
        self.files: list[str] = []
        self.skipped = [(file, "is not in a class folder") for file in outside]

    @property
    def images(self) -> "ClassFolders":
        """Itself, so that ``images[index]`` works as in an ``ImageDataset``."""
        return self

    def __getitem__(self, index: int) -> np.ndarray:
        """The photo ``files[index]``: uint8, channels x size x size."""
        return self.decode(self.files[index])

    def decode(self, file: str) -> np.ndarray:
        photo = to_channels(decode(BytesIO(self.source.read(file))), self.channels)
        return to_square(photo, self.size, self.resize_mode)

    def batches(self, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield all photos, N x channels x size x size, and labels, N; show a progress bar."""

        def attempt(file: str) -> np.ndarray | str:
            try:
                return self.decode(file)
            except OSError as error:
                return error.strerror or str(error)
            except UserError as error:
                return str(error)

        names, arrays = list(self.labels), []
        for file, array in zip(names, map_threads(attempt, names, "test"), strict=True):
            if isinstance(array, str):
                self.skipped.append((file, array))
                continue
            self.files.append(file)
            arrays.append(array)
            if len(arrays) == batch_size:
                yield self.batch(arrays)
                arrays = []
        if arrays:
            yield self.batch(arrays)

    def batch(self, arrays: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Stack the photos that were decoded last, and look up their labels."""
        labels = [self.labels[file] for file in self.files[-len(arrays) :]]
        return torch.from_numpy(np.stack(arrays)), torch.tensor(labels)


def spelling(name: str) -> str:
    """A key that is equal for all spellings of a class, with "_" for "/" (no folder has one)."""
    return disk_key(name.replace("/", "_"))


def spelled(classes: Sequence[str]) -> dict[str, int]:
    """The index of each class, by its spelling.

    Raises:
        UserError: two classes have the same spelling, so a folder may belong to either.
    """
    indices = {}
    for index, name in enumerate(classes):
        other = indices.setdefault(spelling(name), index)
        if other != index:
            raise UserError(
                f"the checkpoint's classes {classes[other]!r} and {name!r} are too similar to "
                "tell apart by a folder's name: test on a split made by split_dataset.py"
            )
    return indices


def find_classes(files: Iterable[str], classes: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The class of each file, and the files without a class.

    Descends as long as there is only one folder and its name is not a class.
    """
    files, root, known = list(files), "", spelled(classes)
    while True:
        inside = {file: file[len(root) :] for file in files if file.startswith(root)}
        folders = {name.split("/")[0] for name in inside.values() if "/" in name}
        if len(folders) != 1 or spelling(min(folders)) in known:
            break
        root += min(folders) + "/"
    if folders:
        found = {file: name.split("/")[0] for file, name in inside.items() if "/" in name}
    else:
        matches = {file: FLAT_NAME.fullmatch(name) for file, name in inside.items()}
        found = {file: match[1] for file, match in matches.items() if match}
    return found, [file for file in files if file not in found]
