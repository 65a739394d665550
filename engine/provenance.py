"""A run's provenance: code, versions, machine, command. Stored in checkpoints and run.json."""

import csv
import hashlib
import io
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from engine.device import device_name
from engine.distributed import world_size
from engine.errors import quote

ROOT = Path(__file__).parent.parent
LEDGER = "docs/results/test_looks.csv"  # of the test sets
LOOKS = ROOT / LEDGER
PACKAGES = ("torchvision", "numpy", "Pillow")


def provenance(device: torch.device) -> dict[str, Any]:
    """What the result of this process depends on, as plain values by their names.

    "commit" is the code's, or None outside a clone; "clean" is true if no tracked file differs from
    it, except for the ledger, to which test.py adds a line.
    """
    # If this code is a subfolder of another repository, that repository's commit is not its own.
    commit = git("rev-parse", "HEAD") if git("rev-parse", "--show-prefix") == "" else None
    changed = ("status", "--porcelain", "--untracked-files=no", "--", f":(exclude){LEDGER}")
    return {
        "commit": commit,
        "clean": commit and git(*changed) == "",
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # includes the build, such as +cpu
        **{name: version(name) for name in PACKAGES},
        "system": platform.platform(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "processes": world_size(),
        "command": " ".join(map(quote, [Path(sys.argv[0]).name, *sys.argv[1:]])),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def git(*arguments: str) -> str | None:
    """The output of a git command on this repository; None without git or a repository."""
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_look(summary: dict[str, Any]) -> None:
    """Add a line to the ledger of uses of the test sets, if the ledger exists.

    Choosing among networks by many tests overfits the test set; the ledger shows how many.

    Args:
        summary: the content of test.py's summary.json.
    """
    if not LOOKS.is_file():
        return
    row = {
        "date": summary["provenance"]["started"][:10],
        "commit": (summary["provenance"]["commit"] or "")[:7],
        "checkpoint": summary["sha256"][:16],
        "model": summary["model"],
        "data": summary["data"],
        "images": summary["images"],
        "accuracy": f"{summary['accuracy']:.4f}",
    }
    line = io.StringIO()
    csv.DictWriter(line, row, lineterminator="\n").writerow(row)
    text = line.getvalue().encode(errors="backslashreplace").decode()  # names may be invalid UTF-8
    try:
        # Appended in one write, so that two simultaneous tests do not overwrite each other's line.
        with LOOKS.open("a", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:  # such as a read-only clone: the result matters more than the ledger
        print(
            f"note: {LOOKS}: {error.strerror}: add this line yourself: {text.strip()}",
            file=sys.stderr,
        )
