"""The tables of measurements, from results/benchmark_*.csv, which tests/benchmarks writes.

Each function returns the rows of a table, the head first. ``python -m docs.tables`` writes them.
"""

from collections.abc import Callable
from functools import partial

import pandas as pd

from docs.ablations import paired, with_error
from docs.networks import percent
from docs.paper_tables import Table
from docs.result_tables import NAMES, RESULTS

# The recipes of tests/benchmarks.
OURS, PLAIN, TIMM = "this repository", "plain recipe", "timm-style recipe"
HEADS = "this repository, auxiliary heads"


def measured(name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / f"benchmark_{name}.csv")


def megabytes(value: float) -> str:
    return f"{value:,.0f} MB"


def three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def training() -> Table:
    head = ["training, end to end", "images/s", "to plain", "to timm-style", "of bf16 peak"]
    table = [[*head, "memory", "plain's memory", "timm-style's"]]
    for (model, pixels), rows in measured("training").groupby(["model", "pixels"], sort=False):
        rows = rows.set_index("recipe")
        plain, timm = rows.loc[PLAIN], rows.loc[TIMM]
        for recipe, note in ((OURS, ""), (HEADS, ", auxiliary heads")):
            if recipe not in rows.index:
                continue
            ours = rows.loc[recipe]
            table.append(
                [
                    f"{NAMES[model]}, {pixels} px, batch {ours.batch}{note}",
                    three_digits(ours["images/s median"]),
                    f"{ours['ratio to plain']:.2f}",
                    f"{ours['images/s median'] / timm['images/s median']:.2f}",
                    percent(ours["share of bf16 peak"]),
                    megabytes(ours["peak memory, MB"]),
                    megabytes(plain["peak memory, MB"]),
                    megabytes(timm["peak memory, MB"]),
                ]
            )
    return table


def compiled() -> Table:
    table = [["training on two CPU cores", "", "images/s", "ratio", "first epoch longer by"]]
    for model, rows in measured("compile").groupby("model", sort=False):
        first = rows["images/s median"].iloc[0]
        for row in rows.to_dict("records"):
            speed, longer = row["images/s median"], row["first epoch longer by, s"]
            name = f"{NAMES[model]}, {row['pixels']} px, batch {row['batch']}"
            cells = [three_digits(speed), f"{speed / first:.2f}", f"{longer:.0f} s"]
            table.append([name, row["options"], *cells])
    return table


def inference() -> Table:
    table = [["inference", "images/s", "to plain", "to timm-style"]]
    for model, rows in measured("inference").groupby("model", sort=False):
        speed = rows.set_index("recipe")["images/s median"]
        ratios = [f"{speed[OURS] / speed[other]:.2f}" for other in (PLAIN, TIMM)]
        table.append([f"{NAMES[model]}, 224 px, batch 32", three_digits(speed[OURS]), *ratios])
    return table


def input_pipelines() -> Table:
    """Beside them, what share of a training step of that size they are."""
    table = [["input pipeline", "images/s", "to plain's two workers", "of a training step"]]
    steps = measured("training").set_index(["recipe", "pixels"])["images/s median"][OURS]
    for pixels, rows in measured("input").groupby("pixels", sort=False):
        speed = rows.set_index("recipe")["images/s median"]
        share = percent(steps[pixels].max() / speed[OURS], 1)
        ratio = f"{speed[OURS] / speed[PLAIN]:.1f}"
        table.append([f"{pixels} px", three_digits(speed[OURS]), ratio, share])
    return table


def seconds(name: str, title: str) -> Table:
    table = [[title, "seconds", "ratio"]]
    for row in measured(name).to_dict("records"):
        table.append([row["what"], f"{row['median']:.3g}", f"{row['ratio']:.2f}"])
    return table


def processes() -> Table:
    table = [["processes", "images/s", "ratio", "memory"]]
    for row in measured("processes").to_dict("records"):
        speed, memory = three_digits(row["median"]), megabytes(row["memory, MB"])
        table.append([row["what"], speed, f"{row['ratio']:.2f}", memory])
    return table


