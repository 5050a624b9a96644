"""A scoring run that could not begin is told to schedulers and monitors; what cannot be told ends no run."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from medres.errors import GoneError, MedresError, OutputExists, UsageError
from medres.scoring.folder import score_folder
from medres.unfinished import lock, unlock
from tests.conftest import Medres
from tests.support.phantoms import blob, write_radiograph


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("failures") / "in"
    write_radiograph(folder / "a.dcm", blob(1, bright=True), patient="1", uid="2.25.1")
    return folder


@pytest.fixture(scope="module")
def scored(archive: Path, format3_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scored") / "out"
    score_folder(format3_model, archive, out=out, workers=1)
    return out


@pytest.fixture
def out(scored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scored, tmp_path / "out"))


def state(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "state.json").read_text())
    return found


def failed(metrics: Path) -> bool:
    return "medres_score_failed 1" in metrics.read_text().splitlines()


def test_a_missing_mount_is_told(archive: Path, format3_model: Path, out: Path, tmp_path: Path) -> None:
    metrics = tmp_path / "medres.prom"
    (tmp_path / "empty").mkdir()
    for folder, kind in ((tmp_path / "empty", GoneError), (tmp_path / "absent", UsageError)):
        score_folder(format3_model, archive, out=out, resume=True, workers=1, metrics=metrics)
        assert (state(out)["state"], failed(metrics)) == ("finished", False)
        with pytest.raises(kind):
            score_folder(format3_model, folder, out=out, resume=True, workers=1, metrics=metrics)
        assert state(out)["state"] == "failed"
        assert state(out)["error"].startswith(kind.__name__)
        assert failed(metrics)


def test_a_model_that_does_not_load_is_told(
    archive: Path, format3_model: Path, out: Path, tmp_path: Path, medres: Medres
) -> None:
    metrics, model = tmp_path / "medres.prom", tmp_path / "model"
    asked = ("score", model, archive, "--out", out, "--metrics", metrics)
    assert medres(*asked, "--resume").returncode == 2
    assert state(out)["state"] == "failed"
    assert failed(metrics)
    shutil.copytree(format3_model, model)
    (model / "medres.json").write_text("{")
    score_folder(format3_model, archive, out=out, resume=True, workers=1)
    assert state(out)["state"] == "finished"
    with pytest.raises(MedresError):
        score_folder(model, archive, out=out, force=True, workers=1)
    assert state(out)["state"] == "failed"


def test_only_the_monitor_is_told_where_the_folder_was_not_to_be_changed(
    archive: Path, format3_model: Path, out: Path, tmp_path: Path
) -> None:
    metrics, foreign = tmp_path / "medres.prom", tmp_path / "foreign"
    with pytest.raises(OutputExists):
        score_folder(format3_model, archive, out=out, workers=1, metrics=metrics)
    assert state(out)["state"] == "finished"
    assert failed(metrics)
    metrics.unlink()
    foreign.mkdir()
    (foreign / "letter.txt").write_text("dear colleague")
    with pytest.raises(OutputExists):
        score_folder(format3_model, archive, out=foreign, resume=True, workers=1, metrics=metrics)
    assert [path.name for path in foreign.iterdir()] == ["letter.txt"]
    assert failed(metrics)
    with pytest.raises(UsageError):
        score_folder(tmp_path / "absent", archive, out=tmp_path / "fresh", resume=True, metrics=metrics)
    assert not (tmp_path / "fresh").exists()


def test_nothing_is_said_while_another_process_holds_the_folder(
    archive: Path, format3_model: Path, out: Path, tmp_path: Path
) -> None:
    before = state(out)
    lock(out)
    try:
        for model in (format3_model, tmp_path / "absent"):
            with pytest.raises(MedresError):
                score_folder(model, archive, out=out, resume=True, workers=1, metrics=tmp_path / "medres.prom")
    finally:
        unlock(out)
    assert state(out) == before
    assert not (tmp_path / "medres.prom").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_another_user_may_read_the_metrics(archive: Path, format3_model: Path, out: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        score_folder(format3_model, archive, out=out, resume=True, workers=1, metrics=tmp_path / "medres.prom")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "medres.prom").stat().st_mode) == 0o644
    assert stat.S_IMODE((out / "state.json").stat().st_mode) == 0o600


def test_metrics_that_cannot_be_written_end_no_run(
    archive: Path, format3_model: Path, out: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = tmp_path / "absent" / "medres.prom"
    score_folder(format3_model, archive, out=out, force=True, workers=1, metrics=metrics)
    assert state(out)["state"] == "finished"
    assert [record.message.count("monitors are not told") for record in caplog.records].count(1) == 1


def test_metrics_are_not_written_into_what_is_scored(archive: Path, format3_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--metrics"):
        score_folder(format3_model, archive, out=tmp_path / "out", metrics=archive / "medres.prom")
    assert [path.name for path in archive.iterdir()] == ["a.dcm"]
    assert not (tmp_path / "out").exists()
