"""A folder that is scored again every night: what did not change, what is gone, and what is there until the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.errors import GoneError, OutputExists, UsageError
from medres.imaging.isolation import Workers
from medres.scoring import known
from medres.scoring.folder import score_folder
from medres.scoring.known import STAMP, stamp, unchanged
from medres.scoring.ledger import ANEW, Ledger
from medres.scoring.table import RowTable, Selected
from tests.conftest import Medres
from tests.support.phantoms import blob, write_radiograph

COUNT = 12


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "predictions.csv", dtype=str, keep_default_na=False).set_index("path")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("night") / "in"
    for number in range(COUNT):
        image, uid = blob(number, bright=number % 2 == 0), f"2.25.{number + 1}"
        write_radiograph(folder / f"{number:02d}.dcm", image, patient=str(number), uid=uid)
    return folder


@pytest.fixture(scope="module")
def scored(archive: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scored") / "out"
    score_folder(small_model, archive, out=out, workers=1)
    return out


@pytest.fixture
def night(archive: Path, scored: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the archive and of its scores; the copies have other inodes and the same times."""
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(archive, folder)
    shutil.copytree(scored, out)
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "input": str(folder)}))
    return folder, out


def test_a_mount_that_vanishes_stops_the_run_and_its_return_changes_nothing(
    night: tuple[Path, Path], small_model: Path, medres: Medres
) -> None:
    folder, out = night
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    away = folder.with_name("away")
    away.mkdir()
    for path in sorted(folder.iterdir())[:7]:
        path.rename(away / path.name)
    done = medres("score", small_model, folder, "--out", out, "--resume")
    assert done.returncode == 1
    assert "7 of 12 files that were scored are gone" in done.stderr
    assert "--max-gone 59%" in done.stderr
    assert json.loads((out / "state.json").read_text())["state"] == "failed"
    before.pop(out / "state.json")
    assert {
        path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "state.json"
    } == before
    for path in away.iterdir():
        path.rename(folder / path.name)
    summary = score_folder(small_model, folder, out=out, resume=True, workers=1)
    assert summary.reused == COUNT
    assert (out / "predictions.csv").read_bytes() == before[out / "predictions.csv"]


