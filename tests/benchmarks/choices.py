"""The choices of the recipes, and what ablations.py tries instead of each."""

from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import NamedTuple

import train_catsdogs
import train_fashionmnist
from engine.errors import UserError
from tests.benchmarks.variants import configuration_b, normal_weights, without_reductions

# Training images and epochs of each group; change them for shorter or longer runs. With these
# values, a run takes 2 to 4 minutes on one core with fast bfloat16 (8 minutes in the last group).
BUDGETS = {
    "GoogLeNet": (6_000, 16),
    "VGG B": (4_000, 8),
    "VGG16": (4_000, 8),
    "GoogLeNet at 80 px": (4_000, 10),
    "photos": (3_600, 20),
    "GoogLeNet, half the images": (27_500, 12),
}
WARMUP = 2 / 11  # share of the epochs with warm-up: four of the recipe's 22


class Change(NamedTuple):
    """How a run differs from its script.

    Attributes:
        options: of the script.
        network: builds the network instead of ``create_model``.
        augment: the augmentation, instead of the script's ``AUGMENT``.
    """

    options: tuple[object, ...] = ()
    network: Callable | None = None
    augment: dict[str, float] | None = None


class Group(NamedTuple):
    """Runs that are compared with each other.

    Attributes:
        recipe: of the run with which the others are compared.
        choices: a choice and the recipe's setting -> settings that are tried instead, each a
            change on top of the recipe.
    """

    script: ModuleType
    recipe: Change
    choices: dict[tuple[str, str], dict[str, Change]]


class Run(NamedTuple):
    """One row of the file; the row of the recipe itself has no settings."""

    group: str
    choice: str
    recipe: str
    instead: str
    seed: int
    change: Change  # from the script, including the group's recipe


def budget(group: str, share: float = 1.0) -> tuple[object, ...]:
    """The options for a group's images and this share of its epochs."""
    images, epochs = BUDGETS[group]
    epochs = max(1, round(share * epochs))
    return "--limit", images, "--epochs", epochs, "--warmup-epochs", f"{WARMUP * epochs:.3g}"


def without(part: str, script: ModuleType = train_fashionmnist) -> dict[str, float]:
    """The script's augmentation without one part."""
    return {name: value for name, value in script.AUGMENT.items() if name != part}


