"""Sources of photos, a folder or a zip: in class folders, or named like cat.0.jpg."""

import mimetypes
import re
import stat
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from data.layout import Label, command, label, listed
from data.photos import is_junk, walk
from engine.errors import NOT_IN_NAMES, UserError

# Limits against zip bombs. No photo is this large, and no archive of photos compresses this well.
MAX_MEMBER = 2**29  # bytes
MAX_RATIO, MAX_UNPACKED = 100, 2**30  # a zip is refused if it exceeds both
ARCHIVES = {".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"}
DOS_SYSTEMS = (0, 6, 10, 14)  # FAT, OS/2, NTFS, VFAT: names there cannot contain a backslash


class Source(ABC):
    """Files by name, and the class of each file."""

    path: Path

    @abstractmethod
    def names(self) -> list[str]:
        """The paths of all files, and of all folders with a final slash; sorted."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            OSError: it cannot be read.
        """

    @abstractmethod
    def size(self, name: str) -> int:
        """The size of a file in bytes; 0 if it cannot be read."""

    def labels(self) -> tuple[dict[str, Label], dict[str, str]]:
        """The label of each file, sorted by name; and the files left out, with the reason.

        Raises:
            UserError: there are no files or no classes, or the classes are ambiguous.
        """
        try:
            names = self.names()
            for name in names:
                if NOT_IN_NAMES.search(name):
                    raise UserError(f"rename {name!a}: it has control characters or is not UTF-8")
            refuse_archives(names, self.path)
            return label(names, self.path, self.size)
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None


class FolderSource(Source):
    """The files below a folder, by their relative paths, without junk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        return walk(self.path)

    def read(self, name: str) -> bytes:
        path = self.path / name
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device may never end
            raise OSError("not a regular file")
        if status.st_size > MAX_MEMBER:
            raise OSError("larger than any photo")
        return path.read_bytes()

    def size(self, name: str) -> int:
        path = self.path / name
        return path.stat().st_size if path.is_file() else 0


class OxfordPets(FolderSource):
    """The photos of Oxford-IIIT Pet (Parkhi et al. 2012). torchvision downloads them into data/.

    Raises:
        UserError: the download failed.
    """

    def __init__(self) -> None:
        from torchvision.datasets import OxfordIIITPet

        root = Path(__file__).parent
        try:
            OxfordIIITPet(root, download=True)
        except (OSError, HTTPException, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"Oxford-IIIT Pet cannot be downloaded ({reason})") from None
        super().__init__(root / "oxford-iiit-pet" / "images")

    def labels(self) -> tuple[dict[str, Label], dict[str, str]]:
        """Cats are the breeds with a capital first letter, as the set's README says."""
        names = self.names()
        photos = [name for name in names if name.endswith(".jpg")]
        labels = {name: Label("Cat" if name[0].isupper() else "Dog", name) for name in photos}
        return labels, {name: "not a photo" for name in names if name not in labels}


class ZipSource(Source):
    """The members of a zip, by name, without junk.

    Args:
        path: of the zip.
        folder: a folder in the zip; everything outside it is ignored.

    Raises:
        UserError: the zip is damaged, or has an unsafe member.
    """

    def __init__(self, path: Path, folder: str = "") -> None:
        self.path = path / folder
        try:
            self.zip = zipfile.ZipFile(path)
        except UnicodeDecodeError as error:
            raise UserError(bad_name(path, error.object)) from None
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise UserError(f"{path}: {why_no_zip(path, error)}") from None
        self.members: dict[str, zipfile.ZipInfo] = {}  # by normalised name
        unpacked = 0
        for name, member in zip(names_of(self.zip, path), self.zip.infolist(), strict=True):
            unpacked += member.file_size
            reason = objection(name, member)
            # Some tools write Cat/1.jpg as ./Cat/1.jpg or Cat//1.jpg.
            normal = str(PurePosixPath(name)) + "/" * name.endswith("/")
            if normal in self.members and not normal.endswith("/"):
                reason = "occurs twice"
            self.members[normal] = member
            if reason:
                raise UserError(f"{path}: refused, since its member {name!r} {reason}")
        if unpacked > max(MAX_UNPACKED, MAX_RATIO * path.stat().st_size):
            raise UserError(f"{path}: refused, since it would unpack to {unpacked / 2**30:.0f} GiB")
        if folder:
            inside = f"{folder}/"
            self.members = {
                name.removeprefix(inside): member
                for name, member in self.members.items()
                if name.startswith(inside) and name != inside
            }

    def names(self) -> list[str]:
        return sorted(name for name in self.members if not is_junk(name))

    def read(self, name: str) -> bytes:
        member = self.members[name]
        if member.file_size > MAX_MEMBER:
            raise OSError("larger than any photo")
        try:
            with self.zip.open(member) as file:
                return file.read(member.file_size + 1)  # no further: the size may be wrong
        except Exception as error:  # on damaged data, each compression raises other exceptions
            raise OSError(f"damaged in the zip ({error})") from None

    def size(self, name: str) -> int:
        return self.members[name].file_size


