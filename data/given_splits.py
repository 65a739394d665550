"""Find the train, val and test folders of a set of photos that is already split, by their names."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from engine.errors import UserError, quote

FLAT_NAME = re.compile(r"([^/]+)\.\d+\.\w+")  # cat.0.jpg, as Kaggle names photos: class cat

# Common names of the parts of a set that is already split: train, Training, seg_train, test_set,
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
PLAIN_NAME = re.compile(f"({'|'.join(PARTS.values())}){NOUN}[-_ ]?[0-9]*", re.I)  # nothing else
SPLIT_PARTS = ("train", "val", "test")
FOLD = re.compile(r"(k?[-_ ]?fold|cv)s?[-_ ]?[0-9]+|[0-9]+(st|nd|rd|th)?[-_ ]?fold", re.I)
# Folders of photos, with names that are not classes: images, JPEGImages, HAM10000_images_part_1.
STORE = re.compile("(jpe?g)?(data|images?|imgs?|photos?|pictures?)([-_ ]?set)?|jpe?gs?", re.I)
NUMBERED = re.compile(f"(.*[^a-z])?({STORE.pattern}|part|batch|chunk)[-_ ]?[0-9]+", re.I)


class Tree:
    """The direct content of each folder. Folders are named by paths with a final slash, or ""."""

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
        """Descend as long as there is exactly one folder, and its name is not in ``stop``.

        Files beside it do not matter, unless they are named like cat.0.jpg and dog.0.jpg.
        """
        while len(self.flat.get(folder, ())) < 2 and len(self.folders.get(folder, ())) == 1:
            (name,) = self.folders[folder]
            if name in stop:
                break
            folder += name + "/"
        return folder

    def has_class_folders(self, folder: str) -> bool:
        """Whether the classes are given by the folders in it, not by the names of files."""
        folders = len(self.folders.get(folder, ()))
        return folders > 1 or (folders == 1 and len(self.flat.get(folder, ())) < 2)

    def classes(self, folder: str, known: Iterable[str] = ()) -> set[str]:
        """Its classes, by folders or file names: two or more, or a single one if it is known."""
        found = (self.folders if self.has_class_folders(folder) else self.flat).get(folder, set())
        return found if len(found) > 1 else found.intersection(known)

    def advice(self, path: Path, folder: str) -> str:
        """ ": " and the command that uses only this folder, if it holds classes; else ""."""
        return f": {command(path, folder)}" if self.classes(self.descend(folder)) else ""


def part_above_class(tree: Tree, root: str, files: dict[str, str]) -> dict[str, str] | None:
    """Rename Cat/Training/1.jpg to train/Cat/1.jpg; also Cat/1.jpg, if test/Cat/ exists beside it.

    Args:
        files: name -> path, possibly changed by earlier steps.

    Returns the new paths of the files in a part; None if the parts are folders above the classes,
    or if there are no parts.
    """
    if classes := classes_beside_parts(tree, root):
        inside = {file: name.removeprefix(root) for file, name in files.items()}
        return {
            file: f"{root}{'train/' * (name.split('/')[0] in classes)}{name}"
            for file, name in inside.items()
            if "/" in name
        }
    if not is_split_below_classes(tree, root):
        return None
    placed = {}
    for file, name in files.items():
        if name.startswith(root) and name[len(root) :].count("/") > 1:
            class_name, part, rest = name[len(root) :].split("/", 2)
            placed[file] = f"{root}{part_of(part)}/{class_name}/{rest}"
    return placed


def classes_beside_parts(tree: Tree, root: str) -> set[str]:
    """The class folders beside a val or test folder that holds the same classes; else none."""
    folders = tree.folders.get(root, set())
    parts = {f for f in folders if part_of(f) in ("val", "test") and PLAIN_NAME.fullmatch(f)}
    classes = folders - parts
    if len(classes) < 2 or any(
        tree.folders.get(tree.descend(f"{root}{folder}/")) for folder in classes
    ):
        return set()
    held = [tree.folders.get(tree.descend(f"{root}{part}/", stop=classes), set()) for part in parts]
    is_split = parts and all(found and found <= classes for found in held)
    return classes if is_split else set()


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


def find_parts(tree: Tree, root: str, path: Path) -> dict[str, str]:
    """The folders that hold class folders (or photos named by class), each with its part.

    A part is recognised by its name. If no folder is named like a train part, the only other folder
    with the same classes is taken as train: plants/, test/.

    Args:
        root: the folder in which to look.
        path: of the source, for commands in messages.

    Returns {root: ""} if the set is not split.
    """
    part = {folder: part_of(folder) for folder in sorted(tree.folders.get(root, ()))}
    if len(part) < 2:
        return {root: ""}
    refuse_folds(tree, root, path)
    inner = {folder: tree.descend(f"{root}{folder}/") for folder in part}
    known = set().union(*(tree.classes(inner[f]) for f in part if part[f] == "train"))
    for folder in part:
        if part[folder] not in ("", "train"):  # may hold one class alone
            inner[folder] = tree.descend(f"{root}{folder}/", stop=known)
    classes = {folder: tree.classes(inner[folder], known) for folder in part}
    taken = [f for name in SPLIT_PARTS for f in part if part[f] == name and classes[f]]
    known |= set().union(*(classes[folder] for folder in taken))
    alike = [folder for folder in part if not part[folder] and classes[folder] & known]
    certain = all(map(PLAIN_NAME.fullmatch, taken)) and "train" not in part.values()
    inside = alike and any(f.lower() in alike[0].lower() for f in taken)  # val in invalid/
    if len(alike) == 1 and certain and not inside:
        part[alike[0]] = "train"
        taken, known = alike + taken, known | classes[alike[0]]
    if not taken:
        refuse_parts_without_classes(part)
        return {root: ""}

    rest = [folder for folder in part if folder not in taken]
    alone = len(taken) == 1  # train/Cat/1.jpg and other/1.jpg may be parts, or two classes
    doubtful = [f for f in rest if f in known or classes[f] & known or (alone and not part[f])]
    train = [folder for folder in taken if part[folder] == "train"]
    if doubtful:
        raise UserError(
            f"{listed(taken)} {'looks like a part' if alone else 'look like parts'} of a split "
            f"set, and {listed(doubtful)} may be a part, too, or a class: call the parts train, "
            "val and test, or name the folder that holds the classes"
            + tree.advice(path, f"{root}{(train or doubtful)[0]}/")
        )
    for same in ([f for f in taken if part[f] == name] for name in SPLIT_PARTS):
        if len(same) > 1:
            raise UserError(
                f"{listed(same)} are all named like the {part[same[0]]} part: move all but one "
                f"elsewhere, or name one of them{tree.advice(path, f'{root}{same[0]}/')}"
            )
    if not train:
        raise UserError(f"it is already split, into {listed(taken)}, but has no train part")
    return {inner[folder]: part[folder] for folder in taken}


def part_of(folder: str) -> str:
    """The part of a split set that a folder's name stands for; "" if it stands for none."""
    words = re.sub("(?<=[a-z])(?=[A-Z])", "_", folder).lower()
    return next((part for part, name in PART_NAMES.items() if name.fullmatch(words)), "")


