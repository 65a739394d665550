"""Measure speed, memory and single choices, side by side with common alternatives.

    python -m tests.benchmarks                              # all sections, hours
    python -m tests.benchmarks training startup --output-dir speed
    python -m tests.benchmarks photos --photos PetImages.zip
    python -m tests.benchmarks gpu --output-dir gpu         # see gpu.py
    python -m tests.benchmarks ablations --minutes 120      # see ablations.py
    python -m tests.benchmarks starts --minutes 120         # see starts.py

Prints a table for each section and writes it to docs/results/benchmark_<section>.csv; then
``python -m docs.tables`` puts it into the pages. Stop everything else on the machine first. Speeds
vary from machine to machine and from hour to hour: read the ratios. Needs the full FashionMNIST
(``data/fashionmnist.py`` finds or downloads it).
"""

import argparse
from pathlib import Path

import pandas as pd

from engine import cli
from tests.benchmarks import (
    ablations,
    accuracy,
    bookkeeping,
    gpu,
    photos,
    predict,
    scaling,
    speed,
    starts,
    startup,
)

SECTIONS = {
    "training": speed.training,
    "inference": speed.inference,
    "input": speed.input_pipelines,
    "processes": speed.processes,
    "compile": speed.compiled,
    "memory": scaling.memory,
    "cost": scaling.cost,
    "photos": photos.benchmark,
    "photos-memory": photos.memory,
    "predict": predict.benchmark,
    "startup": startup.benchmark,
    "accuracy": accuracy.benchmark,
    "bookkeeping": bookkeeping.benchmark,
}
# These are not part of a run of all sections, and write their files during the run.
ALONE = {"gpu": gpu.benchmark, "ablations": ablations.benchmark, "starts": starts.benchmark}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=cli.summary(__doc__), epilog=f"sections: {', '.join(SECTIONS | ALONE)}"
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="which to run (all)")
    parser.add_argument(
        "--rounds", type=cli.positive(int), default=3, help="repetitions of all tasks (3)"
    )
    parser.add_argument("--photos", type=Path, help="zip or folder of photos in class folders")
    parser.add_argument("--output-dir", type=Path, default=Path("docs/results"))
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="gpu, ablations, starts: run everything at tiny size on the CPU",
    )
    add = parser.add_argument_group("gpu, ablations, starts").add_argument
    add("--only", nargs="+", metavar="NAME", help="only these parts, choices, sets or starts (all)")
    add("--seeds", nargs="+", type=cli.seed, default=[0, 1, 2], help="run in this order (0 1 2)")
    add("--minutes", type=cli.positive(float), help="start no run after this time")
    args = parser.parse_args()
    alone = ALONE.get(args.sections[0]) if len(args.sections) == 1 else None
    unknown = set() if alone else set(args.sections) - set(SECTIONS)
    if unknown & set(ALONE):
        parser.error(f"{min(unknown & set(ALONE))}: is run alone, not with other sections")
    if unknown:
        parser.error(f"no section is called {min(unknown)}: there are {', '.join(SECTIONS)}")
    args.output_dir.mkdir(parents=True, exist_ok=True)
    if alone:
        alone(args)
        return
    for name in args.sections or SECTIONS:
        if name.startswith("photos") and not args.photos:
            print(f"{name}: skipped, name photos with --photos\n")
            continue
        table = pd.DataFrame(SECTIONS[name](args))
        table.to_csv(args.output_dir / f"benchmark_{name}.csv", index=False, float_format="%.6g")
        print(f"{name}\n{table.to_string(index=False, float_format='{:.6g}'.format)}\n", flush=True)


if __name__ == "__main__":
    cli.run(main)
