"""Ablations: runs that differ from a recipe in one choice.

    python -m tests.benchmarks ablations                        # all that is missing, hours
    python -m tests.benchmarks ablations --minutes 120          # start no run after two hours
    python -m tests.benchmarks ablations --only dropout photos --seeds 0

Adds a row to docs/results/ablations.csv when a run ends, and leaves out the runs that are there:
first seed 0 of all choices, then seed 1, so that each run soon has the recipe's with the same seed
beside it. Ctrl-C stops at any point; the same command goes on, in the middle of a run too. Two
commands with different --seeds can run side by side, with OMP_NUM_THREADS=1 on two cores. Runs
compute as their scripts do, in bfloat16 where that is fast, so make all of one seed on one machine.
The runs are compared by their last epoch: the best epoch would favour unstable runs.
"""

import argparse
from pathlib import Path

from data.photo_folder import MANIFEST
from tests.benchmarks.choices import CLOTHES, GROUPS, Run, planned
from tests.benchmarks.runs import SMOKE, Job, make_missing

PHOTOS = Path("data/catsdogs")  # where train_catsdogs.py looks for them


def benchmark(args: argparse.Namespace) -> None:
    """Train the missing runs, and add each to the file when it ends.

    Raises:
        UserError: --only has an unknown name, or the file has a run with other options.
    """
    wanted = list(planned(args.seeds, args.only))
    if not (PHOTOS / MANIFEST).is_file() and any(run.group == "photos" for run in wanted):
        print(f"photos: left out, {PHOTOS} has none (split_dataset.py makes it)")
        wanted = [run for run in wanted if run.group != "photos"]
    jobs = [job_of(run, args.smoke) for run in wanted]
    make_missing(jobs, args.output_dir / "ablations.csv", args.minutes)


def job_of(run: Run, smoke: bool) -> Job:
    """The run as a command of its script."""
    script = GROUPS[run.group].script
    sample = ("--sample",) if smoke and script is CLOTHES else ()
    small = (*SMOKE, *sample) if smoke else ()
    options, network, augment = run.change
    replaced = {
        "create_model": network or script.create_model,
        "AUGMENT": augment or script.AUGMENT,
    }
    return Job(
        f"{run.group}, {run.choice} {run.instead}".rstrip(),
        script,
        {name: getattr(run, name) for name in Run._fields[:-1]},
        [*map(str, (*options, *small))],
        replaced,
    )
