"""Decoded photos on disk: how many are decoded, where they are kept, and what is removed."""

import errno
import hashlib
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from data import cache, photo_folder
from engine.errors import UserError
from tests.conftest import content


@pytest.fixture
def decoded(monkeypatch):
    """The names of the photos that are decoded, as they are."""
    names, read = [], photo_folder.read_listed
    monkeypatch.setattr(
        photo_folder, "read_listed", lambda *args: names.append(args[1]) or read(*args)
    )
    return names


def caches(folder: Path) -> list[str]:
    """What is in the cache, without the keys."""
    return sorted(path.name.rpartition("_")[0] for path in (folder / ".cache").iterdir())


def test_a_limit_decodes_no_more_photos(ready, decoded, capsys):
    few = photo_folder.load_split(ready, "train", 16, limit=5)
    said = capsys.readouterr().out
    assert re.search(r"/train_16px_5_\w+\.npy: decoding 5 photos once, 0 MB\n", said)
    assert len(decoded) == len(few) == len(few.files) == 5 and caches(ready) == ["train_16px_5"]
    assert photo_folder.load_split(ready, "train", 16, limit=3).files == few.files[:3]
    assert len(decoded) == 5
    whole = photo_folder.load_split(ready, "train", 16)
    assert len(whole) == 32 and caches(ready) == ["train_16px_32", "train_16px_5"]
    decoded.clear()
    again = photo_folder.load_split(ready, "train", 16, limit=5)
    assert not decoded and isinstance(again.images, np.memmap)
    for some in (few, again, whole.first(5), photo_folder.load_split(ready, "train", 16, limit=99)):
        assert np.array_equal(some.images[:5], whole.images[:5])
        assert some.files[:5] == few.files and np.array_equal(some.labels[:5], few.labels)
    assert len(pickle.dumps(again)) < 2000


def test_no_file_is_left_where_none_is_wanted(ready, decoded):
    before = content(ready)
    few = photo_folder.load_split(ready, "val", 16, limit=3, cache=False)
    assert len(decoded) == 3 and content(ready) == before and not (ready / ".cache").exists()
    whole = photo_folder.load_split(ready, "val", 16)
    assert np.array_equal(whole.images[:3], few.images) and few.images.dtype == np.uint8
    decoded.clear()
    assert isinstance(photo_folder.load_split(ready, "val", 16, cache=False).images, np.memmap)
    assert not decoded


def test_photos_decoded_by_another_version_are_decoded_anew(ready, decoded, monkeypatch):
    photo_folder.load_split(ready, "val", 16)
    monkeypatch.setattr(photo_folder, "DECODER", photo_folder.DECODER + 1)
    decoded.clear()
    photo_folder.load_split(ready, "val", 16)
    assert len(decoded) == 4 and caches(ready) == ["val_16px_4"]


