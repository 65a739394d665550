"""Folders and zips of photos: what class each file is of, and what is refused."""

import hashlib
import io
import os
import stat
import tracemalloc
import zipfile

import pandas as pd
import pytest
from PIL import Image

import split_dataset
from data import photo_folder, sources
from engine.errors import UserError
from tests.conftest import content, photo, write_photos, zipped


@pytest.mark.parametrize(
    "layout",
    [
        "{class_name}/{number}.jpg",
        "PetImages/{class_name}/{number}.jpg",
        "{class_name}.{number}.jpg",
        "train/{class_name}.{number}.jpg",
        "{class_name}/of 2019/{number}.jpg",
    ],
)
@pytest.mark.parametrize("as_zip", [False, True])
def test_layouts(split, tmp_path, layout, as_zip):
    source = write_photos(tmp_path / "photos", layout)
    (source / "readme.txt").write_text("as in the original download")
    folder = split(zipped(source, tmp_path / "photos.zip") if as_zip else source)
    manifest = photo_folder.read_manifest(folder)
    counts = pd.crosstab(manifest["class"], manifest["split"])
    for class_name in ("Cat", "Dog"):
        assert counts.loc[class_name].to_dict() == {"train": 16, "val": 2, "test": 2}
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


def test_zips_as_other_tools_write_them(split, tmp_path):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, file in content(write_photos(tmp_path / "photos")).items():
            member = zipfile.ZipInfo(f"./Pets//{name}".replace("/Dog/", "\\Dog\\"))
            member.create_system = 0  # DOS: no name holds a backslash there
            archive.writestr(member, file)
            archive.writestr(f"__MACOSX/Pets/{name}", b"resource fork")
    manifest = photo_folder.read_manifest(split(path))
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
    with pytest.raises(UserError, match=words):
        split(path)
    assert not (tmp_path / "split").exists()


def test_zip_bombs_are_refused(split, tmp_path, monkeypatch):
    path = zipped(write_photos(tmp_path / "photos"), tmp_path / "photos.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"Cat/zeros {number}.bmp", bytes(2**20))
    monkeypatch.setattr(sources, "MAX_UNPACKED", 2**20)
    with pytest.raises(UserError, match="would unpack to"):
        split(path)
    monkeypatch.setattr(sources, "MAX_MEMBER", 2**19)
    with pytest.raises(UserError, match="would unpack to 1 MiB"):
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
        ("Cat/new.jpg", zipfile.ZIP_BZIP2, "within limits"),
        ("./Cat/0.jpg", zipfile.ZIP_STORED, "occurs twice"),
    ):
        zipped(write_photos(tmp_path / "photos"), path)
        with zipfile.ZipFile(path, "a", compression) as archive:
            archive.writestr(name, photo(1))
        with pytest.raises(UserError, match=words):
            split(path)


def test_damaged_zips(split, tmp_path):
    path = zipped(write_photos(tmp_path / "photos"), tmp_path / "photos.zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not a complete zip"):
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
        ("Cat/{class_name}{number}.jpg", (), "only one class, 'Cat'"),
        ("train/{class_name}/{number}.jpg", ("--ratios", "0.8", "0.1", "0.2"), "--ratios"),
        ("{class_name}/{number}.jpg", ("--ratios", "0.9", "0.1", "0"), "--ratios"),
        ("{class_name}{number}/photo.jpg", (), "but has 1 (copies not counted)"),
        ("{class_name}\n/{number}.jpg", (), "control characters"),
        ("test/{class_name}/{number}.jpg", ("--download", "oxford-pets"), "either"),
    ],
)
def test_unusable_sources_are_one_line(error_of, tmp_path, layout, arguments, words):
    source = tmp_path / "photos"
    source.mkdir()
    if layout:
        write_photos(source, layout)
    arguments = ("--output", tmp_path / "split", *arguments)
    assert words in error_of(split_dataset, source, *arguments)
    assert os.listdir(tmp_path) == ["photos"]


def test_sources_that_are_none(script, error_of, root, tmp_path):
    out = ("--output", tmp_path / "split")
    assert "nowhere" in script("split_dataset.py", "nowhere", *out, code=2).stderr
    assert "not a complete zip" in error_of(split_dataset, root / "README.md", *out)
    other = write_photos(tmp_path / "other", "test_set/{class_name}/{number}.jpg")
    for file in (other / "test_set" / "Cat").iterdir():
        file.write_bytes(b"no photo")
    error = error_of(split_dataset, other / "test_set", *out)
    assert "'Cat' needs at least" in error and "has 0" in error and "0.jpg: not an image" in error
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        assert "neither a folder nor a regular file" in error_of(split_dataset, path, *out)


def test_oxford_pets(monkeypatch, tmp_path, split, run):
    folder = tmp_path / "oxford-iiit-pet" / "images"

    def download(root, download):
        assert download
        write_photos(folder, "{class_name}_{number}.jpg")
        for file in folder.glob("Dog*"):
            file.rename(folder / file.name.lower())  # dogs' breeds are in lower case
        (folder / "Cat_1.mat").write_bytes(b"a few are of MATLAB")

    monkeypatch.setattr("torchvision.datasets.OxfordIIITPet", download)
    monkeypatch.setattr(sources, "__file__", str(tmp_path / "sources.py"))
    run(split_dataset, "--download", "oxford-pets", "--output", tmp_path / "pets")
    manifest = photo_folder.read_manifest(tmp_path / "pets")
    assert manifest["class"].value_counts().to_dict() == {"Cat": 20, "Dog": 20}
    assert manifest["file"][manifest["class"] == "Dog"].str.contains("/dog_").all()


def test_oxford_pets_that_cannot_be_downloaded(monkeypatch, error_of, tmp_path):
    def refuse(_root, download):
        raise RuntimeError("File not found\nor corrupted")

    monkeypatch.setattr("torchvision.datasets.OxfordIIITPet", refuse)
    arguments = ("--download", "oxford-pets", "--output", tmp_path / "pets")
    error = error_of(split_dataset, *arguments)
    assert "error: Oxford-IIIT Pet cannot be downloaded (File not found or corrupted)" in error
    assert not list(tmp_path.iterdir())


def test_encrypted_members_are_refused(tmp_path):
    """As a zip with a password has them: bit 0 of the flags."""
    path = zipped(write_photos(tmp_path / "photos", count=3), tmp_path / "photos.zip")
    archive = bytearray(path.read_bytes())
    archive[archive.rindex(b"PK\x01\x02") + 8] |= 1  # in the last entry of the directory
    path.write_bytes(archive)
    with pytest.raises(UserError, match=r"Dog/2\.jpg' is encrypted"):
        sources.open_source(path)
