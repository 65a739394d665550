"""Draw the recorded measurements.

    python -m docs.figures

Writes to docs/figures/, each for light and for dark pages: runs.svg, levers.svg, ablations.svg,
starts.svg, the confusions, and the curves and calibration that results.md shows. The networks
themselves: docs/drawings.py. What a trained network sees: docs/interpret.py.
"""

import json
import re
import textwrap
from typing import TYPE_CHECKING

import pandas as pd

from docs import ablations, confusions, starts
from docs.benchmark_tables import three_digits
from docs.result_tables import NAMES, RESULTS
from docs.style import PX, SMALL, WIDTH, colour, headline, output_folder, save
from engine import cli
from engine.report import pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW = 10  # images: bins with fewer are not drawn


def main() -> None:
    folder = output_folder(__doc__)
    for drawing in (runs, levers, *confusions.DRAWINGS):
        save(drawing, folder)
    save(ablations.drawing, folder, name="ablations")
    save(starts.drawing, folder, name="starts")
    page = RESULTS.with_name("results.md").read_text(encoding="utf-8")
    for run in table("runs.csv").astype(object).fillna("").itertuples():
        name = run.test.removesuffix("_test.json") + "_curves"
        if f"/{name}.svg" in page:
            save(curves, folder, f"{run.dataset}: {run.name}", run.log, name=name)
    for path in sorted(RESULTS.glob("*_test.json")):
        summary = json.loads(path.read_text(encoding="utf-8"))
        name = path.name.replace("_test.json", "_calibration")
        if f"/{name}.svg" in page:
            data = summary["data"].replace("data/catsdogs", "cats and dogs")
            shown = f"{summary['images']:,} test images of {data}"
            title = f"{network_of(path.name)} on {shown}"
            save(calibration, folder, title, path.name, name=name)


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / name)


def network_of(text: str) -> str:
    return next(network for name, network in NAMES.items() if name in text)


