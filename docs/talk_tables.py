"""The tables of the talk: the parts of the pages' tables that fit on a slide.

Each function returns the rows of a table, the head first. ``python -m docs.tables`` writes them.
"""

import re
from collections.abc import Callable

from docs.ablations import paired, with_error
from docs.networks import on_meta, parameters, percent, rows_of
from docs.paper_results import VGG_TABLE_3
from docs.paper_tables import GOOGLENET_TABLE_1, WRONG_PARAMS, Table, table_of_googlenet
from docs.result_tables import clothes, front_page, tested
from models.googlenet import GoogLeNet
from models.vgg16 import VGG16

# Runs, choice and what was tried instead: what the papers did that we do not, and what they did
# first, taken away.
CHOICES = (
    ("VGG16", "initial weights", "N(0, 0.1)"),
    ("GoogLeNet", "normalisation", "LRN, 1e-3"),
    ("GoogLeNet", "optimizer", "SGD, 1e-2"),
    ("VGG B", "kernels", "one 5x5"),
    ("GoogLeNet at 80 px", "auxiliary heads", "none"),
    ("GoogLeNet", "1x1 reductions", "none"),
)
YEARS = {"Kaiming": 2015, "batch-norm": 2015, "Adam": 2014}  # of methods newer than the papers


def networks() -> Table:
    """What the two networks cost at inference, without heads."""
    vgg, google = on_meta(VGG16), on_meta(GoogLeNet, aux_heads=False)
    rows = rows_of(VGG16), rows_of(GoogLeNet, aux_heads=False)
    layers = sum(row.parameters > 0 for row in rows[0]), sum(int(r[3]) for r in GOOGLENET_TABLE_1)
    macs = (sum(row.macs for row in of_network) for of_network in rows)
    return [
        ["", "VGG16", "GoogLeNet"],
        ["building block", "a 3x3 convolution", "an inception module"],
        ["depth in layers with weights", *map(str, layers)],
        ["parameters", *(f"{parameters(model) / 1e6:.1f} M" for model in (vgg, google))],
        ["multiply-accumulates for an image of 224 px", *(f"{n / 1e9:.1f} G" for n in macs)],
        ["its team in the ImageNet classification of 2014", "second", "first"],
    ]


def depths() -> Table:
    """VGG's configurations at one scale; VGG16 is bold."""
    table = [["configuration", "layers", "what changes", "top-1 error", "top-5 error"]]
    for name, layers, change, errors, _ in VGG_TABLE_3:
        cells = [f"{error} %" for error in errors]
        if name == "D":
            name, *cells = "**D**, VGG16", *(f"**{cell}**" for cell in cells)
        table.append([name, f"{layers}", change, *cells])
    return table


def slips() -> Table:
    """The rows of GoogLeNet's Table 1 whose own widths give other numbers."""
    table = [["row", "params, printed", "from the widths", "ops, printed", "from the widths"]]
    rows = table_of_googlenet()[1:]
    return table + [[row[0], *row[4:8]] for row in rows if row[0] in WRONG_PARAMS]


def choices() -> Table:
    """The ablations of what the papers did, and of what came later; the dearest first."""
    table = [["network", "choice", "recipe", "instead", "points"]]
    runs = paired().set_index(["group", "choice", "instead"]).loc[list(CHOICES)]
    for (group, choice, instead), run in runs.sort_values("difference", kind="stable").iterrows():
        ways = [re.sub(r", \de-\d$", "", way) for way in (run.recipe, instead)]  # without its rate
        if ways[0] in YEARS:
            ways[0] += f", {YEARS[ways[0]]}"
        table.append([group, choice, *ways, with_error(run.difference, run.error)])
    return table


def results() -> Table:
    """The README's table without the columns that do not fit on a slide."""
    return [[row[0], row[1].partition(",")[0], *row[3:]] for row in front_page()]


def real_clothes() -> Table:
    """Two networks' accuracy on photos of clothes: trained on FashionMNIST, and on photos."""
    _, plain, inverted = clothes()
    test = tested("clothing_googlenet_test.json")
    return [
        ["GoogLeNet, asked about photos of real clothes", "photos", "right"],
        ["trained on FashionMNIST", *plain[1:]],
        ["the same, light and dark exchanged by `--invert`", *inverted[1:]],
        ["trained on photos", f"{test['images']:,}", percent(test["accuracy"])],
    ]


TABLES: dict[str, Callable[[], Table]] = {
    "talk-networks": networks,
    "talk-depths": depths,
    "talk-slips": slips,
    "talk-choices": choices,
    "talk-results": results,
    "talk-clothes": real_clothes,
}