CLOTHES, CATS = train_fashionmnist, train_catsdogs
INITIAL_WEIGHTS = {
    "N(0, 0.01)": Change(network=partial(normal_weights, 0.01)),
    "N(0, 0.1)": Change(network=partial(normal_weights, 0.1)),
}
# Whole photos, validated at 48 px as in training. With crops: at 64 px (``default_train_size``).
WHOLE = ("--image-size", 48, "--train-size", 48)
GROUPS = {
    "GoogLeNet": Group(
        CLOTHES,
        Change(("--model", "googlenet", "--image-size", 32, *budget("GoogLeNet"))),
        {
            ("batch size", "64"): {"32": Change(("-b", 32)), "128": Change(("-b", 128))},
            ("learning rate", "4e-3"): {
                rate: Change(("--lr", rate)) for rate in ("1e-3", "2e-3", "8e-3")
            },
            ("optimizer", "Adam, 4e-3"): {
                "SGD, 1e-2": Change(("--optimizer", "sgd")),
                "SGD, 1e-1": Change(("--optimizer", "sgd", "--lr", 0.1)),
            },
            ("schedule", "one-cycle"): {
                name: Change(("--scheduler", name)) for name in ("cosine", "step", "constant")
            },
            ("augmentation", "flip, shift, erase"): {
                "no flip": Change(("--no-flip",)),
                "no shift": Change(augment=without("translate")),
                "no erase": Change(augment=without("erase")),
                "none": Change(("--no-augment",)),
            },
            ("label smoothing", "0.05"): {
                share: Change(("--label-smoothing", share)) for share in ("0", "0.1")
            },
            ("normalisation", "batch-norm, 4e-3"): {"LRN, 1e-3": Change(("--no-batch-norm",))},
            ("moving average", "0.999"): {"none": Change(("--ema-decay", 0))},
            ("dropout", "0.2"): {share: Change(("--dropout", share)) for share in ("0", "0.4")},
            # In equal time: one core trains 820, 420 and 290 images/s at 32, 48 and 64 px.
            ("image size", f"32 px, {BUDGETS['GoogLeNet'][1]} epochs"): {
                f"{size} px, {round(share * BUDGETS['GoogLeNet'][1])} epochs": Change(
                    ("--image-size", size, *budget("GoogLeNet", share))
                )
                for size, share in ((48, 0.51), (64, 0.35))
            },
            ("initial weights", "Kaiming"): INITIAL_WEIGHTS,
            ("1x1 reductions", "Table 1"): {"none": Change(network=without_reductions)},
        },
    ),
    "VGG B": Group(  # batches of 64, as of any few images (``train_fashionmnist.SAMPLE``)
        CLOTHES,
        Change(("--model", "vgg16", "-b", 64, *budget("VGG B")), partial(configuration_b, (3, 3))),
        {("kernels", "two 3x3"): {"one 5x5": Change(network=partial(configuration_b, (5,)))}},
    ),
    "VGG16": Group(  # without batch-norm, which would undo any scale of the weights
        CLOTHES,
        Change(("--model", "vgg16", "-b", 64, "--no-batch-norm", *budget("VGG16"))),
        {
            ("initial weights", "Kaiming"): INITIAL_WEIGHTS,
            ("normalisation", "none, 4e-4"): {"batch-norm, 1e-3": Change(("--batch-norm",))},
        },
    ),
    "GoogLeNet at 80 px": Group(  # the smallest with auxiliary heads
        CLOTHES,
        Change(("--model", "googlenet", "--image-size", 80, *budget("GoogLeNet at 80 px"))),
        {("auxiliary heads", "two"): {"none": Change(("--no-aux-heads",))}},
    ),
    "photos": Group(
        CATS,
        Change(("--model", "googlenet", "--image-size", 64, *budget("photos"))),
        {
            ("augmentation", "flip, crop, jitter, erase"): {
                "no flip": Change(("--no-flip",)),
                "no crop": Change(WHOLE, augment=without("crop", CATS)),
                "no jitter": Change(augment=without("jitter", CATS)),
                "no erase": Change(augment=without("erase", CATS)),
                "none": Change(("--no-augment", *WHOLE)),
            }
        },
    ),
    "GoogLeNet, half the images": Group(  # do the results of short runs hold in longer ones?
        CLOTHES,
        Change(("--model", "googlenet", "--image-size", 32, *budget("GoogLeNet, half the images"))),
        {
            ("augmentation", "flip, shift, erase"): {
                "no shift": Change(augment=without("translate")),
                "none": Change(("--no-augment",)),
            }
        },
    ),
}


def planned(seeds: list[int], only: list[str] | None) -> Iterator[Run]:
    """All runs in order: by seed, then by group; in each group, the recipe first.

    Args:
        only: choices and groups; each includes the recipe's run of its group.

    Raises:
        UserError: one of them does not exist.
    """
    names = {*GROUPS, *(choice for group in GROUPS.values() for choice, _ in group.choices)}
    unknown = set(only or ()) - names
    if unknown:
        raise UserError(f"--only {min(unknown)}: there are {', '.join(sorted(names))}")
    for seed in seeds:
        for name, (_, base, choices) in GROUPS.items():
            kept = {
                choice: tried
                for choice, tried in choices.items()
                if not only or name in only or choice[0] in only
            }
            if kept:
                yield Run(name, "recipe", "", "", seed, base)
            for choice, tried in kept.items():
                for instead, (options, network, augment) in tried.items():
                    change = Change((*base.options, *options), network or base.network, augment)
                    yield Run(name, *choice, instead, seed, change)