def refuse_parts_without_classes(part: dict[str, str]) -> None:
    """Refuse train/1.jpg and test/2.jpg: they are parts, not classes.

    Args:
        part: folder -> the part that its name stands for, or "".
    """
    plain = [folder for folder in part if PLAIN_NAME.fullmatch(folder)]
    named = list(part) if all(part.values()) else plain
    if len({part[folder] for folder in named}) > 1:
        raise UserError(
            f"{listed(named)} are parts of a split set, but hold no class folders: use "
            "train/Cat/1.jpg and train/Dog/1.jpg, or train/cat.1.jpg and train/dog.1.jpg"
        )


def refuse_folds(tree: Tree, root: str, path: Path) -> None:
    """Refuse fold_1/, fold_2/ in ``root``."""
    folds = sorted(filter(FOLD.fullmatch, tree.folders[root]))
    if len(folds) > 1:
        one = tree.advice(path, f"{root}{folds[0]}/")
        raise UserError(f"{listed(folds)} are folds of one set: name one{one}")


def refuse_nested_sets(tree: Tree, root: str, path: Path) -> None:
    """Refuse folders in ``root`` that are not classes but hold classes: folds, versions, sets."""
    refuse_folds(tree, root, path)
    folders = tree.folders[root]
    inner = {folder: tree.descend(f"{root}{folder}/") for folder in sorted(folders)}
    inside = {folder: tree.folders.get(inner[folder], set()) for folder in inner}
    sets = [folder for folder in inner if inside[folder]]
    for folder in sets:
        way = inner[folder].removeprefix(f"{root}{folder}/").split("/")
        parts = list(filter(PLAIN_NAME.fullmatch, sorted(inside[folder])))
        if any(map(PLAIN_NAME.fullmatch, way)) or len({part_of(name) for name in parts}) > 1:
            below = [f"{inner[folder]}{name}/" for name in parts]
            if parts and not any(tree.classes(tree.descend(part)) for part in below):
                raise UserError(
                    f"{folder!r} holds {listed(parts)}: use these, and nothing else, in every "
                    "class folder, or in none"
                )
            one = tree.advice(path, f"{root}{folder}/")
            raise UserError(f"{folder!r} is not a class but a split set: name it{one}")

    count = Counter(name for names in inside.values() for name in names)
    common = folders | {name for name in count if count[name] > 1}
    nested = {f: (tree.folders.get(f"{root}{f}/", set()) & folders) - {f} for f in inner}
    shared = {folder: inside[folder] & common - {folder} | nested[folder] for folder in inner}
    shared = {folder: names for folder, names in shared.items() if names}
    if shared:
        first = next(iter(shared))
        raise UserError(
            f"the same folders ({listed(sorted(set().union(*shared.values())))}) are in several "
            f"places (such as {listed(shared)}), and may be the classes: name the folder that "
            f"holds the classes{tree.advice(path, f'{root}{first}/')}; if these are parts of a "
            "split set, call them train, val and test; if they are the classes, move their "
            "photos out of the folders inside"
        )
    if all(map(NUMBERED.fullmatch, folders)):
        raise UserError(f"{listed(inner)} are not names of classes: use a folder for each class")
    # images/Cat/1.jpg and parts/1.txt, photos/Cat/1.jpg and test/1.jpg, photos/Cat/1.jpg and docs/,
    # or birds/images/Cat/1.jpg and birds/parts/1.txt beside more
    other = [name for name in inner if part_of(name) or STORE.fullmatch(name)]
    stores = [(f, f"{inner[f]}{n}/") for f in sets for n in inside[f] if STORE.fullmatch(n)]
    holders = [f for f, store in stores if len(tree.folders.get(tree.descend(store), ())) > 1]
    if sets and (other or holders or (len(sets) == 1 and len(folders) == 2)):
        sets = holders or sets
        other = other or [name for name in inner if name not in sets]
        holder = next((folder for folder in sets if folder in other), sets[0])
        raise UserError(
            f"{listed(other)} may or may not be a class, and {holder!r} holds folders: name the "
            f"folder that holds the classes{tree.advice(path, f'{root}{holder}/')}; if these are "
            "the classes, move their photos out of the folders inside"
        )


def command(path: Path, inside: str) -> str:
    """The command that uses only this folder (or zip) inside the source."""
    return f"python split_dataset.py {quote(path / inside)}"


def listed(names: Iterable[str]) -> str:
    """The first three names, as text."""
    names = list(names)
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
