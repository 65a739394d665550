"""The measurements that need a GPU, all of them, tiny, on a CPU."""

import json

import pandas as pd
import pytest
import torch

from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import gpu


def test_the_gpu_section_runs_whole(run, tmp_path):
    compile_before = torch.compile
    run(benchmarks, "gpu", "--smoke", "--output-dir", tmp_path)
    assert torch.compile is compile_before
    log = (tmp_path / "gpu.log").read_text()
    assert "failed" not in log and "left out" not in log, log
    tables = {path.stem: pd.read_csv(path) for path in tmp_path.glob("*.csv")}
    assert set(tables) == {"gpu_tests", "gpu_training", "gpu_accuracy", "gpu_bookkeeping"}
    assert set(tables["gpu_training"].recipe) == {*gpu.OURS, *gpu.THEIRS}
    assert (tables["gpu_training"]["images/s"] > 0).all()
    assert tables["gpu_bookkeeping"].bookkeeping.between(0, 1).all()
    assert len(tables["gpu_accuracy"]) == 4
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["torch"] == torch.__version__


def test_only_what_there_is(error_of, tmp_path):
    arguments = ("gpu", "--smoke", "--only", "speed", "--output-dir", tmp_path)
    assert "--only speed: there are tests, training" in error_of(benchmarks, *arguments)


def test_what_was_measured_survives_what_fails(tmp_path):
    measurement = gpu.Measurement(tmp_path, minutes=1)
    measurement.attempt("one", lambda: measurement.add("speed", {"images/s": 5}))

    def fail():
        raise RuntimeError("broken")

    measurement.attempt("two", fail)
    measurement.end = 0.0
    measurement.attempt("three", lambda: pytest.fail("no time is left"))
    assert pd.read_csv(tmp_path / "gpu_speed.csv")["images/s"].tolist() == [5]
    log = (tmp_path / "gpu.log").read_text()
    assert "RuntimeError: broken" in log and "three: left out" in log
