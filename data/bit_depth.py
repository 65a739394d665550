"""Convert images with more than 8 bits per channel, integers or floats, to 8-bit grey."""

import math
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from engine.errors import UserError


def to_8_bits(image: Image.Image) -> Image.Image:
    """Convert grey integers or floats of 12 bits or more to 8-bit grey; return others unchanged.

    Black and white are set by the file's type (0 and 65,535 for 16 bits, 0 and 1 for floats) or by
    TIFF tags, never by the smallest and largest pixel. Values outside are clipped, and NaN becomes
    black. 32-bit integers are taken as 16-bit values in a wider type, as Pillow stores them.
    Floats are rejected if more than 1 % of the pixels lie outside -0.05 to 1.05. Fewer are noise or
    highlights, smaller excesses come from rounding or resizing: clipping these changes little.

    Raises:
        UserError: the range is unknown: no tag declares that of signed integers, or the pixels do
            not fit the range of their type.
    """
    tags = getattr(image, "tag_v2", {})  # a TIFF's
    signed = number(tags, "SampleFormat") == 2
    bits = number(tags, "BitsPerSample") or 16
    if not image.mode.startswith(("I", "F")) and not signed:
        return image
    black, white = declared_range(tags)
    of_16_bits = image.mode == "I" and image.format in ("PNG", "PPM")  # by their specifications
    certain = white is not None or image.mode.startswith("I;16") or of_16_bits
    if signed and (image.mode == "L" or (bits == 16 and white is None)):
        raise UserError(
            f"signed {bits}-bit integers, and no tag says which value is white: save it with "
            "unsigned 8 or 16 bits"
        )
    if white is None:
        white = 1 if image.mode == "F" else 2 ** min(bits, 16) - 1
    if number(tags, "PhotometricInterpretation") == 0:  # WhiteIsZero
        black, white = white, black

    grey = np.empty((image.height, image.width), np.uint8)
    step = max(1, 2**18 // image.width)  # rows at a time, to avoid large copies of large photos
    slack = 0.05 if image.mode == "F" else 0
    numbers = beyond = above_8_bits = 0  # pixels
    for top in range(0, image.height, step):
        rows = image.crop((0, top, image.width, min(top + step, image.height)))
        pixels = np.asarray(rows)
        if image.mode == "I" and max(black, white) >= 2**31:  # Pillow reads unsigned as signed
            pixels = pixels.view(np.uint32)
        values = (pixels.astype(np.float32) - black) / (white - black)
        is_nan = np.isnan(values)
        values[is_nan] = 0
        numbers += values.size - np.count_nonzero(is_nan)
        beyond += np.count_nonzero((values < -slack) | (values > 1 + slack))
        above_8_bits += np.count_nonzero(pixels > 255)
        grey[top : top + step] = (values.clip(0, 1) * 255).round()
        if "transparency" in image.info:  # a PNG's transparent grey
            grey[top : top + step][pixels == image.info["transparency"]] = 255
    if not numbers:
        raise UserError("all its pixels are NaN")
    if not certain and image.mode == "F" and beyond > numbers / 100:  # not 0 to 1
        raise UserError(
            "floats outside 0 (black) to 1 (white): rescale them, or save it with 8 or 16 bits"
        )
    if not certain and image.mode == "I" and (beyond or not above_8_bits):
        raise UserError(
            "32-bit integers, and no tag says which value is white: save it with 8 or 16 bits"
        )
    return Image.fromarray(grey)


def declared_range(tags: Any) -> tuple[float, float | None]:  # noqa: ANN401
    """Black and white as a TIFF's tags declare them; white is None if no tag does."""
    for prefix in ("S", ""):  # TIFF 6.0's SMaxSampleValue (any type), then the older MaxSampleValue
        white = number(tags, f"{prefix}MaxSampleValue")
        black = number(tags, f"{prefix}MinSampleValue") or 0
        if white is not None and white > black:
            return black, white
    return 0, None


def number(tags: Any, name: str) -> float | None:  # noqa: ANN401
    """The value of a TIFF tag for the first channel; None if it is missing or not a number."""
    value = tags.get(ExifTags.Base[name])
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int | float) and math.isfinite(value) else None
