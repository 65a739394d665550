"""What the names of files say of a set of photos: its classes, and how it is split already."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from engine.errors import UserError, quote

FLAT_NAME = re.compile(r"([^/]+)\.\d+\.\w+")  # cat.0.jpg, as Kaggle names photos: class cat

# How people call the parts of a set that is split already: train, Training, seg_train, test_set,
# trainData, val2017, train (augmented), …
PARTS = {
    "train": "train(ing|val)?",
    "val": "val(id(ation)?)?|dev(elopment)?|eval(uation)?",
    "test": "test(ing)?|hold[-_ ]?out",
    "unlabelled": "pred(ict(ion)?s?)?|unlabell?ed|submission",
}
NOUN = "([-_ ]?(set|data|split|images?|imgs?|photos?|pictures?))?"
PART_NAMES = {
    part: re.compile(f"(.*[^a-z])?({words}){NOUN}([^a-z].*)?") for part, words in PARTS.items()
}
PLAIN_NAME = re.compile(f"({'|'.join(PARTS.values())}){NOUN}[-_ ]?[0-9]*", re.I)  # and no more
SPLIT_PARTS = ("train", "val", "test")
FOLD = re.compile(r"(k?[-_ ]?fold|cv)s?[-_ ]?[0-9]+|[0-9]+(st|nd|rd|th)?[-_ ]?fold", re.I)


class Label(NamedTuple):
    """What the place of a file says about it."""

    class_name: str
    path: str  # below the folder of its class
    part: str = ""  # "train", "val" or "test" where the set is split already


class Tree:
    """What is directly in each folder; folders by their paths, with a slash at the end, or ""."""

    def __init__(self, names: Iterable[str]) -> None:
        folders, flat = defaultdict(set), defaultdict(set)
        for name in names:
            *parents, last = name.split("/")
            folder = ""
            for parent in parents:
                folders[folder].add(parent)
                folder += parent + "/"
            if match := FLAT_NAME.fullmatch(last):
                flat[folder].add(match[1])
        self.folders, self.flat = dict(folders), dict(flat)  # names; classes by files' names

    def descend(self, folder: str, stop: Iterable[str] = ()) -> str:
        """Go down as long as there is one folder alone, not named as in ``stop``.

        Files beside it do not matter, unless they are named like cat.0.jpg and dog.0.jpg.
        """
        while len(self.flat.get(folder, ())) < 2 and len(self.folders.get(folder, ())) == 1:
            (name,) = self.folders[folder]
            if name in stop:
                break
            folder += name + "/"
        return folder

    def has_class_folders(self, folder: str) -> bool:
        """Whether the folders in it tell the classes, and not the names of the files."""
        folders = len(self.folders.get(folder, ()))
        return folders > 1 or (folders == 1 and len(self.flat.get(folder, ())) < 2)

    def classes(self, folder: str, known: Iterable[str] = ()) -> set[str]:
        """Two or more by folders, or by the files' names; one alone if it is known."""
        found = (self.folders if self.has_class_folders(folder) else self.flat).get(folder, set())
        return found if len(found) > 1 else found.intersection(known)


def label(names: Iterable[str], path: Path) -> tuple[dict[str, Label], list[str]]:
    """Find the class of each file, and its part where the set is split already.

    Descends as long as there is a single folder. Where there are several, they are the parts of a
    split set if they are named so and hold class folders, else the classes, whatever files lie
    beside them. Where there is none, or the files are named like cat.0.jpg and dog.0.jpg, their
    names tell the class. Two spellings of one name in Unicode (NFC, NFD) are one.

    Args:
        names: of files, and of folders with a slash at the end.
        path: of the source, for commands in messages.

    Returns the labels, and the files that belong to no class.

    Raises:
        UserError: there are no classes, there is only one, or what they are is ambiguous.
    """
    spelled = {name: unicodedata.normalize("NFC", name) for name in names}
    files = {name: file for name, file in spelled.items() if not name.endswith("/")}
    if not files:
        raise UserError("there are no photos in it")
    tree = Tree(spelled.values())
    root = tree.descend("")
    placed = files
    if is_split_below_classes(tree, root):
        placed = part_above_class(files, root)
        tree = Tree(placed.values())
    labels = {}
    for folder, part in find_parts(tree, root, path).items():
        inside = {f: name[len(folder) :] for f, name in placed.items() if name.startswith(folder)}
        if tree.has_class_folders(folder):
            refuse_nested_sets(tree, folder, path)
            labels |= label_by_folder(inside, tree.folders[folder], part)
        else:
            labels |= label_by_name(inside, folder, part)
    refuse_bad_classes(labels.values())
    return labels, [file for file in files if file not in labels]