@pytest.fixture
def sealed(ready, monkeypatch, tmp_path):
    """A split folder that nothing can be written to; not even root can make .cache/ there."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (ready / ".cache").write_text("no folder")
    return ready


def test_a_folder_that_cannot_be_written_to(sealed, decoded, capsys):
    first = photo_folder.load_split(sealed, "train", 16)
    (place,) = Path(tempfile.gettempdir()).iterdir()
    assert (
        f"{sealed}/.cache: File exists: the decoded photos go to {place}" in capsys.readouterr().out
    )
    name = hashlib.sha256(f"{os.getuid()} {sealed.resolve()}".encode()).hexdigest()[:16]
    assert place.name == f"photos-{name}" and place.stat().st_mode & 0o777 == 0o700
    decoded.clear()
    assert np.array_equal(photo_folder.load_split(sealed, "train", 16).images, first.images)
    assert not decoded and not capsys.readouterr().out
    # Others' photos, in another folder, are left alone.
    (place.with_name("photos-0") / "x").mkdir(parents=True)
    (place.with_name("photos-0") / "train_16px_3_0.npy").touch()
    photo_folder.load_split(sealed, "train", 16, limit=2)
    assert (place.with_name("photos-0") / "train_16px_3_0.npy").exists()


def test_somebody_elses_temporary_folder_is_not_trusted(sealed, monkeypatch):
    photo_folder.load_split(sealed, "val", 16)
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    mine = set(Path(tempfile.gettempdir()).iterdir())
    photo_folder.load_split(sealed, "val", 16, cache=False)
    with pytest.raises(UserError, match=r"File exists; .*belongs to another user"):
        photo_folder.load_split(sealed, "val", 16)
    (theirs,) = set(Path(tempfile.gettempdir()).iterdir()) - mine
    assert not list(theirs.iterdir())


def test_folders_that_are_there_and_refuse_files(ready, monkeypatch, tmp_path, capsys):
    """As those of another user: being there is not enough."""
    make, refused = tempfile.TemporaryFile, []

    def refuse(dir):
        if dir in refused:
            raise PermissionError(errno.EACCES, "Permission denied")
        return make(dir=dir)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    refused.append(cache.writable_cache(ready))
    assert refused == [ready / ".cache"]
    refused.append(cache.writable_cache(ready))
    assert refused[1].parent == tmp_path
    assert f"{refused[0]}: Permission denied: the decoded photos go to" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"denied; .*denied: the decoded photos need one of these"):
        cache.writable_cache(ready)


def test_nowhere_to_write(sealed, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(sealed / "manifest.csv"))
    with pytest.raises(UserError, match="one of these folders") as caught:
        photo_folder.load_split(sealed, "val", 16)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_removed_or_replaced(ready, monkeypatch):
    """As on Windows, while they are mapped."""
    images = photo_folder.load_split(ready, "val", 16).images

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(photo_folder, "DECODER", 99)
        patch.setattr(Path, "unlink", refuse)
        assert np.array_equal(photo_folder.load_split(ready, "val", 16).images, images)
    assert caches(ready) == ["val_16px_4"] * 2
    # Another process wrote the same file while this one did.
    theirs, replace = tempfile.mkdtemp(dir=ready), os.replace
    shutil.copytree(ready / ".cache", theirs, dirs_exist_ok=True)
    shutil.rmtree(ready / ".cache")

    def come_too_late(source, target):
        shutil.copy(Path(theirs) / target.name, target)
        refuse()

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", come_too_late)
        assert np.array_equal(photo_folder.load_split(ready, "val", 16).images, images)
    assert os.replace is replace and caches(ready) == ["val_16px_4"]


DECODE_FOR_EVER = """
import sys, time
import numpy as np
from pathlib import Path
from data import cache

def images():
    while True:
        yield np.zeros(2**16, np.uint8)
        print("one", flush=True)
        time.sleep(0.01)

cache.write_cache(Path(sys.argv[1]), "train_16px", "key", (10**6, 1, 1, 1), images())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills as POSIX systems do")
def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path, root, monkeypatch):
    place = tmp_path / ".cache"
    place.mkdir()
    command = [sys.executable, "-c", DECODE_FOR_EVER, str(place)]
    writers = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for writer in writers:
            for _ in range(3):
                writer.stdout.readline()
        assert len(list(place.glob(".*"))) == 2
        writers[0].kill()
        writers[0].wait()
        (place / "notes.txt").touch()
        cache.remove_leftovers(place)
        assert len(list(place.iterdir())) == 3  # both may have been begun just now
        monkeypatch.setattr(cache, "YOUNG", 0)
        cache.remove_leftovers(place)
        left = sorted(path.name for path in place.iterdir())
        assert len(left) == 2 and left[0].startswith(".train_16px_") and left[1] == "notes.txt"
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    cache.write_cache(place, "val_16px", "key", (1, 1, 1, 1), [np.zeros(1, np.uint8)])
    assert sorted(path.name for path in place.iterdir()) == ["notes.txt", "val_16px_1_key.npy"]


def test_what_was_left_is_removed_at_the_next_start(ready, monkeypatch):
    monkeypatch.setattr(cache, "YOUNG", 0)
    photo_folder.load_split(ready, "val", 16)
    (ready / ".cache" / ".train_16px_32_0123456789abcdef.npy-x1y2z3").write_bytes(b"half")
    photo_folder.load_split(ready, "val", 16)
    assert caches(ready) == ["val_16px_4"]
