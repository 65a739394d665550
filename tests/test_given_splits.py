"""Sets that are split already: what is given stays, what is missing is taken from train."""

import os
import shutil
import socket
import unicodedata
import zipfile
from pathlib import Path

import pandas as pd
import pytest

import compute_mean_std
import split_dataset
from data import photo_folder, splitting
from tests.conftest import KAGGLE, content, photo, zipped

CLOTHING = KAGGLE.with_name("clothing-small.zip")
CLASSES = ("Cat", "Dog")


def write_set(folder: Path, **counts: int) -> Path:
    """Write so many photos of each class into each part, none of them twice."""
    number = 0
    for part, count in counts.items():
        for class_name in CLASSES:
            (folder / part / class_name).mkdir(parents=True)
            for n in range(count):
                (folder / part / class_name / f"{n}.jpg").write_bytes(photo(number, class_name))
                number += 1
    return folder


def counts(folder: Path) -> dict[str, int]:
    """Photos of each split; both classes have as many."""
    manifest = photo_folder.read_manifest(folder)
    table = pd.crosstab(manifest["split"], manifest["class"])
    assert (table["Cat"] == table["Dog"]).all()
    return table["Cat"].to_dict()


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"train": 18, "test": 7}, {"train": 16, "val": 2, "test": 7}),  # 1 in 9
        ({"train": 18, "validation": 7}, {"train": 16, "val": 7, "test": 2}),
        ({"Training": 5, "Valid": 4, "Testing": 3}, {"train": 5, "val": 4, "test": 3}),
        ({"train": 20}, {"train": 16, "val": 2, "test": 2}),
    ],
)
def test_what_is_missing_is_dealt_out_of_train(split, tmp_path, as_zip, given, expected):
    source = write_set(tmp_path / "photos", **given)
    folder = split(zipped(source, tmp_path / "photos.zip") if as_zip else source)
    assert counts(folder) == expected
    before, after = content(source), content(folder)
    for part in given:
        kept = {"t": "train", "v": "val"}.get(part[0].lower(), "")
        kept = "test" if part.lower().startswith("test") else kept
        if kept != "train":
            files = {f"{kept}{k[len(part) :]}": v for k, v in before.items() if k.startswith(part)}
            assert {k: v for k, v in after.items() if k.startswith(kept + "/")} == files
    assert set(before.values()) <= set(after.values())


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_set_packed_twice_is_taken_once(run, error_of, tmp_path, as_zip):
    source = write_set(tmp_path / "photos", train=3, val=1, test=1)
    shutil.copytree(source, tmp_path / "photos too")
    (tmp_path / "photos too").rename(source / "photos")
    arguments = (tmp_path / "photos.zip" if as_zip else source, "--output", tmp_path / "split")
    zipped(source, tmp_path / "photos.zip")
    out = run(split_dataset, *arguments).out
    assert "photos/test/Cat/0.jpg (and 9 more): the set once more" in out
    assert counts(tmp_path / "split") == {"train": 3, "val": 1, "test": 1}
    (source / "photos" / "test" / "Cat" / "0.jpg").write_bytes(photo(99)[:-1])
    zipped(source, tmp_path / "photos.zip")
    assert "but other photos: move it elsewhere" in error_of(
        split_dataset, *arguments, "--overwrite"
    )


def test_a_class_that_is_called_like_a_part_is_noted(run, tmp_path):
    source = write_set(tmp_path, photos=3) / "photos"
    for number in range(3):
        (source / "test" / "from above").mkdir(parents=True, exist_ok=True)
        (source / "test" / "from above" / f"{number}.jpg").write_bytes(photo(700 + number))
    out = run(split_dataset, source, "--output", tmp_path / "split").out
    assert "note: treated as classes, although parts of split sets have such names: test" in out
    assert "3 photos in subfolders of their class: test/from above" in out


@pytest.mark.parametrize(("given", "noted"), [({}, True), ({"test": 2}, False)])
def test_a_set_that_may_hold_copies_of_one_photo_is_noted(run, tmp_path, given, noted):
    source = write_set(tmp_path / "plants (augmented)", train=5, val=2, **given)
    out = run(split_dataset, source, "--output", tmp_path / "split").out
    assert ("copies of one photo may be in two splits" in out) == noted


def test_the_ratios_of_the_others_keep_their_proportion(split, tmp_path):
    source = write_set(tmp_path / "photos", train=20, test=3)
    ratios = ("--ratios", "0.6", "0.2", "0.2")
    assert counts(split(source, *ratios)) == {"train": 15, "val": 5, "test": 3}


