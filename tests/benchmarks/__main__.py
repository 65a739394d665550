"""Measure speed, memory and single choices, side by side with what people would use instead.

    python -m tests.benchmarks                              # all sections, two hours or more
    python -m tests.benchmarks training startup --output-dir speed
    python -m tests.benchmarks photos --photos PetImages.zip
    python -m tests.benchmarks gpu --output-dir gpu         # see gpu.py

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
    "ablations": ablations.benchmark,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=cli.summary(__doc__), epilog=f"sections: {', '.join(SECTIONS)}"
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="which to run (all)")
    parser.add_argument("--rounds", type=cli.positive(int), default=3, help="of all tasks (3)")
    parser.add_argument("--photos", type=Path, help="zip or folder of photos, by classes")
    parser.add_argument("--output-dir", type=Path, default=Path("docs/results"))
    parser.add_argument("--smoke", action="store_true", help="gpu: all of it, tiny, on the CPU")
    args = parser.parse_args()
    if args.sections == ["gpu"]:  # it writes several tables, as it goes
        args.output_dir.mkdir(parents=True, exist_ok=True)
        gpu.benchmark(args)
        return
    unknown = set(args.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section is called {min(unknown)}: there are {', '.join(SECTIONS)}")
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for name in args.sections or SECTIONS:
        if name.startswith("photos") and not args.photos:
            print(f"{name}: skipped, name some with --photos\n")
            continue
        table = pd.DataFrame(SECTIONS[name](args))
        table.to_csv(args.output_dir / f"benchmark_{name}.csv", index=False, float_format="%.6g")
        print(f"{name}\n{table.to_string(index=False, float_format='{:.6g}'.format)}\n", flush=True)


if __name__ == "__main__":
    cli.run(main)