def is_split_below_classes(tree: Tree, root: str) -> bool:
    """Whether each class folder holds the parts: Cat/train/1.jpg, Cat/test/2.jpg, Dog/train/…"""
    found = set()
    for folder in tree.folders.get(root, ()):
        inside = tree.folders.get(f"{root}{folder}/", set())
        parts = {part_of(name) for name in inside} & {*SPLIT_PARTS}
        holds_sets = any(tree.classes(tree.descend(f"{root}{folder}/{name}/")) for name in inside)
        is_class = not (holds_sets or FOLD.fullmatch(folder) or part_of(folder))
        if not parts or len(parts) < len(inside) or not is_class:
            return False
        found |= parts
    return len(found) > 1 and len(tree.folders[root]) > 1


def part_above_class(files: dict[str, str], root: str) -> dict[str, str]:
    """Name Cat/Training/1.jpg as train/Cat/1.jpg; without the files that are in no part."""
    placed = {}
    for file, name in files.items():
        if name.startswith(root) and name[len(root) :].count("/") > 1:
            class_name, part, rest = name[len(root) :].split("/", 2)
            placed[file] = f"{root}{part_of(part)}/{class_name}/{rest}"
    return placed


def find_parts(tree: Tree, root: str, path: Path) -> dict[str, str]:
    """The folders that hold class folders (or photos named by class), and the part that each is.

    Args:
        root: the folder in which to look.

    Returns root -> "" if the set is not split.
    """
    part = {folder: part_of(folder) for folder in sorted(tree.folders.get(root, ()))}
    if len(part) < 2:
        return {root: ""}
    inner = {folder: tree.descend(f"{root}{folder}/") for folder in part}
    known = set().union(*(tree.classes(inner[f]) for f in part if part[f] == "train"))
    for folder in part:
        if part[folder] not in ("", "train"):  # may hold one class alone
            inner[folder] = tree.descend(f"{root}{folder}/", stop=known)
    classes = {folder: tree.classes(inner[folder], known) for folder in part}
    taken = [f for name in SPLIT_PARTS for f in part if part[f] == name and classes[f]]
    if not taken:
        refuse_parts_without_classes(part)
        return {root: ""}

    known |= set().union(*(classes[folder] for folder in taken))
    rest = [folder for folder in part if folder not in taken]
    alone = len(taken) == 1  # train/Cat/1.jpg and other/1.jpg: a part and what, or two classes?
    doubtful = [f for f in rest if f in known or classes[f] & known or (alone and not part[f])]
    train = [folder for folder in taken if part[folder] == "train"]
    if doubtful:
        advice = command(path, root + (train or doubtful)[0])
        raise UserError(
            f"{listed(taken)} {'is a part' if alone else 'are parts'} of a split set by name, and "
            f"{listed(doubtful)} beside may be a part, too, or a class: call the parts train, val "
            f"and test, or name the folder that holds the classes: {advice}"
        )
    for same in ([f for f in taken if part[f] == name] for name in SPLIT_PARTS):
        if len(same) > 1:
            raise UserError(
                f"{listed(same)} are all named like its {part[same[0]]} part: move all but one "
                f"elsewhere, or name one alone: {command(path, root + same[0])}"
            )
    if not train:
        raise UserError(f"it is split already, into {listed(taken)}, and there is no train part")
    return {inner[folder]: part[folder] for folder in taken}


def part_of(folder: str) -> str:
    """The part of a split set that a folder is by its name; "" if it is none."""
    words = re.sub("(?<=[a-z])(?=[A-Z])", "_", folder).lower()
    return next((part for part, name in PART_NAMES.items() if name.fullmatch(words)), "")


def refuse_parts_without_classes(part: dict[str, str]) -> None:
    """Refuse train/1.jpg and test/2.jpg, which are no classes.

    Args:
        part: folder -> the part that it is by its name, or "".
    """
    plain = [folder for folder in part if PLAIN_NAME.fullmatch(folder)]
    named = list(part) if all(part.values()) else plain
    if len({part[folder] for folder in named}) > 1:
        raise UserError(
            f"{listed(named)} are the parts of a split set, and hold no class folders: it takes "
            "train/Cat/1.jpg and train/Dog/1.jpg, or train/cat.1.jpg and train/dog.1.jpg"
        )


