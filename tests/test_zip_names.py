"""Zips as they come: names in every encoding, archives in archives, folders in a zip."""

import struct
import tarfile
import zlib
from pathlib import Path

import pytest

import split_dataset
from data import sources
from data.photo_folder import read_manifest
from engine.errors import UserError
from tests.conftest import photo, write_photos, zipped


def unicode_path(raw: bytes, name: str, checksum: int | None = None, version: int = 1) -> bytes:
    """The extra field 0x7075 for a member whose raw name is this."""
    checksum = zlib.crc32(raw) if checksum is None else checksum
    field = struct.pack("<BL", version, checksum) + name.encode()
    return struct.pack("<HH", 0x7075, len(field)) + field


def write_zip(path: Path, names: list[bytes], utf8: bool = False, system: int = 3, extra=None):
    """Write photos under these raw names, which zipfile cannot; ``extra``: name -> its field."""
    members, directory = b"", b""
    for number, name in enumerate(names):
        file, field = photo(number), extra(name) if extra else b""
        sizes = (zlib.crc32(file), len(file), len(file), len(name), len(field))
        head = struct.pack("<HHHHHLLLHH", 20, 0x800 * utf8, 0, 0, 33, *sizes)
        rest = struct.pack("<HHHLL", 0, 0, 0, 0, len(members))
        directory += b"PK\1\2" + bytes([20, system]) + head + rest + name + field
        members += b"PK\3\4" + head + name + field + file
    count = (len(names), len(names), len(directory), len(members))
    path.write_bytes(members + directory + b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, *count, 0))
    return path


def classes(path: Path) -> set[str]:
    return {label.class_name for label in sources.ZipSource(path).labels()[0].values()}


def in_classes(encoding: str, *names: str, between: str = "/") -> list[bytes]:
    return [f"{name}{between}{n:03}.jpg".encode(encoding) for name in names for n in range(3)]


@pytest.mark.parametrize("utf8", [False, True])
def test_names_in_utf8_with_and_without_the_flag(tmp_path, utf8, split):
    path = write_zip(tmp_path / "a.zip", in_classes("utf-8", "Café", "猫", "犬"), utf8)
    assert classes(path) == {"Café", "猫", "犬"}
    manifest = read_manifest(split(path))
    assert manifest["file"].str.contains("/猫/").sum() == 3


@pytest.mark.parametrize("encoding", ["cp437", "latin-1", "cp850"])
def test_the_unicode_path_field_counts(tmp_path, encoding):
    raw = in_classes(encoding, "Café", "Dog")
    path = tmp_path / "a.zip"
    write_zip(path, raw, extra=lambda name: unicode_path(name, name.decode(encoding)))
    assert classes(path) == {"Café", "Dog"}
    # Other fields before it, a timestamp as Info-ZIP writes it.
    stamp = struct.pack("<HHBL", 0x5455, 5, 1, 0)
    write_zip(path, raw, extra=lambda name: stamp + unicode_path(name, name.decode(encoding)))
    assert classes(path) == {"Café", "Dog"}


def test_a_field_for_another_name_does_not_count(tmp_path):
    """As a program leaves it that renames members and does not know the field."""
    for stale in ({"checksum": 1}, {"version": 2}):
        path = tmp_path / "a.zip"
        write_zip(
            path,
            in_classes("ascii", "A", "B"),
            extra=lambda n, s=stale: unicode_path(n, "X/1", **s),
        )
        assert classes(path) == {"A", "B"}
        raw = in_classes("cp437", "Café", "B")
        write_zip(path, raw, extra=lambda n, s=stale: unicode_path(n, "X/1", **s))
        with pytest.raises(UserError, match=r"'Caf\\x82/000.jpg' is in an unknown encoding"):
            classes(path)


@pytest.mark.parametrize(
    ("encoding", "name", "shown"),
    [
        ("cp437", "Café", "Caf\\x82"),
        ("cp1252", "Café", "Caf\\xe9"),
        ("shift_jis", "表", "\\x95\\"),  # its second byte, 0x5C, is a backslash in ASCII
        ("shift_jis", "ソ", "\\x83\\"),
        ("gbk", "狗", "\\xb9\\xb7"),
        ("cp866", "кот", "\\xaa\\xae\\xe2"),
    ],
)
@pytest.mark.parametrize("system", [0, 3])
def test_names_in_an_unknown_encoding_are_refused(tmp_path, encoding, name, shown, system):
    path = write_zip(tmp_path / "a.zip", in_classes(encoding, name, "Dog"), system=system)
    with pytest.raises(UserError, match="unknown encoding") as error:
        classes(path)
    assert f"a.zip: refused, since the name of its member '{shown}/000.jpg'" in str(error.value)


def test_a_flag_that_lies_is_refused_by_name(tmp_path):
    path = write_zip(tmp_path / "a.zip", in_classes("cp437", "Café", "Dog"), utf8=True)
    with pytest.raises(UserError, match=r"a\.zip: .*'Caf\\x82/000.jpg' is in an unknown encoding"):
        classes(path)


