"""Write index.html, the explorer: both networks in the browser, from the code itself.

    python -m docs.explorer

One file that opens from disk and asks for nothing else. The page is explorer/template.html with
style.css, arithmetic.js and script.js put in; the networks are read from models/, what the papers
say from explorer/papers.json, runs from results/, and the maps from the trained networks.
"""

import argparse
import csv
import json
import re
from itertools import count, islice
from pathlib import Path
from typing import Any

from torch import nn

from docs import ablations, explorer_code, explorer_maps
from docs.networks import FILES, on_meta
from docs.paper_tables import GOOGLENET_TABLE_1
from docs.result_tables import RESULTS
from engine import cli
from engine.files import atomic_write
from models.googlenet import AUX_MIN_SIZE, INCEPTION, ConvReLU, GoogLeNet, Inception
from models.vgg16 import VGG16

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "index.html"
PARTS = ROOT / "docs" / "explorer"
MODELS = {"vgg16": VGG16, "googlenet": GoogLeNet}
COLUMNS = ("#1×1", "#3×3 reduce", "#3×3", "#5×5 reduce", "#5×5", "pool proj")  # of Table 1
CLASSES = 99_991  # unlike any width of the networks: marks where the number of classes occurs


def main() -> None:
    argparse.ArgumentParser(description=cli.summary(__doc__)).parse_args()
    with atomic_write(PAGE, "w") as file:
        file.write(page(explorer_maps.seen()))


def page(seen: dict[str, Any]) -> str:
    """The whole page; ``seen``: the pictures of trained networks (explorer_maps.py)."""
    papers = json.loads((PARTS / "papers.json").read_text(encoding="utf-8"))
    data = {
        "networks": {name: network(name, papers[name]) for name in MODELS},
        **{key: papers[key] for key in ("what_ifs", "options", "example", "captions")},
        "columns": COLUMNS,
        "runs": runs(),
        "ablations": tried(),
    }
    text = (PARTS / "template.html").read_text(encoding="utf-8")
    for name in ("style.css", "arithmetic.js", "script.js"):
        text = text.replace(f"{{{{{name}}}}}", (PARTS / name).read_text(encoding="utf-8").rstrip())
    for name, content in (("data", data), ("seen", seen)):
        # "<" would end the script element early if "/script" followed.
        line = json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace(
            "<", "\\u003c"
        )
        text = text.replace(f"{{{{{name}}}}}", line)
    return text


def seen_in(text: str) -> dict[str, Any]:
    """The pictures of trained networks, as the existing page has them."""
    return json.loads(re.search(r'id="seen">(.*?)</script>', text)[1])


# ---------------------------------------------------------------- the networks


def network(name: str, paper: dict[str, Any]) -> dict[str, Any]:
    """Rows, limits and source of a network, and quotations from its paper."""
    model_class = MODELS[name]
    model = on_meta(model_class, num_classes=CLASSES)
    possible = (size for size in count(1) if refusal(model_class, image_size=size) is None)
    smallest, next_size = islice(possible, 2)
    too_small = refusal(model_class, image_size=smallest - 1)
    messages = {"size": too_small.replace(f"{smallest - 1}", "{size}")}
    limits = {"smallest": smallest, "step": next_size - smallest, "messages": messages}
    if model_class is GoogLeNet:
        size = limits["heads_from"] = AUX_MIN_SIZE
        too_small = refusal(model_class, image_size=size - 1, aux_heads=True)
        messages["heads"] = too_small.replace(f"{size - 1}", "{size}")

    code = explorer_code.Code(Path(FILES[model_class].__file__))
    rows = []
    printed = iter(GOOGLENET_TABLE_1)
    for title, names in FILES[model_class].table_rows(model):
        present = [n for n in names if n in dict(model.named_modules())]
        key = present[0].rpartition(".")[2]
        row = {"id": key, "name": title.replace(f"{CLASSES}", "{classes}"), "module": present[0]}
        if key.startswith("aux"):
            row["source"] = key.replace("aux", "inception")
        row["paths"] = paths(model, present)
        row["code"] = code.of_row(present[0])
        row["says"] = [fact[1:] for fact in paper["facts"] if re.fullmatch(fact[0], key)]
        row["tests"] = [test[1:] for test in paper["tests"] if re.fullmatch(test[0], key)]
        if name == "googlenet" and "source" not in row:
            row["printed"] = printed_row(next(printed))
        rows.append(row)
    branches = [name for name, _ in Inception(8, INCEPTION["3a"], False).named_children()]
    described = {key: paper[key] for key in ("title", "paper", "link", "table", "idea")}
    return {
        **described,
        **limits,
        "file": code.path.relative_to(ROOT).as_posix(),
        "source": code.text,
        "rows": rows,
        "branches": {b: code.of_attribute(b) for b in branches} if name == "googlenet" else {},
    }


