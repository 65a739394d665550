"""Writing files whole."""

import os
import time

import pytest

from engine.files import atomic_write


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_failed_write_leaves_the_old_content(tmp_path, mode):
    path = tmp_path / "file"
    old, new = (b"old", b"new") if mode == "wb" else ("old", "new")
    with atomic_write(path, mode) as file:
        file.write(old)
    with pytest.raises(KeyboardInterrupt), atomic_write(path, mode) as file:
        file.write(new)
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]  # no temporary file is left


def test_text_has_the_same_bytes_on_every_system(tmp_path):
    with atomic_write(tmp_path / "file", "w") as file:
        file.write("é\n")
    assert (tmp_path / "file").read_bytes() == b"\xc3\xa9\n"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_errors_name_the_file(tmp_path):
    for path in (tmp_path / "missing" / "file", tmp_path / "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(OSError) as caught, atomic_write(path) as file:
            file.write(b"new")
        assert str(caught.value).endswith(f"'{path}'")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_an_error_without_a_name_gets_one(tmp_path):
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*file'"),
        atomic_write(tmp_path / "file"),
    ):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_disks_without_modes_are_written_to(tmp_path, monkeypatch):
    """As Windows' disks seen from WSL, and shares of a server."""

    def refuse(path, _):
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(os, "chmod", refuse)
    with atomic_write(tmp_path / "file", "w") as file:
        file.write("new")
    assert (tmp_path / "file").read_text() == "new"


def test_a_file_that_is_open_elsewhere_is_waited_for(tmp_path, monkeypatch):
    """As on Windows, where a file cannot be replaced while a virus scanner reads it."""
    replace, refusals = os.replace, [PermissionError(13, "Access is denied")] * 3

    def refuse(source, target):
        if refusals:
            raise refusals.pop()
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with atomic_write(tmp_path / "file", "w") as file:
        file.write("new")
    assert (tmp_path / "file").read_text() == "new" and not refusals
    refusals += [PermissionError(13, "Access is denied")] * 99
    with pytest.raises(PermissionError, match=r"denied: '.*file'"), atomic_write(tmp_path / "file"):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_only_regular_files_are_replaced(tmp_path):
    """Not a pipe or a device; and of a link, what it leads to."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a regular file"), atomic_write(tmp_path / "pipe"):
        pass
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "best.pth").write_text("old")
    (tmp_path / "best.pth").symlink_to(tmp_path / "disk" / "best.pth")
    with atomic_write(tmp_path / "best.pth", "w") as file:
        file.write("new")
    assert (tmp_path / "best.pth").is_symlink()
    assert (tmp_path / "disk" / "best.pth").read_text() == "new"
