"""The runs behind docs/results/ablations.csv: which they are, and that they go on."""

import csv
import signal

import pytest
import torch
from torch import nn

from docs import paper_results
from engine import cli
from engine.errors import UserError
from engine.trainer import Trainer
from models.googlenet import INCEPTION
from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import ablations, runs, variants
from tests.benchmarks.choices import GROUPS, planned
from tests.conftest import interrupt_at


@pytest.fixture
def ablate(run, tmp_path, monkeypatch):
    """Run the command, tiny: ablate("--only", …) -> the rows of its file, and what it printed."""
    monkeypatch.setattr(runs, "RUNNING", tmp_path / "running")
    monkeypatch.setattr(ablations, "PHOTOS", tmp_path / "photos")

    def call(*arguments: object) -> tuple[list[dict[str, str]], str]:
        printed = run(benchmarks, "ablations", "--smoke", "--output-dir", tmp_path, *arguments)
        with (tmp_path / "ablations.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file)), printed.out

    return call


def test_every_run_is_one_change_from_its_recipe(monkeypatch):
    """All options are those of the scripts, and no run repeats another."""

    class Parsed(Exception):
        pass

    def stop(args):
        raise Parsed(args)

    monkeypatch.setattr(cli, "start_training", stop)
    seen = []
    for run in planned([0], None):
        options = ablations.job_of(run, smoke=False).options
        with pytest.raises(Parsed) as parsed:
            runs.call(GROUPS[run.group].script.main, *options)
        args = vars(parsed.value.args[0])
        assert args["warmup_epochs"] == pytest.approx(2 / 11 * args["epochs"], abs=0.01)
        this = (run.group, args, run.change.network, run.change.augment)
        assert this not in seen, run
        seen.append(this)
    assert len(seen) > 30


def test_seeds_are_the_outer_loop_and_recipes_come_first():
    runs = list(planned([2, 0], None))
    assert [run.seed for run in runs] == [2] * (len(runs) // 2) + [0] * (len(runs) // 2)
    first = {group: next(run for run in runs if run.group == group) for group in GROUPS}
    assert {run.choice for run in first.values()} == {"recipe"}
    only = [(run.group, run.choice) for run in planned([0], ["dropout", "VGG B"])]
    assert only == [
        *[("GoogLeNet", "recipe"), ("GoogLeNet", "dropout"), ("GoogLeNet", "dropout")],
        *[("VGG B", "recipe"), ("VGG B", "kernels")],
    ]
    with pytest.raises(UserError, match="--only size: there are"):
        list(planned([0], ["size"]))


def test_runs_are_added_once(ablate, tmp_path, monkeypatch):
    only = ("--only", "1x1 reductions", "--seeds", 0, 1)
    rows, printed = ablate(*only)
    assert [(row["choice"], row["seed"]) for row in rows] == [
        *[("recipe", "0"), ("1x1 reductions", "0"), ("recipe", "1"), ("1x1 reductions", "1")]
    ]
    for row in rows:
        assert 0 < float(row["val_accuracy"]) < 1 and float(row["seconds"]) > 0
        assert row["epochs"] == "1" and row["torch"] == torch.__version__
    assert "4 of 4: seed 1, GoogLeNet, 1x1 reductions none\n" in printed
    assert list((tmp_path / "running" / "ablations").iterdir()) == []

    path = tmp_path / "ablations.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2] + lines[3:]))
    made = []
    fake = rows[1] | {"val_accuracy": 0.5, "seconds": 1.0}
    monkeypatch.setattr(
        runs, "measure", lambda job, _: made.append((*job.columns.values(),)) or fake
    )
    assert len(ablate(*only)[0]) == len(ablate(*only)[0]) == 4
    assert made == [("GoogLeNet", "1x1 reductions", "Table 1", "none", 0)]
    path.write_text("".join(lines).replace("--limit 64", "--limit 65"))
    with pytest.raises(UserError, match="has other options than the code now gives it"):
        ablate(*only)


def test_no_run_is_started_after_the_minutes(ablate, tmp_path):
    (tmp_path / "ablations.csv").touch()
    rows, printed = ablate("--minutes", 1e-9)
    assert rows == [] and "minutes are over" in printed
    assert "photos: left out" in printed


def test_an_interrupted_run_goes_on(ablate, tmp_path, monkeypatch):
    only = ("--only", "moving average", "--seeds", 0)
    whole, _ = ablate(*only)
    (tmp_path / "ablations.csv").unlink()
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        with pytest.raises(SystemExit) as stopped:
            ablate(*only)
    assert stopped.value.code == 128 + signal.SIGINT
    assert len(list((tmp_path / "running").glob("ablations/*/last.pth"))) == 1
    steps, seed_draws = [], Trainer.seed_draws
    note = lambda trainer, step: steps.append(step) or seed_draws(trainer, step)  # noqa: E731
    monkeypatch.setattr(Trainer, "seed_draws", note)
    resumed, _ = ablate(*only)
    assert steps == [3, 0, 1, 2, 3]  # the first run had three of its four batches
    accuracies = ("val_accuracy", "train_accuracy", "train_loss")
    for one, other in zip(resumed, whole, strict=True):
        assert [one[name] for name in accuracies] == [other[name] for name in accuracies]


def test_a_run_that_diverges_is_noted(ablate, monkeypatch):
    seen = []

    def diverge(main, *options):
        script = GROUPS["photos"].script
        seen.append((script.AUGMENT, options[options.index("--seed") + 1]))
        raise UserError("the loss became nan: start again with a lower --lr")

    monkeypatch.setattr(runs, "call", diverge)
    monkeypatch.setattr(ablations, "MANIFEST", "")  # a folder will do
    ablations.PHOTOS.mkdir()
    monkeypatch.setattr(ablations.Path, "is_file", lambda path: path == ablations.PHOTOS)
    rows, printed = ablate("--only", "photos", "--seeds", 3)
    assert {row["val_accuracy"] for row in rows} == {""} and "    diverged, 0.0 minutes" in printed
    recipe = {"crop": 0.25, "jitter": 0.2, "erase": 0.1}
    assert [parts for parts, _ in seen] == [
        recipe,
        recipe,  # no flip is an option
        *({k: v for k, v in recipe.items() if k != part} for part in ("crop", "jitter", "erase")),
        recipe,
    ]
    assert recipe == GROUPS["photos"].script.AUGMENT


ARGUMENTS = {"in_channels": 3, "num_classes": 1000, "image_size": 224}


def test_configuration_b_is_the_papers():
    with torch.device("meta"):
        deep = variants.configuration_b((3, 3), "vgg16", batch_norm=False, **ARGUMENTS)
        shallow = variants.configuration_b((5,), "vgg16", batch_norm=True, **ARGUMENTS)
        assert shallow(torch.empty(1, 3, 224, 224)).shape == (1, 1000)
    weights = sum(parameter.numel() for parameter in deep.parameters())
    assert weights == paper_results.parameters_of_configurations()["B"]
    convolutions = [m for m in shallow.modules() if isinstance(m, nn.Conv2d)]
    assert [conv.kernel_size for conv in convolutions] == [(5, 5)] * 5


def test_without_reductions_all_channels_are_convolved():
    with torch.device("meta"):
        model = variants.without_reductions(
            "googlenet", batch_norm=True, aux_heads=False, **ARGUMENTS
        )
        assert model(torch.empty(1, 3, 224, 224)).shape == (1, 1000)
    module, widths = model.inception3a, INCEPTION["3a"]
    assert module.branch_3x3.conv.weight.shape == (widths.n3x3, 192, 3, 3)
    assert module.branch_5x5.conv.weight.shape == (widths.n5x5, 192, 5, 5)


def test_normal_weights_have_their_deviation():
    small = {"in_channels": 1, "num_classes": 10, "image_size": 32}
    model = variants.normal_weights(0.1, "googlenet", **small)
    for name in ("inception3a.branch_3x3.conv.conv", "linear"):
        layer = model.get_submodule(name)
        assert layer.weight.std().item() == pytest.approx(0.1, rel=0.05)
        assert not layer.bias.any()
