"""split_dataset.py: who goes where, what is rejected, and that no failure costs a file."""

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import compute_mean_std
from data import photo_folder, sources, splitting
from engine.errors import UserError
from tests.conftest import KAGGLE, content, needs_kaggle, photo, write_photos, zipped


@needs_kaggle
def test_real_photos(split, run):
    folder = split(KAGGLE)
    manifest = photo_folder.read_manifest(folder)
    counts = pd.crosstab(manifest["class"], manifest["split"])
    assert counts.loc["cat"].to_dict() == {"train": 120, "val": 15, "test": 15}
    assert len(pd.read_csv(folder / "rejected.csv")) == 0
    run(compute_mean_std, folder)
    mean, std = photo_folder.read_mean_std(folder)
    assert all(0.35 < value < 0.55 for value in mean) and all(0.2 < value < 0.32 for value in std)


def test_split_is_a_function_of_content_and_seed(split, tmp_path, monkeypatch):
    source = write_photos(tmp_path / "photos")
    renamed = tmp_path / "renamed"
    for number, (name, file) in enumerate(reversed(content(source).items())):
        path = renamed / name.split("/")[0] / f"{number:03} ü.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file)

    def assignment(folder: Path) -> dict[str, str]:
        manifest = photo_folder.read_manifest(folder)
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
    manifest = photo_folder.read_manifest(folder)
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
    assert rejected["Cat/text.jpg"].startswith("not an image")
    assert rejected.to_dict() == {
        "Cat/empty.jpg": "empty file",
        "Cat/cut.jpg": "damaged or incomplete",
        "Cat/text.jpg": rejected["Cat/text.jpg"],
        "Dog/bomb.png": "too many pixels to decode safely",
    }
    assert len(photo_folder.read_manifest(folder)) == 40


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
    manifest = photo_folder.read_manifest(folder)
    sizes = {Path(row.file).name: (row.width, row.height) for row in manifest.itertuples()}
    assert sizes["Größe.JPG"] == (30, 40)  # upright
    assert sizes["large.png"] == (12_000, 9_000)
    for name in photo_folder.SPLITS:
        assert photo_folder.load_split(folder, name, 16).images.shape[1:] == (3, 16, 16)


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_links(split, tmp_path, mode):
    source = write_photos(tmp_path / "photos")
    folder = split(source, "--mode", mode)
    for row in photo_folder.read_manifest(folder).itertuples():
        original = source / row[2] / Path(row.file).name
        assert (folder / row.file).samefile(original)
        assert (folder / row.file).is_symlink() == (mode == "symlink")
    with pytest.raises(UserError, match="use --mode copy"):
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
    with pytest.raises(UserError, match="No space"):
        split(source, "--overwrite", "--seed", "1")
    with pytest.raises(UserError, match="No space"):
        split(source, folder="new")
    assert content(folder) == before
    assert sorted(os.listdir(tmp_path)) == ["photos", "split"]
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="make room"):
        split(source, folder="new")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_stopped_at_any_point_the_target_is_as_it_was(split, tmp_path, monkeypatch, interruption):
    source = write_photos(tmp_path / "photos")
    before = content(split(source))

    def stop(*_):
        raise interruption

    for place in ("examine", "write_tables"):
        with monkeypatch.context() as patch:
            patch.setattr(splitting, place, stop)
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


def test_an_output_that_cannot_be_written_is_noticed_first(split, tmp_path, monkeypatch):
    source = write_photos(tmp_path / "photos", count=3)
    examined = []
    monkeypatch.setattr(splitting, "examine", lambda *photo: examined.append(photo))
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        split(source, folder="file/split")
    assert not examined


def test_an_earlier_split_is_replaced_only_if_asked(split, tmp_path):
    source = write_photos(tmp_path / "photos")
    folder = split(source)
    with pytest.raises(UserError, match="--overwrite"):
        split(source)
    (folder / "train" / "mine.txt").write_text("not of the script")
    split(source, "--overwrite")
    photo_folder.read_manifest(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("not a split")
    (tmp_path / "other" / "manifest.csv").write_text("nor is this one")
    with pytest.raises(UserError, match="not a split"):
        split(source, "--overwrite", folder="other")
    assert (tmp_path / "other" / "letter.txt").exists()
    for output in ("photos", "photos/split", "."):
        with pytest.raises(UserError, match="outside the source"):
            split(source, "--overwrite", folder=output)


def test_the_current_folder_is_not_replaced(split, tmp_path, monkeypatch):
    """The shell would stay in the old one, which is removed, and find nothing there."""
    source, folder = write_photos(tmp_path / "photos", count=3), tmp_path / "split"
    for here in (folder, folder / "train"):
        here.mkdir()
        monkeypatch.chdir(here)
        with pytest.raises(UserError, match="would replace the current folder"):
            split(source, "--overwrite")


def test_a_link_to_another_disk_stays_one(split, tmp_path):
    source = write_photos(tmp_path / "photos")
    (tmp_path / "disk").mkdir()
    (tmp_path / "split").symlink_to(tmp_path / "disk")
    for _ in range(2):
        photo_folder.read_manifest(split(source, "--overwrite"))
        assert (tmp_path / "split").is_symlink() and (tmp_path / "disk" / "train").is_dir()


def test_photos_that_a_link_puts_into_two_classes_are_conflicts(split, tmp_path):
    """Whichever of the two is read first."""
    source = write_photos(tmp_path / "photos")
    (source / "Dog" / "small").mkdir()
    for number in (3, 4):
        (source / "Dog" / f"{number}.jpg").rename(source / "Dog" / "small" / f"{number}.jpg")
    (source / "Cat" / "more").symlink_to(source / "Dog" / "small")
    folder = split(source)
    assert set(pd.read_csv(folder / "rejected.csv")["file"]) == {
        "Cat/more/3.jpg", "Cat/more/4.jpg", "Dog/small/3.jpg", "Dog/small/4.jpg"
    }  # fmt: skip
    assert len(photo_folder.read_manifest(folder)) == 38
