"""What each lever costs and gains, and how the cost grows with the work."""

import argparse

from tests.benchmarks.speed import train

# VGG16 with one thing changed at a time. Memory is weights, gradients, Adam's two moments and the
# moving average, 4 bytes each, and the activations, which alone grow with the batch.
LEVERS = {
    224: (
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
    ),
    32: (
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
    """VGG16 at 224 and at 32 px: images a second and megabytes for each lever; the first is 1."""
    rows = []
    for size, levers in LEVERS.items():
        for lever in levers:
            what = ("--model", "vgg16", "--image-size", size, *lever)  # the last --image-size holds
            speed, megabytes = train(*what, "--limit", 96 if size == 224 else 1536)
            first = rows[-1]["first"] if rows and rows[-1]["pixels"] == size else (speed, megabytes)
            rows.append(
                {
                    "pixels": size,
                    "options": " ".join(map(str, lever)),
                    "images/s": speed,
                    "memory, MB": megabytes,
                    "speed ratio": speed / first[0],
                    "memory ratio": megabytes / first[1],
                    "first": first,
                }
            )
    return [{key: row[key] for key in row if key != "first"} for row in rows]


def cost(args: argparse.Namespace) -> list[dict]:
    """GoogLeNet with more images, and with larger ones: what an image and a pixel cost."""
    rows = []
    for images, size in ((1600, 64), (3200, 64), (6400, 64), (1600, 96), (1600, 128), (1600, 192)):
        speed, megabytes = train("--image-size", size, "--limit", images)
        row = {"images": images, "pixels": size, "seconds": images / speed}
        row["microseconds an image"] = 1e6 / speed
        row["microseconds a pixel"] = 1e6 / speed / size**2
        rows.append(row | {"memory, MB": megabytes})
    return rows