def test_a_given_split_is_reproducible(split, tmp_path):
    source = write_set(tmp_path / "photos", train=20, test=5)
    first = photo_folder.read_manifest(split(source))
    again = photo_folder.read_manifest(split(source, folder="again"))
    assert again.equals(first)
    other = photo_folder.read_manifest(split(source, "--seed", "1", folder="other"))
    assert not other.equals(first)
    test = first[first["split"] == "test"]
    assert other[other["split"] == "test"].equals(test) and len(test) == 10
    # What was written is itself a set that is split, and stays so.
    written = photo_folder.read_manifest(split(tmp_path / "split", folder="copy"))
    assert written.equals(first)


def test_copies_across_given_parts(run, tmp_path):
    source = write_set(tmp_path / "photos", train=20, val=5, test=6)
    copy(source, "train/Cat/0.jpg", "test/Cat/of train.jpg")
    copy(source, "train/Cat/1.jpg", "train/Cat/again.jpg")
    copy(source, "train/Cat/1.jpg", "test/Cat/of train too.jpg")
    copy(source, "train/Dog/2.jpg", "val/Dog/of train.jpg")
    copy(source, "train/Dog/3.jpg", "test/Cat/a dog.jpg")
    copy(source, "val/Dog/0.jpg", "test/Dog/of val.jpg")
    copy(source, "test/Cat/0.jpg", "test/Dog/a cat.jpg")
    copy(source, "train/Cat/9.jpg", "train/Dog/a cat.jpg")
    copy(source, "train/Cat/8.jpg", "train/Cat/copy of 8.jpg")
    out = run(split_dataset, source, "--output", tmp_path / "split").out
    assert "already split: val and test as given\n" in out
    assert "5 photos left out of train, since val or test has them, too" in out
    assert "2 photos in both given splits or in two classes, kept as given" in out
    assert "1 photo with several copies, all in the same split" in out
    rejected = pd.read_csv(tmp_path / "split" / "rejected.csv").set_index("file")["reason"]
    assert rejected.to_dict() == {
        "train/Cat/0.jpg": "copy: the same photo is test/Cat/of train.jpg",
        "train/Cat/1.jpg": "copy: the same photo is test/Cat/of train too.jpg",
        "train/Cat/again.jpg": "copy: the same photo is test/Cat/of train too.jpg",
        "train/Dog/2.jpg": "copy: the same photo is val/Dog/of train.jpg",
        "train/Dog/3.jpg": "copy: the same photo is test/Cat/a dog.jpg",
        "train/Cat/9.jpg": "conflict: the same photo is train/Dog/a cat.jpg",
        "train/Dog/a cat.jpg": "conflict: the same photo is train/Cat/9.jpg",
    }
    manifest = photo_folder.read_manifest(tmp_path / "split")
    given = {name for name in content(source) if not name.startswith("train/")}
    assert set(manifest["file"][manifest["split"] != "train"]) == given
    splits = manifest.groupby("sha256")["split"].agg(set)
    assert [s for s in splits if "train" in s and len(s) > 1] == []


def copy(folder: Path, file: str, to: str) -> None:
    (folder / to).write_bytes((folder / file).read_bytes())


def test_options_that_would_do_nothing_are_refused(error_of, tmp_path):
    source = write_set(tmp_path / "photos", train=3, val=1, test=1)
    for option in (["--seed", "0"], ["--ratios", "0.8", "0.1", "0.1"]):
        error = error_of(split_dataset, source, "--output", tmp_path / "split", *option)
        assert "leave out --ratios and --seed" in error


def test_a_part_without_a_usable_photo_is_refused(error_of, tmp_path):
    source = write_set(tmp_path / "photos", train=5, test=1)
    for file in (source / "test").rglob("*.jpg"):
        file.write_bytes(b"")
    out = ("--output", tmp_path / "split")
    assert "test part has no usable photos" in error_of(split_dataset, source, *out)
    source = write_set(tmp_path / "few", train=1, test=1)
    assert "needs at least 2 usable photos" in error_of(split_dataset, source, *out)
    assert sorted(os.listdir(tmp_path)) == ["few", "photos"]


def test_a_class_that_the_test_part_lacks(run, tmp_path):
    source = write_set(tmp_path / "photos", train=5, test=2)
    for file in (source / "test" / "Dog").iterdir():
        file.unlink()
    printed = run(split_dataset, source, "--output", tmp_path / "split").out
    assert [line.split() for line in printed.splitlines()][3] == ["Dog", "4", "1", "0", "5"]
    assert photo_folder.load_split(tmp_path / "split", "test", 8).classes == list(CLASSES)


