"""predict.py on folders, against a DataLoader with two workers, the same network and decoder.

As a program, it is that DataLoader: python -m tests.benchmarks.predict FOLDER CHECKPOINT
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from engine import checkpoint
from engine.inference import BATCH_SIZE, Classifier, load_classifier
from tests.benchmarks.harness import PYTHON, round_robin, run, summary

# A network at 32 px takes so little time that reading speed matters.
CHECKPOINT, SIZE = "checkpoints/fashionmnist_googlenet.pth", 32
FEW, MANY = 2000, 20_000


def benchmark(args: argparse.Namespace) -> list[dict]:
    """Photos per second, from the start of Python to the last prediction, and peak memory."""
    with tempfile.TemporaryDirectory() as temporary:
        few, many = (make_photos(Path(temporary) / str(count), count) for count in (FEW, MANY))
        saved = checkpoint.load(CHECKPOINT)
        small = {"image_size": SIZE, "config": {}}
        small["model_args"] = saved["model_args"] | {"image_size": SIZE}
        network = Path(temporary) / "small.pth"
        checkpoint.save(saved | small, network)
        ours = (PYTHON, "predict.py", "--json", "--checkpoint", network)
        loader = (PYTHON, "-m", "tests.benchmarks.predict", few, network)
        tasks = {
            ("DataLoader, two workers", FEW): lambda: run(*loader),
            ("predict.py", FEW): lambda: run(*ours, few),
        }
        results = round_robin(tasks, args.rounds, "predict")
        results["predict.py", MANY] = [run(*ours, many)]
    rows = [
        {"what": what, "photos": count}
        | {f"photos/s {k}": v for k, v in summary([count / r.seconds for r in runs]).items()}
        | {"peak memory, MB": max(r.megabytes for r in runs)}
        for (what, count), runs in results.items()
    ]
    key = "photos/s median"
    return [row | {"ratio": row[key] / rows[0][key]} for row in rows]


def make_photos(folder: Path, count: int) -> Path:
    """Write JPEGs of 400 x 300 pixels, 200 different ones, each linked to many names."""
    folder.mkdir()
    random = np.random.default_rng(0)
    originals = []
    for number in range(count):
        path = folder / f"{number:05}.jpg"
        if number < 200:
            coarse = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((400, 300), Image.Resampling.BICUBIC).save(path)
            originals.append(path)
        else:
            path.hardlink_to(originals[number % 200])
    return folder


class Photos(Dataset):
    """The photos of a folder, prepared one by one, with dummy labels."""

    def __init__(self, classifier: Classifier, folder: Path) -> None:
        self.classifier, self.files = classifier, sorted(folder.iterdir())

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.classifier.prepare(self.files[index])), 0


def main() -> None:
    folder, network = sys.argv[1:]
    classifier = load_classifier(network)
    logits, _ = classifier.logits(
        DataLoader(Photos(classifier, Path(folder)), BATCH_SIZE, num_workers=2)
    )
    print(logits.softmax(1).topk(2))


if __name__ == "__main__":
    main()
