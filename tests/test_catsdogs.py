"""Cats and dogs: split, mean and deviation, the cache, training, testing, predicting."""

import errno
import hashlib
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision import models

import compute_mean_std
import predict
import split_dataset
import test as test_script
import train_catsdogs
import train_fashionmnist
from data import augment, folders, sources
from data.images import DataError, eval_loader
from data.photos import photos_at
from engine import checkpoint, loop
from engine.options import Interrupted, UsageError
from models import create_model

KAGGLE = Path(__file__).parents[2] / "shared" / "datasets" / "dogs-vs-cats-kaggle-sample.zip"


def photo(number: int, kind: str = "Cat") -> bytes:
    """A JPEG of coloured noise, reddish for cats and bluish for all else; each number another."""
    random = np.random.RandomState(number)
    height, width = 24 + number % 5, 20 + number % 7
    pixels = random.randint(0, 128, (height, width, 3))
    pixels[..., 0 if kind == "Cat" else 2] += 100
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def write_photos(folder: Path, layout: str = "{kind}/{number}.jpg", count: int = 20) -> Path:
    """``count`` cats and as many dogs, named as the layout says."""
    for offset, kind in ((0, "Cat"), (1000, "Dog")):
        for number in range(count):
            path = folder / layout.format(kind=kind, number=number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photo(offset + number, kind))
    return folder


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def content(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, hidden ones too."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.fixture
def split(run, tmp_path):
    """Run split_dataset.py: split(source) -> the folder written."""

    def call(source: Path, *arguments: object, folder: str = "split") -> Path:
        run(split_dataset, source, "--output", tmp_path / folder, *arguments)
        return tmp_path / folder

    return call


@pytest.fixture
def ready(run, split, tmp_path):
    """A split of 40 photos with its mean and deviation."""
    folder = split(write_photos(tmp_path / "photos"))
    run(compute_mean_std, folder)
    return folder


# ---------------------------------------------------------------- split_dataset.py


@pytest.mark.parametrize(
    "layout",
    [
        "{kind}/{number}.jpg",
        "PetImages/{kind}/{number}.jpg",
        "{kind}.{number}.jpg",
        "train/{kind}.{number}.jpg",
        "{kind}/of 2019/{number}.jpg",
    ],
)
@pytest.mark.parametrize("as_zip", [False, True])
def test_layouts(split, tmp_path, layout, as_zip):
    source = write_photos(tmp_path / "photos", layout)
    (source / "readme.txt").write_text("as in the original download")
    folder = split(zipped(source, tmp_path / "photos.zip") if as_zip else source)
    manifest = folders.read_manifest(folder)
    counts = pd.crosstab(manifest["class"], manifest["split"])
    for kind in ("Cat", "Dog"):
        assert counts.loc[kind].to_dict() == {"train": 16, "val": 2, "test": 2}
    for row in manifest.itertuples():
        file = (folder / row.file).read_bytes()
        assert hashlib.sha256(file).hexdigest() == row.sha256
        assert Image.open(io.BytesIO(file)).size == (row.width, row.height)
        assert row.file.startswith(f"{row.split}/{row[2]}/")
    originals = {hashlib.sha256(file).hexdigest() for file in content(source).values()}
    assert set(manifest["sha256"]) <= originals
    rejected = pd.read_csv(folder / "rejected.csv")
    assert rejected.values.tolist() == [["readme.txt", "in no class folder"]]
    assert os.listdir(tmp_path).count("split") == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


@pytest.mark.skipif(not KAGGLE.exists(), reason="the Kaggle sample is not on this machine")
def test_real_photos(split, run):
    folder = split(KAGGLE)
    manifest = folders.read_manifest(folder)
    counts = pd.crosstab(manifest["class"], manifest["split"])
    assert counts.loc["cat"].to_dict() == {"train": 120, "val": 15, "test": 15}
    assert len(pd.read_csv(folder / "rejected.csv")) == 0
    run(compute_mean_std, folder)
    mean, std = folders.read_mean_std(folder)
    assert all(0.35 < value < 0.55 for value in mean) and all(0.2 < value < 0.32 for value in std)


@pytest.mark.skipif(not KAGGLE.exists(), reason="the Kaggle sample is not on this machine")
def test_shipped_checkpoint_judges_photos_that_it_never_saw(run, root, tmp_path):
    """Those of the Kaggle sample that are, smaller, in the test set of its training."""
    unseen = {"cat": (4, 8, 12, 32, 34, 42, 46, 48), "dog": (15, 17, 32, 37, 41, 51, 55, 56)}
    with zipfile.ZipFile(KAGGLE) as archive:
        for kind, numbers in unseen.items():
            for number in numbers:
                archive.extract(f"train/{kind}.{number}.jpg", tmp_path)
    path = root / "checkpoints" / "catsdogs_googlenet.pth"
    found = json.loads(run(predict, tmp_path, "--checkpoint", path, "--json").out)
    assert len(found) == 16 and path.stat().st_size < 15e6
    right = [Path(p["file"]).name.startswith(p["predictions"][0]["class"].lower()) for p in found]
    assert sum(right) >= 15


def test_split_is_a_function_of_content_and_seed(split, tmp_path, monkeypatch):
    source = write_photos(tmp_path / "photos")
    renamed = tmp_path / "renamed"
    for number, (name, file) in enumerate(reversed(content(source).items())):
        path = renamed / name.split("/")[0] / f"{number:03} ü.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file)

    def assignment(folder: Path) -> dict[str, str]:
        manifest = folders.read_manifest(folder)
        return dict(zip(manifest["sha256"], manifest["split"], strict=True))

    first = assignment(split(source))
    walk = os.walk

    def in_another_order(*args, **kwargs):
        for folder, inside, files in walk(*args, **kwargs):
            inside.reverse()
            yield folder, inside, files[::-1]

    monkeypatch.setattr(os, "walk", in_another_order)
    again = split(source, folder="again")
    assert content(again) == content(tmp_path / "split")
    assert assignment(split(renamed, folder="renamed_split")) == first
    other = assignment(split(source, "--seed", "1", folder="other"))
    assert other != first and other.keys() == first.keys()


def test_copies_stay_together_and_conflicts_are_left_out(split, tmp_path):
    source = write_photos(tmp_path / "photos")
    for number in range(10):
        copy = source / "Cat" / f"copy {number}.jpg"
        shutil.copy(source / "Cat" / f"{number}.jpg", copy)
    shutil.copy(source / "Cat" / "15.jpg", source / "Dog" / "a cat.jpg")
    folder = split(source)
    manifest = folders.read_manifest(folder)
    assert (manifest.groupby("sha256")["split"].nunique() == 1).all()
    assert manifest["sha256"].duplicated().sum() == 10
    rejected = pd.read_csv(folder / "rejected.csv").set_index("file")["reason"]
    assert rejected.to_dict() == {
        "Cat/15.jpg": "conflict: the same photo is Dog/a cat.jpg",
        "Dog/a cat.jpg": "conflict: the same photo is Cat/15.jpg",
    }


def test_bad_photos_are_rejected_with_their_reason(split, tmp_path):
    source = write_photos(tmp_path / "photos")
    bad = {
        "empty.jpg": b"",
        "cut.jpg": photo(7)[:-200],
        "text.jpg": b"this is no photo",
        "Thumbs.db": b"\xd0\xcf\x11\xe0",
    }
    for name, file in bad.items():
        (source / "Cat" / name).write_bytes(file)
    huge = Image.new("1", (20_000, 20_000))
    huge.save(source / "Dog" / "bomb.png")
    (source / ".DS_Store").write_bytes(b"hidden")
    before = content(source)
    folder = split(source)
    assert content(source) == before
    rejected = pd.read_csv(folder / "rejected.csv").set_index("file")["reason"]
    assert rejected.to_dict() == {
        "Cat/empty.jpg": "empty file",
        "Cat/cut.jpg": "damaged or cut off",
        "Cat/text.jpg": "not an image that Pillow can read",
        "Cat/Thumbs.db": "not an image that Pillow can read",
        "Dog/bomb.png": "too many pixels to decode safely",
    }
    assert len(folders.read_manifest(folder)) == 40


def test_a_photo_without_read_permission_is_rejected(split, tmp_path, monkeypatch):
    source = write_photos(tmp_path / "photos")
    read = sources.FolderSource.read

    def refuse(self, name):
        if name == "Cat/3.jpg":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(self, name)

    monkeypatch.setattr(sources.FolderSource, "read", refuse)
    rejected = pd.read_csv(split(source) / "rejected.csv")
    assert rejected.values.tolist() == [["Cat/3.jpg", "Permission denied"]]


def test_every_kind_of_photo_is_taken(split, tmp_path):
    source = write_photos(tmp_path / "photos", count=3)
    random = np.random.RandomState(0)
    rgb = Image.fromarray(random.randint(0, 256, (30, 40, 3), np.uint8))
    grey16 = Image.fromarray(random.randint(0, 65536, (30, 40)).astype(np.uint16))
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds = {
        "one pixel.png": (rgb.resize((1, 1)), {}),
        "Größe.JPG": (rgb, {"exif": turned}),
        "ink.jpeg": (rgb.convert("CMYK"), {}),
        "palette.png": (rgb.quantize(16), {"transparency": 3}),
        "sixteen.png": (grey16, {}),
        "clear.png": (rgb.convert("RGBA"), {}),
        "moving.gif": (rgb, {"save_all": True, "append_images": [rgb.rotate(180)]}),
        "large.png": (Image.new("1", (12_000, 9_000)), {}),
    }
    for name, (image, arguments) in kinds.items():
        image.save(source / "Cat" / name, **arguments)
    folder = split(source)
    assert len(pd.read_csv(folder / "rejected.csv")) == 0
    manifest = folders.read_manifest(folder)
    sizes = {Path(row.file).name: (row.width, row.height) for row in manifest.itertuples()}
    assert sizes["Größe.JPG"] == (30, 40)  # upright
    assert sizes["large.png"] == (12_000, 9_000)
    for name in folders.SPLITS:
        assert folders.load_split(folder, name, 16).images.shape[1:] == (3, 16, 16)


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_links(split, tmp_path, mode):
    source = write_photos(tmp_path / "photos")
    folder = split(source, "--mode", mode)
    for row in folders.read_manifest(folder).itertuples():
        original = source / row[2] / Path(row.file).name
        assert (folder / row.file).samefile(original)
        assert (folder / row.file).is_symlink() == (mode == "symlink")
    with pytest.raises(DataError, match="only --mode copy"):
        split(zipped(source, tmp_path / "photos.zip"), "--mode", mode, folder="other")


def test_full_disk_leaves_the_target_as_it_was(split, tmp_path, monkeypatch):
    source = write_photos(tmp_path / "photos")
    folder = split(source)
    before = content(folder)
    write = Path.write_bytes
    written = []

    def full(path, data):
        written.append(path)
        if len(written) > 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="No space"):
        split(source, "--overwrite", "--seed", "1")
    with pytest.raises(DataError, match="No space"):
        split(source, folder="new")
    assert content(folder) == before
    assert sorted(os.listdir(tmp_path)) == ["photos", "split"]
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match="make room"):
        split(source, folder="new")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_stopped_at_any_point_the_target_is_as_it_was(split, tmp_path, monkeypatch, interruption):
    source = write_photos(tmp_path / "photos")
    before = content(split(source))

    def stop(*_):
        raise interruption

    for place in ("examine", "write_tables"):
        with monkeypatch.context() as patch:
            patch.setattr(split_dataset, place, stop)
            with pytest.raises(interruption):
                split(source, "--overwrite", "--seed", "1")
        assert content(tmp_path / "split") == before
    rename = Path.rename

    def stop_in_the_swap(path, target):
        if path.name == "new":
            raise interruption
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stop_in_the_swap)
    with pytest.raises(interruption):
        split(source, "--overwrite", "--seed", "1")
    assert content(tmp_path / "split") == before
    assert sorted(os.listdir(tmp_path)) == ["photos", "split"]