@pytest.mark.skipif(not CLOTHING.exists(), reason="the clothing photos are not on this machine")
def test_clothing_from_start_to_mean(run, tmp_path):
    """A real set, split into train and validation; every 20th photo of it."""
    part = tmp_path / "part.zip"
    with zipfile.ZipFile(CLOTHING) as whole, zipfile.ZipFile(part, "w") as archive:
        for name in whole.namelist()[::20]:
            archive.writestr(name, whole.read(name))
    names = zipfile.ZipFile(part).namelist()
    given = [name for name in names if "/validation/" in name]
    out = run(split_dataset, part, "--output", tmp_path / "split").out
    assert "already split: val as given, test taken from train" in out
    manifest = photo_folder.read_manifest(tmp_path / "split")
    val = manifest["file"][manifest["split"] == "val"]
    assert set(val) == {name.replace("clothing/validation", "val") for name in given}
    assert manifest["class"].nunique() == 10 and len(manifest) == len(names)
    run(compute_mean_std, tmp_path / "split")
    mean, _ = photo_folder.read_mean_std(tmp_path / "split")
    assert all(0.4 < value < 0.65 for value in mean)


def test_pipes_sockets_and_devices_are_left_out(split, tmp_path):
    source = write_set(tmp_path / "photos", train=3)
    os.mkfifo(source / "train" / "Cat" / "pipe.jpg")
    os.mkfifo(source / "train" / "pipe")
    (source / "train" / "Dog" / "zeros.png").symlink_to("/dev/zero")
    (source / "train" / "Dog" / "gone.png").symlink_to("nowhere")
    (source / "train" / "Cat" / "linked.jpg").symlink_to(source / "train" / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(source / "train" / "Dog", os.O_RDONLY)
        server.bind(f"/proc/self/fd/{folder}/socket.jpg")  # the path may be too long for a socket
        os.close(folder)
        rejected = pd.read_csv(split(source) / "rejected.csv").set_index("file")["reason"]
    assert rejected.to_dict() == {
        "train/Cat/pipe.jpg": "not a regular file",
        "train/Cat/linked.jpg": "not a regular file",
        "train/Dog/socket.jpg": "not a regular file",
        "train/Dog/zeros.png": "not a regular file",
        "train/Dog/gone.png": "No such file or directory",
        "train/pipe": "in no class folder",
    }


def test_junk_of_other_systems_is_no_photo(split, tmp_path):
    source = write_set(tmp_path / "photos", train=3)
    before = counts(split(source))
    small = photo(0)
    for place in ("", "train/", "train/Cat/"):
        for name in ("@eaDir/0.jpg/SYNOPHOTO_THUMB_M.jpg", "#recycle/9.jpg", ".AppleDouble/0.jpg"):
            path = source / place / name
            path.parent.mkdir(parents=True)
            path.write_bytes(small)
        for name in ("._0.jpg", "Thumbs.db", "desktop.ini", ".DS_Store"):
            (source / place / name).write_bytes(small)
        (source / place / "lost+found").mkdir()
    folders = [split(source, folder="b"), split(zipped(source, tmp_path / "c.zip"), folder="c")]
    for folder in folders:
        assert counts(folder) == before
        assert len(pd.read_csv(folder / "rejected.csv")) == 0


def test_files_that_a_disk_takes_for_one_get_a_number(run, tmp_path):
    nfd = unicodedata.normalize("NFD", "Größe.jpg")
    names = ["IMG.jpg", "img.JPG", "Img (2).jpg", "Größe.jpg", nfd, "a/1.jpg", "A/1.jpg", "1."]
    photos = [splitting.Photo(f"Cat/{n}", "Cat", n, split="val") for n in names]
    photos = [splitting.Photo("Cat/1", "Cat", "1", split="train"), *photos]
    for each in photos:
        each.path = unicodedata.normalize("NFC", each.path)
    splitting.name_files(photos)
    assert [each.file for each in photos] == [
        "train/Cat/1",
        "val/Cat/IMG.jpg",
        "val/Cat/img (3).JPG",
        "val/Cat/Img (2).jpg",
        "val/Cat/Größe (2).jpg",
        "val/Cat/Größe.jpg",
        "val/Cat/a/1 (2).jpg",
        "val/Cat/A/1.jpg",
        "val/Cat/1.",
    ]
    source = write_set(tmp_path / "photos", train=3, val=1, test=1)
    (source / "train" / "Cat" / "A.jpg").write_bytes(photo(900))
    (source / "train" / "Cat" / "a.JPG").write_bytes(photo(901))
    printed = run(split_dataset, source, "--output", tmp_path / "split").out
    assert (
        "1 photo renamed, since some disks cannot tell two names apart: train/Cat/a.JPG is"
        in printed
    )
    assert photo_folder.read_manifest(tmp_path / "split")["sha256"].nunique() == 12


def test_a_name_that_the_disk_does_not_take(error_of, tmp_path):
    path = zipped(write_set(tmp_path / "photos", train=3), tmp_path / "photos.zip")
    name = "train/Cat/" + "猫" * 90 + ".jpg"  # 270 bytes in UTF-8
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, photo(99))
    error = error_of(split_dataset, path, "--output", tmp_path / "split")
    assert f"{name}: File name too long: rename it" in error and "nothing was changed" in error
    assert sorted(os.listdir(tmp_path)) == ["photos", "photos.zip"]
