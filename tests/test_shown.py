"""Scores by several models in one folder, one after the other: what a reader sees is never mixed, and never lost."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from medres.config import Limits
from medres.errors import GoneError, UsageError
from medres.review.cases import Worklist
from medres.scoring.folder import score_folder
from medres.scoring.ledger import Ledger
from medres.scoring.record import UNFINISHED, ScoresRecord, read_scores_record
from medres.scoring.run import ScoringRun
from tests.support.models import saved_again
from tests.support.phantoms import blob, write_radiograph

COUNT = 6


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, format3_model: Path) -> dict[str, Path]:
    """A model, one with other weights, and one with another label."""
    home = tmp_path_factory.mktemp("models")
    saved_again(format3_model, home / "A")
    saved_again(format3_model, home / "B", shift=0.2)
    saved_again(format3_model, home / "C", rename=("disc", "nodule"))
    return {name: home / name for name in "ABC"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(COUNT):
        pixels = blob(number, bright=number % 2 == 0)
        write_radiograph(tmp_path / "in" / f"{number}.dcm", pixels, patient=str(number), uid=f"2.25.{number + 1}")
    return tmp_path / "in"


@pytest.fixture
def scored(models: dict[str, Path], folder: Path, tmp_path: Path) -> Path:
    """The folder's scores by the first model."""
    score_folder(models["A"], folder, out=tmp_path / "out", workers=1)
    return tmp_path / "out"


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "predictions.csv", dtype=str, keep_default_na=False).set_index("path")


def said(out: Path) -> str:
    return str(json.loads((out / "run.json").read_text())["model_id"])


def test_the_table_is_of_the_model_that_was_given_last(models: dict[str, Path], folder: Path, scored: Path) -> None:
    first = (scored / "predictions.csv").read_bytes()
    score_folder(models["B"], folder, out=scored, resume=True, workers=1)
    second = table(scored)
    assert set(second["model_id"]) == {said(scored)}
    again = score_folder(models["A"], folder, out=scored, resume=True, workers=1)
    assert again.reused == COUNT
    assert (scored / "predictions.csv").read_bytes() == first
    assert set(table(scored)["model_id"]) == {said(scored)}
    assert score_folder(models["B"], folder, out=scored, resume=True, workers=1).reused == COUNT
    assert table(scored).equals(second)


def parts(out: Path) -> set[str]:
    return {path.name for path in (out / "parts").iterdir()}


def emptied(folder: Path) -> Path:
    """The folder of files without its mount; where the files are instead."""
    away = folder.with_name("away")
    folder.rename(away)
    folder.mkdir()
    return away


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_model_of_other_labels_takes_no_row_away(models: dict[str, Path], folder: Path, scored: Path) -> None:
    before = parts(scored)
    (folder / "5.dcm").unlink()
    score_folder(models["A"], folder, out=scored, resume=True, workers=1, most_gone=0.5)
    gone = table(scored)
    with pytest.raises(UsageError, match="rows of both"):
        score_folder(models["C"], folder, out=scored, resume=True, workers=1, names=["0.dcm"])
    score_folder(models["C"], folder, out=scored, resume=True, workers=1, most_gone=0.5)
    assert list(table(scored).filter(like="prob_")) == ["prob_nodule"]
    assert before <= parts(scored)
    score_folder(models["A"], folder, out=scored, resume=True, workers=1, most_gone=0.5)
    assert table(scored).equals(gone)
    assert gone.loc["5.dcm", "status"] == "gone"
    assert not any(name.endswith(".damaged") for name in parts(scored))


