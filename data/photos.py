"""Photos from files, as uint8 arrays."""

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

# Pillow warns of odd metadata, and above 89 million pixels; it refuses twice as many. The refusal
# is enough.
warnings.filterwarnings("ignore", module=r"PIL\.")
# Editors put whole histories and thumbnails into a PNG's text, and printers large colour profiles:
# allow a single chunk what Pillow allows all of them (64 MiB, not 1).
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY

# The formats that are read, each known by its first bytes. Pillow knows more: it hands EPS to
# Ghostscript, which runs programs, and takes any bytes for a TGA whose header is not impossible.
# JPEG includes MPO, a JPEG with more pictures behind the first one.
Image.init()
FORMATS = [
    name
    for name in ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")
    if name in Image.OPEN  # a Pillow of before July 2025 has no AVIF
]
# How a photo is usually named. What is one, its content says.
SUFFIXES = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}

# The brands of ISO media files (bytes 8 to 12) that phones give to HEIC photos.
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

# What other systems leave among photos, in lower case: previews, recycle bins, settings. No
# class of photos is called so; "recycler" or "thumbnails" may be one, and are not here.
JUNK = {
    "__macosx",
    *("icon\r", "desktop db", "desktop df", "temporary items", "network trash folder"),  # macOS
    "thevolumesettingsfolder",
    *("desktop.ini", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "folder.htt"),  # Windows
    *("$recycle.bin", "system volume information"),
    *("lost+found", "lost.dir"),  # what fsck and Android save of damaged disks
    *("@eadir", "#recycle", "#snapshot", "@tmp"),  # Synology
    *("@recycle", "@recently-snapshot", "@__thumb"),  # QNAP
    *("~snapshot", "picasa.ini", "zbthumbnail.info", "pspbrwse.jbf"),
}

# EXIF's orientations, and what makes the photo upright.
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
    """A file of another kind, not a photo that is damaged."""


def is_junk(name: str) -> bool:
    """Whether a path belongs to a hidden file or folder, or to what other systems leave.

    Args:
        name: the path below the folder that the user named, with "/" between its parts.
    """
    return any(part.startswith(".") or part.lower() in JUNK for part in name.split("/"))


def walk(folder: Path) -> list[str]:
    """All files in and below a folder, by their paths from there, without junk; sorted.

    Folders have a slash at the end. Links are followed, except back up the tree.

    Raises:
        UserError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise UserError(f"{error.filename}: {error.strerror}")

    found, way = [], {os.fspath(folder): frozenset()}  # a folder -> the real ones above it
    for parent, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        real, above = os.path.realpath(parent), way.pop(parent)
        if real in above:  # a link back up the tree
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
    if not path.is_dir():
        return [path]
    photos = sorted(path / name for name in walk(path) if not name.endswith("/"))
    if not photos:
        raise UserError(f"{path}: no photos in this folder")
    return photos


def decode(file: Path | BinaryIO) -> Image.Image:
    """Decode a photo in full: upright, 8 bits a channel; the first frame of an animation.

    Raises:
        NotAPhoto: it is a file of another kind.
        UserError: it cannot be decoded. The message is the reason, without the file's name.
    """
    try:
        if isinstance(file, Path):
            if not stat.S_ISREG(file.stat().st_mode):
                raise NotAPhoto("not a regular file")  # reading a pipe may never end
            # Opened by its name, Pillow maps an uncompressed TIFF, and turns it wrongly.
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
    """What to say of a file that Pillow does not know."""
    file.seek(0)
    head = file.read(16)
    if not head:
        return NotAPhoto("empty file")
    if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS:
        return UserError("HEIC, which cannot be read here: convert it to JPEG")
    # PPM starts with two letters, as texts do.
    starts = [Image.OPEN[name][1] for name in FORMATS if name != "PPM"]
    if any(start(head) for start in starts):
        return UserError("damaged, incomplete, or in a format that Pillow cannot read")
    return NotAPhoto(f"not an image of a format that is read here ({', '.join(FORMATS)})")


def upright(image: Image.Image) -> Image.Image:
    """Turn a decoded image as its EXIF says, and bring it to 8 bits a channel.

    Raises:
        UserError: its file does not say which of its values is white.
    """
    method = TURNS.get(orientation(image))
    image = to_8_bits(image)
    return image if method is None else image.transpose(method)


def orientation(image: Image.Image) -> int | None:
    """EXIF's tag 274, whatever is the matter with the other ones; None where there is none.

    Pillow gives up at the first tag that points outside of the block (EXIF 2.32, Section 4.6.2).
    """
    exif = re.sub(b"^(Exif\0\0)*", b"", image.info.get("exif", b""))
    with suppress(struct.error, KeyError):  # cut off, or no EXIF
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
        return image.getexif().get(ExifTags.Base.Orientation)  # of a TIFF, or in XMP
    return None


def open_photo(path: Path, channels: int) -> Image.Image:
    """Decode a photo in full: upright, 8 bits a channel, transparency over white.

    Args:
        channels: 1 for grey ("L"), 3 for "RGB".

    Raises:
        NotAPhoto: it is a file of another kind.
        UserError: Pillow cannot read the file.
    """
    try:
        return to_channels(decode(path), channels)
    except UserError as error:
        raise type(error)(f"{path}: {error}") from None


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Convert 8 bits a channel to grey (1 channel) or RGB (3), transparency over white."""
    if image.mode in ("La", "LAB"):  # Pillow converts these to their next of kin alone
        image = image.convert({"La": "LA", "LAB": "RGB"}[image.mode])
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
        # Of a photo of 60:1, something remains: Pillow would round its height to 0.
        longest = max(image.size)
        inner = [max(1, round(side / longest * size)) for side in image.size]
        image = image.resize(inner, Image.Resampling.BILINEAR)
        image = ImageOps.pad(image, (size, size))
    else:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