def test_backslashes_separate_folders_where_they_can_be_nothing_else(tmp_path):
    path = tmp_path / "a.zip"
    for system in (0, 3, 10, 14):  # no slash anywhere, as .NET once wrote it
        write_zip(path, in_classes("ascii", "x\\Cat", "x\\Dog", between="\\"), system=system)
        assert classes(path) == {"Cat", "Dog"}
    mixed = in_classes("ascii", "Cat") + in_classes("ascii", "Dog", between="\\")
    for system in range(20):  # APPNOTE 4.4.2.2: FAT, OS/2 (HPFS), NTFS, VFAT
        write_zip(path, mixed, system=system)
        if system in (0, 6, 10, 14):
            assert classes(path) == {"Cat", "Dog"}
        else:
            assert "Dog\\000.jpg" in sources.ZipSource(path).names()
    # On Unix a name may hold one.
    write_zip(path, in_classes("ascii", "AC\\DC", "Abba"))
    assert classes(path) == {"AC\\DC", "Abba"}
    write_zip(path, [*in_classes("ascii", "Cat", "Dog"), b"Cat/a\\b.jpg"])
    labels, strays = sources.ZipSource(path).labels()
    assert labels["Cat/a\\b.jpg"] == ("Cat", "a\\b.jpg", "") and not strays
    for name in ("表", "ソ"):  # in UTF-8, but from DOS: no byte of theirs is a backslash
        write_zip(path, in_classes("utf-8", name, "Dog"), system=0)
        assert classes(path) == {name, "Dog"}


def test_a_nul_in_a_name_is_not_cut_off(tmp_path):
    path = write_zip(tmp_path / "a.zip", [*in_classes("ascii", "Cat", "Dog"), b"Dog\0/9.jpg"])
    with pytest.raises(UserError, match="control characters"):
        classes(path)


def test_a_folder_in_a_zip(split, tmp_path, error_of):
    source = write_photos(tmp_path / "photos", "all/fold_1/{class_name}/{number}.jpg", count=6)
    write_photos(source, "all/fold_2/{class_name}/{number}.jpg", count=7)
    path = zipped(source, tmp_path / "photos.zip")
    out = ("--output", tmp_path / "split")
    for given in (path, source):
        error = error_of(split_dataset, given, *out)
        assert f"folds of one set: name one: python split_dataset.py {given}/all/fold_1" in error
        name = error.split()[-1]
        manifest = read_manifest(split(Path(name), folder=f"split of {given.name}"))
        assert len(manifest) == 12
    assert "there are no photos" in error_of(split_dataset, path / "nowhere", *out)
    assert "no such folder or zip" in error_of(split_dataset, source / "nowhere", *out)


def test_archives_in_the_source(tmp_path, error_of):
    inner = zipped(
        write_photos(tmp_path / "photos", "train/{class_name}.{number}.jpg"), tmp_path / "train.zip"
    )
    outer = tmp_path / "kaggle"
    (outer / "docs").mkdir(parents=True)
    (outer / "sample.csv").write_text("id,label\n")
    inner.rename(outer / "train.zip")
    (outer / "test1.zip").write_bytes((outer / "train.zip").read_bytes())
    out = ("--output", tmp_path / "split")
    error = error_of(split_dataset, outer, *out)
    assert "archives (test1.zip, train.zip): name one: python split_dataset.py" in error
    error = error_of(split_dataset, zipped(outer, tmp_path / "kaggle.zip"), *out)
    assert "archives (test1.zip, train.zip): unpack it" in error
    # What has no known type may be a photo. An archive of another kind cannot be named.
    (outer / "photo").touch()
    assert "only one class, 'docs'" in error_of(split_dataset, outer, *out)
    for name in ("photo", "train.zip", "test1.zip"):
        (outer / name).unlink()
    (outer / "train.7z").touch()
    assert "archives (train.7z): unpack it" in error_of(split_dataset, outer, *out)
    for name, mode in (("a.tgz", "w:gz"), ("a.tar", "w"), ("a.tar.xz", "w:xz")):
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(tmp_path / "photos", "photos")
        assert "only zips are read: unpack it" in error_of(split_dataset, tmp_path / name, *out)
    assert not (tmp_path / "split").exists()


def test_an_archive_beside_photos_is_a_stray(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_MEMBER", 5000)
    source = write_photos(tmp_path / "photos", count=3)
    (source / "all.zip").write_bytes(bytes(10_000))
    (source / "Cat" / "all.zip").write_bytes(bytes(10_000))
    zip_source = sources.ZipSource(zipped(source, tmp_path / "photos.zip"))
    labels, strays = zip_source.labels()
    assert len(labels) == 7 and list(strays) == ["all.zip"]
    with pytest.raises(OSError, match="larger than any photo"):
        zip_source.read("Cat/all.zip")
    folder = sources.FolderSource(source)
    with pytest.raises(OSError, match="larger than any photo"):
        folder.read("all.zip")
    monkeypatch.setattr(sources, "MAX_MEMBER", 10_000)  # just as large
    assert folder.read("all.zip") == zip_source.read("Cat/all.zip") == bytes(10_000)
