"""Photos of all kinds, as uint8 arrays."""

import io
import os
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from data import photos
from engine.errors import UserError

# As data.photos does: pytest has filters of its own.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\.")


def gradient() -> Image.Image:
    values = np.linspace(0, 255, 60, dtype=np.uint8)[None, :].repeat(40, 0)
    return Image.fromarray(values)


def to_lab(image: Image.Image) -> Image.Image:
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    return ImageCms.profileToProfile(image.convert("RGB"), *profiles, outputMode="LAB")


def encoded(image, suffix="PNG", **options):
    file = io.BytesIO()
    image.save(file, suffix, **options)
    return io.BytesIO(file.getvalue())


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
        ("png", lambda i: i.convert("LA").convert("PA").convert("RGBA")),
        ("tiff", lambda i: i.convert("RGB").convert("YCbCr")),
        ("tiff", lambda i: to_lab(i)),
        ("gif", lambda i: i),
        ("webp", lambda i: i.convert("RGB")),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_image_gives_the_same_pixels(tmp_path, suffix, convert, channels):
    path = tmp_path / f"photo.{suffix}"
    image = convert(gradient())
    image.save(path, **({"lossless": True} if suffix == "webp" else {}))
    try:
        Image.open(path).load()
    except OSError:
        pytest.skip("this Pillow cannot read what it has written: YCbCr in a TIFF")
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


ORIENTATION = struct.pack("<HHIHH", 274, 3, 1, 6, 0)  # tag, type, count, value


def exif(*entries, count=None, tail=b""):
    """A little-endian EXIF block of these entries."""
    head = b"Exif\0\0II*\0" + struct.pack("<IH", 8, count or len(entries))
    return head + b"".join(entries) + bytes(4) + tail


def entry(tag, kind, count, value):
    return struct.pack("<HHII", tag, kind, count, value)


@pytest.mark.parametrize(
    "block",
    [
        exif(ORIENTATION),
        exif(entry(271, 2, 5000, 4000), ORIENTATION),  # a maker's name outside of the block
        exif(entry(270, 2, 9, 9999), entry(271, 2, 9, 2**32 - 1), ORIENTATION),
        exif(entry(258, 99, 1, 0), ORIENTATION),  # of no type
        exif(entry(282, 5, 1, 9999), ORIENTATION),  # not in order
        exif(ORIENTATION, entry(296, 2, 4, 7)),  # text where a number belongs: Pillow cannot write
        exif(ORIENTATION, entry(34665, 4, 1, 99999)),  # EXIF's own directory is nowhere
        exif(ORIENTATION, entry(34665, 4, 1, 8)),  # or here again
        exif(ORIENTATION, entry(34853, 2, 4, 7)),
        exif(ORIENTATION, count=500),  # cut off
        exif(entry(274, 4, 1, 6)),  # a long
        exif(entry(274, 1, 1, 6)),  # a byte
        exif(entry(274, 3, 2, 6 + 6 * 65536)),
        b"Exif\0\0" + exif(ORIENTATION),
        b"Exif\0\0MM\0*" + struct.pack(">IHHHIHH", 8, 1, 274, 3, 1, 6, 0) + bytes(4),
    ],
)
@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "WEBP"])
def test_photo_is_upright_whatever_else_its_exif_holds(block, suffix):
    file = encoded(gradient().convert("RGB"), suffix, exif=block)
    pixels = np.asarray(photos.to_channels(photos.decode(file), 1)).astype(int)
    assert abs(pixels - np.rot90(np.asarray(gradient()).astype(int), -1)).max() <= 4


@pytest.mark.parametrize(
    "block",
    [
        exif(entry(274, 3, 1, 9)),
        exif(entry(274, 3, 1, 0)),
        exif(entry(274, 2, 2, 54)),
        exif(entry(271, 2, 5000, 4000)),
        exif(entry(296, 3, 1, 2), ORIENTATION, count=1),  # behind the end of the directory
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0nothing of the kind",
    ],
)
def test_exif_without_an_orientation_turns_nothing(block):
    assert photos.decode(encoded(gradient(), "JPEG", exif=block)).size == (60, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["PNG", "TIFF"])
def test_every_orientation_and_16_bits(orientation, suffix):
    grey = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    block = Image.Exif()
    block[274] = orientation
    file = encoded(Image.fromarray(grey.astype(np.uint16) * 257), suffix, exif=block)
    turned = [
        *(grey, grey[:, ::-1], grey[::-1, ::-1], grey[::-1]),
        *(grey.T, np.rot90(grey, -1), grey[::-1, ::-1].T, np.rot90(grey)),
    ]
    assert np.array_equal(np.asarray(photos.decode(file)), turned[orientation - 1])


def test_orientation_in_xmp():
    xmp = b'<rdf:Description tiff:Orientation="6"/>'
    assert photos.decode(encoded(gradient(), "JPEG", xmp=xmp)).size == (40, 60)


@pytest.mark.parametrize("kind", ["text", "compressed text", "international text", "profile"])
def test_png_with_megabytes_beside_the_pixels(kind):
    info, options = PngImagePlugin.PngInfo(), {}
    if kind == "international text":
        info.add_itxt("history", "x" * 1_500_000, zip=True)
    elif kind == "profile":
        options = {"icc_profile": bytes(3_000_000)}
    else:
        info.add_text("history", "x" * 1_500_000, zip=kind == "compressed text")
    file = encoded(gradient(), pnginfo=info, **options)
    assert np.array_equal(np.asarray(photos.decode(file)), np.asarray(gradient()))