def runs() -> "Figure":
    """Validation error over the minutes of training, of the runs in results/runs.csv."""
    from matplotlib.ticker import FixedLocator, NullFormatter, PercentFormatter, ScalarFormatter

    recorded = table("runs.csv")
    recorded = recorded[recorded.dataset != "clothes"]  # which went on from each other
    # Too many lines would hide what today's recipes do.
    recorded = recorded[recorded.older != "yes"]
    datasets = list(dict.fromkeys(recorded.dataset))
    below = 60 + 17.5 * recorded.dataset.value_counts().max()  # pixels, for the legend
    height = 310 + below
    figure, grid = pyplot().subplots(
        1, len(datasets), figsize=(WIDTH * PX, height * PX), squeeze=False
    )
    figure.subplots_adjust(
        left=0.07, right=0.985, top=1 - 70 / height, bottom=below / height, wspace=0.16
    )
    headline(figure, "how far each run gets, and how fast")
    for axes, dataset in zip(grid[0], datasets, strict=True):
        lines = {"VGG16": iter(DASHES), "GoogLeNet": iter(DASHES)}
        for run in recorded[recorded.dataset == dataset].itertuples():
            log, network = table(run.log), network_of(run.log)
            axes.plot(
                log.seconds.cumsum() / 60,
                1 - log.val_accuracy,
                color=colour(network),
                linestyle=next(lines[network]),
                label=f"{run.name}: lowest {1 - log.val_accuracy.max():.1%}",
            )
        axes.set(title=dataset, xscale="log", yscale="log", xlabel="minutes of training")
        axes.xaxis.set_major_locator(FixedLocator((1, 2, 5, 10, 20, 50, 100)))
        axes.yaxis.set_major_locator(FixedLocator((0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(NullFormatter())
            axis.set_tick_params(which="minor", size=0)
        axes.legend(loc="upper left", bbox_to_anchor=(-0.15, -0.16), handlelength=2.6)
    grid[0, 0].set_ylabel("validation error")
    return figure


DASHES = ("-", (0, (6, 2)), (0, (3, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (6, 2, 1, 2, 1, 2)))


def levers() -> "Figure":
    """What each option does to memory and speed of VGG16's training: times the first row's."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    measured = table("benchmark_memory.csv")
    groups = list(measured.groupby("pixels", sort=False))
    figure, grid = pyplot().subplots(
        len(groups),
        2,
        figsize=(WIDTH * PX, (27 * len(measured) + 110 * len(groups)) * PX),
        layout="constrained",
        height_ratios=[len(rows) + 1 for _, rows in groups],
        sharex="col",
        squeeze=False,
    )
    columns = (("memory", "memory, MB", "MB"), ("speed", "images/s median", "images/s"))
    for pair, (pixels, rows) in zip(grid, groups, strict=True):
        base = rows.iloc[0].options
        rows = rows.sort_values("memory ratio")
        names = rows.options.str.replace(f"{base} ", "").replace(base, f"{base} (×1)")
        for axes, (kind, column, unit) in zip(pair, columns, strict=True):
            ratios = rows[f"{kind} ratio"]
            axes.hlines(range(len(rows)), 1, ratios, color=colour("muted"), linewidth=1.4)
            axes.scatter(ratios, range(len(rows)), color=colour("VGG16"), s=26, zorder=3)
            axes.axvline(1, color=colour("muted"), linewidth=1, linestyle="--")
            for line, (ratio, value) in enumerate(zip(ratios, rows[column], strict=True)):
                number = three_digits(value)
                axes.annotate(
                    f"{number} {unit}" if ratio == 1 else number,
                    (ratio, line),
                    xytext=(7 if ratio >= 1 else -7, 0),
                    textcoords="offset points",
                    ha="left" if ratio >= 1 else "right",
                    va="center",
                    fontsize=SMALL,
                )
            axes.set(xscale="log", ylim=(len(rows) - 0.4, -0.6))
            axes.set_yticks([])
            axes.grid(visible=False, axis="y")
            axes.spines["left"].set_visible(False)
            ticks = (0.25, 0.5, 1, 2) if kind == "memory" else (0.5, 1, 2, 4, 8)
            axes.xaxis.set_major_locator(FixedLocator(ticks))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"×{value:g}"))
            axes.xaxis.set_minor_locator(FixedLocator(()))
            axes.set_title(f"VGG16 at {pixels} px: {kind}")
        for line, name in enumerate(names):
            label_lines(pair[0], line, name)
    grid[0, 0].set_xlim(0.115, 2.6)
    grid[0, 1].set_xlim(0.25, 20)
    return figure


def label_lines(axes: "Axes", at: float, options: str) -> None:
    """Options as an axis label, on several lines if necessary; no break before a value."""
    together = re.sub(r"(-\S+) (?=[^-])", "\\1\N{NO-BREAK SPACE}", options)
    lines = textwrap.wrap(together, 52, break_on_hyphens=False)
    for number, text in enumerate(lines):
        axes.annotate(
            text,
            (0, at),
            (-6, 10.5 * ((len(lines) - 1) / 2 - number)),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=colour("muted"),
            ha="right",
            va="center",
            fontsize=SMALL,
        )


def curves(title: str, log: str) -> "Figure":
    """Loss, accuracy and learning rate over the epochs of a run."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    frame, network = table(log), network_of(log)
    figure, grid = pyplot().subplots(
        1, 3, figsize=(WIDTH * PX, 310 * PX), layout="constrained", width_ratios=(1, 1, 0.8)
    )
    headline(figure, title)
    for axes, name in zip(grid, ("loss", "accuracy"), strict=False):
        style = {"color": colour("muted"), "linestyle": (0, (4, 2))}
        axes.plot(frame.epoch, frame[f"train_{name}"], **style)
        axes.plot(frame.epoch, frame[f"val_{name}"], color=colour(network))
    names = ("training: the loss as minimised, the accuracy on augmented images", "validation")
    figure.legend(grid[0].get_lines(), names, loc="outside lower left", ncols=2)
    best = frame.loc[frame.val_accuracy.idxmax()]
    grid[1].plot(best.epoch, best.val_accuracy, "o", color=colour(network))
    grid[0].set_title("loss")
    grid[1].set_title(f"accuracy: at best {best.val_accuracy:.2%}")
    grid[1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    grid[2].plot(frame.epoch, 1000 * frame.lr, color=colour(network))
    grid[2].set_title("learning rate, × 10⁻³")
    for axes in grid:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def calibration(title: str, file: str) -> "Figure":
    """How often answers are right that are so sure, and the accuracy of the surest of them."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    summary, network = json.loads((RESULTS / file).read_text(encoding="utf-8")), network_of(file)
    figure, (bins, surest) = pyplot().subplots(
        1, 2, figsize=(WIDTH * PX, 350 * PX), layout="constrained", width_ratios=(1, 1.2)
    )
    headline(figure, title)
    for key, label, kind, style in (
        ("reliability_uncalibrated", "as trained", "muted", (0, (4, 2))),
        ("reliability", "with the temperature", network, "-"),
    ):
        points = [row for row in summary[key] if row[0] >= FEW]
        images, sure, right = zip(*points, strict=True)
        error = summary["ece" + key.removeprefix("reliability")]
        label = f"{label}: calibration error {error:.1%}"
        bins.plot(sure, right, linestyle=style, color=colour(kind), label=label)
        areas = [8 + 150 * count / summary["images"] for count in images]
        bins.scatter(sure, right, areas, color=colour(kind), zorder=2)
    bins.axline(
        (1, 1), slope=1, color=colour("muted"), linewidth=1, label="right as often as it is sure"
    )
    bins.set(title="is it right as often as it is sure?", xlim=(None, 1.03), ylim=(None, 1.05))
    bins.set(xlabel="how sure it is (larger dots: more answers)", ylabel="how often it is right")
    figure.legend(loc="outside lower left", ncols=3)
    points = [(row["coverage"], row["accuracy"]) for row in summary["coverage"]]
    surest.plot(*zip(*points, strict=True), "o-", color=colour(network))
    labelled = 2.0
    for row, point in zip(summary["coverage"], points, strict=True):
        if labelled - row["coverage"] < 0.01:  # too close to the last label
            continue
        labelled = row["coverage"]
        surest.annotate(
            f"≥ {row['min_confidence']:.0%}" if row["min_confidence"] else "all",
            point,
            (-5, -2),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=SMALL,
        )
    surest.margins(0.15, 0.12)
    surest.set(title="what if it answers only when it is sure?", ylabel="answers that are right")
    surest.set_xlabel("images that it answers (at each dot: how sure it must be)")
    for axes in (bins, surest):
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        few = axes.get_ylim()[0] > 0.95
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1 if few else 0))
    return figure


if __name__ == "__main__":
    cli.run(main)