def test_a_part_that_is_set_aside_is_named_and_a_list_takes_no_row_away(
    models: dict[str, Path], folder: Path, scored: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = (scored / "predictions.csv").read_bytes()
    part = scored / "parts" / "000000.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    for _ in range(2):
        with pytest.raises(UsageError, match="lack 5 rows of its table"):
            score_folder(models["A"], folder, out=scored, resume=True, workers=1, names=["0.dcm"])
    assert [record.levelname for record in caplog.records if "000000.parquet is damaged" in record.message] == [
        "WARNING"
    ]
    assert (scored / "predictions.csv").read_bytes() == before
    score_folder(models["A"], folder, out=scored, resume=True, workers=1)
    assert (scored / "predictions.csv").read_bytes() == before


@pytest.mark.parametrize("how", ["force", "other model", "ended force"])
def test_a_mount_that_is_missing_replaces_no_table(
    models: dict[str, Path], folder: Path, scored: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in scored.glob("predictions.*")}
    model, force = models["B" if how == "other model" else "A"], how == "force"
    if how == "ended force":
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(ScoringRun, "rows", killed)
            score_folder(model, folder, out=scored, force=True, workers=1)
    away = emptied(folder)
    for present in (0, 1, 3):
        for number in range(present):
            shutil.copy(away / f"{number}.dcm", folder)
        with pytest.raises(GoneError, match=rf"{COUNT - present} of 6 rows with scores .* --max-gone"):
            score_folder(model, folder, out=scored, force=force, resume=not force, workers=1)
        assert {path: path.read_bytes() for path in scored.glob("predictions.*")} == before
    summary = score_folder(model, folder, out=scored, force=force, resume=not force, workers=1, most_gone=0.5)
    assert (summary.files, len(table(scored))) == (3, 3)


def test_a_mount_that_vanishes_meanwhile_replaces_no_table_and_the_run_goes_on_when_it_is_back(
    models: dict[str, Path], folder: Path, scored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (scored / "predictions.csv").read_bytes()
    listed: list[Path] = []
    announce = Ledger.announce

    def vanishes(self: Ledger, record: ScoresRecord) -> None:
        announce(self, record)
        if not listed:
            listed.append(emptied(folder))

    for options in ({"force": True}, {"resume": True, "verify": True}):
        listed.clear()
        for path in folder.iterdir():
            os.utime(path)
        with monkeypatch.context() as patched, pytest.raises(GoneError, match="6 of 6 rows"):
            patched.setattr(Ledger, "announce", vanishes)
            score_folder(models["A"], folder, out=scored, workers=1, **options)  # type: ignore[arg-type]
        assert (scored / "predictions.csv").read_bytes() == before
        folder.rmdir()
        listed[0].rename(folder)
    score_folder(models["A"], folder, out=scored, resume=True, workers=1)
    assert (scored / "predictions.csv").read_bytes() == before


def test_files_that_moved_or_have_a_copy_are_not_away(models: dict[str, Path], folder: Path, scored: Path) -> None:
    for path in sorted(folder.iterdir()):
        path.rename(folder / f"new-{path.name}")
    assert len(score_folder(models["B"], folder, out=scored, resume=True, workers=1).statuses) == 1
    for path in sorted(folder.iterdir()):
        path.rename(folder / path.name.removeprefix("new-"))
    score_folder(models["A"], folder, out=scored, force=True, workers=1)
    assert list(table(scored).index) == [f"{number}.dcm" for number in range(COUNT)]


def test_a_list_is_never_all_of_a_table_that_held_more(
    models: dict[str, Path], folder: Path, scored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (scored / "predictions.csv").read_bytes()
    with pytest.raises(UsageError, match="--force without one"):
        score_folder(models["A"], folder, out=scored, force=True, workers=1, names=["0.dcm"])
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Ledger, "finish", killed)
        score_folder(models["B"], folder, out=scored, resume=True, workers=1)
    with pytest.raises(UsageError, match="rows of both"):
        score_folder(models["B"], folder, out=scored, resume=True, workers=1, names=["5.dcm"])
    assert (scored / "predictions.csv").read_bytes() == before
    score_folder(models["A"], folder, out=scored, resume=True, workers=1, names=["5.dcm"])
    assert (scored / "predictions.csv").read_bytes() == before


def test_run_json_is_of_the_tables_also_while_another_model_s_run_goes_on_or_was_ended(
    models: dict[str, Path], folder: Path, scored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path: path.read_bytes() for path in scored.iterdir() if path.is_file() and path.name != "state.json"}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Ledger, "finish", killed)
        score_folder(models["B"], folder, out=scored, resume=True, workers=1, limits=Limits(seconds=77))
    assert {path: path.read_bytes() for path in files} == files
    ended = read_scores_record(scored, UNFINISHED)
    assert (ended.state, ended.model_id != said(scored)) == ("failed", True)
    assert len(Worklist.open(scored, models["A"]).cases) == COUNT
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ScoresRecord, "finished", killed)  # its tables are there, and it did not say so
        score_folder(models["B"], folder, out=scored, resume=True, workers=1)
    with pytest.raises(UsageError, match=r"rows of model .* score the folder again"):
        Worklist.open(scored, models["A"])
    assert score_folder(models["B"], folder, out=scored, resume=True, workers=1).reused == COUNT
    assert not (scored / UNFINISHED).exists()
    assert read_scores_record(scored).state == "finished"
    assert len(Worklist.open(scored, models["B"]).cases) == COUNT
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Ledger, "finish", killed)
        score_folder(models["A"], folder, out=scored, resume=True, workers=1)
    score_folder(models["A"], folder, out=scored, force=True, workers=1)
    assert not (scored / UNFINISHED).exists()
