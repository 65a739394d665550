"""Find the classes of a set of photos, and its parts if it is already split, by file names."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from data.given_splits import (
    FLAT_NAME,
    STORE,
    Tree,
    command,
    find_parts,
    listed,
    part_above_class,
    part_of,
    refuse_nested_sets,
)
from engine.errors import UserError

# Folders of annotations (such as masks), beside a folder of the photos themselves.
MASKS = re.compile(
    "(masks?|labels?|annotations?|annots?|xmls?|bbox(es)?|ground[-_ ]?truths?|gt|trimaps?"
    "|segmentation(s|class|object)?|image[-_ ]?sets?)",
    re.I,
)
# "augmented" and similar words anywhere, except in "not augmented"; "aug" only after a word, since
# it may be the month.
AUGMENTED = re.compile(
    r"(?!.*(un|non?|not|without|before)[-_ ]?augment)(.*augment.*|.*[a-z][^a-z0-9]+aug[^a-z0-9]*)",
    re.I,
)
ORIGINAL = re.compile("originals?|raw", re.I)


class Label(NamedTuple):
    """What a file's path says about it."""

    class_name: str
    path: str  # below the folder of its class
    part: str = ""  # "train", "val" or "test" if the set is already split


def label(
    names: Iterable[str], path: Path, size: Callable[[str], int]
) -> tuple[dict[str, Label], dict[str, str]]:
    """Find the class of each file, and its part if the set is already split.

    Descends as long as there is a single folder. Several folders are the parts of a split set if
    they have such names and hold class folders; otherwise they are the classes, and files beside
    them do not matter. If there is no folder, or the files are named like cat.0.jpg and dog.0.jpg,
    the file names give the class. Masks, augmented copies and a second copy of the whole set are
    left out. Two Unicode spellings of a name (NFC, NFD) are the same name.

    Args:
        names: of files, and of folders with a slash at the end.
        path: of the source, for commands in messages.
        size: the bytes of a file, by its name.

    Returns the labels, and the files that are left out with the reason.

    Raises:
        UserError: there are no classes, there is only one, or the classes are ambiguous.
    """
    spelled = {name: unicodedata.normalize("NFC", name) for name in names}
    files = {name: file for name, file in spelled.items() if not name.endswith("/")}
    if not files:
        raise UserError("there are no photos in it")
    left_out = set_aside(spelled, path, size)
    tree = Tree(plain for name, plain in spelled.items() if name not in left_out)
    root = tree.descend("")
    placed = {name: plain for name, plain in files.items() if name not in left_out}
    moved = part_above_class(tree, root, placed)
    if moved is not None:
        placed, tree = moved, Tree(moved.values())
    labels = {}
    for folder, part in find_parts(tree, root, path).items():
        inside = {f: name[len(folder) :] for f, name in placed.items() if name.startswith(folder)}
        if tree.has_class_folders(folder):
            refuse_nested_sets(tree, folder, path)
            labels |= label_by_folder(inside, tree.folders[folder], part)
        else:
            labels |= label_by_name(inside, folder, part)
    refuse_bad_classes(labels.values())
    strays = {name: left_out.get(name, "in no class folder") for name in files}
    return labels, {name: reason for name, reason in strays.items() if name not in labels}


def set_aside(spelled: dict[str, str], path: Path, size: Callable[[str], int]) -> dict[str, str]:
    """Files that are not original photos, and the reason: masks, augmented copies, other copies.

    Args:
        spelled: the name of each file and folder -> the name in Unicode's NFC.
        path, size: as for ``label``.

    Raises:
        UserError: a folder looks like a second copy of its set, but holds other photos.
    """
    left_out: dict[str, str] = {}
    tree = Tree(spelled.values())
    for find in (masks, augmented, partial(copies, spelled=spelled, path=path, size=size)):
        folders = dict(find(tree))
        for name in spelled if folders else ():
            above = accumulate(f"{part}/" for part in spelled[name].split("/")[:-1])
            for folder in folders.keys() & set(above):
                left_out[name] = folders[folder]
        if folders:
            tree = Tree(plain for name, plain in spelled.items() if name not in left_out)
    return left_out


