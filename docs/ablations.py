"""The ablations of results/ablations.csv: each choice against its recipe, with the same seed.

``python -m tests.benchmarks ablations`` writes the file; the table of results.md, its picture and
the explorer read it here.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from docs.style import PX, SMALL, WIDTH, colour, headline
from engine.errors import UserError
from engine.report import pyplot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = Path(__file__).parent / "results" / "ablations.csv"
FAR = 5  # points: larger losses are marked at the edge of the drawing
NAMES = ["group", "choice", "recipe", "instead"]


def paired(path: Path = FILE) -> pd.DataFrame:
    """A row for each setting that was tried: group by group the recipe, then best to worst.

    Columns: the names of ``NAMES``; ``seeds``, the runs that have their recipe's run beside them,
    and ``diverged``, those of them that did; of the rest, ``accuracy``, the mean; ``difference``
    and ``error``, the mean of the differences to the recipe's run with the same seed and its
    standard error, in points. What cannot be known is NaN: the error of one pair, and all but the
    numbers of runs where every one diverged.

    Raises:
        UserError: a pair was not trained on the same machine and in the same precision.
    """
    columns = [*NAMES, "seeds", "diverged", "accuracy", "difference", "error"]
    if not path.is_file() or not path.stat().st_size:
        return pd.DataFrame(columns=columns)
    texts = [*NAMES, "machine"]
    runs = pd.read_csv(path, dtype=dict.fromkeys(texts, str)).fillna(dict.fromkeys(texts, ""))
    rows = []
    for names, tried in runs.groupby(NAMES, sort=False):
        of_group = runs[(runs.group == names[0]) & (runs.choice == "recipe")]
        pairs = tried.merge(of_group, on="seed", suffixes=("", "_recipe"))
        for pair in pairs[pairs.machine != pairs.machine_recipe].itertuples():
            raise UserError(
                f"{path}: {names[0]}, {names[1]} {names[3]}, seed {pair.seed}: on {pair.machine}, "
                f"and its recipe's run on {pair.machine_recipe}: run both on one machine"
            )
        ended = pairs.dropna(subset=["val_accuracy", "val_accuracy_recipe"])
        points = 100 * (ended.val_accuracy - ended.val_accuracy_recipe)
        numbers = {
            "seeds": len(pairs),
            "diverged": len(pairs) - len(ended),
            "accuracy": ended.val_accuracy.mean(),
            "difference": points.mean(),
            "error": points.std() / len(points) ** 0.5 if len(points) > 1 else float("nan"),
        }
        if numbers["seeds"]:
            rows.append(dict(zip(NAMES, names, strict=True)) | numbers)
    table = pd.DataFrame(rows, columns=columns)
    # Stable sorts, in reverse order of priority: groups as in the file, each with its recipe first.
    table = table.sort_values("difference", ascending=False, kind="stable", na_position="last")
    table = table.sort_values("choice", key=lambda names: names != "recipe", kind="stable")
    order = list(runs.group.unique())
    return table.sort_values("group", key=lambda names: names.map(order.index), kind="stable")


def with_error(difference: float, error: float) -> str:
    """Points with their sign, and the standard error where it is known: "+0.54 ± 0.21"."""
    return f"{difference:+.2f}".replace("-", "−") + (f" ± {error:.2f}" if error == error else "")


def drawing() -> "Figure":
    """What each change of a recipe does to validation accuracy, group by group, best first."""
    measured = paired()
    recipes = measured[measured.choice == "recipe"]
    tried = measured[(measured.choice != "recipe") & (measured.diverged < measured.seeds)]
    groups = list(tried.groupby("group", sort=False))
    height = 22 * len(tried) + 46 * len(groups) + 80
    figure = pyplot().figure(figsize=(WIDTH * PX, height * PX))
    right, top = max(1.0, float((tried.difference + tried.error.fillna(0)).max())), 40
    headline(figure, "what one change to a recipe is worth, in points of validation accuracy")
    for name, rows in groups:
        # Placed by hand: the constrained layout of so many axes is not reproducible.
        tall, top = 22 * len(rows), top + 30
        box = 205 / WIDTH, 1 - (top + tall) / height, 515 / WIDTH, tall / height
        axes, top = figure.add_axes(box), top + tall + 16
        axes.tick_params(labelbottom=name == groups[-1][0])
        axes.axvline(0, color=colour("muted"), linewidth=1)
        axes.set_yticks(
            range(len(rows)), [f"{row.choice}: {row.instead}" for row in rows.itertuples()]
        )
        axes.set(xlim=(-FAR - 0.3, right + 0.3), ylim=(len(rows) - 0.5, -0.5))
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        network = colour("VGG16" if name.startswith("VGG") else "GoogLeNet")
        accuracy = float(recipes[recipes.group == name].accuracy.iloc[0])
        axes.set_title(f"{name}: the recipe reaches {accuracy:.1%}")
        for line, row in enumerate(rows.itertuples()):
            far = row.difference < -FAR
            axes.plot(max(row.difference, -FAR), line, "<" if far else "o", color=network)
            if row.error == row.error and not far:
                ends = row.difference - row.error, row.difference + row.error
                axes.hlines(line, *ends, color=network)
            text = with_error(row.difference, row.error)
            at = (1.01, line)
            axes.text(*at, text, va="center", fontsize=SMALL, transform=axes.get_yaxis_transform())
    axes.set_xlabel(
        "points more or less than the recipe with the same seeds; line and ±: standard error"
    )
    return figure