def test_sigterm_tidies_up(root, tmp_path):
    source = write_photos(tmp_path / "photos", count=300)
    command = [sys.executable, "split_dataset.py", source, "--output", tmp_path / "split"]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE)
    while not list(tmp_path.glob(".split-*/new/train/Cat/*.jpg")):
        assert process.poll() is None
        time.sleep(0.002)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert os.listdir(tmp_path) == ["photos"]


def test_an_earlier_split_is_replaced_only_if_asked(split, tmp_path):
    source = write_photos(tmp_path / "photos")
    folder = split(source)
    with pytest.raises(DataError, match="--overwrite"):
        split(source)
    (folder / "train" / "mine.txt").write_text("not of the script")
    split(source, "--overwrite")
    folders.read_manifest(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("not a split")
    (tmp_path / "other" / "manifest.csv").write_text("nor is this one")
    with pytest.raises(DataError, match="no earlier split"):
        split(source, "--overwrite", folder="other")
    assert (tmp_path / "other" / "letter.txt").exists()
    for output in ("photos", "photos/split", "."):
        with pytest.raises(DataError, match="outside of the source"):
            split(source, "--overwrite", folder=output)


def test_a_link_to_another_disk_stays_one(split, tmp_path):
    source = write_photos(tmp_path / "photos")
    (tmp_path / "disk").mkdir()
    (tmp_path / "split").symlink_to(tmp_path / "disk")
    for _ in range(2):
        folders.read_manifest(split(source, "--overwrite"))
        assert (tmp_path / "split").is_symlink() and (tmp_path / "disk" / "train").is_dir()


def test_zips_as_other_tools_write_them(split, tmp_path):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, file in content(write_photos(tmp_path / "photos")).items():
            archive.writestr(f"./Pets//{name}".replace("/Dog/", "\\Dog\\"), file)
            archive.writestr(f"__MACOSX/Pets/{name}", b"resource fork")
    manifest = folders.read_manifest(split(path))
    assert manifest["class"].value_counts().to_dict() == {"Cat": 20, "Dog": 20}
    assert manifest["file"].str.fullmatch(r"(train|val|test)/(Cat|Dog)/\d+\.jpg").all()


def evil(name: str, link: bool = False) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    if link:
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (evil("../Cat/1.jpg"), "points outside"),
        (evil("Cat/../../1.jpg"), "points outside"),
        (evil("/etc/1.jpg"), "points outside"),
        (evil("..\\Cat\\1.jpg"), "points outside"),
        (evil("C:\\Cat\\1.jpg"), "points outside"),
        (evil("Cat/C:/1.jpg"), "points outside"),
        (evil("Cat/link.jpg", link=True), "is a link"),
    ],
)
def test_dangerous_zips_are_refused(split, tmp_path, member, words):
    path = zipped(write_photos(tmp_path / "photos"), tmp_path / "photos.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, photo(1))
    with pytest.raises(DataError, match=words):
        split(path)
    assert not (tmp_path / "split").exists()


def test_zip_bombs_are_refused(split, tmp_path, monkeypatch):
    path = zipped(write_photos(tmp_path / "photos"), tmp_path / "photos.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"Cat/zeros {number}.bmp", bytes(2**20))
    monkeypatch.setattr(sources, "MAX_UNPACKED", 2**20)
    with pytest.raises(DataError, match="would unpack to"):
        split(path)
    monkeypatch.setattr(sources, "MAX_MEMBER", 2**19)
    with pytest.raises(DataError, match="would unpack to 1 MiB"):
        split(path)


@pytest.mark.parametrize("declared", [1000, 10**6])
def test_a_member_is_unpacked_no_further_than_it_says(tmp_path, declared):
    """A bomb whose declared size is a lie."""
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Cat/0.jpg", bytes(10**8))
    whole = path.read_bytes()
    path.write_bytes(whole.replace((10**8).to_bytes(4, "little"), declared.to_bytes(4, "little")))
    source = sources.ZipSource(path)
    tracemalloc.start()
    with pytest.raises(OSError, match="damaged in the zip"):
        source.read("Cat/0.jpg")
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_zips_that_cannot_be_read_within_bounds(split, tmp_path):
    path = tmp_path / "photos.zip"
    for name, compression, words in (
        ("Cat/new.jpg", zipfile.ZIP_BZIP2, "within bounds"),
        ("./Cat/0.jpg", zipfile.ZIP_STORED, "there twice"),
    ):
        zipped(write_photos(tmp_path / "photos"), path)
        with zipfile.ZipFile(path, "a", compression) as archive:
            archive.writestr(name, photo(1))
        with pytest.raises(DataError, match=words):
            split(path)


def test_damaged_zips(split, tmp_path):
    path = zipped(write_photos(tmp_path / "photos"), tmp_path / "photos.zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a whole zip"):
        split(path)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        member = archive.getinfo("Cat/3.jpg")
    start = member.header_offset + len("Cat/3.jpg") + 300
    path.write_bytes(whole[:start] + b"wrong" + whole[start + 5 :])
    rejected = pd.read_csv(split(path) / "rejected.csv")
    assert rejected["file"].tolist() == ["Cat/3.jpg"]
    assert "damaged" in rejected["reason"][0]


@pytest.mark.parametrize(
    ("layout", "arguments", "words"),
    [
        (None, (), "there are no photos"),
        ("Cat/{kind}{number}.jpg", (), "one class alone, 'Cat'"),
        ("train/{kind}/{number}.jpg", ("--ratios", "0.8", "0.1", "0.2"), "--ratios"),
        ("{kind}/{number}.jpg", ("--ratios", "0.9", "0.1", "0"), "--ratios"),
        ("{kind}{number}/photo.jpg", (), "has 1 different photos"),
        ("{kind}\n/{number}.jpg", (), "control characters"),
        ("test/{kind}/{number}.jpg", ("--download", "oxford-pets"), "either"),
    ],
)
def test_unusable_sources_are_one_line(script, tmp_path, layout, arguments, words):
    source = tmp_path / "photos"
    source.mkdir()
    if layout:
        write_photos(source, layout)
    arguments = ("--output", tmp_path / "split", *arguments)
    assert words in script("split_dataset.py", source, *arguments, code=2).stderr
    assert os.listdir(tmp_path) == ["photos"]


def test_sources_that_are_none(script, tmp_path):
    out = ("--output", tmp_path / "split")
    assert "nowhere" in script("split_dataset.py", "nowhere", *out, code=2).stderr
    assert "not a whole zip" in script("split_dataset.py", "README.md", *out, code=2).stderr
    split_already = write_photos(tmp_path / "photos", "train/{kind}/{number}.jpg")
    write_photos(split_already, "test/{kind}/{number}.jpg")
    done = script("split_dataset.py", split_already, *out, code=2)
    assert "split already, into test, train" in done.stderr
    other = write_photos(tmp_path / "other", "training_set/{kind}/{number}.jpg")
    write_photos(other, "test_set/{kind}/{number}.jpg")
    done = script("split_dataset.py", other, *out, code=2)
    assert "split already, into test_set, training_set" in done.stderr
    for file in (other / "test_set" / "Cat").iterdir():
        file.write_bytes(b"no photo")
    done = script("split_dataset.py", other / "test_set", *out, code=2)
    assert (
        "'Cat' has 0 different photos" in done.stderr and "Cat/0.jpg: not an image" in done.stderr
    )


def test_oxford_pets(monkeypatch, tmp_path, split, run):
    folder = tmp_path / "oxford-iiit-pet" / "images"

    def download(root, download):
        assert download
        write_photos(folder, "{kind}_{number}.jpg")
        for file in folder.glob("Dog*"):
            file.rename(folder / file.name.lower())  # dogs' breeds are in lower case
        (folder / "Cat_1.mat").write_bytes(b"a few are of MATLAB")

    monkeypatch.setattr("torchvision.datasets.OxfordIIITPet", download)
    monkeypatch.setattr(sources, "__file__", str(tmp_path / "sources.py"))
    run(split_dataset, "--download", "oxford-pets", "--output", tmp_path / "pets")
    manifest = folders.read_manifest(tmp_path / "pets")
    assert manifest["class"].value_counts().to_dict() == {"Cat": 20, "Dog": 20}
    assert manifest["file"][manifest["class"] == "Dog"].str.contains("/dog_").all()


# ---------------------------------------------------------------- compute_mean_std.py


def test_mean_and_std_are_numpys_over_all_training_pixels(ready):
    files = sorted((ready / "train").rglob("*.jpg"))
    arrays = [np.asarray(Image.open(file), np.float64).reshape(-1, 3) / 255 for file in files]
    pixels = np.concatenate(arrays)
    mean, std = map(np.array, folders.read_mean_std(ready))
    assert np.abs(mean - pixels.mean(0)).max() < 1e-9
    assert np.abs(std - pixels.std(0)).max() < 1e-9
    # The well-known mistakes give other numbers, all of them.
    assert np.abs(mean - pixels.sum(0) / pixels.size).min() > 1e-3  # by pixels x channels
    assert np.abs(std - pixels.var(0)).min() > 1e-3  # the variance
    of_each = np.array([array.std(0) for array in arrays]).mean(0)
    assert np.abs(std - of_each).min() > 1e-6  # mean of each photo's deviation
    of_each = np.array([array.mean(0) for array in arrays]).mean(0)
    assert np.abs(mean - of_each).min() > 1e-6  # each photo counted alike, whatever its size
    everything = [np.asarray(Image.open(file)).reshape(-1, 3) for file in ready.rglob("*.jpg")]
    assert np.abs(mean - np.concatenate(everything).mean(0) / 255).min() > 1e-6


def test_mean_and_std_of_one_value():
    counts = np.zeros((1, 256), np.int64)
    counts[0, 51] = 10**12  # more than float32 can count
    mean, std = compute_mean_std.mean_and_std(counts)
    assert mean[0] == pytest.approx(0.2, abs=1e-15) and std[0] < 1e-9


def test_mean_and_std_of_fashionmnist(run, monkeypatch):
    sample = train_fashionmnist.fashionmnist.SAMPLE
    monkeypatch.setattr(train_fashionmnist.fashionmnist, "find", lambda: sample)
    load = train_fashionmnist.fashionmnist.load_train_val
    monkeypatch.setattr(
        train_fashionmnist.fashionmnist, "load_train_val", lambda folder: load(folder, sample=True)
    )
    printed = run(compute_mean_std, "--dataset", "fashionmnist").out.split()
    pixels = load(sample, sample=True)[0].images / 255
    assert f"{pixels.mean():.6f}" in printed and f"{pixels.std():.6f}" in printed


def test_mean_and_std_of_another_split_are_refused(split, ready, tmp_path):
    split(tmp_path / "photos", "--overwrite", "--seed", "1")
    with pytest.raises(DataError, match=r"compute_mean_std\.py"):
        folders.read_mean_std(ready)
    (ready / "mean_std.json").write_text(json.dumps({"manifest_sha256": "of another"} | MEAN_STD))
    with pytest.raises(DataError, match="another split"):
        folders.read_mean_std(ready)
    (ready / "mean_std.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        folders.read_mean_std(ready)


MEAN_STD = {"mean": [0.5] * 3, "std": [0.25] * 3}


# ---------------------------------------------------------------- the cache


def test_photos_are_decoded_once(ready, monkeypatch):
    first = folders.load_split(ready, "train", 16)
    assert isinstance(first.images, np.memmap) and first.images.dtype == np.uint8
    assert first.classes == ["Cat", "Dog"] and sorted(first.labels) == [0] * 16 + [1] * 16
    red, blue = first.images[:, 0].mean((1, 2)), first.images[:, 2].mean((1, 2))
    assert ((blue > red) == first.labels).all()
    assert 0 < first.first(10).labels.sum() < 10  # the first few are of both classes
    monkeypatch.setattr(folders, "read_listed", None)
    assert np.array_equal(folders.load_split(ready, "train", 16).images, first.images)


def test_stale_or_damaged_cache_is_made_again(ready):
    images = np.array(folders.load_split(ready, "val", 16).images)
    (cache,) = (ready / ".cache").glob("val_16px_*.npy")
    whole = cache.read_bytes()
    for damaged in (b"", whole[:-10], b"nonsense"):
        cache.write_bytes(damaged)
        assert np.array_equal(folders.load_split(ready, "val", 16).images, images)
    folders.load_split(ready, "val", 20)
    manifest = pd.read_csv(ready / "manifest.csv")
    manifest.iloc[::-1].to_csv(ready / "manifest.csv", index=False)
    assert np.array_equal(folders.load_split(ready, "val", 16).images, images)
    assert not cache.exists()
    assert len(list((ready / ".cache").glob("val_16px_*.npy"))) == 1
    assert len(list((ready / ".cache").glob("val_20px_*.npy"))) == 1


def test_what_file_managers_leave_behind_does_no_harm(ready):
    before = folders.read_manifest(ready)
    for name in ("Thumbs.db", ".DS_Store", ".thumbnails/1.jpg"):
        path = ready / "train" / "Cat" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"left behind")
    assert folders.read_manifest(ready).equals(before)
    assert not any(".thumbnails" in str(path) for path in photos_at(ready / "train"))


@pytest.mark.parametrize(
    "values", [{"mean": "abc"}, {"mean": [0.5] * 2}, {"std": [0.1, 0.2, 0]}, {"std": None}]
)
def test_mean_and_std_that_cannot_be_right(ready, values):
    path = ready / "mean_std.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(DataError, match=r"cannot be read: run: python compute_mean_std\.py"):
        folders.read_mean_std(ready)


def test_manifest_that_no_longer_fits(ready):
    row = next(r for r in pd.read_csv(ready / "manifest.csv").itertuples() if r.split == "train")
    file = ready / row.file
    original = file.read_bytes()
    file.write_bytes(photo(99))
    with pytest.raises(DataError, match=f"{file.name}: not the photo that manifest.csv lists"):
        folders.load_split(ready, "train", 16)
    assert not list((ready / ".cache").iterdir())
    file.unlink()
    with pytest.raises(DataError, match="is gone"):
        folders.load_split(ready, "train", 16)
    file.write_bytes(original)
    (file.parent / "new.jpg").write_bytes(photo(99))
    with pytest.raises(DataError, match="does not list it"):
        folders.load_split(ready, "train", 16)
    (file.parent / "new.jpg").unlink()
    folders.load_split(ready, "train", 16)
    (ready / "manifest.csv").write_text("one,two\n1,2\n")
    with pytest.raises(DataError, match="not a manifest"):
        folders.load_split(ready, "train", 16)
    (ready / "manifest.csv").unlink()
    with pytest.raises(DataError, match=r"split_dataset\.py"):
        folders.load_split(ready, "train", 16)


def test_cache_on_a_full_disk(ready, monkeypatch):
    usage = shutil.disk_usage(ready)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(DataError, match="make room"):
            folders.load_split(ready, "train", 16)

    class Full(io.BytesIO):
        def write(self, _data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", lambda descriptor, _mode: os.close(descriptor) or Full())
    with pytest.raises(DataError, match="No space left on device: make room"):
        folders.load_split(ready, "train", 16)
    assert not list((ready / ".cache").iterdir())


# ---------------------------------------------------------------- augmentation


@pytest.mark.parametrize(("source", "size"), [(48, 32), (48, 64), (48, 48)])
def test_resampling_is_that_of_validation(source, size):
    x = torch.rand(3, 3, source, source, generator=torch.Generator().manual_seed(0))
    start = torch.zeros(3)
    matrix = augment.resampling(start, start + source, source, size)[:, None]
    expected = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
    assert torch.allclose(matrix @ x @ matrix.transpose(2, 3), expected, atol=1e-5)


def test_crop_is_drawn_for_each_image_within_its_bounds():
    generator = torch.Generator().manual_seed(0)
    ramp = torch.arange(40.0) + 0.5
    x = torch.stack([ramp.expand(40, 40), ramp[:, None].expand(40, 40)]).expand(400, 2, 40, 40)
    cropped = augment.random_resized_crop(x, 20, 0.25, generator=generator)
    # On a ramp, the distance of new pixels tells the size of the crop.
    width = (cropped[:, 0, 0, 15] - cropped[:, 0, 0, 5]) * 2
    height = (cropped[:, 1, 15, 0] - cropped[:, 1, 5, 0]) * 2
    area, aspect = width * height / 1600, height / width
    assert 0.24 < area.min() < 0.3 and 0.9 < area.max() < 1.03
    assert 0.73 < aspect.min() < 0.8 and 1.25 < aspect.max() < 1.36
    assert cropped.min() >= 0.5 and cropped.max() <= 39.5
    left = cropped[:, 0, 0, 0]
    assert left.std() > 2  # not all from the same place


def test_crop_mirrors_half_of_the_images():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(400, 3, 24, 20, generator=generator)
    plain, mirrored = (
        augment.random_resized_crop(x, 16, 0.25, flip, generator.manual_seed(1))
        for flip in (False, True)
    )
    is_mirrored = torch.isclose(mirrored, plain.flip(3), atol=1e-4).all((1, 2, 3))
    assert 150 < is_mirrored.sum() < 250
    assert torch.equal(mirrored[~is_mirrored], plain[~is_mirrored])


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 2.5), (torch.float16, 0.3)])
def test_crop_in_16_bits_is_as_fine_as_photos(dtype, most):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (8, 3, 48, 40), generator=generator).float()
    expected = augment.random_resized_crop(x, 32, 0.25, generator=generator.manual_seed(1))
    with torch.autocast("cpu", dtype):
        cropped = augment.random_resized_crop(x, 32, 0.25, generator=generator.manual_seed(1))
    assert cropped.dtype == torch.float32
    error = cropped - expected
    assert 0 < error.abs().max() < most
    assert error.std() < 0.5 and error.mean().abs() < 0.05


