"""Folds that are fitted at once are the folds that are fitted one after another, whatever happens to a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from medres import cross_validate
from medres.runs import parallel_folds as side_by_side
from medres.training.checkpoints import Checkpoints
from medres.unfinished import unfinished_folder
from tests.conftest import TINY, Medres
from tests.support.recipes import quick
from tests.test_unfinished import assert_same_run, crossval

AT_ONCE = "--set=crossval.folds_at_once=2"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def test_folds_fitted_at_once_are_those_fitted_one_after_another_also_after_an_interruption(
    medres: Medres, one_thread: object, steady_run: Path, small_cohort: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with _until_second_fold(crossval(small_cohort, out, AT_ONCE), epoch=2) as running:
        os.killpg(running.pid, signal.SIGTERM)  # as `timeout` and batch systems do: to every process
        assert running.stderr is not None
        running.stderr.read()
        assert running.wait(timeout=120) == 130
    kept = Checkpoints(unfinished_folder(out) / "models" / "fold-1" / "checkpoints").load()
    assert kept is not None
    assert len(kept["history"]) >= 2  # not only the first epoch, which is kept at once
    done = medres(*crossval(small_cohort, out, AT_ONCE, "--resume"))
    assert done.returncode == 0, done.stderr
    assert "fold 2/2 · going on after epoch" in done.stderr
    assert_same_run(out, steady_run)


@pytest.mark.sweep
def test_a_process_that_is_killed_ends_the_run_with_one_clear_line_and_resume_goes_on(
    medres: Medres, one_thread: object, steady_run: Path, small_cohort: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with _until_second_fold(crossval(small_cohort, out, AT_ONCE)) as running:
        assert running.stderr is not None
        max(psutil.Process(running.pid).children(), key=lambda child: child.memory_info().rss).kill()
        said = running.stderr.read()
        assert running.wait(timeout=120) == 1
    assert "medres: a process that fitted a fold was ended (exit code -9)" in said
    done = medres(*crossval(small_cohort, out, AT_ONCE, "--resume"))
    assert done.returncode == 0, done.stderr
    assert_same_run(out, steady_run)


def test_processes_end_with_the_one_that_started_them(one_thread: object, small_cohort: Path, tmp_path: Path) -> None:
    with _until_second_fold(crossval(small_cohort, tmp_path / "run", AT_ONCE)) as running:
        children = psutil.Process(running.pid).children()
        assert len(children) >= 2
        running.kill()
        _, left = psutil.wait_procs(children, timeout=20)
    assert not left


@pytest.mark.sweep
def test_a_refusal_in_a_process_is_the_run_s(medres: Medres, small_cohort: Path, tmp_path: Path) -> None:
    done = medres(*crossval(small_cohort, tmp_path / "run", AT_ONCE, "--set=training.learning_rate=1e30"))
    assert done.returncode == 1
    assert "loss" in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("medres: ")


def test_a_trial_decides_and_its_figures_are_kept(medres: Medres, small_cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("crossval", small_cohort, "--label", "disc", "--out", out, *TINY)
    done = medres(*arguments, "--set=crossval.folds_at_once=auto", "--set=training.stages=[{epochs: 1}]")
    assert done.returncode == 0, done.stderr
    said = json.loads((out / "run.json").read_text())["folds_at_once"]
    assert said["count"] == 1  # a run of seconds is not worth another process
    assert all(speed > 0 for speed in said["images_per_second"].values())


def test_several_at_once_are_tried_together_and_go_on_with_the_folds(
    one_thread: object, small_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "_WORTH", 0.0)
    monkeypatch.setattr(side_by_side, "_GAIN", 0.0)
    monkeypatch.setattr(side_by_side, "most_at_once", lambda config: 2)
    options = [option.removeprefix("--set=") for option in TINY]
    config = quick(*options, "training.stages=[{epochs: 1}]", "crossval.folds_at_once=auto")
    out = tmp_path / "run"
    cross_validate(small_cohort, labels=["disc"], config=config, out=out)
    said = json.loads((out / "run.json").read_text())["folds_at_once"]
    assert said["count"] == 2
    assert set(said["images_per_second"]) == {"1", "2"}
    assert min(said["images_per_second"].values()) > 0


@contextmanager
def _until_second_fold(arguments: list[str], *, epoch: int = 1) -> Iterator[subprocess.Popen[str]]:
    """A run whose second fold has finished an epoch, as a group of processes of its own."""
    command = [str(Path(sys.executable).with_name("medres")), *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if f"fold 2/2 · epoch {epoch}/3" in line:
                break
        yield running
