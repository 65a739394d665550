"""What several tests need."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the scripts and packages are run from the checkout, not installed

torch.set_num_threads(2)  # the same sums in the same order on any machine


@pytest.fixture
def script(tmp_path):
    """Run a script as a user would: script("test.py", "--sample") -> CompletedProcess."""

    def run(name: str, *arguments: object, code: int = 0, cwd: Path = ROOT, timeout: float = 240):
        command = [sys.executable, str(ROOT / name), *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        if code == 2:  # one line that says what is wrong, never a traceback
            assert "Traceback" not in done.stderr
            assert "error: " in done.stderr.strip().splitlines()[-1]
        return done

    return run
