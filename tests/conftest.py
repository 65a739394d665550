"""What several tests need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same arithmetic on every machine

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the scripts and packages are run from the checkout, not installed


@pytest.fixture
def root() -> Path:
    """The folder of the scripts."""
    return ROOT


@pytest.fixture
def script():
    """Run a script as a user would: script("test.py", "--sample") -> CompletedProcess.

    Options of Python itself may come first: script("-c", code).
    """

    def run(name: str, *arguments: object, code: int = 0, cwd: Path = ROOT, timeout: float = 240):
        first = name if name.startswith("-") else str(ROOT / name)
        command = [sys.executable, first, *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        if code == 2:  # one line that says what is wrong, never a traceback
            assert "Traceback" not in done.stderr
            assert "error: " in done.stderr.strip().splitlines()[-1]
        return done

    return run


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a script's main in this process: run(module, *arguments) -> what it printed, out and err.

    Faster than ``script``, and tests can reach inside.
    """

    def call(module, *arguments: object):
        monkeypatch.setattr("sys.argv", [module.__name__, *map(str, arguments)])
        module.main()
        return capsys.readouterr()

    return call
