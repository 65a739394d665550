"""The tables that ``python -m models.vgg16`` and ``python -m models.googlenet`` print."""

import signal
import subprocess
import sys

import pytest

from models import googlenet, summary, vgg16
from tests.conftest import without_reader


@pytest.mark.parametrize(("file", "total"), [("vgg16", "138,357,544"), ("googlenet", "13,378,280")])
def test_printed_table(script, file, total):
    done = script("-m", f"models.{file}")
    assert total in done.stdout.splitlines()[-1] and not done.stderr
    small = ("--image-size", "64", "--in-channels", "1", "--num-classes", "10", "--batch-norm")
    assert " 10 " in script("-m", f"models.{file}", *small).stdout


@pytest.mark.parametrize("network", [vgg16.VGG16, googlenet.GoogLeNet])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--image-size", "-33"), "33"),
        (("--num-classes", "-1"), "at least 1"),
        (("--in-channels", "0"), "at least 1"),
    ],
)
def test_arguments_that_no_network_has(network, arguments, words, monkeypatch, capsys):
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # of this process
    monkeypatch.setattr(sys, "argv", ["models", *arguments])
    with pytest.raises(SystemExit) as stop:
        summary.main(network, lambda _: [])
    assert stop.value.code == 2 and words in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="Windows has none")
def test_a_reader_may_end_first(root):
    command = [sys.executable, "-m", "models.vgg16"]
    streams = {"stdout": without_reader(), "stderr": subprocess.PIPE}
    done = subprocess.run(command, cwd=root, **streams)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")
