"""The tables of README.md and docs/: up to date, and what the papers print against the code."""

import pytest

from docs import number_drawings, paper_results, paper_tables, result_tables, tables
from docs.networks import convolutions, on_meta, rows_of
from engine.provenance import git
from models import googlenet
from models.googlenet import GoogLeNet
from models.vgg16 import VGG16


def test_pages_are_up_to_date(tmp_path, monkeypatch):
    stale = tables.stale()
    committed = git("show", "HEAD:docs/results/test_looks.csv")
    if stale and committed is not None:  # looks of your own are not in the pages, unless you say so
        (tmp_path / "test_looks.csv").write_text(committed)
        monkeypatch.setattr(result_tables, "LOOKS", tmp_path / "test_looks.csv")
        tables.markdown.cache_clear()
        stale = tables.stale()
        tables.markdown.cache_clear()
    assert not stale, "`python -m docs.tables` writes what is stale"


def test_every_table_stands_in_a_page():
    text = "".join(page.read_text(encoding="utf-8") for page in tables.pages())
    assert set(tables.START.findall(text)) == set(tables.TABLES)


def test_refresh_writes_what_is_marked_and_nothing_else():
    marked = "<!-- table: stacks -->\n| old |\n|---|\n<!-- end -->"
    page = f"text\n\n{marked}\n\n| by hand |\n|---|\n"
    expected = page.replace("| old |\n|---|\n", tables.markdown("stacks"))
    assert tables.refresh(page) == expected
    assert tables.refresh(expected) == expected


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<!-- table: nothing -->\n<!-- end -->\n", "nothing makes a table called nothing"),
        ("<!-- table: stacks -->\n| a |\n", "no end"),
        ("<!-- table: stacks -->\n| a |\nprose\n<!-- end -->\n", "more than a table"),
    ],
)
def test_wrong_marks_are_said(page, words):
    with pytest.raises(ValueError, match=words):
        tables.refresh(page)


def test_check_names_stale_pages_and_writes_nothing(run, tmp_path, monkeypatch):
    page = tmp_path / "README.md"
    page.write_text("<!-- table: stacks -->\n<!-- end -->\n")
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    with pytest.raises(SystemExit) as stop:
        run(tables, "--check")
    assert stop.value.code == 1
    assert page.read_text() == "<!-- table: stacks -->\n<!-- end -->\n"
    assert run(tables).out.endswith("README.md: written\n")
    assert "three 3x3" in page.read_text()
    assert run(tables, "--check").out == ""


def test_parameters_counted_by_hand_are_the_codes():
    for name, by_hand, parameters, *_ in paper_tables.table_of_vgg16()[1:]:
        assert eval(by_hand.replace("x", "*")) == int(parameters.replace(",", "")), name


def test_widths_outputs_and_ops_of_googlenets_table_1():
    """All as printed but for the ops of two rows, whose own widths give others."""
    model = on_meta(GoogLeNet, aux_heads=False)
    rows, names = rows_of(GoogLeNet, aux_heads=False), googlenet.table_rows(model)
    for printed, row, (_, modules) in zip(paper_tables.GOOGLENET_TABLE_1, rows, names, strict=True):
        name, widths, output, *_, ops = printed
        assert name == row.name
        *space, channels = map(int, output.split("x"))  # the paper's order
        assert (channels, *space) == (*row.shape, 1, 1)[:3], name
        if widths:
            convs = convolutions(model.get_submodule(modules[0]))
            assert widths == ", ".join(str(conv.out_channels) for conv in convs), name
        difference = abs(int(ops.strip("M") or 0) - row.macs / 1e6)
        assert difference > 2 if name in paper_tables.WRONG_OPS else difference < 1, name


def test_params_depth_and_sum_of_ops_of_googlenets_table_1():
    """Params within 1 % of what the widths give, but for five rows; a K is 1024."""
    model = on_meta(GoogLeNet, aux_heads=False)
    table, names = paper_tables.GOOGLENET_TABLE_1, googlenet.table_rows(model)
    for (name, *_, params, _ops), (_, modules) in zip(table, names, strict=True):
        if params:
            computed = paper_tables.weights_of_row(model, modules)
            difference = abs(float(params.strip("K")) * 1024 / computed - 1)
            assert (difference > 0.01) == (name in paper_tables.WRONG_PARAMS), name
    assert sum(int(depth) for *_, depth, _params, _ops in table) == 22
    assert sum(int(ops.strip("M") or 0) for *_, ops in table) == 1502


def test_configurations_of_vgg():
    """The paper's Table 2 has 138 million for D; C's 1x1 layers have a ninth of the weights."""
    totals = paper_results.parameters_of_configurations()
    assert (totals["D"], totals["C"]) == (138_357_544, 133_638_952)
    assert {name: layers for name, layers, *_ in paper_results.VGG_TABLE_3} == {
        "A": 11, "A-LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19
    }  # fmt: skip


def test_costs_of_layers_are_those_of_the_summary():
    for model_class in (VGG16, GoogLeNet):
        layers = paper_results.costs(model_class).values()
        rows = [row for row in rows_of(model_class) if not row.name.startswith("auxiliary")]
        assert sum(cost[0] for cost in layers) == sum(row.parameters for row in rows)
        assert sum(cost[1] for cost in layers) == sum(row.macs for row in rows)
        stages = tuple(p for part in paper_results.STAGES[model_class].values() for p in part)
        assert all(name.startswith(stages) for name in paper_results.costs(model_class))


def test_values_put_out_are_those_of_the_picture():
    for model_class in (VGG16, GoogLeNet):
        values = sum(cost[2] for cost in paper_results.costs(model_class).values())
        drawn = sum(sizes[0] for *_, sizes in number_drawings.memory(model_class))
        assert 4 * values == drawn


def test_papers_are_those_of_the_code(root):
    page = (root / "docs" / "papers.md").read_text(encoding="utf-8")
    for file, number in (("vgg16", "1409.1556"), ("googlenet", "1409.4842")):
        assert f"https://arxiv.org/abs/{number}" in page
        assert number in (root / "models" / f"{file}.py").read_text(encoding="utf-8")


def test_slides_have_the_results(root):
    slides = (root / "docs" / "slides.md").read_text(encoding="utf-8")
    for row in result_tables.front_page()[1:]:
        assert row[4] in slides