def cost() -> Table:
    table = [["GoogLeNet, an epoch of", "seconds", "ms an image", "µs a pixel", "memory"]]
    for row in measured("cost").to_dict("records"):
        numbers = (row["seconds"], row["microseconds an image"] / 1000, row["microseconds a pixel"])
        name = f"{row['images']:,.0f} images of {row['pixels']:.0f} px"
        name += "" if row["epoch"] == 2 else f", the {row['epoch']:.0f}th epoch"
        table.append([name, *map(three_digits, numbers), megabytes(row["memory, MB"])])
    return table


def photos_memory() -> Table:
    rows = measured("photos-memory").itertuples(index=False)
    head = ["most memory held", "2,000 photos", "all 17,997"]
    return [head, *([what, *map(megabytes, memory)] for what, *memory in rows)]


def predicting() -> Table:
    table = [["photos of 400 x 300 pixels", "photos", "photos a second", "ratio", "memory"]]
    for row in measured("predict").to_dict("records"):
        speed, memory = three_digits(row["photos/s median"]), megabytes(row["peak memory, MB"])
        table.append([row["what"], f"{row['photos']:,}", speed, f"{row['ratio']:.2f}", memory])
    return table


def bookkeeping() -> Table:
    table = [["run", "written", "seconds an epoch", "of an epoch"]]
    for row in measured("bookkeeping").to_dict("records"):
        share = percent(row["bookkeeping"], 1)
        written = row["files are written"]
        options = f"`{row['options'].removesuffix(' --device cpu')}`"
        table.append([options, written, three_digits(row["seconds an epoch"]), share])
    return table


def accuracy() -> Table:
    table = [["until validation accuracy of", "epoch", "minutes of training"]]
    for row in measured("accuracy").to_dict("records"):
        reached = percent(row["validation accuracy"], 1)
        table.append([reached, f"{row['epoch']:.0f}", f"{row['seconds'] / 60:.1f}"])
    return table


def levers(pixels: int) -> Table:
    table = [[f"{pixels} px", "memory", "ratio", "images a second", "ratio"]]
    measurements = measured("memory")
    for row in measurements[measurements.pixels == pixels].to_dict("records"):
        memory = [megabytes(row["memory, MB"]), f"{row['memory ratio']:.2f}"]
        speed = [three_digits(row["images/s median"]), f"{row['speed ratio']:.2f}"]
        table.append([f"`{row['options']}`", *memory, *speed])
    return table


def ablations() -> Table:
    """The ablations: in each group the recipe, then the settings that were tried instead."""
    table = [["runs", "choice", "recipe", "instead", "seeds", "accuracy", "difference, points"]]
    for row in paired().itertuples():
        lost = row.diverged == row.seeds
        reached = "diverged" if lost else percent(row.accuracy, 2)
        if row.diverged and not lost:
            reached += f", {row.diverged} diverged"
        if row.choice == "recipe":
            table.append([f"**{row.group}**", "", "", "", f"{row.seeds}", reached, ""])
        else:
            difference = "" if lost else with_error(row.difference, row.error)
            names = ["", row.choice, row.recipe, row.instead]
            table.append([*names, f"{row.seeds}", reached, difference])
    return table


TABLES: dict[str, Callable[[], Table]] = {
    "training": training,
    "compile": compiled,
    "inference": inference,
    "input": input_pipelines,
    "processes": processes,
    "accuracy": accuracy,
    "cost": cost,
    "photos-memory": photos_memory,
    "predict": predicting,
    "bookkeeping": bookkeeping,
    "photos": partial(seconds, "photos", "photos"),
    "startup": partial(seconds, "startup", "start"),
    "levers-224px": partial(levers, 224),
    "levers-32px": partial(levers, 32),
    "ablations": ablations,
}
