"""Environments as people have them: notebooks, batch systems, services, locale C."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from tests.conftest import ROOT, photo

PROGRAMS = [
    *ROOT.glob("*.py"),
    *(ROOT / name for name in ("models/vgg16.py", "models/googlenet.py")),
]
PROGRAMS += [ROOT / "engine" / "checkpoint.py"]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_without_docstrings(path, monkeypatch, capsys):
    """PYTHONOPTIMIZE=2 takes them, and assert statements, away."""
    program = compile(path.read_text(encoding="utf-8"), path, "exec", optimize=2)
    monkeypatch.setattr("sys.argv", [str(path), "--help"])
    monkeypatch.setattr("signal.signal", lambda *_: None)  # this process keeps its handlers
    with pytest.raises(SystemExit) as stop:
        exec(program, {"__name__": "__main__"})
    assert not stop.value.code and "--help" in capsys.readouterr().out


@pytest.fixture
def photos(tmp_path):
    """Three photos in folders that no ASCII can name."""
    folder = tmp_path / "Grüße 猫"
    for name in ("Bag", "Coat", "Dress"):
        (folder / name).mkdir(parents=True)
        (folder / name / "ä.jpg").write_bytes(photo(len(name)))
    return folder


@pytest.fixture
def strange(monkeypatch, tmp_path):
    """What notebooks, services and launchers leave in the environment."""
    (tmp_path / "file").write_text("")
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MPLCONFIGDIR": tmp_path / "file" / "none",
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "nowhere.invalid",
    }.items():
        monkeypatch.setenv(name, str(value))


def test_pictures_and_names_whatever_the_environment(script, trained, photos, strange, tmp_path):
    arguments = ("--checkpoint", trained, "--data-dir", photos, "--output-dir", tmp_path / "out")
    script("test.py", *arguments)
    assert Image.open(tmp_path / "out" / "mistakes.png").width > 500
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["images"], summary["data"]) == (3, photos.as_posix())


@pytest.mark.parametrize(("data", "code"), [("photos", 0), ("nothing", 2)])
def test_closed_standard_streams(data, code, trained, photos, tmp_path):
    """As some services start programs: nothing can be said, but it is done all the same."""
    chosen = photos if data == "photos" else tmp_path / data
    arguments = ("--checkpoint", trained, "--data-dir", chosen, "--output-dir", tmp_path / "out")
    command = [
        "sh",
        "-c",
        'exec "$0" "$@" <&- >&- 2>&-',
        sys.executable,
        ROOT / "test.py",
        *arguments,
    ]
    assert subprocess.run(command, cwd=ROOT, timeout=120).returncode == code
    assert (tmp_path / "out" / "mistakes.png").exists() == (code == 0)


def test_backend_that_matplotlib_does_not_know(root, monkeypatch):
    """It refuses to be imported, unless another one is named first."""
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    code = "from engine import report; figure, _ = report.subplots(1, 1, (3, 3))"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, timeout=120)
