"""Photos from files, as uint8 arrays."""

import warnings
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data.images import DataError

# Pillow refuses twice the pixels that it warns of, 89 million; the warning is no news to the user.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

# Endings by which a folder's photos are told from its other files; a named file may have any.
SUFFIXES = {
    ".jpg",
    ".jpeg",
    ".jfif",
    ".jp2",
    ".png",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".avif",
    ".ppm",
}


def photos_at(path: Path) -> list[Path]:
    """The file itself, or the photos in a folder and below it in order of their names.

    Raises:
        DataError: the folder holds no photo.
    """
    if not path.is_dir():
        return [path]
    photos = sorted(
        photo
        for photo in path.rglob("*")
        if photo.suffix.lower() in SUFFIXES
        and not is_hidden(photo.relative_to(path).as_posix())
        and photo.is_file()
    )
    if not photos:
        raise DataError(f"{path}: no photos in this folder")
    return photos


def is_hidden(name: str) -> bool:
    """Whether a path is that of a hidden file, or in a hidden folder, or what macOS zips along."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def decode(file: Path | BinaryIO) -> Image.Image:
    """Decode a photo in full (of an animation the first picture), upright, in its own mode.

    Raises:
        DataError: with the reason alone, where it cannot be decoded.
    """
    try:
        with Image.open(file) as image:
            image.load()
            with suppress(Exception):  # a broken note on how the camera was held spoils no photo
                image = ImageOps.exif_transpose(image)
            return image
    except Image.DecompressionBombError:
        raise DataError("too many pixels to decode safely") from None
    except Exception as error:  # Pillow's plugins meet broken files with many kinds of exception
        if getattr(error, "strerror", None):
            reason = error.strerror  # the file could not be opened
        elif isinstance(error, UnidentifiedImageError):
            reason = "not an image that Pillow can read"
        else:
            reason = "damaged or cut off"
        raise DataError(reason) from None


def open_photo(path: Path, channels: int) -> Image.Image:
    """Decode a photo in full: upright, 8 bits a channel, transparency over white.

    Args:
        channels: 1 for grey ("L"), 3 for "RGB".

    Raises:
        DataError: Pillow cannot read the file.
    """
    try:
        return to_channels(decode(path), channels)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """The image in 8 bits a channel, grey or RGB, transparency over white."""
    if image.mode.startswith("I") or image.mode == "F":
        pixels = np.asarray(image).astype(np.float64)
        if image.mode.startswith("I;16"):
            scale = 1 / 257  # 65,535 to 255
        else:  # integers and fractions whose range the file does not tell
            scale = 255 if pixels.max() <= 1 else 1 if pixels.max() <= 255 else 1 / 257
        image = Image.fromarray((pixels * scale).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def read_photo(path: Path, channels: int, size: int, fit: str, invert: bool = False) -> np.ndarray:
    """A photo as uint8, channels x size x size.

    Args:
        fit: how an oblong photo becomes square: "pad" adds black bars, "squash" changes its shape.
        invert: swap dark and light first, for dark things on a light ground where the network
            knows light ones on black.

    Raises:
        DataError: Pillow cannot read the file.
    """
    image = open_photo(path, channels)
    if invert:
        image = ImageOps.invert(image)
    return to_square(image, size, fit)


def to_square(image: Image.Image, size: int, fit: str) -> np.ndarray:
    """A grey or RGB image as uint8, channels x size x size; ``fit`` as ``read_photo`` takes it."""
    if fit == "pad":
        image = ImageOps.pad(image, (size, size), Image.Resampling.BILINEAR)
    else:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
