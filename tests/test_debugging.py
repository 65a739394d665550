"""The mistakes made on purpose: they can be made, run, hidden and found."""

import ast
import json
import shutil

import pandas as pd
import pytest

from docs import debugging, debugging_results, mistakes, probes
from docs.mistakes import MISTAKES, PARTS, RUNS
from engine.errors import UserError
from tests.conftest import content

TINY = "train_fashionmnist.py --sample --limit 64 --image-size 32 --ema-decay 0"


@pytest.mark.parametrize("name", MISTAKES)
def test_patch_applies_and_the_file_compiles(name, root, tmp_path):
    mistake = MISTAKES[name]
    path = tmp_path / mistake.file
    path.parent.mkdir(exist_ok=True)
    shutil.copyfile(root / mistake.file, path)
    debugging.apply(mistake, tmp_path)
    patched = path.read_text(encoding="utf-8")
    assert patched != (root / mistake.file).read_text(encoding="utf-8")
    compile(patched, mistake.file, "exec")
    with pytest.raises(UserError, match=mistake.file):  # the old text is gone
        if mistake.old in patched:
            path.write_text(patched + mistake.old)
        debugging.apply(mistake, tmp_path)


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_whole(name, root):
    """Its run, picture and experiment are there; the test that catches it, in the page, too."""
    mistake = MISTAKES[name]
    page = (root / "docs" / "debugging.md").read_text(encoding="utf-8")
    assert mistake.run in RUNS and mistake.part in PARTS
    assert not mistake.probe or mistake.probe in probes.PROBES
    if mistake.test:
        file, _, test = mistake.test.partition("::")
        tree = ast.parse((root / file).read_text(encoding="utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        commands = [line.split("-k")[1].split("`")[0].strip() for line in page.splitlines()
                    if f"python -m pytest {file} -k" in line]  # fmt: skip
        assert any(words in test for words in commands), commands


def test_healthy_runs_and_mistakes_have_files_of_their_own():
    assert not RUNS.keys() & MISTAKES.keys()


def test_runs_are_recorded_once(tmp_path, monkeypatch, capsys):
    """A healthy run, one with a mistake, and one that is interrupted and resumed."""
    monkeypatch.setattr(debugging, "RECORDED", tmp_path)
    run = mistakes.Run(f"{TINY} --epochs 1")
    debugging.run_once("width", run, MISTAKES["width"])
    log = pd.read_csv(tmp_path / "width.csv")
    record = json.loads((tmp_path / "width.json").read_text(encoding="utf-8"))
    assert len(log) == 1 and record["stopped"] == ""
    assert record["start_loss"] == pytest.approx(log.train_loss[0], abs=1e-5)  # one step each
    assert record["figures"] == {"parameters": 6_998_552 - 93_150}
    before = content(tmp_path)
    debugging.run_once("width", run, MISTAKES["width"])
    assert content(tmp_path) == before
    assert capsys.readouterr().out.count("width: done") == 1


def test_run_that_is_interrupted_goes_on(tmp_path):
    debugging.copy_tree(tmp_path)
    assert debugging.train(tmp_path, f"{TINY} --epochs 4", stop_after=1) == ""
    assert pd.read_csv(tmp_path / debugging.OUTPUT / "log.csv").epoch.tolist() == [1, 2, 3, 4]


def test_what_goes_wrong_with_a_run_is_said(tmp_path):
    debugging.copy_tree(tmp_path)
    (tmp_path / "train_fashionmnist.py").write_text(
        "raise SystemExit('error: the loss became nan: …')"
    )
    assert debugging.train(tmp_path, "train_fashionmnist.py", 0) == "the loss became nan"
    with pytest.raises(UserError, match="no-such-option"):
        debugging.train(tmp_path, "test.py --no-such-option", 0)


def test_secrets_are_all_the_mistakes(run, tmp_path, root):
    assert {debugging.chosen(n + 1) for n in range(len(MISTAKES))} == set(MISTAKES)
    copy = tmp_path / "copy"
    out = run(debugging, "--secret", "3", "--output-dir", copy).out
    mistake = MISTAKES[debugging.chosen(3)]
    assert mistake.title not in out and mistake.file not in out
    assert RUNS[mistake.run].script in out
    names = set(content(copy))
    assert "tests/test_trainer.py" in names and "data/sample/LICENSE" in names
    assert not names & {*debugging.ANSWERS}
    differ = [n for n in names if (copy / n).read_bytes() != (root / n).read_bytes()]
    assert differ == [mistake.file]
    out = run(debugging, "--reveal", "3").out
    assert mistake.title in out and mistake.new.strip() in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--secret", "0"), "--secret"),
        (("--reveal", "22"), "--reveal"),
        (("--output-dir", "x"), "--secret"),
        (("--secret", "1", "--reveal", "1"), "not allowed"),
        (("--secret", "1", "--output-dir", "docs"), "docs: is there already"),
    ],
)
def test_bad_input_is_one_line(error_of, arguments, words, monkeypatch, root):
    monkeypatch.chdir(root)
    assert words in error_of(debugging, *arguments)


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Made-up records of two runs: a healthy one, and one that stopped before its first epoch."""
    monkeypatch.setattr(debugging_results, "RECORDED", tmp_path)
    log = {"epoch": [1, 2], "train_loss": [1.5, 0.5], "train_accuracy": [0.5, 0.8]}
    log |= {"val_loss": [1.0, 0.75], "val_accuracy": [0.6, 0.7]}
    pd.DataFrame(log).to_csv(tmp_path / "vgg16-plain.csv", index=False)
    for name, start, stopped in (
        ("vgg16-plain", 2.3, ""),
        ("init-large", 4321.0, "the loss became nan"),
    ):
        record = {"start_loss": start, "stopped": stopped, "figures": {}}
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    return tmp_path


def test_table_and_pictures_of_what_was_run(recorded):
    assert debugging_results.compared()[1:] == [
        ["**healthy: vgg16-plain**", "2.30", "0.50", "80.0 %", "70.0 %", ""],
        [MISTAKES["init-large"].title, "4,321", "the loss became nan", "", "", "70.0 %"],
    ]
    debugging_results.draw(recorded)
    assert {path.name for path in recorded.glob("*.svg")} == {
        "mistakes_start.svg",
        "mistakes_start-dark.svg",
    }
    assert "the loss became nan" in (recorded / "mistakes_start.svg").read_text(encoding="utf-8")


def test_experiments_stand_beside_the_healthy_run(recorded):
    for name, share in (("googlenet", 0.0), ("dropout", 0.125)):
        record = {"figures": {"answers that change": share}}
        (recorded / f"{name}.json").write_text(json.dumps(record))
    assert debugging_results.experiments()[1:] == [
        [MISTAKES["dropout"].title, "answers that change", "0.0 %", "12.5 %"]
    ]