def masks(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield the folders, at any level, that annotate a folder beside them: images/, labels/."""
    for parent, folders in tree.folders.items():
        for store in list(filter(STORE.fullmatch, folders))[:1]:
            for name in filter(MASKS.fullmatch, folders):
                yield f"{parent}{name}/", f"not a photo: its folder is beside {store}"


def augmented(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield the folders of augmented copies, which could put one photo into two splits."""
    for parent, folders in tree.folders.items():
        altered = set(filter(AUGMENTED.fullmatch, folders))
        if not altered:
            continue
        classes = {folder: tree.classes(tree.descend(f"{parent}{folder}/")) for folder in folders}
        train = [f for f in sorted(folders - altered) if part_of(f) in ("", "train")]
        for folder in sorted(altered):
            same = [f for f in train if f in classes[folder] or classes[f] & classes[folder]]
            if beside := same or list(filter(ORIGINAL.fullmatch, train)):
                reason = f"an augmented copy, by its folder: see {listed(beside)}"
                yield f"{parent}{folder}/", reason


def is_altered(path: Path) -> bool:
    """Whether the name of a folder in the path (or of the zip) says "augmented"."""
    return any(map(AUGMENTED.fullmatch, path.parts[:-1]))


def copies(
    tree: Tree, spelled: dict[str, str], path: Path, size: Callable[[str], int]
) -> Iterator[tuple[str, str]]:
    """Yield the folders beside the classes that hold the same files once more."""
    root = tree.descend("")
    names = {plain: name for name, plain in spelled.items()}
    for folder in sorted(tree.folders.get(root, ())):
        top = f"{root}{folder}/"
        within = tree.descend(top)
        shared = tree.folders.get(within, set()) & tree.folders[root] - {folder}
        if part_of(folder) or not shared:
            continue
        for plain in names:
            if plain.startswith(within) and "/" in plain[len(within) : -1] and plain[-1] != "/":
                twin = names.get(root + plain.removeprefix(within))
                if twin is None or size(twin) != size(names[plain]):
                    raise UserError(
                        f"{folder!r} holds folders with the same names as those beside it "
                        f"({listed(sorted(shared))}), but other photos: move it elsewhere, or use "
                        f"it alone: {command(path, top)}"
                    )
        yield top, f"the set once more: the same files are in {root or 'the source'}"


def label_by_folder(inside: dict[str, str], folders: set[str], part: str) -> dict[str, Label]:
    """Label the files in these class folders. A val or test part may lack some classes.

    Args:
        inside: file -> its path relative to the folder that holds the class folders.
    """
    parts = {file: path.partition("/") for file, path in inside.items()}
    labels = {file: Label(folder, rest, part) for file, (folder, _, rest) in parts.items() if rest}
    empty = folders - {label.class_name for label in labels.values()}
    if empty and part in ("", "train"):
        raise UserError(f"its class folder {min(empty)!r} has no files")
    return labels


def label_by_name(inside: dict[str, str], root: str, part: str) -> dict[str, Label]:
    """Label the files in the folder ``root`` that are named like cat.0.jpg.

    Args:
        inside: file -> its path relative to ``root``.
    """
    matches = {file: FLAT_NAME.fullmatch(path) for file, path in inside.items()}
    labels = {file: Label(match[1], match[0], part) for file, match in matches.items() if match}
    classes = {label.class_name for label in labels.values()}
    if len(classes) < 2 and part in ("", "train"):
        alone = min(classes, default=root.rstrip("/").rpartition("/")[2])
        raise UserError(
            f"it has {f'only one class, {alone!r}' if alone else 'no classes'}: use a folder for "
            "each of two or more classes, or names like cat.0.jpg and dog.0.jpg"
        )
    return labels


def refuse_bad_classes(labels: Iterable[Label]) -> None:
    """Refuse classes that a disk cannot tell apart, and classes without training photos."""
    classes = defaultdict(set)
    for label in labels:
        classes[label.part].add(label.class_name)
    spelled, names = {}, sorted(set().union(*classes.values()))
    words = {name: set(re.findall(r"[^\W\d_]+", name)) for name in names}
    for name in names:
        if not name.strip():
            raise UserError(f"its class {name!r} has only spaces in its name: rename it")
        originals = (c for c in names if c != name and words[c] and words[c] <= words[name])
        if AUGMENTED.fullmatch(name) and (original := next(originals, None)):
            raise UserError(
                f"its class {name!r} seems to hold altered copies of {original!r}: move it "
                "elsewhere, or rename it"
            )
        other = spelled.setdefault(disk_key(name), name)
        if other != name:
            raise UserError(
                f"many disks cannot tell its classes {other!r} and {name!r} apart: rename one"
            )
    for part in sorted(classes.keys() - {"", "train"}):
        new = sorted(classes[part] - classes["train"])
        if new:
            raise UserError(f"it has {listed(new)} in {part} but not in train: add or remove them")


def disk_key(path: str) -> str:
    """A key that is equal for paths that some disks do not tell apart.

    Windows and macOS ignore case, macOS also Unicode normalisation. Windows drops spaces and dots
    at the end of a name.
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
    folded = "".join(letter for letter in folded if unicodedata.category(letter) != "Cf")  # hidden
    return "/".join(part.rstrip(" .") for part in folded.split("/"))
