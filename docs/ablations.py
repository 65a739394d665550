"""What results/ablations.csv says: each choice against its recipe's run with the same seed.

``python -m tests.benchmarks ablations`` writes the file; the table of results.md, its picture and
the explorer read it here.
"""

from pathlib import Path

import pandas as pd

FILE = Path(__file__).parent / "results" / "ablations.csv"
NAMES = ["group", "choice", "recipe", "instead"]


def paired(path: Path = FILE) -> pd.DataFrame:
    """A row for each setting that was tried: group by group the recipe, then best to worst.

    Columns: the names of ``NAMES``; ``seeds``, the runs that have their recipe's run beside them,
    and ``diverged``, those of them that did; of the rest, ``accuracy``, the mean; ``difference``
    and ``error``, the mean of the differences to the recipe's run with the same seed and its
    standard error, in points; ``time``, the mean ratio of their seconds. What cannot be known is
    NaN: the error of one pair, and all but the numbers of runs where every one diverged.
    """
    columns = [*NAMES, "seeds", "diverged", "accuracy", "difference", "error", "time"]
    if not path.is_file() or not path.stat().st_size:
        return pd.DataFrame(columns=columns)
    runs = pd.read_csv(path, dtype=dict.fromkeys(NAMES, str)).fillna(dict.fromkeys(NAMES, ""))
    rows = []
    for names, tried in runs.groupby(NAMES, sort=False):
        of_group = runs[(runs.group == names[0]) & (runs.choice == "recipe")]
        pairs = tried.merge(of_group, on="seed", suffixes=("", "_recipe"))
        ended = pairs.dropna(subset=["val_accuracy", "val_accuracy_recipe"])
        points = 100 * (ended.val_accuracy - ended.val_accuracy_recipe)
        numbers = {
            "seeds": len(pairs),
            "diverged": len(pairs) - len(ended),
            "accuracy": ended.val_accuracy.mean(),
            "difference": points.mean(),
            "error": points.std() / len(points) ** 0.5 if len(points) > 1 else float("nan"),
            "time": (ended.seconds / ended.seconds_recipe).mean(),
        }
        if numbers["seeds"]:
            rows.append(dict(zip(NAMES, names, strict=True)) | numbers)
    table = pd.DataFrame(rows, columns=columns)
    # Stable sorts, the last one first: groups in the file's order, the recipe before all else.
    table = table.sort_values("difference", ascending=False, kind="stable", na_position="last")
    table = table.sort_values("choice", key=lambda names: names != "recipe", kind="stable")
    order = list(runs.group.unique())
    return table.sort_values("group", key=lambda names: names.map(order.index), kind="stable")
