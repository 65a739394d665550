"""Standard output and error that are closed, or whose reader ends first."""

import os
import signal
import subprocess
import sys

from tests.conftest import SMALL, without_reader


def test_a_run_outlives_the_reader_of_its_progress(root, tmp_path):
    """``2>&1 | tee log``: tee dies of the same Ctrl-C, before the run has saved."""
    run = [sys.executable, "train_fashionmnist.py", *SMALL, "--epochs", "1"]
    run += ["--output-dir", tmp_path]
    done = subprocess.run(run, cwd=root, stdout=subprocess.PIPE, stderr=without_reader())
    assert done.returncode == 0 and b"Next:" in done.stdout
    assert (tmp_path / "last.pth").is_file()


def test_the_exit_code_of_a_signal_whatever_is_left_to_print(root):
    code = f"""
from engine import cli
from engine.errors import Interrupted
def main():
    print("not yet written")
    raise Interrupted("last.pth", {signal.SIGTERM:d})
cli.run(main)"""
    streams = {"stdout": without_reader(), "stderr": subprocess.PIPE}
    buffered = os.environ | {"PYTHONUNBUFFERED": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=buffered, **streams)
    assert done.returncode == 128 + signal.SIGTERM
    assert b"resume with" in done.stderr and b"BrokenPipeError" not in done.stderr
