"""What a run says of how it came about, and the ledger of looks at the test sets."""

import errno
import json
import platform
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import torch

import test as test_script
from engine import checkpoint, provenance


def git(root, *arguments):
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_every_start_of_a_run_is_written_down(train, interrupted, monkeypatch, tmp_path):
    _, stopped = interrupted(step=7)

    monkeypatch.setattr(
        provenance, "git", lambda name, *rest: "" if "--show-prefix" in rest else f"{name} said"
    )
    train("--resume", stopped / "last.pth")
    written = json.loads((stopped / "run.json").read_text())
    first, second = written["provenance"]
    assert first["torch"] == second["torch"] == torch.__version__
    assert first["python"] == platform.python_version()
    assert (first["threads"], first["processes"]) == (1, 1)
    assert first["command"].startswith("train --sample --limit 160")
    assert (second["commit"], second["clean"]) == ("rev-parse said", False)
    assert written["best"] == checkpoint.load(stopped / "best.pth")["metrics"]
    assert written["training_seconds"] == pytest.approx(
        pd.read_csv(stopped / "log.csv").seconds.sum(), rel=1e-5
    )
    checkpoint.export(stopped / "last.pth", tmp_path / "small.pth")
    assert checkpoint.load(tmp_path / "small.pth")["provenance"] == [first, second]


def test_commit_and_whether_the_code_is_as_committed(root, monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.provenance(torch.device("cpu"))["commit"] is None  # no repository
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("a = 1\n")
    ledger = tmp_path / provenance.LEDGER
    ledger.parent.mkdir(parents=True)
    ledger.write_text(HEAD)
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "Add code")
    said = provenance.provenance(torch.device("cpu"))
    assert (said["commit"], said["clean"]) == (git(tmp_path, "rev-parse", "HEAD"), True)
    ledger.write_text(HEAD + "2026-01-01,,,,,,\n")  # a look at a test set changes no code
    assert provenance.provenance(torch.device("cpu"))["clean"] is True
    (tmp_path / "code.py").write_text("a = 2\n")
    assert provenance.provenance(torch.device("cpu"))["clean"] is False
    (tmp_path / "inner").mkdir()  # unpacked into somebody's repository
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "inner")
    said = provenance.provenance(torch.device("cpu"))
    assert (said["commit"], said["clean"]) == (None, None)


def test_a_look_at_the_whole_test_set_is_written_down(run, trained, monkeypatch, sample, tmp_path):
    folder = tmp_path / "results"
    arguments = ("--checkpoint", trained, "--output-dir", folder)
    monkeypatch.setattr(test_script, "open_split", lambda *_: sample[1].first(50))
    run(test_script, *arguments)
    assert not provenance.LOOKS.exists()  # a checkout without a ledger gets none
    head = "date,commit,checkpoint,model,data,images,accuracy\n"
    provenance.LOOKS.write_text(head)
    run(test_script, *arguments)
    run(test_script, *arguments, "--sample")  # not the test set that results are reported on
    looks = pd.read_csv(provenance.LOOKS)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["sha256"] == provenance.sha256(trained)
    assert len(looks) == 1
    row = looks.iloc[0]
    assert (row.model, row["data"], row.images) == ("googlenet", "FashionMNIST", 50)
    assert summary["sha256"].startswith(row.checkpoint)
    assert row.accuracy == pytest.approx(summary["accuracy"], abs=1e-4)


HEAD = "date,commit,checkpoint,model,data,images,accuracy\n"
LOOK = {"provenance": {"started": "2026-01-01T00:00:00", "commit": None}, "sha256": "0"}
LOOK |= {"model": "vgg16", "data": "FashionMNIST", "images": 1, "accuracy": 1.0}


def test_a_ledger_that_cannot_be_written_costs_no_result(monkeypatch, capsys):
    """As in a clone that belongs to somebody else."""

    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    provenance.LOOKS.write_text(HEAD)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        provenance.record_look(LOOK)
    said = capsys.readouterr().err
    assert "test_looks.csv: Permission denied" in said and "add this line yourself" in said


def test_the_ledger_takes_names_in_any_encoding():
    provenance.LOOKS.write_text(HEAD)
    provenance.record_look(LOOK | {"data": "birds \udcff"})
    assert "birds \\udcff" in provenance.LOOKS.read_text(encoding="utf-8")


def test_of_looks_at_the_same_time_none_is_lost():
    provenance.LOOKS.write_text(HEAD)
    looks = [LOOK | {"images": number} for number in range(100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(provenance.record_look, looks))
    assert sorted(pd.read_csv(provenance.LOOKS).images) == list(range(100))