def test_colour_jitter_is_drawn_for_each_image():
    x = torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 100 + 70
    varied = augment.colour_jitter(x, 0.2, torch.Generator().manual_seed(0))
    brightness = varied.mean((1, 2, 3)) / x.mean((1, 2, 3))
    assert 0.79 < brightness.min() < 0.86 and 1.14 < brightness.max() < 1.21
    contrast = varied.std((1, 2, 3)) / x.std((1, 2, 3))
    assert contrast.max() > 1.2 and contrast.min() < 0.8
    assert varied.min() >= 0 and varied.max() <= 255
    assert torch.allclose(augment.colour_jitter(x, 0.0), x, atol=1e-4)


def test_colour_jitter_at_once_is_that_of_three_steps():
    x = torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    draws = torch.rand(3, 9, 1, 1, 1, generator=torch.Generator().manual_seed(1))
    brightness, contrast, saturation = 0.8 + 0.4 * draws
    expected = x * brightness
    expected = expected.mean((1, 2, 3), keepdim=True).lerp(expected, contrast)
    expected = expected.mean(1, keepdim=True).lerp(expected, saturation)
    varied = augment.colour_jitter(x, 0.2, torch.Generator().manual_seed(1))
    assert expected.max() > 260
    torch.testing.assert_close(varied, expected.clamp(0, 255))


