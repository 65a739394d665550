"""The table of results/ablations.csv against differences taken by hand."""

import math

import pandas as pd
import pytest

from docs import ablations
from engine.errors import UserError

HEAD = "group,choice,recipe,instead,seed,val_accuracy,machine\n"


@pytest.fixture
def paired(tmp_path):
    """The table of these lines of the file."""

    def call(*lines: str) -> pd.DataFrame:
        path = tmp_path / "ablations.csv"
        path.write_text(HEAD + "".join(f"{line}\n" for line in lines))
        return ablations.paired(path)

    return call


RECIPE = ("net,recipe,,,0,0.90", "net,recipe,,,1,0.91", "net,recipe,,,2,0.89")


def test_differences_are_paired_by_seed(paired):
    """+1, +2 and +3 points: mean 2, standard deviation 1, standard error 1 / sqrt(3)."""
    rows = paired(
        "net,dropout,0.2,0.4,1,0.93", *RECIPE,
        "net,dropout,0.2,0.4,0,0.91", "net,dropout,0.2,0.4,2,0.92",
    )  # fmt: skip
    assert list(rows.choice) == ["recipe", "dropout"]
    row = rows.iloc[1]
    assert (row.recipe, row.instead, row.seeds, row.diverged) == ("0.2", "0.4", 3, 0)
    assert row.difference == pytest.approx(2)
    assert row.error == pytest.approx(1 / math.sqrt(3))
    assert row.accuracy == pytest.approx(0.92)
    assert rows.iloc[0].difference == 0 and rows.iloc[0].accuracy == pytest.approx(0.90)


def test_one_pair_has_no_error_and_none_no_row(paired):
    rows = paired(*RECIPE[:1], "net,rate,4e-3,1e-3,0,0.88", "net,rate,4e-3,2e-3,1,0.99")
    assert list(rows.instead) == ["", "1e-3"]
    assert rows.iloc[1].difference == pytest.approx(-2) and math.isnan(rows.iloc[1].error)


def test_pairs_of_two_machines_are_refused(paired):
    lines = [f"{line},EPYC" for line in RECIPE]
    paired(*lines, "net,rate,4e-3,1e-3,0,0.88,EPYC")
    with pytest.raises(UserError, match="rate 1e-3, seed 0: on Xeon, and"):
        paired(*lines, "net,rate,4e-3,1e-3,0,0.88,Xeon")


def test_best_first_within_the_groups_of_the_file(paired):
    rows = paired(
        "net,rate,4e-3,8e-3,0,", "net,rate,4e-3,1e-3,0,0.8", *RECIPE,
        "other,recipe,,,0,0.5", "other,heads,two,none,0,0.6", "net,rate,4e-3,2e-3,0,0.95",
    )  # fmt: skip
    assert list(rows.group) == ["net"] * 4 + ["other"] * 2
    assert list(rows.instead) == ["", "2e-3", "1e-3", "8e-3", "", "none"]
    lost = rows.iloc[3]
    assert (lost.seeds, lost.diverged) == (1, 1) and math.isnan(lost.difference)


@pytest.mark.parametrize("content", [None, "", HEAD])
def test_without_runs_there_are_no_rows(tmp_path, content):
    path = tmp_path / "ablations.csv"
    if content is not None:
        path.write_text(content)
    assert len(ablations.paired(path)) == 0