@pytest.mark.parametrize("size", [(1680, 28), (28, 1680), (6000, 100), (6000, 1)])
@pytest.mark.parametrize("mode", ["pad", "stretch"])
def test_something_remains_of_a_photo_of_60_to_1(size, mode):
    array = photos.to_square(Image.new("RGB", size, "white"), 28, mode)
    assert array.shape == (3, 28, 28)
    assert array.max() == 255 and array.any(axis=(0, 1 if size[0] > size[1] else 2)).all()


def test_first_picture_of_several():
    for suffix in ("MPO", "GIF", "TIFF", "WEBP", "PNG"):
        first, second = gradient().convert("RGB"), Image.new("RGB", (60, 40), "red")
        file = encoded(first, suffix, save_all=True, append_images=[second])
        pixels = np.asarray(photos.to_channels(photos.decode(file), 1)).astype(int)
        assert abs(pixels - np.asarray(gradient())).max() <= 6, suffix


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n{} loop\n"


@pytest.mark.parametrize(
    "content",
    [
        EPS,
        b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(EPS)) + bytes(20) + EPS,  # in binary
        b"%PDF-1.4\n",
        b"8BPS\0\1" + bytes(40),
        b"\xd7\xcd\xc6\x9a" + bytes(40),  # WMF
        b"\0\0\2\0" + bytes(8) + struct.pack("<HHBB", 4, 4, 24, 0) + bytes(48),  # TGA
        b"Python is no picture",
        b"P6",
        b"P3 is the third of the pages",
        b"",
    ],
)
def test_other_formats_are_not_opened(content, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", None)  # Ghostscript
    with pytest.raises(
        photos.NotAPhoto, match=r"not an image of a format that is read here|empty file"
    ):
        photos.decode(io.BytesIO(content))


def test_what_else_cannot_be_read_is_no_other_kind_of_file():
    heic = b"\0\0\0\x18ftypheic" + bytes(40)
    for content, words in (
        (heic, "HEIC, which cannot be read here: convert it to JPEG"),
        (heic.replace(b"heic", b"mif1"), "HEIC"),
        (encoded(gradient(), "JPEG").getvalue()[:100], "damaged"),
        (encoded(gradient(), "PNG").getvalue()[:20], "damaged"),
        (encoded(gradient(), "TIFF").getvalue()[:9], "damaged"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            photos.decode(io.BytesIO(content))
        assert not isinstance(caught.value, photos.NotAPhoto)


def test_want_of_memory_is_no_fault_of_the_photo(monkeypatch):
    def fail(_):
        raise MemoryError

    monkeypatch.setattr("data.photos.upright", fail)
    with pytest.raises(MemoryError):
        photos.decode(encoded(gradient()))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "photo.jpg")
    with pytest.raises(photos.NotAPhoto, match=r"photo\.jpg: not a regular file"):
        photos.open_photo(tmp_path / "photo.jpg", 3)


JUNK = """.DS_Store ._1.jpg .AppleDouble/1.jpg .thumbnails/1.jpg .@__thumb/1.jpg @eaDir/1.jpg/S.jpg
    #recycle/1.jpg $RECYCLE.BIN/1.jpg Thumbs.db THUMBS.DB desktop.ini lost+found/1.jpg
    LOST.DIR/1 __MACOSX/Cat/1.jpg Cat/@eaDir/1.jpg @Recycle/1.jpg #snapshot/1.jpg"""


def test_what_other_systems_leave_is_junk():
    for name in [
        *JUNK.split(),
        "System Volume Information/1.jpg",
        "Cat/Icon\r",
        "Temporary Items/",
    ]:
        assert photos.is_junk(name), name
    for name in ("Cat/1.jpg", "@home/1.jpg", "recycled/1.jpg", "thumbnails/1.jpg", "1.DS_Store"):
        assert not photos.is_junk(name), name


def test_links_are_followed_and_their_loops_end(tmp_path):
    folder = tmp_path / "given"
    for name in ("given/Cat/1", "given/Dog/2.jpg", "given/@eaDir/2.jpg", "elsewhere/deep/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (folder / "All").symlink_to(folder / "Cat")  # a way of its own to the same photos
    (folder / "Cat" / "up").symlink_to(folder)
    (folder / "Bird").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "deep" / "round").symlink_to(tmp_path / "elsewhere")
    (folder / "self").symlink_to("self")
    (folder / "gone.jpg").symlink_to("nowhere")
    files = [name for name in photos.walk(folder) if not name.endswith("/")]
    assert files == ["All/1", "Bird/deep/3.jpg", "Cat/1", "Dog/2.jpg", "gone.jpg", "self"]
    assert photos.photos_at(folder) == sorted(folder / name for name in files)
    assert photos.photos_at(folder / "Cat" / "1") == [folder / "Cat" / "1"]


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


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_a_tiff_is_turned_alike_by_name_and_by_content(tmp_path, mode):
    """Pillow maps an uncompressed TIFF that it opens by name."""
    pixels = np.arange(24 * 12, dtype=np.uint16).reshape(24, 12) * 200
    image = Image.fromarray(pixels)
    image = image if mode == "I;16" else Image.fromarray((pixels // 257).astype("u1")).convert(mode)
    for orientation in range(1, 9):
        image.save(tmp_path / "photo.tiff", tiffinfo={274: orientation})
        by_name = photos.decode(tmp_path / "photo.tiff")
        by_content = photos.decode(io.BytesIO((tmp_path / "photo.tiff").read_bytes()))
        assert by_name.size == ((12, 24) if orientation < 5 else (24, 12))
        assert np.array_equal(np.asarray(by_name), np.asarray(by_content))
