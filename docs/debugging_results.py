"""The results of docs/debugging.py: its curves as pictures, its numbers as tables."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from docs.mistakes import MISTAKES, PARTS, RUNS
from docs.networks import percent
from docs.paper_tables import Table
from docs.result_tables import RESULTS
from docs.style import LARGE, PX, WIDTH, colour, save
from engine.report import pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RECORDED = RESULTS / "debugging"
ROW, HEAD = 165, 64  # pixels: height of a row of panels, and of the space above the first row
LOGARITHMIC = 10  # a loss above this value gets a logarithmic axis


def record(name: str) -> dict[str, Any] | None:
    """The record of a run without its log; None if it has not been run yet."""
    path = RECORDED / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def log(name: str) -> pd.DataFrame:
    """The log of a run; without rows if its loss was not finite in the first epoch."""
    path = RECORDED / f"{name}.csv"
    columns = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=columns, dtype=float)


def draw(folder: Path) -> None:
    """Draw a picture for each part, with the runs recorded so far."""
    for part, title in PARTS.items():
        names = [n for n, m in MISTAKES.items() if m.part == part and record(n) and record(m.run)]
        if names:
            save(partial(panels, names), folder, f"mistakes: {title}", name=f"mistakes_{part}")


def panels(names: list[str], _title: str) -> "Figure":
    """Loss and accuracy of each mistake beside the healthy run's, two mistakes to a row."""
    rows = -(-len(names) // 2)
    height = HEAD + ROW * rows
    figure, grid = pyplot().subplots(
        rows, 4, figsize=(WIDTH * PX, height * PX), squeeze=False, sharex=False
    )
    figure.subplots_adjust(
        left=0.06,
        right=0.985,
        top=1 - (HEAD + 24) / height,
        bottom=36 / height,
        wspace=0.34,
        hspace=68 / (ROW - 68),
    )
    for place in range(2 * rows):
        pair = grid[place // 2, 2 * (place % 2) : 2 * (place % 2) + 2]
        if place < len(names):
            draw_pair(pair, names[place])
        else:
            for axes in pair:
                axes.set_axis_off()
    named = {line.get_label(): line for axes in grid.flat for line in axes.get_lines()[:2]}
    figure.legend(named.values(), named, loc="upper left", ncols=len(named))
    note = "left: training loss (dotted: ln 10), right: validation accuracy; over the epochs"
    figure.text(0.012, 1 - 38 / height, note, va="center", color=colour("muted"))
    return figure


def draw_pair(pair: "list[Axes]", name: str) -> None:
    """The loss of training, from its first batch on, and the accuracy of validation."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

    mistake = MISTAKES[name]
    # Wide and pale, so that it is visible below another line in the same place.
    healthy = {"color": colour("muted", 0.4), "linewidth": 5, "solid_capstyle": "round"}
    healthy["label"] = "healthy"
    network = "VGG16" if mistake.run.startswith("vgg16") else "GoogLeNet"
    wrong = {"color": colour(network), "marker": ".", "clip_on": False}
    wrong["label"] = f"{network} with the mistake"
    largest = 0.0
    for run, style in ((mistake.run, healthy), (name, wrong)):
        frame, start = log(run), record(run)["start_loss"]
        losses = [start, *frame.train_loss]
        largest = max(largest, *losses)
        # An epoch's mean is drawn in the middle of the epoch, where it fits best.
        pair[0].plot([0, *(frame.epoch - 0.5)], losses, **style)
        pair[1].plot(frame.epoch, frame.val_accuracy, **style)
    pair[0].axhline(math.log(10), color=colour("muted"), linewidth=1, linestyle=(0, (1, 2)))
    pair[0].set_title(mistake.title, fontsize=LARGE)
    if largest > LOGARITHMIC:
        pair[0].set_yscale("log")
        pair[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        pair[0].yaxis.set_minor_formatter(NullFormatter())
        pair[0].tick_params(which="minor", size=0)
    else:
        pair[0].set_ylim(0, max(2.5, 1.05 * largest))
    pair[1].set_ylim(0, 1)
    pair[1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if stopped := record(name)["stopped"]:
        pair[1].text(0.5, 0.06, stopped, transform=pair[1].transAxes, ha="center")
    epochs = len(log(mistake.run))
    for axes in pair:
        axes.set_xlim(0, epochs)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def compared() -> Table:
    """Start and end of every run, the healthy ones first."""
    head = ["run", "first batch", "last epoch", "training", "validation", "healthy"]
    table = [head]
    for name in (*RUNS, *MISTAKES):
        found = record(name)
        if not found:
            continue
        frame = log(name)
        mistake = MISTAKES.get(name)
        title = mistake.title if mistake else f"**healthy: {name}**"
        cells = [loss(found["start_loss"]), found["stopped"], "", ""]
        if not found["stopped"]:
            last = frame.iloc[-1]
            shares = (percent(last.train_accuracy, 1), percent(last.val_accuracy, 1))
            cells = [loss(found["start_loss"]), loss(last.train_loss), *shares]
        healthy = percent(log(mistake.run).iloc[-1].val_accuracy, 1) if mistake else ""
        table.append([title, *cells, healthy])
    return table


def loss(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def experiments() -> Table:
    """What the probes found, with the mistake and without."""
    table = [["mistake", "experiment", "healthy", "with the mistake"]]
    for name, mistake in MISTAKES.items():
        healthy, found = record(mistake.run), record(name)
        if not (mistake.probe and healthy and found):
            continue
        for what, value in found["figures"].items():
            numbers = (figure(what, healthy["figures"][what]), figure(what, value))
            table.append([mistake.title, what, *numbers])
    return table


def figure(what: str, value: float) -> str:
    """A figure of a probe: a count, a number, or else a share."""
    if what == "parameters":
        return f"{value:,.0f}"
    if what.startswith(("mean", "deviation", "difference")):
        return f"{value:.3f}"
    return percent(value, 1)


TABLES: dict[str, Callable[[], Table]] = {
    "mistakes": compared,
    "experiments": experiments,
}
