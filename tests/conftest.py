"""Fixtures, and makers of photos, that several tests need."""

import io
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import compute_mean_std
import split_dataset
import train_fashionmnist
from data import fashionmnist
from engine import checkpoint, provenance
from engine.errors import STOP_SIGNALS, Interrupted
from engine.trainer import Trainer
from models import create_model
from tests.chromium import CHROMIUM, Browser

# The same arithmetic on every machine: only the tests in test_accelerator.py see a GPU, and they do
# so if they are run alone.
if not any("test_accelerator" in argument for argument in sys.argv):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.accelerator.is_available = lambda: False  # Apple's, too
# Started in the background, or by nohup, the tests and what they start would ignore these.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Two tests run at a time (pyproject.toml), with a core each, and so does what they start.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).parent.parent

# 300 real photos, kept beside the checkout: tests that need them are skipped elsewhere.
KAGGLE = ROOT.parent / "shared" / "datasets" / "dogs-vs-cats-kaggle-sample.zip"
needs_kaggle = pytest.mark.skipif(
    not KAGGLE.exists(), reason="the Kaggle sample is not on this machine"
)


def photo(number: int, class_name: str = "Cat") -> bytes:
    """A JPEG of coloured noise, reddish for cats and bluish for the rest, different per number."""
    random = np.random.RandomState(number)
    height, width = 24 + number % 5, 20 + number % 7
    pixels = random.randint(0, 128, (height, width, 3))
    pixels[..., 0 if class_name == "Cat" else 2] += 100
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def write_photos(folder: Path, layout: str = "{class_name}/{number}.jpg", count: int = 20) -> Path:
    """Write ``count`` cats and as many dogs, named by the layout; return the folder."""
    for offset, class_name in ((0, "Cat"), (1000, "Dog")):
        for number in range(count):
            path = folder / layout.format(class_name=class_name, number=number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photo(offset + number, class_name))
    return folder


def zipped(folder: Path, path: Path) -> Path:
    """Zip all that is in the folder to the path; return the path."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def content(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, hidden ones too."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def without_reader() -> int:
    """The end of a pipe that nobody reads from."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.fixture(autouse=True)
def handlers_as_before():
    """What ``cli.run`` sets, and pictures that are not saved, stay with their test."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(autouse=True)
def no_looks(monkeypatch, tmp_path):
    """What the tests judge does not count among the looks at the test sets."""
    monkeypatch.setattr(provenance, "LOOKS", tmp_path / "test_looks.csv")


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


@pytest.fixture
def error_of(monkeypatch, capsys):
    """What a script writes to standard error as it exits with 2: error_of(module, *arguments).

    The same as ``script`` with code=2, in this process.
    """
    from engine import cli

    def call(module, *arguments: object) -> str:
        monkeypatch.setattr("sys.argv", [f"{module.__name__}.py", *map(str, arguments)])
        monkeypatch.setattr("signal.signal", lambda *_: None)  # this process keeps its handlers
        with pytest.raises(SystemExit) as stopped:
            cli.run(module.main)
        written = capsys.readouterr().err
        assert stopped.value.code == 2, written
        assert "error: " in written.strip().splitlines()[-1]
        return written

    return call


@pytest.fixture(scope="session")
def sample():
    """The bundled sample of FashionMNIST: training and validation set. Not to be changed."""
    return fashionmnist.load_train_val(fashionmnist.find(sample=True), sample=True)


@pytest.fixture
def split(run, tmp_path):
    """Run split_dataset.py: split(source) -> the folder written."""

    def call(source: Path, *arguments: object, folder: str = "split") -> Path:
        run(split_dataset, source, "--output", tmp_path / folder, *arguments)
        return tmp_path / folder

    return call


@pytest.fixture
def ready(run, split, tmp_path):
    """A split of 40 photos, with mean_std.json."""
    folder = split(write_photos(tmp_path / "photos"))
    run(compute_mean_std, folder)
    return folder


# A short training on FashionMNIST's sample: five steps in each of two epochs.
SMALL = ("--sample", "--limit", "160", "--image-size", "32", "-b", "32", "--epochs", "2")


@pytest.fixture
def train(monkeypatch, tmp_path):
    """Run train_fashionmnist.py in this process: train("--epochs", "1") -> the folder written."""

    def call(*arguments: object, folder: str = "run") -> Path:
        output = [] if "--resume" in arguments else ["--output-dir", str(tmp_path / folder)]
        monkeypatch.setattr("sys.argv", ["train", *map(str, arguments), *output])
        train_fashionmnist.main()
        return tmp_path / folder

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A checkpoint of a small GoogLeNet with random weights."""
    torch.manual_seed(0)
    model_args = {"in_channels": 1, "num_classes": 10, "image_size": 32, "batch_norm": True}
    path = tmp_path_factory.mktemp("checkpoints") / "best.pth"
    saved = {
        "model": "googlenet",
        "model_args": model_args,
        "state_dict": create_model("googlenet", **model_args).state_dict(),
        "dataset": "fashionmnist",
        "classes": list(fashionmnist.CLASSES),
        "image_size": 32,
        "stored_size": 28,
        "resize_mode": "pad",
        "mean": [0.286],
        "std": [0.353],
        "flip": True,
        "channels": 1,
        "epoch": 1,
        "metrics": {},
        "config": {},
    }
    checkpoint.save(saved, path)
    return path


def interrupt_at(monkeypatch, step: int, number: int = signal.SIGINT) -> None:
    """Send this process the signal in the batch with that number of the whole run."""
    seed_draws = Trainer.seed_draws

    def stop(trainer, batch):
        if batch == step:
            os.kill(os.getpid(), number)
        seed_draws(trainer, batch)

    monkeypatch.setattr(Trainer, "seed_draws", stop)


@pytest.fixture(scope="session")
def whole_runs(tmp_path_factory) -> Path:
    """The folder where ``interrupted`` keeps a copy of each whole run, by its arguments."""
    return tmp_path_factory.mktemp("whole_runs")


@pytest.fixture
def interrupted(train, monkeypatch, whole_runs, tmp_path):
    """The folders of a whole run, and of one like it stopped by Ctrl-C."""

    def run(*arguments, step):
        whole, kept = tmp_path / "whole", whole_runs / " ".join(map(str, ("run", *arguments)))
        if not kept.exists():
            shutil.copytree(train(*SMALL, *arguments, folder="whole"), kept)
        elif not whole.exists():
            shutil.copytree(kept, whole)
        with monkeypatch.context() as patch:
            interrupt_at(patch, step)
            with pytest.raises(Interrupted):
                train(*SMALL, *arguments, folder="stopped")
        return whole, whole.parent / "stopped"

    return run


def same(one: object, other: object) -> bool:
    """Equal to the last bit, but for times and for what a resumed run is told of itself."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        ignored = {"seconds", "images_per_second", "config", "provenance"}
        keys = [key for key in one if key not in ignored]
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in keys)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium, with the explorer open."""
    if not CHROMIUM:
        pytest.skip("no chromium here: apt-get install chromium")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    browser.open((ROOT / "docs" / "index.html").as_uri())
    yield browser
    browser.call("Browser.close")
    browser.process.wait(20)
