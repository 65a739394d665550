"""Load a checkpoint and classify images, from any program.

from engine.inference import load_classifier

classifier = load_classifier("checkpoints/catsdogs_googlenet.pth")
for predictions in classifier.predict(["cat.jpg", "dog.jpg"], top_k=2):
    print(predictions[0].class_name, predictions[0].probability)
"""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn
from tqdm import tqdm

from data import fashionmnist, photo_folder
from data.dataset import ImageDataset
from data.loaders import eval_loader
from data.photos import open_photo, to_channels, to_square, upright
from data.transforms import Augmentation, BatchTransform
from engine import checkpoint
from engine.calibration import fit_temperature
from engine.device import eval_batch_size, kind, pick_device, set_precision
from engine.errors import UserError
from engine.evaluate import predict_logits
from models import create_model

BATCH_SIZE = 32  # of predict: bounds its memory for any number of images


class Prediction(NamedTuple):
    """A class and its probability."""

    class_name: str
    probability: float


class Classifier:
    """A trained network with the preprocessing and class names of its checkpoint.

    Attributes:
        model: the network, in evaluation mode, on the device.
        transform: maps uint8 images, N x C x stored_size x stored_size, to the model's input.
        metadata: the checkpoint's content (``engine.checkpoint.KEYS``).
        classes: the names of the classes, in the order of the logits.
        temperature: the divisor of the logits that calibrates the probabilities; 1 for a
            checkpoint without one.
    """

    def __init__(self, model: nn.Module, metadata: dict[str, Any], device: torch.device) -> None:
        self.model, self.metadata, self.device = model.to(device).eval(), metadata, device
        self.classes: list[str] = metadata["classes"]
        self.temperature: float = metadata.get("temperature", 1.0)
        mean, std, flip = metadata["mean"], metadata["std"], metadata["flip"]
        transform = BatchTransform(mean, std, metadata["image_size"], Augmentation(flip=flip))
        self.transform = transform.to(device).eval()

    def predict(
        self, images: Iterable[str | os.PathLike | Image.Image | np.ndarray], top_k: int = 5
    ) -> list[list[Prediction]]:
        """The ``top_k`` most probable classes of each image, most probable first.

        Args:
            images: each as for ``prepare``. They are read batch by batch.

        Raises:
            UserError: a file cannot be read as an image.
        """
        return self.predict_prepared(map(self.prepare, images), top_k)

    def predict_prepared(self, arrays: Iterable[np.ndarray], top_k: int) -> list[list[Prediction]]:
        """Like ``predict``, for arrays that ``prepare`` returned."""
        logits, _ = self.logits(batched(iter(arrays)))
        if not len(logits):
            return []
        probabilities, indices = logits.softmax(1).topk(min(top_k, len(self.classes)))
        return [
            [Prediction(self.classes[i], p) for i, p in zip(chosen, values, strict=True)]
            for chosen, values in zip(indices.tolist(), probabilities.tolist(), strict=True)
        ]

    def prepare(
        self, image: str | os.PathLike | Image.Image | np.ndarray, invert: bool = False
    ) -> np.ndarray:
        """Preprocess an image as in validation, to uint8, C x stored_size x stored_size.

        Args:
            image: a file's path, a Pillow image, or a uint8 array, H x W or H x W x 3 (RGB).
            invert: swap dark and light, if the network was trained on light objects on black.

        Raises:
            UserError: the file cannot be read as an image, or its values have no known range.
            ValueError: the array has another type or shape.
        """
        channels = self.metadata["channels"]
        if isinstance(image, str | os.PathLike):
            photo = open_photo(Path(image), channels)
        else:
            if isinstance(image, np.ndarray):
                fits = image.ndim > 1 and image.shape[2:] in ((), (3,)) and image.size
                if image.dtype != np.uint8 or not fits:
                    found = f"{image.dtype} of {' x '.join(map(str, image.shape))}"
                    raise ValueError(f"expected uint8, H x W or H x W x 3, got {found}")
                image = Image.fromarray(image)
            image.load()  # of a file that was opened and no more
            photo = to_channels(upright(image), channels)
        if invert:
            photo = ImageOps.invert(photo)
        return to_square(photo, self.metadata["stored_size"], self.metadata["resize_mode"])

    def logits(self, loader: Iterable) -> tuple[torch.Tensor, torch.Tensor]:
        """Calibrated logits (float32, N x classes) and labels of every batch, on the CPU.

        Args:
            loader: batches of uint8 images, N x C x stored_size x stored_size, and labels.

        Raises:
            UserError: some logits are NaN or infinite.
        """
        logits, labels = predict_logits(self.model, loader, self.transform)
        if not logits.isfinite().all():
            raise UserError(
                "the network answers with NaN or infinity: its weights are damaged, or training "
                "diverged: use another checkpoint"
            )
        return logits / self.temperature, labels


