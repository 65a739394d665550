"""Photos as people have them, in a folder or a zip: in class folders, or named like cat.0.jpg."""

import os
import re
import stat
import unicodedata
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data.photos import is_hidden
from engine.errors import UserError

FLAT_NAME = re.compile(r"([^/]+)\.\d+\.\w+")  # cat.0.jpg, as Kaggle names photos: class cat
# train, training_set, val, test1, …: folders of a set that is already split.
SPLIT = re.compile(r"(train|training|val|valid|validation|dev|eval|test|testing)[-_ ]?(set|\d*)")

# Limits against zip bombs. No photo is as large, and no archive of photos compresses as well.
MAX_MEMBER = 2**29  # bytes
MAX_RATIO, MAX_UNPACKED = 100, 2**30  # a zip is refused if it exceeds both


class Label(NamedTuple):
    """What the place of a file says about it."""

    class_name: str
    path: str  # below the folder of its class


class Source(ABC):
    """Files by name, and the class of each."""

    path: Path

    @abstractmethod
    def names(self) -> list[str]:
        """The paths of all files, and of all folders with a slash at the end; sorted."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            OSError: it cannot be read.
        """

    def labels(self) -> tuple[dict[str, Label], list[str]]:
        """The label of each file, sorted by name; and the files that belong to no class.

        Raises:
            UserError: there are no files, there is only one class, or the set is split already.
        """
        try:
            names = self.names()
            for name in names:
                if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
                    raise UserError(f"rename {name!a}: it has control characters, or is no UTF-8")
            return label(names)
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None


class FolderSource(Source):
    """The files in and below a folder, by their paths from there, without hidden ones."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        def fail(error: OSError) -> None:
            raise UserError(f"{error.filename}: {error.strerror}")

        names, seen = [], set()
        for folder, folders, files in os.walk(self.path, onerror=fail, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:  # a link back up the tree
                folders.clear()
                continue
            seen.add(real)
            folders.sort()
            inside = Path(folder).relative_to(self.path)
            names += [(inside / name).as_posix() for name in files]
            names += [(inside / name).as_posix() + "/" for name in folders]
        return visible(names)

    def read(self, name: str) -> bytes:
        path = self.path / name
        if path.stat().st_size > MAX_MEMBER:
            raise OSError("larger than any photo")
        return path.read_bytes()


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

    def labels(self) -> tuple[dict[str, Label], list[str]]:
        """Cats are the breeds with a capital first letter, as the set's README says."""
        names = self.names()
        photos = [name for name in names if name.endswith(".jpg")]
        labels = {name: Label("Cat" if name[0].isupper() else "Dog", name) for name in photos}
        return labels, [name for name in names if name not in labels]


