"""The benchmarks themselves still run; what they measure is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def test_the_checks_for_a_gpu_pass_on_whatever_device_is_here() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.gpu", "--small"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *checks, result = (json.loads(line) for line in done.stdout.splitlines())
    assert [check["name"] for check in checks] == list(result["checks"])
    assert len(checks) >= 9
    assert all(result["checks"].values())
    assert not result["left_out"]
    assert result["figures"]["small steps"]["images/s, medres"] > 0


def test_the_statistics_agree_with_how_they_are_usually_written_before_they_are_timed() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.statistics", "--small", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    for part in (*result["bootstrap"].values(), result["delong"]):
        assert part["ratio"]["processor_s"] > 0


@pytest.mark.skipif(sys.platform == "win32", reason="CPU-seconds of children are not counted there")
def test_what_scoring_one_file_costs_is_measured_beside_the_import_of_torch() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.startup", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, check=False)
    result = json.loads(done.stdout)
    assert result["ratio"] > 1
    assert set(result["processor_s"]) == {"score", "import torch"}