# ---------------------------------------------------------------- train, test, predict

SMALL = ("--image-size", "32", "-b", "8", "--epochs", "1", "--warmup-epochs", "0")


@pytest.fixture
def train(run, ready, tmp_path):
    """Run train_catsdogs.py on the small split: train(…) -> best.pth."""

    def call(*arguments: object, folder: str = "run") -> Path:
        output = ("--output-dir", tmp_path / folder)
        run(train_catsdogs, "--data-dir", ready, *SMALL, *output, *arguments)
        return tmp_path / folder / "best.pth"

    return call


def test_train_test_predict(run, ready, train, monkeypatch):
    path = train("--epochs", "6")
    saved = checkpoint.load(path)
    assert saved["classes"] == ["Cat", "Dog"] and saved["channels"] == 3
    assert (saved["mean"], saved["std"]) == folders.read_mean_std(ready)
    out = run(test_script, "--checkpoint", path).out
    assert "4 test images" in out
    summary = json.loads((path.parent / "best_test" / "summary.json").read_text())
    assert summary["classes"]["Dog"]["support"] == 2

    # A photo alone gets the logits that it got in validation.
    val = folders.load_split(ready, "val", saved["source_size"])
    model = create_model(saved["model"], **saved["model_args"])
    checkpoint.load_weights(model, saved, path)
    preprocess = augment.Preprocess(saved["mean"], saved["std"], saved["image_size"], saved["flip"])
    expected, _ = loop.predict(model, eval_loader(val, 4), preprocess)
    manifest = folders.read_manifest(ready)
    files = manifest[manifest["split"] == "val"].sort_values(["sha256", "file"])["file"]
    found = []

    def remember(*arguments):
        logits, labels = loop.predict(*arguments)
        found.append(logits[0])
        return logits, labels

    monkeypatch.setattr(predict, "predict", remember)
    for file in files:
        assert file.split("/")[-1] in run(predict, ready / file, "--checkpoint", path).out
    assert torch.allclose(torch.stack(found), expected, rtol=1e-5, atol=1e-5)