def test_files_that_are_gone_keep_their_scores_and_get_their_rows_back(
    night: tuple[Path, Path], small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = night
    first, content = table(out), (folder / "03.dcm").read_bytes()
    (folder / "03.dcm").unlink()
    (folder / "05.dcm").rename(folder / "moved.dcm")
    summary = score_folder(small_model, folder, out=out, resume=True, workers=1)
    rows = table(out)
    assert (summary.files, summary.statuses["gone"], summary.reused) == (COUNT - 1, 1, COUNT - 1)
    assert rows.loc["03.dcm", ["status", "detail"]].tolist() == ["gone", f"was {first.loc['03.dcm', 'status']}"]
    assert rows.loc["03.dcm", "prob_disc"] == first.loc["03.dcm", "prob_disc"]
    assert "05.dcm" not in rows.index
    assert rows.loc["moved.dcm", "prob_disc"] == first.loc["05.dcm", "prob_disc"]
    (folder / "03.dcm").write_bytes(content)
    monkeypatch.setattr(known, "unchanged", None)
    score_folder(small_model, folder, out=out, resume=True, workers=1)
    assert table(out).loc["03.dcm"].tolist() == first.loc["03.dcm"].tolist()


def test_nothing_that_did_not_change_is_opened_and_verify_opens_all(
    night: tuple[Path, Path], small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = night
    score_folder(small_model, folder, out=out, resume=True, workers=1)  # the copies' inodes are noted
    opened: list[str] = []
    digest = known.file_sha256

    def noted(path: Path) -> str:
        opened.append(Path(path).name)
        return digest(path)

    monkeypatch.setattr(known, "file_sha256", noted)
    assert score_folder(small_model, folder, out=out, resume=True, workers=1).reused == COUNT
    with monkeypatch.context() as patched:
        patched.setattr(Workers, "__init__", _killed)  # none is needed
        assert score_folder(small_model, folder, out=out, resume=True, workers=1).reused == COUNT
    assert opened == []
    parts = sorted((out / "parts").iterdir())
    assert score_folder(small_model, folder, out=out, resume=True, workers=1, verify=True).reused == COUNT
    assert len(opened) == COUNT
    assert sorted((out / "parts").iterdir()) == parts  # nothing was made again, and nothing written
    os.utime(folder / "04.dcm")
    assert score_folder(small_model, folder, out=out, resume=True, workers=1).reused == COUNT
    assert opened[COUNT:] == ["04.dcm"]


def test_results_of_another_folder_are_not_resumed_and_the_same_folder_elsewhere_is(
    night: tuple[Path, Path], small_model: Path, tmp_path: Path
) -> None:
    folder, out = night
    other = tmp_path / "other"
    write_radiograph(other / "a.dcm", blob(99, bright=True), patient="99", uid="2.25.99")
    with pytest.raises(UsageError, match="is another folder: 0 of 12 known files"):
        score_folder(small_model, other, out=out, resume=True, workers=1)
    folder.rename(tmp_path / "remounted")
    assert score_folder(small_model, tmp_path / "remounted", out=out, resume=True, workers=1).reused == COUNT


def test_force_leaves_the_old_table_and_the_verdicts_until_the_new_one_is_whole(
    night: tuple[Path, Path], small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = night
    old = (out / "predictions.csv").read_bytes()
    (out / "reviews.db").write_bytes(b"verdicts")
    (folder / "00.dcm").unlink()
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(Ledger, "finish", _killed)
        score_folder(small_model, folder, out=out, force=True, workers=1)
    assert (out / "predictions.csv").read_bytes() == old
    assert json.loads((out / "state.json").read_text())["state"] == "failed"
    resumed = score_folder(small_model, folder, out=out, resume=True, workers=1)  # the forced run goes on
    assert (resumed.reused, resumed.files) == (COUNT - 1, COUNT - 1)
    assert "00.dcm" not in table(out).index
    assert not (out / ANEW).exists()
    assert (out / "reviews.db").read_bytes() == b"verdicts"
    assert json.loads((out / "state.json").read_text())["state"] == "finished"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_where_force_would_write_is_refused_and_nothing_stays_locked(
    night: tuple[Path, Path], small_model: Path, tmp_path: Path
) -> None:
    folder, out = night
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "whole.json").write_text('{"files": [], "heatmaps": true}')
    (out / ANEW).symlink_to(tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(OutputExists, match="is a link"):
            score_folder(small_model, folder, out=out, force=True, workers=1)
    assert (tmp_path / "elsewhere" / "whole.json").is_file()
    (out / ANEW).unlink()
    assert score_folder(small_model, folder, out=out, resume=True, workers=1).reused == COUNT


def _killed(*_: object, **__: object) -> None:
    raise RuntimeError("killed")


def test_a_swap_that_was_killed_anywhere_is_ended_by_the_next_run(
    night: tuple[Path, Path], small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = night
    old = (out / "predictions.csv").read_bytes()
    (folder / "00.dcm").unlink()  # so that the new table is another
    score_folder(small_model, folder, out=tmp_path / "new", workers=1)
    expected = (tmp_path / "new" / "predictions.csv").read_bytes()
    assert expected != old
    for place in range(1, 6):
        here = tmp_path / f"swapped-{place}"
        shutil.copytree(out, here)
        left = place

        def move(self: Path, target: Path, move: object = Path.replace) -> Path:
            nonlocal left
            if self.parent.name == ANEW:
                left -= 1
                if not left:
                    raise RuntimeError("killed")
            return move(self, target)  # type: ignore[operator, no-any-return]

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", move)
            patched.setattr(Path, "rename", move)  # the same for files and empty places
            try:
                score_folder(small_model, folder, out=here, force=True, workers=1)
            except RuntimeError:
                assert left <= 0  # what is written after an error counts as well
            assert (here / "predictions.csv").read_bytes() in {old, expected}
        begun = not (here / ANEW).exists() or any((here / ANEW / name).exists() for name in ("run.json", "whole.json"))
        done = score_folder(small_model, folder, out=here, resume=begun, force=not begun, workers=1)
        assert done.reused == (COUNT - 1 if begun else 0)
        assert (here / "predictions.csv").read_bytes() == expected


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("ending", ["SIGKILL", "SIGHUP"])
def test_a_run_that_is_ended_anywhere_goes_on_to_the_table_of_a_run_from_the_start(
    night: tuple[Path, Path], scored: Path, small_model: Path, tmp_path: Path, medres: Medres, ending: str
) -> None:
    folder, out = night[0], tmp_path / "new"
    command = [str(Path(sys.executable).with_name("medres")), "score", str(small_model), str(folder), "--out", str(out)]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (out / "state.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, getattr(signal, ending))
    running.wait()
    done = medres("score", small_model, folder, "--out", out, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert (out / "predictions.csv").read_text() == (scored / "predictions.csv").read_text()
    state = json.loads(done.stdout)
    assert (state["state"], state["files"]) == ("finished", COUNT)


def test_an_empty_night_is_no_mistake_unless_something_was_known(
    night: tuple[Path, Path], small_model: Path, tmp_path: Path, medres: Medres
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = medres("score", small_model, empty, "--out", tmp_path / "none")
    assert done.returncode == 0, done.stderr
    assert table(tmp_path / "none").empty
    assert "status" in table(tmp_path / "none").columns
    assert medres("score", small_model, empty, "--out", tmp_path / "four", "--fail-if-empty").returncode == 4
    with pytest.raises(GoneError, match="12 of 12 files"):
        score_folder(small_model, empty, out=night[1], resume=True, workers=1)


def test_how_a_run_ended_is_told_to_schedulers_and_monitors(
    night: tuple[Path, Path], small_model: Path, tmp_path: Path, medres: Medres
) -> None:
    folder, out = night
    (folder / "broken").write_bytes(b"no DICOM")
    metrics = tmp_path / "medres.prom"
    asked = ("score", small_model, folder, "--out", out, "--resume", "--metrics", metrics)
    assert medres(*asked).returncode == 3
    assert medres(*asked, "--max-refused", "10%").returncode == 0
    assert medres(*asked, "--max-refused", "seven").returncode == 2
    lines = metrics.read_text().splitlines()
    assert 'medres_score_rows{status="refused"} 1' in lines
    assert 'medres_score_reasons{reason="NOT_DICOM"} 1' in lines
    assert "medres_score_running 0" in lines
    assert json.loads((out / "run.json").read_text())["counts"]["statuses"]["refused"] == 1


@given(data=st.data())
def test_what_a_folder_says_of_known_files_is_what_hashing_all_would_say(data: st.DataObject) -> None:
    folder = Path(tempfile.mkdtemp())
    names = [f"{number}.dcm" for number in range(5)]
    rows: dict[str, dict[str, str]] = {}
    for name in names:
        (folder / name).write_bytes(data.draw(st.binary(min_size=1, max_size=2), label=name))
        facts = {"path": name, "sha256": known.file_sha256(folder / name), "status": "ok"}
        rows[name] = facts | {STAMP: stamp(folder / name)}
    for name in names:
        match data.draw(st.sampled_from(["stay", "touch", "gone", "move", "change"]), label=name):
            case "touch":
                os.utime(folder / name, (1, data.draw(st.integers(1, 9))))
            case "gone":
                (folder / name).unlink()
            case "move":
                (folder / name).rename(folder / f"new-{name}")
            case "change":
                (folder / name).write_bytes(b"another file, and longer")
    files = sorted(path.name for path in folder.iterdir())
    table = RowTable.of(list(rows.values()), [*rows["0.dcm"], "reason", "detail"])
    known_rows = Selected(table, np.arange(len(table)))
    found, verified = (unchanged(known_rows, folder, files, verify=verify, workers=1) for verify in (False, True))
    now = {row["path"]: row for row in found.found()}
    assert now.keys() == {row["path"] for row in verified.found()}
    for path, row in now.items():
        assert row["sha256"] == known.file_sha256(folder / path)
        assert row[STAMP] == stamp(folder / path)
    assert not found.gone & now.keys()
    for path in set(files) - now.keys():
        assert path not in rows or known.file_sha256(folder / path) != rows[path]["sha256"]


def rows_in_parts(out: Path) -> int:
    return sum(pd.read_parquet(path, columns=["path"]).shape[0] for path in (out / "parts").iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs there")
def test_what_is_refused_night_after_night_is_said_once(night: tuple[Path, Path], small_model: Path) -> None:
    folder, out = night
    os.mkfifo(folder / "fifo")
    (folder / "out").symlink_to(__file__)
    (folder / "broken").write_bytes(b"no DICOM")
    (folder / "locked").symlink_to(folder / "nothing")
    counts = []
    for _ in range(3):
        score_folder(small_model, folder, out=out, resume=True, workers=1)
        counts.append(rows_in_parts(out))
    assert counts == counts[:1] * 3
    assert table(out)["status"].value_counts()["refused"] >= 3
    (folder / "fifo").unlink()
    (folder / "fifo").write_bytes(b"no DICOM either")
    score_folder(small_model, folder, out=out, resume=True, workers=1)
    assert table(out).loc["fifo", "reason"] == "NOT_DICOM"


def test_rows_that_hold_no_longer_leave_the_parts(
    night: tuple[Path, Path], small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = night
    before = (out / "predictions.csv").read_bytes()

    def remounted() -> None:
        for path in folder.iterdir():
            os.utime(path)
        score_folder(small_model, folder, out=out, resume=True, workers=1)
        assert (out / "predictions.csv").read_bytes() == before

    def interrupted(self: Path, missing_ok: bool = False, unlink: Callable[..., None] = Path.unlink) -> None:
        if self.parent.name == "parts":
            raise KeyboardInterrupt
        unlink(self, missing_ok=missing_ok)

    counts = []
    for _ in range(4):
        remounted()
        counts.append(rows_in_parts(out))
    assert counts == [2 * COUNT, COUNT, 2 * COUNT, COUNT]
    remounted()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "unlink", interrupted)  # the old parts lie beside the new ones
        remounted()
    assert rows_in_parts(out) == 4 * COUNT
    assert score_folder(small_model, folder, out=out, resume=True, workers=1).reused == COUNT
    assert (out / "predictions.csv").read_bytes() == before
    assert rows_in_parts(out) == COUNT


def test_originals_that_were_deleted_are_not_gone_where_their_copies_are_there(
    night: tuple[Path, Path], small_model: Path
) -> None:
    folder, out = night
    first = table(out)
    (folder / "z").mkdir()
    for number in range(4):
        shutil.copy(folder / f"{number:02d}.dcm", folder / "z")
    assert score_folder(small_model, folder, out=out, resume=True, workers=1).statuses["duplicate"] == 4
    for number in range(4):
        (folder / f"{number:02d}.dcm").unlink()
    summary = score_folder(small_model, folder, out=out, resume=True, workers=1)
    assert (summary.files, summary.statuses["duplicate"], summary.statuses["gone"]) == (COUNT, 0, 0)
    rows = table(out)
    assert rows.loc["z/00.dcm", "prob_disc"] == first.loc["00.dcm", "prob_disc"]


def test_an_archive_that_deletes_old_files_is_still_itself_at_another_place(
    night: tuple[Path, Path], small_model: Path
) -> None:
    folder, out = night
    for path in sorted(folder.iterdir())[:8]:
        path.unlink()
    score_folder(small_model, folder, out=out, resume=True, workers=1, most_gone=1)
    there = folder.rename(folder.with_name("remounted"))
    summary = score_folder(small_model, there, out=out, resume=True, workers=1)
    assert (summary.reused, summary.statuses["gone"]) == (4, 8)


def test_what_a_killed_lock_left_is_in_nobodys_way(night: tuple[Path, Path], small_model: Path) -> None:
    folder, out = night[0], night[0].with_name("new")
    for options in ({}, {"resume": True}, {"force": True}):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        for name in (".lock", "..lock.holder.0123456789abcdef.partial"):
            (out / name).touch()
        assert score_folder(small_model, folder, out=out, workers=1, **options).files == COUNT  # type: ignore[arg-type]
        assert not list(out.glob("*.partial"))


def test_a_forced_run_that_was_ended_goes_on_with_a_word_and_can_be_dropped(
    night: tuple[Path, Path], small_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, out = night
    before = {path: path.read_bytes() for path in (out / "parts").iterdir()}
    for drop in (True, False):
        with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
            patched.setattr(Ledger, "finish", _killed)
            score_folder(small_model, folder, out=out, force=True, workers=1)
        if drop:
            shutil.rmtree(out / ANEW)
        caplog.clear()
        assert score_folder(small_model, folder, out=out, resume=True, workers=1).reused == COUNT
        told = [record.message for record in caplog.records if str(out / ANEW) in record.message]
        assert ["--force was ended" in message for message in told] == ([] if drop else [True])
        assert (before.keys() <= set((out / "parts").iterdir())) or not drop