def names_of(archive: zipfile.ZipFile, path: Path) -> list[str]:
    """The names of all members, with slashes between folders.

    A backslash separates folders if the zip is from a system where names cannot contain one, or if
    no member has a slash. Info-ZIP's unzip has the same rule.

    Raises:
        UserError: a name is in an unknown encoding.
    """
    names = [member_name(member, path) for member in archive.infolist()]
    no_slashes = not any("/" in name for name in names)
    return [
        name.replace("\\", "/") if no_slashes or member.create_system in DOS_SYSTEMS else name
        for name, member in zip(names, archive.infolist(), strict=True)
    ]


def member_name(member: zipfile.ZipInfo, path: Path) -> str:
    """The name of a member: from its Unicode path field, or decoded as UTF-8 with or without flag.

    zipfile decodes every name without the UTF-8 flag as cp437 (PKWARE's APPNOTE 6.3.10: the flag is
    bit 11 in 4.4.4, the field is 4.6.9).

    Raises:
        UserError: there is no field, and the name is not UTF-8: the encoding is unknown.
    """
    encoding = "utf-8" if member.flag_bits & 0x800 else "cp437"
    raw, extra = member.orig_filename.encode(encoding), member.extra
    while len(extra) >= 4:
        kind, size = (int.from_bytes(extra[at : at + 2], "little") for at in (0, 2))
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        checksum = zlib.crc32(raw).to_bytes(4, "little")  # of the name that the field replaces
        if kind == 0x7075 and field[:5] == b"\x01" + checksum and field[5:]:
            raw = field[5:]
            break
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(bad_name(path, raw)) from None


def bad_name(path: Path, name: bytes) -> str:
    """The message about a member's name that cannot be decoded."""
    shown = name.decode("ascii", "backslashreplace")
    return (
        f"{path}: refused, since the name of its member '{shown}' is in an unknown encoding: "
        "unpack it on the system that made it, or with a program that lets you choose the "
        "encoding, and name the folder"
    )


def objection(name: str, member: zipfile.ZipInfo) -> str | None:
    """Why a member of a zip must be refused; None if it is acceptable."""
    path = PurePosixPath(name.replace("\\", "/"))  # as Windows would read it
    has_drive = any(re.match("[A-Za-z]:", part) for part in path.parts)
    if path.is_absolute() or ".." in path.parts or has_drive:
        return "points outside the archive"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link"
    if member.file_size > MAX_MEMBER and path.suffix.lower() not in ARCHIVES:
        return f"would unpack to {member.file_size / 2**20:.0f} MiB"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "has a compression method that cannot be unpacked within limits"
    return None


def why_no_zip(path: Path, error: Exception) -> str:
    """Why zipfile cannot open a file, and what the user can do."""
    if path.suffix.lower() in ARCHIVES - {".zip"}:
        return "only zips are read: unpack it, and name the folder"
    return (
        f"not a complete zip ({error}): download it again or, if it is another kind of archive, "
        "unpack it and name the folder"
    )


def open_source(path: Path) -> Source:
    """Open a folder or a zip, or a folder in a zip: photos.zip/train.

    Raises:
        UserError: there is no such folder or zip, or the zip is damaged or unsafe.
    """
    if path.is_dir():
        return FolderSource(path)
    for file in (path, *path.parents):
        if file.is_file():
            return ZipSource(file, path.relative_to(file).as_posix().removeprefix("."))
    if path.exists():
        raise UserError(f"{path}: neither a folder nor a regular file")
    raise UserError(f"{path}: there is no such folder or zip")


def refuse_archives(files: Iterable[str], path: Path) -> None:
    """Refuse a source that holds archives and no photos."""
    archives = []
    for file in files:
        if file.endswith("/"):
            continue
        if PurePosixPath(file).suffix.lower() in ARCHIVES:
            archives.append(file)
        elif not (mimetypes.guess_type(file)[0] or "image/").startswith(("text/", "application/")):
            return  # may be a photo
    zips = [file for file in archives if file.lower().endswith(".zip")]
    advice = "unpack it, and name the folder or one of the zips in it"
    if path.is_dir() and zips:
        advice = f"name one: {command(path, zips[0])}"
    if archives:
        raise UserError(f"it has no photos, only archives ({listed(archives)}): {advice}")
