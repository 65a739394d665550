"""Make the mistakes of docs/mistakes.py, run each beside the healthy run, and draw the curves.

    python -m docs.debugging              # what docs/results/debugging/ lacks, then the pictures
    python -m docs.debugging --secret 7   # make one of them in a copy, for you to find
    python -m docs.debugging --reveal 7   # which one it was

26 runs, 79 minutes of training on one core (machine C of docs/results.md). Stop it at any time:
what is done stays. To run one again, delete its .json.
"""

import argparse
import json
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from docs import debugging_results
from docs.debugging_results import RECORDED
from docs.mistakes import MISTAKES, RUNS, Mistake, Run
from docs.style import FIGURES
from engine import cli
from engine.errors import UserError, quote
from engine.files import write_json
from engine.provenance import provenance

ROOT = Path(__file__).parent.parent
# The files that a run and the tests need.
COPIED = ("*.py", "pyproject.toml", "data/*.py", "data/sample/*", "engine/*.py", "models/*.py")
COPIED += ("docs/*.py", "tests/*.py", "checkpoints/*.pth")
# Files that would tell a reader the mistake to be found.
ANSWERS = ("docs/mistakes.py", "docs/debugging.py", "tests/test_debugging.py")
OUTPUT = "run"  # the output folder of a run, in its copy of the repository
ORDER = 2012  # seed of the order of the secrets


def main() -> None:
    parser = argparse.ArgumentParser(description=cli.summary(__doc__))
    add = parser.add_mutually_exclusive_group().add_argument
    number = {"type": int, "metavar": "N", "choices": range(1, len(MISTAKES) + 1)}
    add("--secret", **number, help=f"make one of {len(MISTAKES)} mistakes in a copy")
    add("--reveal", **number, help="say which mistake that is")
    parser.add_argument(
        "--output-dir", type=Path, metavar="FOLDER", help="of the copy (default: a temporary one)"
    )
    args = parser.parse_args()
    if args.output_dir and not args.secret:
        parser.error("--output-dir goes with --secret")
    if args.secret:
        hide(args.secret, args.output_dir)
    elif args.reveal:
        reveal(args.reveal)
    else:
        RECORDED.mkdir(exist_ok=True)
        for name in RUNS:
            run_once(name, RUNS[name], None)
        for name, mistake in MISTAKES.items():
            run_once(name, RUNS[mistake.run], mistake)
        debugging_results.draw(FIGURES)
        print("python -m docs.tables writes the tables of docs/debugging.md")


def copy_tree(folder: Path) -> None:
    """Copy the parts of the repository that a run needs."""
    for pattern in COPIED:
        for path in ROOT.glob(pattern):
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def apply(mistake: Mistake, tree: Path) -> None:
    """Make the mistake in a copy of the repository.

    Raises:
        UserError: the file does not contain the old text exactly once.
    """
    path = tree / mistake.file
    text = path.read_text(encoding="utf-8")
    if text.count(mistake.old) != 1:
        raise UserError(
            f"{mistake.file}: the text to replace is there {text.count(mistake.old)} times, not "
            f"once: {mistake.old.strip()!r}"
        )
    path.write_text(text.replace(mistake.old, mistake.new), encoding="utf-8", newline="\n")


def run_once(name: str, run: Run, mistake: Mistake | None) -> None:
    """Record a run as NAME.csv (its log) and NAME.json (the rest), unless they exist."""
    if (RECORDED / f"{name}.json").exists():
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mistake-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        if mistake:
            apply(mistake, tree)
        for command in run.before:
            check(python(tree, command))
        # The same run with a learning rate of almost 0, to get the loss at the start.
        still = f"{run.script} --limit 64 --epochs 1 --lr 1e-12 --output-dir {OUTPUT}/start"
        check(python(tree, still))
        log = tree / OUTPUT / "log.csv"
        record: dict[str, Any] = {
            "run": run.script,
            "start_loss": float(pd.read_csv(log.parent / "start" / log.name).train_loss[0]),
            "stopped": train(tree, run.script, mistake.stop_after if mistake else 0),
            "figures": {},
        }
        for probe in () if record["stopped"] else probes_of(name, mistake):
            done = check(python(tree, f"-m docs.probes {probe} {OUTPUT}"))
            record["figures"] |= json.loads(done.stdout)
        if log.exists():
            shutil.copyfile(log, RECORDED / f"{name}.csv")
    write_json(record | {"provenance": provenance(torch.device("cpu"))}, RECORDED / f"{name}.json")
    outcome = record["stopped"] or "done"
    print(f"{name}: {outcome} ({time.monotonic() - started:.0f} s)", flush=True)


