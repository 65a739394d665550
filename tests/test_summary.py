"""The tables that ``python -m models.vgg16`` and ``python -m models.googlenet`` print."""

import signal
import subprocess
import sys

import pytest

from tests.conftest import without_reader


@pytest.mark.parametrize(("file", "total"), [("vgg16", "138,357,544"), ("googlenet", "13,378,280")])
def test_printed_table(script, file, total):
    done = script("-m", f"models.{file}")
    assert total in done.stdout.splitlines()[-1] and not done.stderr
    small = ("--image-size", "64", "--in-channels", "1", "--num-classes", "10", "--batch-norm")
    assert " 10 " in script("-m", f"models.{file}", *small).stdout
    assert "33" in script("-m", f"models.{file}", "--image-size", "-33", code=2).stderr
    assert "at least 1" in script("-m", f"models.{file}", "--num-classes", "-1", code=2).stderr


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="Windows has none")
def test_a_reader_may_end_first(root):
    command = [sys.executable, "-m", "models.vgg16"]
    streams = {"stdout": without_reader(), "stderr": subprocess.PIPE}
    done = subprocess.run(command, cwd=root, **streams)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")