def load_classifier(path: str | os.PathLike, device: str = "auto") -> Classifier:
    """Load the trained network of a checkpoint, ready to use.

    Args:
        device: "cpu", "cuda", "cuda:N", "mps", "xpu", or "auto": a GPU if there is one.

    Raises:
        UserError: the file is not a usable checkpoint, or there is no such device.
    """
    chosen = pick_device(device)
    saved = checkpoint.load(path)
    model = checkpoint.build(create_model, saved, path)
    set_precision(chosen, training=False)
    return Classifier(model.to(memory_format=kind(chosen).memory_format), saved, chosen)


def open_split(
    metadata: dict[str, Any],
    split: str,
    data_dir: Path | None = None,
    sample: bool | None = None,
) -> ImageDataset:
    """Open the "train", "val" or "test" images of the data that a checkpoint was trained on.

    Args:
        data_dir: the folder of the data, if not the usual one.
        sample: use FashionMNIST's bundled sample. None: if the checkpoint was trained on it.
            Validation images of the sample are training images of the full set, and vice versa.

    Raises:
        UserError: the images are missing, or have classes that the checkpoint does not know.
    """
    if sample is None:
        sample = trained_on_sample(metadata)
    if metadata["dataset"] == "fashionmnist":
        folder = fashionmnist.find(data_dir, sample)
        if split == "test":
            return fashionmnist.load_test(folder, sample)
        return fashionmnist.load_train_val(folder, sample)[("train", "val").index(split)]
    if sample:
        raise UserError("--sample: the checkpoint was not trained on FashionMNIST")
    folder = data_folder(metadata, data_dir)
    images = photo_folder.load_split(folder, split, metadata["stored_size"])
    return images.labelled_as(metadata["classes"], folder)


def trained_on_sample(metadata: dict[str, Any]) -> bool:
    """Whether the network was trained on FashionMNIST's bundled sample."""
    return bool(metadata["config"].get("sample"))


def calibrate(
    path: str | os.PathLike, data_dir: Path | None = None, device: str = "auto"
) -> tuple[float, float]:
    """Fit a checkpoint's temperature to the validation images and write it to the file.

    Returns the temperature before and after.

    Raises:
        UserError: the file is not a usable checkpoint, or the validation images of its training
            are missing.
        OSError: the file cannot be written.
    """
    classifier = load_classifier(path, device)
    metadata, before = classifier.metadata, classifier.temperature
    images = open_split(metadata, "val", data_dir)
    folder, size = data_folder(metadata, data_dir), metadata["stored_size"]
    if folder and photo_folder.dataset_name(folder) != metadata["dataset"]:
        raise UserError(
            f"{folder}: is not the split that {path} was trained on; some of its validation photos "
            "may have been training photos: name the right one with --data-dir"
        )
    shape = (metadata["channels"], size, size)
    if list(images.classes) != classifier.classes or images.images.shape[1:] != shape:
        raise UserError(
            f"{path}: the checkpoint has a wrong description of its data: the file is damaged"
        )
    batch_size = eval_batch_size(max(metadata["image_size"], size), classifier.device)
    bar = tqdm(eval_loader(images, batch_size), desc="validation", unit="batch", leave=False)
    logits, labels = classifier.logits(bar)
    after = fit_temperature(logits * before, labels)
    checkpoint.save(checkpoint.load(path) | {"temperature": after}, Path(path))
    return before, after


def data_folder(metadata: dict[str, Any], data_dir: Path | None = None) -> Path | None:
    """The folder of the photos that a checkpoint was trained on; None for FashionMNIST.

    Args:
        data_dir: the folder, if it has moved since training.
    """
    if metadata["dataset"] == "fashionmnist":
        return None
    return data_dir or Path(metadata["config"].get("data_dir", "data/catsdogs"))


def batched(arrays: Iterator[np.ndarray]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of up to BATCH_SIZE arrays, with dummy labels."""
    while batch := list(islice(arrays, BATCH_SIZE)):
        yield torch.from_numpy(np.stack(batch)), torch.zeros(len(batch), dtype=torch.int64)
