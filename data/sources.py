"""Photos as people have them: in class folders, or with names like cat.0.jpg; or all in a zip."""

import os
import re
import stat
import unicodedata
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from data.images import DataError
from data.photos import is_hidden

FLAT_NAME = re.compile(r"([^/]+)\.\d+\.\w+")  # cat.0.jpg, as Kaggle names its photos: class cat
# train, training_set, val, test1, …: folders of a set that is split already.
SPLIT = re.compile(r"(train|training|val|valid|validation|dev|eval|test|testing)[-_ ]?(set|\d*)")

# No photo is larger, and no archive of photos shrinks as much: what is above is a bomb.
MAX_MEMBER = 2**29  # bytes
MAX_RATIO, MAX_UNPACKED = 100, 2**30  # refused only if beyond both


class Source(ABC):
    """Files by name, and the class of each."""

    path: Path

    @abstractmethod
    def names(self) -> list[str]:
        """The path of every file, and of every folder with a slash at its end; sorted."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            OSError: it cannot be read.
        """

    def labels(self) -> tuple[dict[str, tuple[str, str]], list[str]]:
        """file -> (class, path within the class), in order of the names; and what has no class.

        Raises:
            DataError: there are no files, there is but one class, or it is split already.
        """
        try:
            names = self.names()
            for name in names:
                if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
                    raise DataError(f"rename {name!a}: it has control characters, or is no UTF-8")
            return label(names)
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from None


class FolderSource(Source):
    """The files in a folder and below it, by their paths from there. Hidden ones are left out."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        def refuse(error: OSError) -> None:
            raise DataError(f"{error.filename}: {error.strerror}")

        names, seen = [], set()
        for folder, folders, files in os.walk(self.path, onerror=refuse, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:  # a link that leads back up
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
    """The photos of Oxford-IIIT Pet (Parkhi et al. 2012), downloaded by torchvision into data/.

    Raises:
        DataError: the download failed.
    """

    def __init__(self) -> None:
        from torchvision.datasets import OxfordIIITPet

        root = Path(__file__).parent
        try:
            OxfordIIITPet(root, download=True)
        except (OSError, HTTPException, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"Oxford-IIIT Pet cannot be downloaded ({reason})") from None
        super().__init__(root / "oxford-iiit-pet" / "images")

    def labels(self) -> tuple[dict[str, tuple[str, str]], list[str]]:
        """As the set's README has it, the names of cats' breeds begin with a capital letter."""
        names = self.names()
        photos = [name for name in names if name.endswith(".jpg")]
        labels = {name: ("Cat" if name[0].isupper() else "Dog", name) for name in photos}
        return labels, [name for name in names if name not in labels]


class ZipSource(Source):
    """The members of a zip, by their names in it.

    Raises:
        DataError: it is no whole zip, or has a member that no honest archive of photos has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise DataError(f"{path}: not a whole zip ({error}): get it anew") from None
        self.members: dict[str, zipfile.ZipInfo] = {}  # by a tidy name
        unpacked = 0
        for member in self.zip.infolist():
            # One way to write a path, whichever the zip has: ./Cat/1.jpg, Cat//1.jpg, Cat\\1.jpg.
            name = str(PurePosixPath(member.filename.replace("\\", "/"))) + "/" * member.is_dir()
            unpacked += member.file_size
            reason = self.objection(member)
            if name in self.members and not member.is_dir():
                reason = "is there twice"
            self.members[name] = member
            if reason:
                raise DataError(f"{path}: refused, since its member {member.filename!r} {reason}")
        if unpacked > max(MAX_UNPACKED, MAX_RATIO * path.stat().st_size):
            raise DataError(f"{path}: refused, since it would unpack to {unpacked / 2**30:.0f} GiB")

    @staticmethod
    def objection(member: zipfile.ZipInfo) -> str | None:
        """Why this member is refused, if it is."""
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
                return file.read(member.file_size + 1)  # and no further, whatever is in it
        except Exception as error:  # of many kinds, as the damage and the compression have it
            raise OSError(f"damaged in the zip ({error})") from None


def open_source(path: Path) -> Source:
    """The folder or zip of that name.

    Raises:
        DataError: it is neither, or is not to be trusted.
    """
    if path.is_dir():
        return FolderSource(path)
    if not path.exists():
        raise DataError(f"{path}: there is no such folder or zip")
    return ZipSource(path)


def visible(names: Iterable[str]) -> list[str]:
    """Sorted, each once, without hidden ones."""
    return sorted({name for name in names if not is_hidden(name)})


def label(names: Iterable[str]) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """What class each file is of.

    The outermost folders that are more than one are the classes, whatever lies beside them. Where
    there is but one, with files alone in it, or none, the classes are in names like cat.0.jpg.

    Takes what ``Source.names`` gives, returns what ``Source.labels`` does.
    """
    names = list(names)
    files = [name for name in names if not name.endswith("/")]
    if not files:
        raise DataError("there are no photos in it")
    root = ""
    while True:
        below = [name[len(root) :] for name in names if name.startswith(root)]
        folders = sorted({name.split("/")[0] for name in below if "/" in name})
        kinds = {match[1] for match in map(FLAT_NAME.fullmatch, below) if match}
        if len(folders) != 1 or len(kinds) > 1:
            break
        root += folders[0] + "/"
    inside = {file: file[len(root) :] for file in files if file.startswith(root)}
    has_folders = len(folders) > 1
    labels = label_by_folder(inside, folders) if has_folders else label_by_name(inside, root)
    return labels, [file for file in files if file not in labels]


def label_by_folder(inside: dict[str, str], folders: list[str]) -> dict[str, tuple[str, str]]:
    """Files in class folders; ``inside`` has the path of each from where those folders are."""
    splits = [folder for folder in folders if SPLIT.fullmatch(folder.lower())]
    if len(splits) > 1:
        raise DataError(
            f"it is split already, into {', '.join(splits)}: name the folder of the classes"
        )
    parts = {file: path.partition("/") for file, path in inside.items()}
    labels = {file: (kind, rest) for file, (kind, _, rest) in parts.items() if rest}
    empty = set(folders) - {kind for kind, _ in labels.values()}
    if empty:
        raise DataError(f"there are no files in its class folder {min(empty)!r}")
    return labels


def label_by_name(inside: dict[str, str], root: str) -> dict[str, tuple[str, str]]:
    """Files with names like cat.0.jpg in the folder root."""
    matches = {file: FLAT_NAME.fullmatch(path) for file, path in inside.items()}
    labels = {file: (match[1], match[0]) for file, match in matches.items() if match}
    kinds = {kind for kind, _ in labels.values()}
    if len(kinds) < 2:
        alone = min(kinds, default=root.rstrip("/").rpartition("/")[2])
        raise DataError(
            f"there is {f'one class alone, {alone!r}' if alone else 'no class'}: it takes a "
            "folder for each of two classes or more, or names like cat.0.jpg and dog.0.jpg"
        )
    return labels
