"""Decode photos from files to uint8 arrays."""

import os
import re
import stat
import struct
import warnings
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from data.bit_depth import to_8_bits
from engine.errors import UserError

# Pillow warns about odd metadata and about images of more than 89 million pixels, and refuses
# images of more than twice as many. The refusal is enough.
warnings.filterwarnings("ignore", module=r"PIL\.")
# Editors store histories and thumbnails in a PNG's text chunks; colour profiles can be large too.
# So a single chunk may be as large as Pillow allows for all chunks together (64 MiB, not 1).
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY

# The formats that are read, each recognised by its first bytes. Pillow reads more: it passes EPS to
# Ghostscript, which runs programs, and accepts almost any bytes as a TGA header. JPEG includes MPO,
# a JPEG with more pictures after the first one.
Image.init()
FORMATS = [
    name
    for name in ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")
    if name in Image.OPEN  # Pillow before July 2025 has no AVIF
]
# The usual suffixes of photos. Whether a file is a photo is decided by its content.
SUFFIXES = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}

# The brands (bytes 8 to 12 of an ISO media file) of HEIC photos from phones.
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

# Files and folders that other systems leave among photos, in lower case: previews, recycle bins,
# settings. None can be the name of a class; "recycler" and "thumbnails" can, so they are not here.
JUNK = {
    "__macosx",
    *("icon\r", "desktop db", "desktop df", "temporary items", "network trash folder"),  # macOS
    "thevolumesettingsfolder",
    *("desktop.ini", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "folder.htt"),  # Windows
    *("$recycle.bin", "system volume information"),
    *("lost+found", "lost.dir"),  # what fsck and Android recover from damaged disks
    *("@eadir", "#recycle", "#snapshot", "@tmp"),  # Synology
    *("@recycle", "@recently-snapshot", "@__thumb"),  # QNAP
    *("~snapshot", "picasa.ini", "zbthumbnail.info", "pspbrwse.jbf"),
}

# EXIF orientation -> the operation that makes the photo upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class NotAPhoto(UserError):
    """Raised for a file that is not a photo, as opposed to a damaged photo."""


def is_junk(name: str) -> bool:
    """Whether a path is in a hidden file or folder, or is a file that other systems leave.

    Args:
        name: the path relative to the folder that the user named, with "/" between its parts.
    """
    return any(part.startswith(".") or part.lower() in JUNK for part in name.split("/"))


