"""Photos from files, as uint8 arrays."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from data.images import DataError

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
    photos = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not photos:
        raise DataError(f"{path}: no photos in this folder")
    return photos


def open_photo(path: Path, channels: int) -> Image.Image:
    """Decode a photo in full: upright, 8 bits a channel, transparency over white.

    Args:
        channels: 1 for grey ("L"), 3 for "RGB".

    Raises:
        DataError: Pillow cannot read the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                image = ImageOps.exif_transpose(image)
    except Image.DecompressionBombError:
        raise DataError(f"{path}: too many pixels to decode safely") from None
    except Exception as error:  # Pillow's plugins meet broken files with many kinds of exception
        reason = getattr(error, "strerror", None) or "not an image that Pillow can read, or cut off"
        raise DataError(f"{path}: {reason}") from None
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
    if fit == "pad":
        image = ImageOps.pad(image, (size, size), Image.Resampling.BILINEAR)
    else:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
