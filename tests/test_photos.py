"""Photos of all kinds, as uint8 arrays."""

import numpy as np
import pytest
from PIL import Image

from data import photos
from engine.errors import UserError


def gradient() -> Image.Image:
    values = np.linspace(0, 255, 60, dtype=np.uint8)[None, :].repeat(40, 0)
    return Image.fromarray(values)


@pytest.mark.parametrize(
    ("suffix", "convert"),
    [
        ("png", lambda i: i),
        ("png", lambda i: i.convert("RGB")),
        ("png", lambda i: i.convert("RGBA")),
        ("png", lambda i: i.convert("LA")),
        ("png", lambda i: i.convert("RGB").quantize(256)),
        ("tiff", lambda i: i.convert("RGB").convert("CMYK")),
        ("png", lambda i: Image.fromarray(np.asarray(i).astype(np.uint16) * 257)),
        ("tiff", lambda i: Image.fromarray(np.asarray(i).astype(np.int32) * 257)),
        ("tiff", lambda i: Image.fromarray(np.asarray(i).astype(np.float32) / 255)),
        ("gif", lambda i: i),
        ("webp", lambda i: i.convert("RGB")),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_image_gives_the_same_pixels(tmp_path, suffix, convert, channels):
    path = tmp_path / f"photo.{suffix}"
    image = convert(gradient())
    image.save(path, **({"lossless": True} if suffix == "webp" else {}))
    pixels = np.asarray(photos.open_photo(path, channels)).astype(int)
    expected = np.asarray(gradient().convert("L" if channels == 1 else "RGB")).astype(int)
    assert pixels.shape == expected.shape
    assert abs(pixels - expected).max() <= 2


def test_photo_is_upright_and_keeps_its_shape(tmp_path):
    image = gradient()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the first row is the right side, from the top
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert photos.open_photo(tmp_path / "turned.jpg", 1).size == (40, 60)
    array = photos.to_square(photos.open_photo(tmp_path / "turned.jpg", 1), 30, "pad")
    assert array.shape == (1, 30, 30) and array.dtype == np.uint8
    assert array[0, 3, 15] < 40 and array[0, -3, 15] > 215  # left to right became top to bottom
    assert not array[0, :, :5].any() and not array[0, :, 25:].any()  # bars left and right
    stretched = photos.to_square(photos.open_photo(tmp_path / "turned.jpg", 1), 30, "stretch")
    assert stretched[0, -3].min() > 215 and stretched[0, 3].max() < 40  # from edge to edge


def test_transparency_is_over_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.asarray(photos.open_photo(tmp_path / "clear.png", 1)).min() == 255


def test_stored_size_is_passed_through(tmp_path, sample):
    image = sample[1].images[7]
    Image.fromarray(image[0]).save(tmp_path / "item.png")
    photo = photos.open_photo(tmp_path / "item.png", 1)
    assert np.array_equal(photos.to_square(photo, 28, "pad"), image)


def test_unreadable_photo_is_named(tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    gradient().save(tmp_path / "cut.png")
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    for name in ("text.jpg", "cut.png", "missing.jpg"):
        with pytest.raises(UserError, match=name):
            photos.open_photo(tmp_path / name, 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no photos"):
        photos.photos_at(tmp_path / "empty")