def test_googlenet_trains_on_smaller_crops_than_it_judges(train, monkeypatch):
    sizes = {True: set(), False: set()}
    forward = augment.Preprocess.forward

    def remember(preprocess, *arguments):
        x = forward(preprocess, *arguments)
        sizes[preprocess.training].add(tuple(x.shape[1:]))
        return x

    monkeypatch.setattr(augment.Preprocess, "forward", remember)
    for arguments, train_size in (((), 48), (("--train-size", "40"), 40), (("--no-augment",), 64)):
        sizes[True].clear()
        best = checkpoint.load(train("--image-size", "64", *arguments))
        assert (best["image_size"], best["recipe"]["train_size"]) == (64, train_size)
        assert sizes == {True: {(3, train_size, train_size)}, False: {(3, 64, 64)}}
    with pytest.raises(UsageError, match="vgg16 takes no train_size"):
        train("--model", "vgg16", "--image-size", "64", "--train-size", "32")


def test_three_classes_split_in_other_ratios(run, split, tmp_path):
    """Any number of classes, names with spaces, and ratios of one's own."""
    source = write_photos(tmp_path / "photos")
    for number in range(20):
        path = source / "Great tit" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo(2000 + number))
    folder = split(source, "--ratios", "0.5", "0.25", "0.25")
    manifest = folders.read_manifest(folder)
    counts = manifest.groupby(["class", "split"]).size()
    assert counts.unstack().loc[:, ["train", "val", "test"]].values.tolist() == [[10, 5, 5]] * 3
    run(compute_mean_std, folder)
    output = ("--output-dir", tmp_path / "run")
    printed = run(train_catsdogs, "--data-dir", folder, *SMALL, *output).out
    assert "30 photos of Cat, Dog, Great tit for training, at 32 px, 15 for validation" in printed
    out = run(predict, folder / "test", "--checkpoint", tmp_path / "run" / "best.pth").out
    assert len(out.splitlines()) == 15 and "Great tit" in out


