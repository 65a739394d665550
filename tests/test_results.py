"""The figures of README.md and docs/ against the recorded results that they come from.

    python -m tests.test_results

writes the tables of benchmarks and ablations into the pages after they were measured anew.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
NAMES = {"vgg16": "VGG16", "googlenet": "GoogLeNet"}
OURS, PLAIN, TIMM = "this repository", "plain recipe", "timm-style recipe"
HEADS = "this repository, auxiliary heads"


def measured(name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / f"benchmark_{name}.csv")


def megabytes(value: float) -> str:
    return f"{value:,.0f} MB"


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


# ---------------------------------------------------------------- the tables that are written


def training() -> Iterator[list[str]]:
    for (model, pixels), rows in measured("training").groupby(["model", "pixels"], sort=False):
        rows = rows.set_index("recipe")
        plain, timm = rows.loc[PLAIN], rows.loc[TIMM]
        for recipe, note in ((OURS, ""), (HEADS, ", auxiliary heads")):
            if recipe in rows.index:
                ours = rows.loc[recipe]
                yield [
                    f"{NAMES[model]}, {pixels} px, batch {ours.batch}{note}",
                    three_digits(ours["images/s median"]),
                    f"{ours['ratio to plain']:.2f}",
                    f"{ours['images/s median'] / timm['images/s median']:.2f}",
                    percent(ours["share of bf16 peak"]),
                    megabytes(ours["peak memory, MB"]),
                    megabytes(plain["peak memory, MB"]),
                ]


def inference() -> Iterator[list[str]]:
    for model, rows in measured("inference").groupby("model", sort=False):
        speed = rows.set_index("recipe")["images/s median"]
        ratios = [f"{speed[OURS] / speed[other]:.2f}" for other in (PLAIN, TIMM)]
        yield [f"{NAMES[model]}, 224 px, batch 32", three_digits(speed[OURS]), *ratios]


def input_pipelines() -> Iterator[list[str]]:
    """Beside them, what share of a training step of that size they are."""
    steps = measured("training").set_index(["recipe", "pixels"])["images/s median"][OURS]
    for pixels, rows in measured("input").groupby("pixels", sort=False):
        speed = rows.set_index("recipe")["images/s median"]
        share = steps[pixels].max() / speed[OURS]
        ratio = speed[OURS] / speed[PLAIN]
        yield [f"{pixels} px", three_digits(speed[OURS]), f"{ratio:.1f}", percent(share, 1)]


def seconds(name: str) -> Callable[[], Iterator[list[str]]]:
    def rows() -> Iterator[list[str]]:
        for row in measured(name).to_dict("records"):
            yield [row["what"], f"{row['median']:.3g}", f"{row['ratio']:.2f}"]

    return rows


def processes() -> Iterator[list[str]]:
    for row in measured("processes").to_dict("records"):
        speed, ratio = three_digits(row["median"]), f"{row['ratio']:.2f}"
        yield [row["what"], speed, ratio, megabytes(row["memory, MB"])]


def cost() -> Iterator[list[str]]:
    for row in measured("cost").to_dict("records"):
        numbers = (row["seconds"], row["microseconds an image"] / 1000, row["microseconds a pixel"])
        name = f"{row['images']:,.0f} images of {row['pixels']:.0f} px"
        name += "" if row["epoch"] == 2 else f", the {row['epoch']:.0f}th epoch"
        yield [name, *map(three_digits, numbers), megabytes(row["memory, MB"])]


def photos_memory() -> Iterator[list[str]]:
    for what, few, all_photos in measured("photos-memory").itertuples(index=False):
        yield [what, megabytes(few), megabytes(all_photos)]


def accuracy() -> Iterator[list[str]]:
    for row in measured("accuracy").to_dict("records"):
        minutes = f"{row['seconds'] / 60:.1f}"
        yield [
            row["recipe"],
            percent(row["validation accuracy"], 1),
            f"{row['epoch']:.0f}",
            minutes,
        ]


def levers(pixels: int) -> Callable[[], Iterator[list[str]]]:
    def rows() -> Iterator[list[str]]:
        table = measured("memory")
        for row in table[table.pixels == pixels].to_dict("records"):
            yield [
                f"`{row['options']}`",
                megabytes(row["memory, MB"]),
                f"{row['memory ratio']:.2f}",
                three_digits(row["images/s median"]),
                f"{row['speed ratio']:.2f}",
            ]

    return rows


def ablations() -> Iterator[list[str]]:
    for row in measured("ablations").fillna("").to_dict("records"):
        is_recipe = row["what"] == "recipe"
        yield [
            row["runs"],
            row["what"],
            str(row["instead"]),
            *(percent(row[column], 2) for column in ("seed 0", "seed 1", "mean")),
            "" if is_recipe else f"{100 * row['difference']:+.2f}",
        ]


def transfer() -> Iterator[list[str]]:
    """Short runs on cats and dogs with two seeds each; the minutes are their mean."""
    for name, short in (("googlenet", "GoogLeNet, 80 px, 5"), ("vgg16", "VGG16, 32 px, 8")):
        for start, label in (
            ("scratch", f"{short} epochs, from scratch"),
            ("fashionmnist", "the same from FashionMNIST"),
        ):
            files = [f"catsdogs_{name}_from_{start}_seed_{seed}.csv" for seed in (0, 1)]
            logs = [pd.read_csv(RESULTS / file) for file in files]
            minutes = sum(log.seconds.sum() for log in logs) / len(logs) / 60
            accuracies = (percent(log.val_accuracy.max(), 2) for log in logs)
            yield [label, *accuracies, f"{minutes:.1f}"]


# The page, how the head of the table begins, and what makes its rows.
TABLES = [
    ("README.md", "training, end to end", training),
    ("docs/results.md", "training, end to end", training),
    ("docs/slides.md", "training, end to end", training),
    ("README.md", "short runs on cats and dogs, validation", transfer),
    ("docs/results.md", "short runs on cats and dogs, validation", transfer),
    ("docs/slides.md", "short runs on cats and dogs, validation", transfer),
    ("docs/results.md", "inference", inference),
    ("docs/results.md", "input pipeline", input_pipelines),
    ("docs/results.md", "photos", seconds("photos")),
    ("docs/results.md", "start", seconds("startup")),
    ("docs/results.md", "processes", processes),
    ("docs/results.md", "GoogLeNet, an epoch of", cost),
    ("docs/results.md", "most memory held", photos_memory),
    ("docs/results.md", "until validation accuracy", accuracy),
    ("docs/results.md", "runs", ablations),
    ("docs/tuning.md", "224 px", levers(224)),
    ("docs/tuning.md", "32 px", levers(32)),
]


def rows_in(text: str, head: str) -> tuple[int, int]:
    """Where in the text the rows of the table with that head begin and end."""
    found = re.search(rf"^\| {re.escape(head)} \|.*\n\|[-| ]+\|\n((?:\|.*\n)*)", text, re.MULTILINE)
    assert found, f"no table begins with {head!r}"
    return found.span(1)


def markdown(rows: Iterator[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


@pytest.mark.parametrize(("page", "head", "rows"), TABLES)
def test_tables_are_what_was_measured(page, head, rows):
    text = (ROOT / page).read_text(encoding="utf-8")
    start, end = rows_in(text, head)
    assert text[start:end] == markdown(rows())


# ---------------------------------------------------------------- recorded runs


PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
RUNS = [line for line in PAGE.splitlines() if line.startswith("|") and "(results/" in line]


@pytest.mark.parametrize("line", RUNS, ids=lambda line: line.split("|")[1].strip())
def test_runs_are_what_was_logged(line):
    """Best validation accuracy, minutes of training and test accuracy of each row of runs."""
    percentages = re.findall(r"(\d+\.\d+) %", line)
    for name in re.findall(r"\(results/(\w+\.csv)\)", line):
        log = pd.read_csv(RESULTS / name)
        best = f"{100 * log.val_accuracy.max():.2f}"
        # The long run on photos was validated at another size than in the table.
        assert best in percentages or (name == "catsdogs_googlenet.csv" and f"({best} %" in PAGE)
        for minutes in re.findall(r"\| (\d+(?:\.\d)?) minutes \|", line):
            digits = len(minutes.partition(".")[2])
            assert minutes == f"{log.seconds.sum() / 60:.{digits}f}"
    for name in re.findall(r"\(results/(\w+\.json)\)", line):
        test = json.loads((RESULTS / name).read_text())
        assert f"**{percent(test['accuracy'], 2)}**" in line


@pytest.mark.parametrize(
    ("first", "log"),
    [
        ("| FashionMNIST | GoogLeNet,", "fashionmnist_googlenet_64px_22_epochs.csv"),
        ("| FashionMNIST | VGG16,", "fashionmnist_vgg16_18_epochs.csv"),
        ("| cats and dogs | GoogLeNet,", "catsdogs_googlenet.csv"),
    ],
)
def test_front_page_has_what_was_logged(first, log):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in readme.splitlines() if line.startswith(first)]
    frame = pd.read_csv(RESULTS / log)
    if log != "catsdogs_googlenet.csv":  # validated at another size than in the log
        assert f"| {percent(frame.val_accuracy.max(), 2)} |" in row
    if "minutes" in row:
        assert f"| {frame.seconds.sum() / 60:.0f} minutes |" in row


def test_front_page_says_what_batch_norm_is_worth():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    gains = []
    for model in ("googlenet", "vgg16"):
        with_it, without = (
            pd.read_csv(RESULTS / f"batch_norm_{kind}{model}.csv").val_accuracy.max()
            for kind in ("", "none_")
        )
        gains.append(f"{100 * (with_it - without):.1f}")
    assert f"by {gains[0]} points for GoogLeNet and {gains[1]} for" in readme


def test_front_page_and_slides_have_the_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    slides = (ROOT / "docs" / "slides.md").read_text(encoding="utf-8")
    for path in RESULTS.glob("*_test.json"):
        test = json.loads(path.read_text())
        figure = f"{percent(test['accuracy'], 2)} of {test['images']:,}"
        assert figure in readme
        assert figure in slides


def main() -> None:
    for page, head, rows in TABLES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        start, end = rows_in(text, head)
        path.write_text(text[:start] + markdown(rows()) + text[end:], encoding="utf-8")


if __name__ == "__main__":
    main()