def python(tree: Path, command: str) -> subprocess.CompletedProcess:
    """Run a script, with its options, in a copy of the repository."""
    arguments = [sys.executable, *shlex.split(command)]
    return subprocess.run(arguments, cwd=tree, capture_output=True, text=True)


def check(done: subprocess.CompletedProcess) -> subprocess.CompletedProcess:
    """Return a process if it succeeded.

    Raises:
        UserError: it failed; the message is the last line that it wrote.
    """
    if done.returncode:
        raise UserError(f"{shlex.join(done.args[1:])}: {last_line(done.stderr)}")
    return done


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["ended without a word"])[-1]


def train(tree: Path, script: str, stop_after: int) -> str:
    """Train; return "", or the script's message if the loss was not finite.

    Args:
        stop_after: epochs after which to interrupt and resume the run; 0: never.

    Raises:
        UserError: the run failed for another reason.
    """
    command = f"{script} --output-dir {OUTPUT}"
    if stop_after:
        arguments = [sys.executable, *shlex.split(command)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(arguments, cwd=tree, **quiet) as process:
            log = tree / OUTPUT / "log.csv"
            while process.poll() is None and epochs_in(log) < stop_after:
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
        command = f"{script.split()[0]} --resume {OUTPUT}/last.pth"
    done = python(tree, command)
    said = last_line(done.stderr) if done.returncode else ""
    if said and "the loss became" not in said:
        check(done)
    return said and f"the loss became {said.partition('the loss became ')[2].partition(':')[0]}"


def epochs_in(log: Path) -> int:
    return len(log.read_text(encoding="utf-8").splitlines()) - 1 if log.exists() else 0


def probes_of(name: str, mistake: Mistake | None) -> list[str]:
    """The probes of a mistake; of a healthy run, the probes of all mistakes compared with it."""
    mistakes = [mistake] if mistake else [m for m in MISTAKES.values() if m.run == name]
    return list(dict.fromkeys(m.probe for m in mistakes if m.probe))


def chosen(number: int) -> str:
    """The name of the mistake with the number that a reader chose."""
    return random.Random(ORDER).sample(list(MISTAKES), len(MISTAKES))[number - 1]


def hide(number: int, folder: Path | None) -> None:
    """Make a mistake in a copy of the repository, and print how to look for it.

    Raises:
        UserError: the folder is not empty.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"secret-{number}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already: remove it, or name another --output-dir")
    name = chosen(number)
    run = RUNS[MISTAKES[name].run]
    copy_tree(folder)
    for path in ANSWERS:
        (folder / path).unlink()
    apply(MISTAKES[name], folder)
    print(f"One mistake was made in {folder}. Find it:\n\n  cd {quote(folder)}")
    for command in (*run.before, f"{run.script} --output-dir {OUTPUT}"):
        print(f"  python {command}")
    print(f"\nThe same run without it: {RECORDED / MISTAKES[name].run}.csv")
    sample = " --sample" if "--sample" in run.script else ""
    print(
        "If its curves look healthy: look at its answers and its input, count its weights,\n"
        f"judge it with test.py{sample}, run it twice, interrupt and resume it."
    )
    print(f"What it was: cd {quote(ROOT)} && python -m docs.debugging --reveal {number}")


def reveal(number: int) -> None:
    """Print the mistake with that number."""
    mistake = MISTAKES[chosen(number)]
    print(f"{mistake.title}, in {mistake.file}. Right:\n\n{mistake.old.rstrip()}")
    print(f"\nWith the mistake:\n\n{mistake.new.rstrip() or '(nothing)'}")
    print(f"\nWhat catches it: {mistake.test or 'no test'}. See docs/debugging.md.")


if __name__ == "__main__":
    cli.run(main)