def test_training_learns_red_from_blue(train):
    best = checkpoint.load(train("--epochs", "8", "--no-augment", "--lr", "1e-3"))
    assert best["metrics"]["val_accuracy"] == 1.0


def test_testing_on_another_split(run, split, train, tmp_path):
    path = train()
    other = split(tmp_path / "photos", "--seed", "1", folder="other")
    printed = run(test_script, "--checkpoint", path, "--data-dir", other)
    assert "may have been training photos" in printed.err
    three = write_photos(tmp_path / "three")
    write_photos(three, "{kind} too/{number}.jpg", count=3)
    shutil.rmtree(three / "Cat too")
    for number, file in enumerate((three / "Dog too").iterdir()):
        file.write_bytes(photo(5000 + number, "Bird"))
    with pytest.raises(DataError, match="Cat, Dog, Dog too"):
        run(test_script, "--checkpoint", path, "--data-dir", split(three, folder="split3"))
    with pytest.raises(DataError, match="--sample"):
        run(test_script, "--checkpoint", path, "--sample")


@pytest.mark.parametrize("arguments", [(), ("--freeze-features",)])
def test_resume_of_photos(run, split, train, monkeypatch, tmp_path, arguments):
    whole = checkpoint.load(train(*arguments, folder="whole").with_name("last.pth"))
    seed_draws = loop.Trainer.seed_draws

    def press_ctrl_c(trainer, number):
        if number == 1:
            os.kill(os.getpid(), signal.SIGINT)
        seed_draws(trainer, number)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "seed_draws", press_ctrl_c)
        with pytest.raises(Interrupted):
            train(*arguments)
    last = tmp_path / "run" / "last.pth"
    stopped = checkpoint.load(last)
    assert stopped["step"] == 2 and stopped["epoch"] == 0
    run(train_catsdogs, "--resume", last)
    again = checkpoint.load(last)
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(again["state_dict"][name], tensor)

    checkpoint.save(stopped, last)
    split(tmp_path / "photos", "--overwrite", "--seed", "1")
    with pytest.raises(UsageError, match="another split"):
        run(train_catsdogs, "--resume", last)
    with pytest.raises(UsageError, match="another script"):
        run(train_fashionmnist, "--resume", last)