class ZipSource(Source):
    """The members of a zip, by name, without hidden ones.

    Raises:
        UserError: the zip is damaged, or has a member that no honest archive of photos has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise UserError(f"{path}: not a whole zip ({error}): get it anew") from None
        self.members: dict[str, zipfile.ZipInfo] = {}  # by normalised name
        unpacked = 0
        for member in self.zip.infolist():
            # Tools write Cat/1.jpg as ./Cat/1.jpg, Cat//1.jpg or Cat\\1.jpg, too.
            name = str(PurePosixPath(member.filename.replace("\\", "/"))) + "/" * member.is_dir()
            unpacked += member.file_size
            reason = self.objection(member)
            if name in self.members and not member.is_dir():
                reason = "is there twice"
            self.members[name] = member
            if reason:
                raise UserError(f"{path}: refused, since its member {member.filename!r} {reason}")
        if unpacked > max(MAX_UNPACKED, MAX_RATIO * path.stat().st_size):
            raise UserError(f"{path}: refused, since it would unpack to {unpacked / 2**30:.0f} GiB")

    @staticmethod
    def objection(member: zipfile.ZipInfo) -> str | None:
        """Why this member must be refused; None if it need not."""
        name = PurePosixPath(member.filename.replace("\\", "/"))
        has_drive = any(re.match("[A-Za-z]:", part) for part in name.parts)
        if name.is_absolute() or ".." in name.parts or has_drive:
            return "points outside the archive"
        if stat.S_ISLNK(member.external_attr >> 16):
            return "is a link"
        if member.file_size > MAX_MEMBER:
            return f"would unpack to {member.file_size / 2**20:.0f} MiB"
        if member.flag_bits & 1:
            return "is encrypted"
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return "is compressed in a way that cannot be unpacked within bounds"
        return None

    def names(self) -> list[str]:
        return visible(self.members)

    def read(self, name: str) -> bytes:
        member = self.members[name]
        try:
            with self.zip.open(member) as file:
                return file.read(member.file_size + 1)  # the size may be a lie: read no further
        except Exception as error:  # each compression raises its own kinds on damaged data
            raise OSError(f"damaged in the zip ({error})") from None


def open_source(path: Path) -> Source:
    """Open a folder or a zip.

    Raises:
        UserError: the path is neither, or the zip is damaged or dangerous.
    """
    if path.is_dir():
        return FolderSource(path)
    if not path.exists():
        raise UserError(f"{path}: there is no such folder or zip")
    return ZipSource(path)


def visible(names: Iterable[str]) -> list[str]:
    """The names that are not hidden, sorted, each once."""
    return sorted({name for name in names if not is_hidden(name)})


def label(names: Iterable[str]) -> tuple[dict[str, Label], list[str]]:
    """Find the class of each file: takes ``Source.names``, returns ``Source.labels``.

    Descends as long as there is a single folder. Where there are several, they are the classes,
    whatever files lie beside them; where there is none, or the files are named like cat.0.jpg and
    dog.0.jpg, their names tell the class.
    """
    names = list(names)
    files = [name for name in names if not name.endswith("/")]
    if not files:
        raise UserError("there are no photos in it")
    root = ""
    while True:
        below = [name[len(root) :] for name in names if name.startswith(root)]
        folders = sorted({name.split("/")[0] for name in below if "/" in name})
        named = {match[1] for match in map(FLAT_NAME.fullmatch, below) if match}
        if len(folders) != 1 or len(named) > 1:
            break
        root += folders[0] + "/"
    inside = {file: file[len(root) :] for file in files if file.startswith(root)}
    has_folders = len(folders) > 1
    labels = label_by_folder(inside, folders) if has_folders else label_by_name(inside, root)
    return labels, [file for file in files if file not in labels]


def label_by_folder(inside: dict[str, str], folders: list[str]) -> dict[str, Label]:
    """Label the files in class folders.

    Args:
        inside: file -> its path from the folder that holds the class folders.
        folders: the class folders.
    """
    splits = [folder for folder in folders if SPLIT.fullmatch(folder.lower())]
    if len(splits) > 1:
        raise UserError(
            f"it is split already, into {', '.join(splits)}: name the folder of the classes"
        )
    parts = {file: path.partition("/") for file, path in inside.items()}
    labels = {file: Label(folder, rest) for file, (folder, _, rest) in parts.items() if rest}
    empty = set(folders) - {class_name for class_name, _ in labels.values()}
    if empty:
        raise UserError(f"there are no files in its class folder {min(empty)!r}")
    return labels


def label_by_name(inside: dict[str, str], root: str) -> dict[str, Label]:
    """Label the files in the folder ``root`` that are named like cat.0.jpg.

    Args:
        inside: file -> its path from root.
    """
    matches = {file: FLAT_NAME.fullmatch(path) for file, path in inside.items()}
    labels = {file: Label(match[1], match[0]) for file, match in matches.items() if match}
    classes = {class_name for class_name, _ in labels.values()}
    if len(classes) < 2:
        alone = min(classes, default=root.rstrip("/").rpartition("/")[2])
        raise UserError(
            f"there is {f'one class alone, {alone!r}' if alone else 'no class'}: it takes a "
            "folder for each of two classes or more, or names like cat.0.jpg and dog.0.jpg"
        )
    return labels
