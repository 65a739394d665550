"""Integers and floats of more than 8 bits, as 8-bit grey: by the file's type and its tags."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from data import photos
from engine.errors import UserError

GREY = np.linspace(0, 255, 60).round().astype(np.uint8)[None].repeat(40, 0)
UNIT = (GREY / 255).astype(np.float32)
SIXTEEN = GREY.astype(np.uint16) * 257
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # TIFF's SampleFormat
MAX, SMIN, SMAX = 281, 340, 341  # its tags


def tiff(pixels, sample_format, tags=None, bits=None, photometric=1):
    """A TIFF written out byte by byte; tags: number -> value, of type LONG or FLOAT."""
    height, width = GREY.shape
    data = pixels.tobytes()
    values = {256: width, 257: height, 258: bits or 8 * pixels.itemsize, 259: 1, 262: photometric}
    values |= {277: 1, 278: height, 279: len(data), 339: sample_format} | (tags or {})
    values[273] = 8 + 2 + 12 * (len(values) + 1) + 4  # where the pixels are
    entries = b"".join(
        struct.pack("<HHI", tag, 11 if isinstance(value, float) else 4, 1)
        + struct.pack("<f" if isinstance(value, float) else "<I", value)
        for tag, value in sorted(values.items())
    )
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4) + data


def saved(pixels, suffix, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, suffix, **options)
    return file.getvalue()


def read(content):
    image = photos.decode(io.BytesIO(content))
    assert image.mode == "L"
    return np.asarray(image)


def packed_12_bits():
    """Pairs of 12-bit pixels in three bytes."""
    pairs = (UNIT * 4095).round().astype(np.uint16).reshape(-1, 2)
    first, second = pairs[:, 0], pairs[:, 1]
    columns = first >> 4, (first & 15) << 4 | second >> 8, second & 255
    return np.stack(columns, axis=1).astype(np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        saved(SIXTEEN, "PNG"),
        saved(SIXTEEN, "TIFF"),
        saved(SIXTEEN.astype(">u2"), "TIFF"),
        saved(SIXTEEN, "PPM"),
        saved(SIXTEEN, "JPEG2000"),
        b"P5 60 40 1023\n" + (UNIT * 1023).round().astype(">u2").tobytes(),
        saved(UNIT, "TIFF"),
        b"Pf 60 40 -1.0\n" + UNIT[::-1].tobytes(),
        saved(SIXTEEN.astype(np.int32), "TIFF"),  # 16 bits in 32
        tiff(packed_12_bits(), UNSIGNED, bits=12),
        tiff(65535 - SIXTEEN, UNSIGNED, photometric=0),  # white is zero
        tiff(1 - UNIT, FLOAT, photometric=0),
        tiff((UNIT * 4095).round().astype(np.uint16), UNSIGNED, {MAX: 4095}),
        tiff(UNIT * 200 - 100, FLOAT, {SMIN: -100.0, SMAX: 100.0}),
        tiff(UNIT * 255, FLOAT, {SMAX: 255.0}),
        tiff(UNIT, FLOAT, {SMAX: float("nan")}),  # declares nothing
        tiff(UNIT, FLOAT, {SMAX: 0.0}),
        tiff(GREY.astype(np.int16) * 128, SIGNED, {SMAX: 255 * 128}),
        tiff(GREY.astype(np.uint32) * 257 * 65537, UNSIGNED, {SMAX: 2**32 - 1}),
    ],
)
def test_range_is_that_of_the_type_or_declared(content):
    assert np.array_equal(read(content), GREY)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(np.nan, 0), (1.01, 255), (2, 255), (300, 255), (-0.1, 0), (np.inf, 255), (-np.inf, 0)],
)
def test_one_strange_pixel_changes_no_other(value, expected):
    pixels = UNIT.copy()
    pixels[3, 30] = value
    changed = GREY.copy()
    changed[3, 30] = expected
    assert np.array_equal(read(saved(pixels, "TIFF")), changed)


def test_floats_somewhat_beyond_are_clipped():
    for pixels in (UNIT * np.float32(1.04), UNIT * np.float32(1.08) - np.float32(0.04)):
        assert np.array_equal(read(saved(pixels, "TIFF")), (pixels.clip(0, 1) * 255).round())
    for share in (0, 24):  # of 2,400
        pixels = np.zeros_like(UNIT)
        pixels.flat[:share] = 300
        assert np.count_nonzero(read(saved(pixels, "TIFF"))) == share


def test_dark_photos_stay_dark():
    for pixels in (SIXTEEN // 300, UNIT / 300):  # at most 218 of 65,535
        assert read(saved(pixels, "TIFF")).max() == 1
    assert not read(saved(SIXTEEN * 0, "PNG")).any() and not read(saved(UNIT * 0, "TIFF")).any()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (saved(UNIT * 255, "TIFF"), "outside 0"),
        (saved(UNIT * 100, "TIFF"), "outside 0"),
        (saved(UNIT * 2 - 1, "TIFF"), "outside 0"),
        (saved(UNIT * np.float32(1.1), "TIFF"), "outside 0"),
        (saved((UNIT - 0.45) / 0.22, "TIFF"), "outside 0"),  # normalised
        (b"Pf 60 40 -1.0\n" + (UNIT * 255).tobytes(), "outside 0"),
        (saved(np.where(UNIT > 0.95, UNIT * 255, 0), "TIFF"), "outside 0"),  # mostly black
        (saved(UNIT * np.float32(np.nan), "TIFF"), "all its pixels are NaN"),
        (saved(GREY.astype(np.int32), "TIFF"), "32-bit integers"),  # 8 bits, or a dark photo?
        (saved(SIXTEEN.astype(np.int32) * 2, "TIFF"), "32-bit integers"),
        (saved(-SIXTEEN.astype(np.int32), "TIFF"), "32-bit integers"),
        (tiff(GREY.astype(np.uint32) * 257 * 65537, UNSIGNED), "32-bit integers"),
        (tiff(GREY.astype(np.int16) * 128, SIGNED), "signed 16-bit integers"),
        (tiff(GREY.astype(np.int8), SIGNED), "signed 8-bit integers"),
        (tiff(UNIT.astype(np.float64), FLOAT), "in a format that Pillow cannot read"),
    ],
)
def test_what_cannot_be_known_is_refused(content, words):
    with pytest.raises(UserError, match=words):
        read(content)


def test_transparent_grey_of_16_bits_is_white():
    pixels = read(saved(SIXTEEN, "PNG", transparency=0))
    assert (pixels[:, 0] == 255).all() and np.array_equal(pixels[:, 1:], GREY[:, 1:])


def test_large_photos_of_16_bits_take_no_large_copies():
    image = Image.new("I;16", (4000, 2500), 257 * 7)
    tracemalloc.start()
    grey = photos.upright(image)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grey.getextrema() == (7, 7)
    assert peak < 3 * 4000 * 2500  # bytes: the result, Pillow's copy of it, and some rows