def walk(folder: Path) -> list[str]:
    """The relative paths of all files and folders below a folder, without junk; sorted.

    Folders have a final slash. Links are followed, except to a folder above the link.

    Raises:
        UserError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise UserError(f"{error.filename}: {error.strerror}")

    found, way = [], {os.fspath(folder): frozenset()}  # a folder -> the real ones above it
    for parent, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        real, above = os.path.realpath(parent), way.pop(parent)
        if real in above:  # a link to a folder above it
            folders.clear()
            continue
        inside = Path(parent).relative_to(folder)
        if above:
            found.append(inside.as_posix() + "/")
        found += [n for n in ((inside / name).as_posix() for name in files) if not is_junk(n)]
        folders[:] = sorted(name for name in folders if not is_junk(name))
        way.update((os.path.join(parent, name), above | {real}) for name in folders)
    return sorted(found)


def photos_at(path: Path) -> list[Path]:
    """The file itself, or all files in and below a folder that may be photos, sorted by name.

    Raises:
        UserError: the folder cannot be read, or holds no file.
    """
    if not os.path.isdir(path):  # Path.is_dir raises where a folder above may not be entered
        return [path]
    photos = sorted(path / name for name in walk(path) if not name.endswith("/"))
    if not photos:
        raise UserError(f"{path}: no photos in this folder")
    return photos


def decode(file: Path | BinaryIO) -> Image.Image:
    """Decode a photo in full: upright, 8 bits per channel; the first frame of an animation.

    Raises:
        NotAPhoto: the file is not a photo.
        UserError: it cannot be decoded. The message is the reason, without the file's name.
    """
    try:
        if isinstance(file, Path):
            if not stat.S_ISREG(file.stat().st_mode):
                raise NotAPhoto("not a regular file")  # reading a pipe may never end
            # Given a file name, Pillow maps an uncompressed TIFF, and rotates it wrongly.
            with file.open("rb") as opened:
                return decode(opened)
        try:
            image = Image.open(file, formats=FORMATS)
        except (UnidentifiedImageError, ValueError):  # a text may begin as a PPM does, with "P6"
            raise unidentified(file) from None
        with image:
            image.load()
            return upright(image)
    except (UserError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise UserError("too many pixels to decode safely") from None
    except Exception as error:  # Pillow's plugins raise all kinds of exceptions on broken files
        reason = getattr(error, "strerror", None)  # the file could not be opened
        raise UserError(reason or "damaged or incomplete") from None


def unidentified(file: BinaryIO) -> UserError:
    """The error for a file that Pillow cannot identify."""
    file.seek(0)
    head = file.read(16)
    if not head:
        return NotAPhoto("empty file")
    if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS:
        return UserError("HEIC, which cannot be read here: convert it to JPEG")
    # PPM is left out: it starts with two letters, as text files may.
    starts = [Image.OPEN[name][1] for name in FORMATS if name != "PPM"]
    if any(start(head) for start in starts):
        return UserError("damaged, incomplete, or in a format that Pillow cannot read")
    return NotAPhoto(f"not an image of a format that is read here ({', '.join(FORMATS)})")


def upright(image: Image.Image) -> Image.Image:
    """Rotate a decoded image by its EXIF orientation, and convert it to 8 bits per channel.

    Raises:
        UserError: the file does not say which pixel value is white.
    """
    method = TURNS.get(orientation(image))
    image = to_8_bits(image)
    return image if method is None else image.transpose(method)


def orientation(image: Image.Image) -> int | None:
    """EXIF's orientation (tag 274), even if other tags are malformed; None if there is none.

    Pillow stops at the first tag that points outside the block (EXIF 2.32, Section 4.6.2).
    """
    exif = re.sub(b"^(Exif\0\0)*", b"", image.info.get("exif", b""))
    with suppress(struct.error, KeyError):  # truncated, or no EXIF
        order = {b"II": "<", b"MM": ">"}[exif[:2]]
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            (tag,) = struct.unpack_from(f"{order}H", exif, entry)
            if tag == ExifTags.Base.Orientation:
                (kind,) = struct.unpack_from(f"{order}H", exif, entry + 2)
                form = {1: "B", 3: "H", 4: "I"}[kind]
                return struct.unpack_from(order + form, exif, entry + 8)[0]
    with suppress(Exception):  # Pillow's parser raises all kinds of exceptions on malformed EXIF
        return image.getexif().get(ExifTags.Base.Orientation)  # from a TIFF's tags, or XMP
    return None


def open_photo(path: Path, channels: int) -> Image.Image:
    """Decode a photo in full: upright, 8 bits per channel, transparency over white.

    Args:
        channels: 1 for grey ("L"), 3 for "RGB".

    Raises:
        NotAPhoto: the file is not a photo.
        UserError: Pillow cannot read the file.
    """
    try:
        return to_channels(decode(path), channels)
    except UserError as error:
        raise type(error)(f"{path}: {error}") from None


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Convert an 8-bit image to grey (1 channel) or RGB (3), transparency over white."""
    if image.mode in ("La", "LAB"):  # Pillow converts these modes only to these two
        image = image.convert({"La": "LA", "LAB": "RGB"}[image.mode])
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def to_square(image: Image.Image, size: int, resize_mode: str) -> np.ndarray:
    """Resize a grey or RGB image to uint8, channels x size x size.

    Args:
        size: height and width of the result in pixels.
        resize_mode: how an image becomes square: "pad" adds black bars, "stretch" distorts it.
    """
    if resize_mode == "pad":
        # At least one pixel: Pillow would round the height of a 60:1 panorama to 0.
        longest = max(image.size)
        inner = [max(1, round(side / longest * size)) for side in image.size]
        image = image.resize(inner, Image.Resampling.BILINEAR)
        image = ImageOps.pad(image, (size, size))
    else:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