def refuse_nested_sets(tree: Tree, root: str, path: Path) -> None:
    """Refuse folders in ``root`` that are no classes, but hold them: folds, versions, sets."""
    folders = sorted(tree.folders[root])
    inside = {f: tree.folders.get(tree.descend(f"{root}{f}/"), set()) for f in folders}
    folds = [folder for folder in folders if FOLD.fullmatch(folder)]
    if len(folds) > 1:
        raise UserError(
            f"{listed(folds)} are folds of one set: name one: {command(path, root + folds[0])}"
        )
    for folder in folders:
        parts = [name for name in sorted(inside[folder]) if PLAIN_NAME.fullmatch(name)]
        if len({part_of(name) for name in parts}) > 1:
            raise UserError(
                f"{folder!r} is no class, but a split set ({listed(parts)}): name it: "
                f"{command(path, root + folder)}"
            )
    count = Counter(name for names in inside.values() for name in names)
    shared = {name for name in count if count[name] > 1}
    alike = [folder for folder in folders if len(inside[folder] & shared) > 1]
    if alike:
        raise UserError(
            f"{listed(alike)} hold the same folders ({listed(sorted(shared))}), and either may be "
            f"the classes: name one of them, {command(path, root + alike[0])}, or, if they are the "
            "classes, move their photos out of the folders inside"
        )


def label_by_folder(inside: dict[str, str], folders: set[str], part: str) -> dict[str, Label]:
    """Label the files in these class folders; ``inside``: file -> its path from above them.

    Validation and test part may lack a class.
    """
    parts = {file: path.partition("/") for file, path in inside.items()}
    labels = {file: Label(folder, rest, part) for file, (folder, _, rest) in parts.items() if rest}
    empty = folders - {label.class_name for label in labels.values()}
    if empty and part in ("", "train"):
        raise UserError(f"there are no files in its class folder {min(empty)!r}")
    return labels


def label_by_name(inside: dict[str, str], root: str, part: str) -> dict[str, Label]:
    """Label the files in the folder ``root`` that are named like cat.0.jpg, as above."""
    matches = {file: FLAT_NAME.fullmatch(path) for file, path in inside.items()}
    labels = {file: Label(match[1], match[0], part) for file, match in matches.items() if match}
    classes = {label.class_name for label in labels.values()}
    if len(classes) < 2 and part in ("", "train"):
        alone = min(classes, default=root.rstrip("/").rpartition("/")[2])
        raise UserError(
            f"there is {f'one class alone, {alone!r}' if alone else 'no class'}: it takes a "
            "folder for each of two classes or more, or names like cat.0.jpg and dog.0.jpg"
        )
    return labels


def refuse_bad_classes(labels: Iterable[Label]) -> None:
    """Refuse classes whose names a disk may take for one, and those of no training photo."""
    classes = defaultdict(set)
    for label in labels:
        classes[label.part].add(label.class_name)
    spelled = {}
    for name in sorted(set().union(*classes.values())):
        if not name.strip():
            raise UserError(f"its class {name!r} has a name of spaces alone: rename it")
        other = spelled.setdefault(disk_key(name), name)
        if other != name:
            raise UserError(
                f"its classes {other!r} and {name!r} are one folder on many disks: rename one"
            )
    for part in sorted(classes.keys() - {"", "train"}):
        new = sorted(classes[part] - classes["train"])
        if new:
            raise UserError(f"it has {listed(new)} in {part} and not in train: add or remove them")


def disk_key(path: str) -> str:
    """The same for paths that some disks take for one.

    Windows and macOS ignore case and (macOS) Unicode's spelling; Windows drops spaces and dots at
    the end of a name.
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
    folded = "".join(letter for letter in folded if unicodedata.category(letter) != "Cf")  # unseen
    return "/".join(part.rstrip(" .") for part in folded.split("/"))


def command(path: Path, inside: str) -> str:
    """The command that takes a folder (or zip) in the source alone."""
    return f"python split_dataset.py {quote(path / inside)}"


def listed(names: Iterable[str]) -> str:
    """The first three names."""
    names = list(names)
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
