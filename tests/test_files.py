"""Writing files whole."""

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
        assert caught.value.filename == str(path) and caught.value.filename2 is None
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
