"""FashionMNIST's files: found, checked, downloaded, read."""

import gzip
import hashlib
import shutil
import urllib.error
from pathlib import Path

import numpy as np
import pytest

from data import cache, fashionmnist
from engine.errors import UserError


def test_sample_is_real_and_stratified(sample):
    train, val = sample
    test = fashionmnist.load_test(fashionmnist.SAMPLE, sample=True)
    assert (len(train), len(val), len(test)) == (5500, 500, 1000)
    assert np.bincount(train.labels).tolist() == [550] * 10
    assert np.bincount(val.labels).tolist() == [50] * 10
    assert np.bincount(test.labels).tolist() == [100] * 10
    assert train.images.dtype == np.uint8 and train.images.shape[1:] == (1, 28, 28)
    assert train.labels.dtype == np.int64 and train.classes == fashionmnist.CLASSES


def test_split_of_fashionmnist_is_the_recorded_one(sample):
    """Results are comparable only while every run is judged on the same images."""
    digest = hashlib.sha256(sample[1].images.tobytes()).hexdigest()
    assert digest.startswith("88c5899cf5f13e48")


def test_mean_and_deviation_are_nearly_those_of_the_sample(sample):
    """To the last digit only on the full set; but a variance would be far off."""
    pixels = np.concatenate([part.images for part in sample]) / 255
    assert pixels.mean() == pytest.approx(fashionmnist.MEAN[0], abs=0.005)
    assert pixels.std() == pytest.approx(fashionmnist.STD[0], abs=0.005)


@pytest.mark.skipif(
    not (fashionmnist.DEBIAN / "train-images-idx3-ubyte.gz").exists(),
    reason="the full set (apt-get install dataset-fashion-mnist) is not on this machine",
)
def test_full_set_and_sample_made_from_it(tmp_path):
    train, val = fashionmnist.load_train_val(fashionmnist.find(fashionmnist.DEBIAN))
    assert (len(train), len(val)) == (55_000, 5_000)
    assert np.bincount(val.labels).tolist() == [500] * 10
    pixels = np.concatenate([train.images, val.images]) / 255
    assert pixels.mean() == pytest.approx(fashionmnist.MEAN[0], abs=5e-5)
    assert pixels.std() == pytest.approx(fashionmnist.STD[0], abs=5e-5)
    fashionmnist.write_sample(fashionmnist.DEBIAN, tmp_path)
    fashionmnist.check(tmp_path, sample=True)
    digest = hashlib.sha256(val.images.tobytes()).hexdigest()
    assert digest.startswith("afd6d6350531582c")


@pytest.fixture
def small_files(tmp_path, monkeypatch):
    """A stand-in for the full set (the sample's files), and no other place to find one."""
    folder = tmp_path / "here"
    shutil.copytree(fashionmnist.SAMPLE, folder)
    monkeypatch.setattr(fashionmnist, "DOWNLOADED", tmp_path / "none" / "raw")
    monkeypatch.setattr(fashionmnist, "DEBIAN", tmp_path / "nor here")
    monkeypatch.setattr(fashionmnist, "DATA", tmp_path)
    monkeypatch.setattr(fashionmnist, "SHA256", fashionmnist.SAMPLE_SHA256)
    monkeypatch.setattr(fashionmnist, "SAMPLE_SHA256", {})  # for nobody who wants the full set
    return folder


def test_order_in_which_it_is_looked_for(small_files, tmp_path, monkeypatch):
    monkeypatch.setattr(fashionmnist, "DEBIAN", small_files)
    assert fashionmnist.find() == small_files
    downloaded = fashionmnist.DOWNLOADED
    shutil.copytree(small_files, downloaded)
    assert fashionmnist.find() == downloaded
    named = tmp_path / "named"
    shutil.copytree(small_files, named)
    shutil.copytree(small_files, named / "raw")
    assert fashionmnist.find(named) == named
    monkeypatch.setattr(fashionmnist, "SAMPLE_SHA256", fashionmnist.SHA256)
    assert fashionmnist.find(sample=True) == fashionmnist.SAMPLE


def test_plain_files_are_accepted(small_files):
    for path in small_files.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert fashionmnist.find(small_files) == small_files
    assert len(fashionmnist.load_test(small_files)) == 1000
    assert len(fashionmnist.load_train_val(small_files)[1]) == 500