def refusal(model_class: type[nn.Module], **arguments: object) -> str | None:
    """The message of the ValueError if a network cannot be built; None if it can."""
    try:
        on_meta(model_class, **arguments)
    except ValueError as error:
        return str(error)
    return None


def printed_row(row: tuple[str, ...]) -> dict[str, str]:
    """A row of GoogLeNet's Table 1 after its type, column by column, empty ones left out."""
    _, widths, output, depth, params, ops = row
    columns = {"output size": output.replace("x", "×"), "depth": depth}
    values = widths.split(", ") if widths else []
    heads = COLUMNS[1:3] if len(values) == 2 else COLUMNS
    columns |= dict(zip(heads, values, strict=False))
    columns |= {"params": params, "ops": ops}
    return {head: value for head, value in columns.items() if value}


def paths(model: nn.Module, names: list[str]) -> list[list[dict[str, Any]]]:
    """The layers of a row: one path, or the four of an inception module."""
    first = model.get_submodule(names[0])
    if isinstance(first, Inception):
        return [layers(branch, name) for name, branch in first.named_children()]
    return [[x for n in names for x in layers(model.get_submodule(n), n.rpartition(".")[2])]]


def layers(module: nn.Module, name: str) -> list[dict[str, Any]]:
    """Every layer of a module in the order of its forward pass, with the numbers to compute it.

    ReLU is left out, since it changes no number on the page. The page itself adds batch-norm.
    """
    if isinstance(module, nn.Conv2d):
        (kernel, _), (stride, _), (padding, _) = module.kernel_size, module.stride, module.padding
        sizes = {"kernel": kernel, "stride": stride, "padding": padding}
        return [{"kind": "convolution", "name": name, "out": module.out_channels, **sizes}]
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        sizes = {"kernel": module.kernel_size, "stride": module.stride, "padding": module.padding}
        kind = "max pool" if isinstance(module, nn.MaxPool2d) else "avg pool"
        same = {"same": True} if getattr(module, "ceil_mode", False) else {}
        return [{"kind": kind, "name": name, **sizes, **same}]
    if isinstance(module, nn.Linear):
        out = "classes" if module.out_features == CLASSES else module.out_features
        return [{"kind": "linear", "name": name, "out": out}]
    if isinstance(module, nn.Dropout):
        return [{"kind": "dropout", "name": name, "share": module.p}]
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return [{"kind": "average", "name": name}]
    if isinstance(module, nn.LocalResponseNorm):
        return [{"kind": "normalisation", "name": name}]
    found = []
    for child, part in module.named_children():
        # A ConvReLU is one layer of the paper: its convolution gets the name of the whole.
        found += layers(part, name if isinstance(module, ConvReLU) else f"{name}.{child}")
    return found


# ---------------------------------------------------------------- recorded runs


def records(name: str) -> list[dict[str, str]]:
    """A file of results/, each line a dict of texts."""
    with (RESULTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def tried() -> list[dict[str, Any]]:
    """The recipes, and each setting tried instead; null for unknown numbers."""
    table = ablations.paired()
    table["points"] = [
        ablations.with_error(d, e) if d == d else "diverged"
        for d, e in zip(table.difference, table.error, strict=True)
    ]
    return json.loads(table.to_json(orient="records", double_precision=5))


def runs() -> list[dict[str, Any]]:
    """Every recorded run with its log, column by column."""
    found = []
    for run in records("runs.csv"):
        log = records(run["log"])
        columns = ("train_loss", "val_loss", "val_accuracy", "lr", "seconds")
        curves = {column: [float(line[column]) for line in log] for column in columns}
        test = run["test"]
        if test.endswith(".json"):
            text = (RESULTS / test).read_text(encoding="utf-8")
            test = f"{100 * json.loads(text)['accuracy']:.2f} %"
        known = {key: run[key] for key in ("dataset", "name", "log", "command", "commit")}
        found.append({**known, "test": test, **curves})
    return found


if __name__ == "__main__":
    cli.run(main)