@pytest.fixture(scope="module")
def fashionmnist_checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fashionmnist")
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["--sample", "--limit", "64", "-b", "32", "--epochs", "1"]
        arguments += ["--image-size", "32", "--output-dir", str(folder)]
        patch.setattr("sys.argv", ["train_fashionmnist.py", *arguments])
        train_fashionmnist.main()
    return folder / "best.pth"


def test_init_from_fashionmnist(run, ready, fashionmnist_checkpoint, monkeypatch, tmp_path):
    started = {}
    take_weights = train_catsdogs.take_weights

    def remember(model, *arguments):
        take_weights(model, *arguments)
        started.update({k: v.clone() for k, v in model.state_dict().items()})

    monkeypatch.setattr(train_catsdogs, "take_weights", remember)
    arguments = ("--data-dir", ready, *SMALL, "--output-dir", tmp_path / "run")
    printed = run(train_catsdogs, *arguments, "--init", fashionmnist_checkpoint)
    source = checkpoint.load(fashionmnist_checkpoint)["state_dict"]
    assert "342 of 344 tensors taken; new: linear.weight, linear.bias" in printed.out
    for name, tensor in started.items():
        if name == "conv1.conv.weight":  # one channel's weights shared out to three
            assert torch.allclose(tensor.sum(1, keepdim=True), source[name], atol=1e-6)
        elif not name.startswith("linear"):
            assert torch.equal(tensor, source[name])
    assert started["linear.weight"].shape == (2, 1024)


