"""The runs behind docs/results/starts.csv: which they are, and what they train on."""

import csv

import pandas as pd
import pytest
import torch

import train_catsdogs
from data import photo_folder
from docs import starts as page
from engine import cli
from engine.errors import UserError
from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import runs, starts

TOTALS = {"clothing": 3_068, "catsdogs": 14_400}
OFFLINE = ["scratch", "fashionmnist_googlenet", "catsdogs_googlenet"]


@pytest.fixture
def compare(run, tmp_path, ready, trained, monkeypatch):
    """Run the command, tiny, on 32 photos: compare("--only", …) -> its rows, and what it printed.

    The photos are those of ``ready``, as clothes; all checkpoints are ``trained``.
    """
    monkeypatch.setattr(runs, "RUNNING", tmp_path / "running")
    monkeypatch.setattr(starts, "DATA", tmp_path / "sets")
    checkpoints = {name: trained for name in starts.STARTS if name.endswith("_googlenet")}
    monkeypatch.setattr(starts, "STARTS", starts.STARTS | checkpoints)
    small = starts.SETS["clothing"]._replace(epochs={20: 60, None: 40})
    monkeypatch.setitem(starts.SETS, "clothing", small)
    (tmp_path / "sets").mkdir()
    ready.rename(tmp_path / "sets" / "clothing")

    def call(*arguments: object) -> tuple[list[dict[str, str]], str]:
        printed = run(benchmarks, "starts", "--smoke", "--output-dir", tmp_path, *arguments)
        with (tmp_path / "starts.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file)), printed.out

    return call


def test_runs_are_added_once(compare, monkeypatch):
    only = ("--only", "scratch", "fashionmnist_googlenet", "--seeds", 3)
    rows, printed = compare(*only)
    expected = [
        *[("scratch", "whole"), ("fashionmnist_googlenet", "whole")],
        ("fashionmnist_googlenet", "last layer"),
    ]
    assert [(row["photos"], row["start"], row["trained"]) for row in rows] == [
        (photos, *run) for photos in ("20", "32") for run in expected
    ]
    for row in rows:
        assert 0 <= float(row["val_accuracy"]) <= 1 and float(row["train_loss"]) > 0
        assert (row["set"], row["seed"], row["epochs"]) == ("clothing", "3", "1")
        assert row["torch"] == torch.__version__
    assert "catsdogs: left out, " in printed
    assert "6 of 6: seed 3, clothing, 32 photos, fashionmnist_googlenet, last layer\n" in printed

    monkeypatch.setattr(runs, "measure", lambda *_: pytest.fail("all runs are there"))
    assert compare(*only)[0] == rows


def test_only_training_photos_are_limited(compare, monkeypatch):
    """… in the script, which takes the rest of its options as they are."""
    lengths, fit = [], train_catsdogs.Trainer.fit

    def note(trainer, train, val, run):
        lengths.append([len(loader.dataset) for loader in (train, val)])
        fit(trainer, train, val, run)

    monkeypatch.setattr(train_catsdogs.Trainer, "fit", note)
    compare("--only", "scratch", "clothing", "--seeds", 0)
    folder = starts.DATA / "clothing"
    val = len(photo_folder.load_split(folder, "val", 64, cache=False))
    assert lengths == [[20, val], [32, val]]
    assert train_catsdogs.photo_folder is photo_folder
    whole = photo_folder.load_split(folder, "train", 64, cache=False)
    fewer = starts.with_training_photos(20).load_split(folder, "train", 64, cache=False)
    assert fewer.files == whole.files[:20]
    assert set(fewer.labels) == set(whole.labels)


def test_epochs_and_options_are_those_of_the_script(monkeypatch):
    class Parsed(Exception):
        pass

    def stop(args):
        raise Parsed(args)

    monkeypatch.setattr(cli, "start_training", stop)
    seen = {}
    for job in starts.planned([0], TOTALS, [*starts.STARTS], smoke=False):
        with pytest.raises(Parsed) as parsed:
            runs.call(job.script.main, *job.options)
        args = parsed.value.args[0]
        assert args.warmup_epochs == pytest.approx(2 / 11 * args.epochs, rel=0.01)
        assert not args.amp and args.limit is None and args.image_size == 64
        assert train_catsdogs.default_train_size(args) == 48
        name, photos, start, trained, _ = job.columns.values()
        seen[name, photos, start, trained] = (args.batch_size, args.epochs, args.lr)
    assert len(seen) == 3 * 7 + 3 * 5
    assert seen["clothing", 300, "scratch", "whole"] == (32, 150, 3e-3)
    assert seen["clothing", 300, "catsdogs_googlenet", "last layer"] == (32, 50, 1e-3)
    assert seen["clothing", 3_068, "imagenet", "whole"] == (64, 40, 3e-4)
    assert seen["catsdogs", 500, "fashionmnist_googlenet", "whole"] == (64, 100, 3e-3)
    assert seen["catsdogs", 14_400, "imagenet", "last layer"] == (64, 4, 1e-3)
    assert ("catsdogs", 500, "catsdogs_googlenet", "whole") not in seen


def test_seeds_are_the_outer_loop_and_few_photos_come_first():
    jobs = list(starts.planned([2, 0], TOTALS, OFFLINE, smoke=False))
    columns = [tuple(job.columns.values()) for job in jobs]
    assert len(set(columns)) == len(columns) == 2 * (3 * 5 + 3 * 3)
    assert [seed for *_, seed in columns] == [2] * 24 + [0] * 24
    photos = [300] * 5 + [1_000] * 5 + [3_068] * 5 + [500] * 3 + [2_000] * 3 + [14_400] * 3
    assert [one[1] for one in columns] == photos * 2
    few = starts.planned([0], {"clothing": 1_000}, ["scratch"], smoke=False)
    assert [(job.columns["photos"], "40" in job.options) for job in few] == [
        *[(300, False), (1_000, True)]  # all of them, which have their own epochs
    ]


def test_only_names_sets_and_starts():
    assert starts.chosen(None) == (["clothing", "catsdogs"], OFFLINE)
    assert starts.chosen(["catsdogs"]) == (["catsdogs"], OFFLINE)
    assert starts.chosen(["imagenet"]) == (["clothing", "catsdogs"], ["imagenet"])
    assert starts.chosen(["imagenet", "clothing"]) == (["clothing"], ["imagenet"])
    with pytest.raises(UserError, match="--only dropout: there are clothing, catsdogs, scratch"):
        starts.chosen(["scratch", "dropout"])


def test_the_table_has_means_errors_and_gaps(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "FILE", tmp_path / "starts.csv")
    columns = ["set", "photos", "start", "trained", "seed", "val_accuracy"]
    rows = [
        ("clothing", 300, "scratch", "whole", 0, 0.50),
        ("clothing", 300, "scratch", "whole", 1, 0.54),
        ("clothing", 1_000, "catsdogs_googlenet", "last layer", 0, 0.625),
        ("catsdogs", 500, "fashionmnist_googlenet", "whole", 0, 0.75),
    ]
    pd.DataFrame(rows, columns=columns).to_csv(page.FILE, index=False)
    head, clothes, *rest = page.table()
    assert head == ["photos of", "starts from", "trains", "", ""]
    assert clothes == ["**clothes**", "", "", "**300 photos**", "**1,000 photos**"]
    assert rest[0] == ["", "scratch", "all layers", "52.0 % ± 2.0", ""]
    assert rest[4] == ["", "cats and dogs", "the last layer alone", "", "62.5 %"]
    assert rest[7] == ["**cats and dogs**", "", "", "**500 photos**", ""]
    assert rest[9] == ["", "FashionMNIST", "all layers", "75.0 %", ""]
    assert len(rest) == 7 + 6
