"""The code as ruff wants it: checked and formatted."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("command", [("check",), ("format", "--check")])
def test_ruff(command, root):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