def test_init_that_does_not_fit(train, fashionmnist_checkpoint, monkeypatch):
    with pytest.raises(UsageError, match="holds a googlenet, not vgg16"):
        train("--model", "vgg16", "--init", fashionmnist_checkpoint)
    with pytest.raises(UsageError, match="takes --batch-norm"):
        train("--no-batch-norm", "--init", fashionmnist_checkpoint)
    with pytest.raises(checkpoint.CheckpointError, match=r"nowhere\.pth"):
        train("--init", "nowhere.pth")

    def refuse(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models.GoogLeNet_Weights.get_state_dict", refuse)
    with pytest.raises(UsageError, match="no network"):
        train("--init", "imagenet")


@pytest.mark.parametrize("model", ["googlenet", "vgg16"])
def test_init_from_imagenet(run, train, monkeypatch, model):
    """With the layout of torchvision's weights, not their values, which would be a download."""
    torch.manual_seed(0)
    build, weights = {
        "googlenet": (models.googlenet, models.GoogLeNet_Weights),
        "vgg16": (models.vgg16_bn, models.VGG16_BN_Weights),
    }[model]
    theirs = build(weights=None, **({"init_weights": False} if model == "googlenet" else {}))
    monkeypatch.setattr(weights, "get_state_dict", lambda *_, **__: theirs.state_dict())
    path = train("--model", model, "--init", "imagenet", "--freeze-features")
    saved = checkpoint.load(path)
    first = {"googlenet": "conv1.conv.weight", "vgg16": "block1.conv1_1.weight"}[model]
    original = {"googlenet": "conv1.conv.weight", "vgg16": "features.0.weight"}[model]
    assert torch.equal(saved["state_dict"][first], theirs.state_dict()[original])
    assert saved["mean"] != [0.5, 0.5, 0.5] or model == "googlenet"
    assert "4 test images" in run(test_script, "--checkpoint", path).out
    if model == "googlenet":  # a checkpoint of torchvision's GoogLeNet starts another of its kind
        again = checkpoint.load(train("--init", path, folder="again"))
        assert again["model_args"]["torchvision_compatible"]


@pytest.mark.parametrize("model", ["googlenet", "vgg16"])
def test_frozen_features_stay_as_they_are(train, monkeypatch, model):
    built = {}
    freeze = train_catsdogs.freeze_features

    def remember(network):
        freeze(network)
        built.update({k: v.clone() for k, v in network.state_dict().items()})

    monkeypatch.setattr(train_catsdogs, "freeze_features", remember)
    path = train("--model", model, "--freeze-features", "--lr", "1e-2").with_name("last.pth")
    trained = checkpoint.load(path)["state_dict"]
    changed = {name for name, tensor in trained.items() if not torch.equal(tensor, built[name])}
    assert changed and all(name.startswith(("linear", "classifier")) for name in changed)


def test_dry_run(script, run, ready):
    arguments = ("--image-size", "32", "-b", "8", "--data-dir", ready, "--dry-run")
    script("train_catsdogs.py", *arguments)
    run(train_catsdogs, "--model", "vgg16", *arguments)
    assert "split_dataset.py" in script("train_catsdogs.py", "--data-dir", "no", code=2).stderr