@pytest.mark.parametrize(
    "given",
    ["", "FashionMNIST", "FashionMNIST/raw", "FashionMNIST/processed", "FashionMNIST/raw/more"],
)
def test_folders_around_the_files_are_as_good(small_files, tmp_path, given, monkeypatch):
    raw = tmp_path / "sets" / "FashionMNIST" / "raw"
    shutil.copytree(small_files, raw)
    (raw.parent / "processed").mkdir()
    (raw / "more").mkdir()
    found = fashionmnist.find(tmp_path / "sets" / given)
    assert found == raw and len(fashionmnist.load_test(found)) == 1000
    monkeypatch.chdir(tmp_path / "sets" / given)
    assert fashionmnist.find(".").resolve() == raw


def test_a_file_or_a_folder_of_another_name_will_do(small_files, tmp_path):
    for path in small_files.iterdir():
        assert fashionmnist.find(path) == small_files
    assert fashionmnist.find(tmp_path) == small_files  # in here/
    with pytest.raises(UserError, match=r"no train-images-idx3-ubyte .*name the folder"):
        fashionmnist.find(small_files / "nothing here")  # though its parent has them
    (tmp_path / "other" / "deeper").mkdir(parents=True)
    with pytest.raises(UserError, match=r"deeper: no .*name the folder"):
        fashionmnist.find(tmp_path / "other" / "deeper")


def test_digits_with_the_same_file_names_are_passed_over(small_files, tmp_path):
    sets = tmp_path / "sets"
    for name in ("EMNIST", "MNIST", "ZMNIST"):
        (sets / name / "raw").mkdir(parents=True)
        for path in small_files.iterdir():
            (sets / name / "raw" / path.name).write_bytes(gzip.compress(b"digits"))
    with pytest.raises(UserError, match=r"EMNIST/raw/.*: not FashionMNIST's"):
        fashionmnist.find(sets)
    shutil.copytree(small_files, sets / "FashionMNIST" / "raw")
    assert fashionmnist.find(sets) == sets / "FashionMNIST" / "raw"
    with pytest.raises(UserError, match=r"MNIST/raw/.*: not FashionMNIST's"):
        fashionmnist.find(sets / "MNIST")


@pytest.mark.parametrize("name", fashionmnist.SHA256)
@pytest.mark.parametrize("damage", ["truncated", "html", "other content", "empty", "missing"])
def test_damaged_file_is_named_and_not_used(small_files, name, damage):
    path = small_files / f"{name}.gz"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "html":
        path.write_bytes(b"<!DOCTYPE html><html>404</html>")
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        plain = bytearray(gzip.decompress(content))
        plain[-1] ^= 1
        path.write_bytes(gzip.compress(bytes(plain)))
    with pytest.raises(UserError) as caught:
        fashionmnist.find(small_files)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_no_files_and_no_network(small_files, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", refuse)
    with pytest.raises(UserError) as caught:
        fashionmnist.find()
    for way_out in ("apt-get install dataset-fashion-mnist", "--data-dir", "--sample"):
        assert way_out in str(caught.value)
    assert not list(fashionmnist.DATA.glob(".download-*"))


def test_download_is_whole_and_checked(small_files, monkeypatch):
    def download(_url, download_root, filename, md5):
        assert md5  # torchvision checks it, then unpacks beside the archive
        content = gzip.decompress((small_files / filename).read_bytes())
        (Path(download_root) / filename.removesuffix(".gz")).write_bytes(content)

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", download)
    monkeypatch.setattr(cache, "YOUNG", 0)
    for name in ("killed", "running"):
        (fashionmnist.DATA / f".download-{name}" / "FashionMNIST").mkdir(parents=True)
        (fashionmnist.DATA / f".download-{name}" / "lock").touch()
    with (fashionmnist.DATA / ".download-running" / "lock").open("ab") as lock:
        cache.lock(lock)
        folder = fashionmnist.find()
    assert [path.name for path in fashionmnist.DATA.glob(".*")] == [".download-running"]
    assert folder == fashionmnist.DOWNLOADED
    assert len(list(folder.iterdir())) == 4
    (folder / "t10k-labels-idx1-ubyte").unlink()  # then all are downloaded once more
    assert fashionmnist.find() == folder and len(list(folder.iterdir())) == 4
