"""A split folder: its manifest, mean_std.json, and the cache of decoded photos."""

import errno
import io
import json
import os
import shutil
from unicodedata import normalize

import numpy as np
import pandas as pd
import pytest

from data import photo_folder
from data.photos import photos_at
from engine.errors import UserError
from tests.conftest import photo, write_photos

MEAN_STD = {"mean": [0.5] * 3, "std": [0.25] * 3}


def test_photos_are_decoded_once(ready, monkeypatch):
    first = photo_folder.load_split(ready, "train", 16)
    assert isinstance(first.images, np.memmap) and first.images.dtype == np.uint8
    assert first.classes == ["Cat", "Dog"] and sorted(first.labels) == [0] * 16 + [1] * 16
    red, blue = first.images[:, 0].mean((1, 2)), first.images[:, 2].mean((1, 2))
    assert ((blue > red) == first.labels).all()
    assert 0 < first.first(10).labels.sum() < 10  # the first few are of both classes
    monkeypatch.setattr(photo_folder, "read_listed", None)
    assert np.array_equal(photo_folder.load_split(ready, "train", 16).images, first.images)


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_stale_or_damaged_cache_is_made_again(ready):
    images = np.array(photo_folder.load_split(ready, "val", 16).images)
    (cache,) = (ready / ".cache").glob("val_16px_*.npy")
    whole = cache.read_bytes()
    others = (images.astype(np.float32), images[:-1], images[:, :, :-1])
    for damaged in (b"", whole[:-10], b"nonsense", b"PK\x03\x04", *map(saved, others)):
        cache.write_bytes(damaged)
        assert np.array_equal(photo_folder.load_split(ready, "val", 16).images, images)
    photo_folder.load_split(ready, "val", 20)
    manifest = pd.read_csv(ready / "manifest.csv")
    manifest.iloc[::-1].to_csv(ready / "manifest.csv", index=False)
    assert np.array_equal(photo_folder.load_split(ready, "val", 16).images, images)
    assert not cache.exists()
    assert len(list((ready / ".cache").glob("val_16px_*.npy"))) == 1
    assert len(list((ready / ".cache").glob("val_20px_*.npy"))) == 1


def test_cache_on_a_full_disk(ready, monkeypatch):
    usage = shutil.disk_usage(ready)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(UserError, match="make room"):
            photo_folder.load_split(ready, "train", 16)

    class Full(io.BytesIO):
        def write(self, _data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", lambda descriptor, _mode: os.close(descriptor) or Full())
    with pytest.raises(UserError, match="No space left on device: make room"):
        photo_folder.load_split(ready, "train", 16)
    assert not list((ready / ".cache").iterdir())


def test_manifest_that_no_longer_fits(ready):
    row = next(r for r in pd.read_csv(ready / "manifest.csv").itertuples() if r.split == "train")
    file = ready / row.file
    original = file.read_bytes()
    file.write_bytes(photo(99))
    with pytest.raises(UserError, match=f"{file.name}: not the photo that manifest.csv lists"):
        photo_folder.load_split(ready, "train", 16)
    assert not list((ready / ".cache").iterdir())
    file.unlink()
    with pytest.raises(UserError, match="is gone"):
        photo_folder.load_split(ready, "train", 16)
    file.write_bytes(original)
    (file.parent / "new.jpg").write_bytes(photo(99))
    with pytest.raises(UserError, match="does not list it"):
        photo_folder.load_split(ready, "train", 16)
    (file.parent / "new.jpg").unlink()
    photo_folder.load_split(ready, "train", 16)
    (ready / "manifest.csv").write_text("one,two\n1,2\n")
    with pytest.raises(UserError, match="not a manifest"):
        photo_folder.load_split(ready, "train", 16)
    (ready / "manifest.csv").unlink()
    with pytest.raises(UserError, match=r"split_dataset\.py"):
        photo_folder.load_split(ready, "train", 16)


def test_what_file_managers_leave_behind_does_no_harm(ready):
    before = photo_folder.read_manifest(ready)
    for name in ("Thumbs.db", ".DS_Store", ".thumbnails/1.jpg"):
        path = ready / "train" / "Cat" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"left behind")
    assert photo_folder.read_manifest(ready).equals(before)
    assert not any(".thumbnails" in str(path) for path in photos_at(ready / "train"))


def test_names_as_disks_of_older_macs_spell_them(split, tmp_path, monkeypatch):
    write_photos(tmp_path / "photos", count=5)
    (tmp_path / "photos" / "Cat").rename(tmp_path / "photos" / "Kätzchen")
    folder = split(tmp_path / "photos")
    before, walk = photo_folder.read_manifest(folder), os.walk

    def decomposed(top):
        for parent, folders, names in walk(top):
            yield normalize("NFD", os.fspath(parent)), folders, names

    monkeypatch.setattr(os, "walk", decomposed)
    monkeypatch.setattr(os.path, "exists", lambda _: True)
    assert photo_folder.read_manifest(folder).equals(before)


def test_mean_and_std_that_weigh_photos_by_size_are_refused(ready):
    path = ready / "mean_std.json"
    found = json.loads(path.read_text())
    assert found.pop("weighting") == "each photo counts the same, whatever its size"
    path.write_text(json.dumps(found | {"pixels": 12345}))  # as it was written before
    with pytest.raises(UserError, match=r"by their size.*run: python compute_mean_std"):
        photo_folder.read_mean_std(ready)


def test_mean_and_std_of_another_split_are_refused(split, ready, tmp_path):
    split(tmp_path / "photos", "--overwrite", "--seed", "1")
    with pytest.raises(UserError, match=r"compute_mean_std\.py"):
        photo_folder.read_mean_std(ready)
    (ready / "mean_std.json").write_text(json.dumps({"manifest_sha256": "of another"} | MEAN_STD))
    with pytest.raises(UserError, match="another split"):
        photo_folder.read_mean_std(ready)
    (ready / "mean_std.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        photo_folder.read_mean_std(ready)


@pytest.mark.parametrize(
    "values",
    [
        {"mean": "abc"},
        {"mean": [0.5] * 2},
        {"mean": [0.5, 0.5, float("nan")]},
        {"mean": [127.5] * 3},
        {"mean": [-0.5] * 3},
        {"std": [0.1, 0.2, 0]},
        {"std": None},
    ],
)
def test_mean_and_std_that_cannot_be_right(ready, values):
    path = ready / "mean_std.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(UserError, match=r"cannot be read: run: python compute_mean_std\.py"):
        photo_folder.read_mean_std(ready)
