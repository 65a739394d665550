"""Speed and memory of each option, and how cost scales with epochs, images and pixels."""

import argparse
from functools import partial

from tests.benchmarks.harness import round_robin, summary
from tests.benchmarks.speed import train

SAVING = ("--checkpoint-activations", "--optimizer", "sgd", "--ema-decay", 0)
# VGG16 with one change at a time; the first is the baseline. Memory holds weights, gradients,
# Adam's two moments and the moving average, 4 bytes each, and the activations, the only part that
# grows with the batch.
LEVERS = {
    ("--image-size", 224, "--limit", 64): (
        ("-b", 32),
        ("-b", 16),
        ("-b", 8),
        ("-b", 8, "--accumulate-steps", 4),
        ("-b", 32, "--checkpoint-activations"),
        ("-b", 32, "--no-amp"),
        ("-b", 32, "--optimizer", "sgd"),
        ("-b", 32, "--ema-decay", 0),
        ("-b", 32, "--image-size", 128),
        ("-b", 32, "--image-size", 64),
        ("-b", 8, "--accumulate-steps", 4, *SAVING),
    ),
    ("--image-size", 32, "--limit", 1024): (
        ("-b", 128),
        ("-b", 512),
        ("-b", 32),
        ("-b", 32, "--accumulate-steps", 4),
        ("-b", 128, "--checkpoint-activations"),
        ("-b", 128, "--no-amp"),
        ("-b", 128, "--optimizer", "sgd"),
        ("-b", 128, "--ema-decay", 0),
    ),
}


def memory(args: argparse.Namespace) -> list[dict]:
    """Images per second and megabytes of VGG16 at 224 and 32 px with each option, and ratios."""
    rows = []
    for base, levers in LEVERS.items():
        tasks = {
            " ".join(map(str, lever)): partial(train, "--model", "vgg16", *base, *lever, epochs=4)
            for lever in levers
        }
        results = round_robin(tasks, args.rounds, f"levers, {base[1]} px")
        speeds = {name: summary([s for s, _ in r]) for name, r in results.items()}
        megabytes = {name: max(mb for _, mb in r) for name, r in results.items()}
        first = next(iter(tasks))
        rows += [
            {"pixels": base[1], "options": name}
            | {f"images/s {key}": value for key, value in speeds[name].items()}
            | {
                "memory, MB": megabytes[name],
                "speed ratio": speeds[name]["median"] / speeds[first]["median"],
                "memory ratio": megabytes[name] / megabytes[first],
            }
            for name in tasks
        ]
    return rows


def cost(args: argparse.Namespace) -> list[dict]:
    """GoogLeNet's cost of more epochs, more images and larger images.

    All have auxiliary heads, which need 80 px. Seconds are those of the last epoch.
    """
    rows = []
    for epochs, images, size in (
        (2, 800, 96),
        (8, 800, 96),
        (2, 1600, 96),
        (2, 3200, 96),
        (2, 800, 128),
        (2, 800, 192),
        (2, 800, 256),
    ):
        speed, megabytes = train("--image-size", size, "--limit", images, epochs=epochs)
        row = {"epoch": epochs, "images": images, "pixels": size, "seconds": images / speed}
        row["microseconds an image"] = 1e6 / speed
        row["microseconds a pixel"] = 1e6 / speed / size**2
        rows.append(row | {"memory, MB": megabytes})
    return rows
