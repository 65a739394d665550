"""Photos from files, as uint8 arrays."""

import warnings
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from engine.errors import UserError

# Pillow warns above 89 million pixels and refuses twice as many. The refusal is enough.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

# What counts as a photo in a folder. A file named on the command line may have any suffix.
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
    """The file itself, or all photos in and below a folder, sorted by name.

    Raises:
        UserError: the folder holds no photo.
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
        raise UserError(f"{path}: no photos in this folder")
    return photos


def is_hidden(name: str) -> bool:
    """Whether a path belongs to a hidden file or folder, or to what macOS adds to zips."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def decode(file: Path | BinaryIO) -> Image.Image:
    """Decode a photo in full, upright, in its own mode; the first frame of an animation.

    Raises:
        UserError: it cannot be decoded. The message is the reason, without the file's name.
    """
    try:
        with Image.open(file) as image:
            image.load()
            with suppress(Exception):  # a broken EXIF tag must not cost the photo
                image = ImageOps.exif_transpose(image)
            return image
    except Image.DecompressionBombError:
        raise UserError("too many pixels to decode safely") from None
    except Exception as error:  # Pillow's plugins raise all kinds of exceptions on broken files
        if getattr(error, "strerror", None):
            reason = error.strerror  # the file could not be opened
        elif isinstance(error, UnidentifiedImageError):
            reason = "not an image that Pillow can read"
        else:
            reason = "damaged or cut off"
        raise UserError(reason) from None


def open_photo(path: Path, channels: int) -> Image.Image:
    """Decode a photo in full: upright, 8 bits a channel, transparency over white.

    Args:
        channels: 1 for grey ("L"), 3 for "RGB".

    Raises:
        UserError: Pillow cannot read the file.
    """
    try:
        return to_channels(decode(path), channels)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Convert to 8 bits a channel, grey (1 channel) or RGB (3), transparency over white."""
    if image.mode.startswith("I") or image.mode == "F":
        pixels = np.asarray(image).astype(np.float64)
        if image.mode.startswith("I;16"):
            scale = 1 / 257  # 65,535 becomes 255
        else:  # the file does not give the range of its integers or floats
            scale = 255 if pixels.max() <= 1 else 1 if pixels.max() <= 255 else 1 / 257
        image = Image.fromarray((pixels * scale).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def to_square(image: Image.Image, size: int, resize_mode: str) -> np.ndarray:
    """Resize a grey or RGB image to uint8, channels x size x size.

    Args:
        resize_mode: how an oblong image becomes square: "pad" adds black bars, "stretch" distorts.
    """
    if resize_mode == "pad":
        image = ImageOps.pad(image, (size, size), Image.Resampling.BILINEAR)
    else:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
