"""A folder in, one row per file out: whatever the files are, and whenever the run is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from medres.cohort.manifest import read_manifest
from medres.errors import OutputExists
from medres.review.cases import Worklist
from medres.scoring.ledger import Ledger
from medres.tables import named_path, read_csv
from medres.unfinished import LOCK
from tests.conftest import Medres
from tests.phantoms import blob, write_radiograph


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    for number in range(12):
        tags = {} if number else {"ViewPosition": "AP"}
        pixels = blob(500 + number, bright=number % 2 == 0)
        write_radiograph(
            folder / f"{number:02d}.dcm", pixels, patient=f"{number:03d}", uid=f"2.25.{number + 1}", **tags
        )
    shutil.copy(folder / "00.dcm", folder / "copy.dcm")
    write_radiograph(folder / "clash.dcm", blob(900, bright=True), patient="9", uid="2.25.2")
    write_radiograph(folder / "unknown-burn.dcm", blob(500, bright=True), patient="8", uid="2.25.77", burned_in=None)
    (folder / "letter.txt").write_text("dear colleague")
    (folder / "=cut.dcm").write_bytes((folder / "00.dcm").read_bytes()[:900])
    (folder / "empty").touch()
    (folder / "deep" / "er").mkdir(parents=True)
    shutil.copy(folder / "03.dcm", folder / "deep" / "er" / "again.dcm")
    return folder


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "predictions.csv", dtype=str, keep_default_na=False).set_index("path")


def test_every_file_has_one_row_with_a_status_and_a_reason(
    small_model: Path, incoming: Path, tmp_path: Path, medres: Medres
) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in incoming.rglob("*"))
    done = medres("score", small_model, incoming, "--out", tmp_path / "out", "--heatmaps")
    assert done.returncode == 3, done.stderr
    rows = table(tmp_path / "out")
    assert len(rows) == 19
    assert list(rows.index) == sorted(rows.index)
    assert rows.loc["copy.dcm", ["status", "reason", "prob_disc"]].tolist() == ["duplicate", "DUPLICATE_IDENTICAL", ""]
    assert "00.dcm" in rows.loc["copy.dcm", "detail"]
    assert rows.loc["deep/er/again.dcm", "status"] == "duplicate"
    assert rows.loc["clash.dcm", ["status", "reason"]].tolist() == ["review", "DUPLICATE_CONFLICT"]
    assert rows.loc[["letter.txt", "empty"], "reason"].tolist() == ["NOT_DICOM", "NOT_DICOM"]
    assert rows.loc["./=cut.dcm", ["status", "reason"]].tolist() == ["refused", "TRUNCATED"]
    assert (rows["sha256"].str.len() == 64).all()
    scored = rows[rows["status"].isin(["ok", "review"])]
    assert scored["prob_disc"].astype(float).between(0, 1).all()
    assert scored["PatientKey"].nunique() == len(scored) - 0
    assert not {"PatientID", "PatientName"} & set(rows.columns)
    assert sorted((path, path.stat().st_mtime_ns) for path in incoming.rglob("*")) == before
    parquet = pd.read_parquet(tmp_path / "out" / "predictions.parquet").set_index("path")
    assert list(parquet.index) == list(rows.index)
    pictures = list((tmp_path / "out" / "heatmaps").glob("*.png"))
    exportable = scored[(scored["positive_disc"] == "1") & (scored.index != "unknown-burn.dcm")]
    assert len(pictures) == len(exportable)


def test_a_second_run_is_refused_and_resume_keeps_unchanged_rows(
    small_model: Path, incoming: Path, tmp_path: Path, medres: Medres
) -> None:
    out = tmp_path / "out"
    assert medres("score", small_model, incoming, "--out", out).returncode == 3
    first = (out / "predictions.csv").read_text()
    again = medres("score", small_model, incoming, "--out", out)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    assert (out / "predictions.csv").read_text() == first
    resumed = medres("score", small_model, incoming, "--out", out, "--resume")
    assert "rows of unchanged files were kept" in resumed.stdout
    assert (out / "predictions.csv").read_text() == first
    write_radiograph(incoming / "05.dcm", blob(999, bright=True), patient="005", uid="2.25.6")
    (incoming / "letter.txt").unlink()
    medres("score", small_model, incoming, "--out", out, "--resume")
    changed = table(out)
    assert "letter.txt" not in changed.index
    lines = [
        line.split(",")[0] for line in set(first.splitlines()) ^ set((out / "predictions.csv").read_text().splitlines())
    ]
    assert sorted(set(lines)) == ["05.dcm", "letter.txt"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are not UTF-8")
def test_names_that_are_no_text_have_their_rows_and_are_found_again(
    small_model: Path, tmp_path: Path, medres: Medres
) -> None:
    folder = tmp_path / os.fsdecode(b"r\xf6ntgen")
    names = [os.fsdecode(b"\xe9.dcm"), "Icon\r", "two\nlines.dcm", "100%0D.dcm", "plain.dcm"]
    for number, name in enumerate(names):
        write_radiograph(tmp_path / "x.dcm", blob(number, bright=True), patient=str(number), uid=f"2.25.{number + 1}")
        folder.mkdir(exist_ok=True)
        (tmp_path / "x.dcm").replace(folder / name)
    (folder / os.fsdecode(b"letter\xe9\r")).write_text("dear colleague")
    content = (folder / "plain.dcm").read_bytes()
    (folder / "syntax.dcm").write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.1\r008.1.2.1\0", 1))
    (folder / "circle").symlink_to("circle")
    assert medres("index", folder, "--out", tmp_path / "m.csv").returncode == 3
    manifest, refused = (read_csv(tmp_path / name) for name in ("m.csv", "refused.csv"))
    assert sorted(named_path(cell) for cell in manifest["path"]) == sorted(f"{folder.name}/{name}" for name in names)
    assert all(row.path.is_file() for row in read_manifest(tmp_path / "m.csv").rows)
    assert sorted(refused["reason"]) == ["NOT_DICOM", "UNREADABLE", "UNSUPPORTED_TRANSFER_SYNTAX"]
    out = tmp_path / "out"
    done = medres("score", small_model, folder, "--out", out)
    assert done.returncode == 3, done.stderr
    rows = table(out)
    assert sorted(map(named_path, rows.index)) == sorted(path.name for path in folder.iterdir())
    assert (rows["status"].isin(["ok", "review"])).sum() == len(names)
    assert "1.2.840.1 008.1.2.1" in rows.loc["syntax.dcm", "detail"]
    assert list(pd.read_parquet(out / "predictions.parquet")["path"]) == list(rows.index)
    before = (out / "predictions.csv").read_bytes()
    resumed = medres("score", small_model, folder, "--out", out, "--resume")
    assert "7 rows of unchanged files were kept" in resumed.stdout, resumed.stderr
    assert (out / "predictions.csv").read_bytes() == before
    worklist = Worklist.open(out, small_model)
    assert worklist.open_case(next(case for case in worklist.cases if case.path == "Icon\r"))


def test_a_killed_run_is_resumed_to_exactly_the_same_table(small_model: Path, tmp_path: Path, medres: Medres) -> None:
    folder = tmp_path / "in"
    for number in range(300):
        path = folder / f"{number:03d}.dcm"
        write_radiograph(path, blob(number, bright=number % 2 == 0), patient=str(number), uid=f"2.25.{number + 1}")
    assert medres("score", small_model, folder, "--out", tmp_path / "whole").returncode == 0
    command = [
        str(Path(sys.executable).with_name("medres")),
        "score",
        str(small_model),
        str(folder),
        "--out",
        str(tmp_path / "out"),
    ]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").glob("parts/*.csv")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    done = medres("score", small_model, folder, "--out", tmp_path / "out", "--resume")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "predictions.csv").read_text() == (tmp_path / "whole" / "predictions.csv").read_text()


def test_two_writers_of_one_folder_the_second_is_refused_and_the_holder_named(tmp_path: Path) -> None:
    with Ledger(tmp_path / "out", ["path"], resume=False, force=False) as ledger:
        ledger.announce({})
        with (
            pytest.raises(OutputExists, match=str(os.getpid())),
            Ledger(tmp_path / "out", ["path"], resume=True, force=False),
        ):
            pass
    assert not (tmp_path / "out" / LOCK).exists()


def test_scores_go_into_a_folder_behind_a_link_and_never_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    for force in (False, True):
        with Ledger(tmp_path / "out", ["path"], resume=False, force=force) as ledger:
            ledger.announce({})
            ledger.append([{"path": "a"}])
    assert (tmp_path / "out").is_symlink()
    assert len(list((tmp_path / "real" / "parts").iterdir())) == 1
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("gone")
    for name in ("file", "nowhere"):
        with pytest.raises(OutputExists, match="not a folder"):
            Ledger(tmp_path / name, ["path"], resume=False, force=True)


def test_a_lock_of_a_process_that_is_gone_does_not_hold(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Ledger(out, ["path"], resume=False, force=False) as ledger:
        ledger.announce({})
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    import socket

    (out / LOCK).write_text(json.dumps({"pid": gone.pid, "host": socket.gethostname()}))
    with Ledger(out, ["path"], resume=True, force=False):
        pass


def test_a_torn_part_is_set_aside_and_its_rows_are_missing(tmp_path: Path) -> None:
    with Ledger(tmp_path / "out", ["path", "status"], resume=False, force=False) as ledger:
        ledger.append([{"path": "a", "status": "ok"}])
        ledger.append([{"path": "b", "status": "ok"}])
        (tmp_path / "out" / "parts" / "000001.csv").write_bytes(b"\xff\xfe\x00torn")
        assert [row["path"] for row in ledger.rows()] == ["a"]
        assert (tmp_path / "out" / "parts" / "000001.damaged").exists()


def test_an_output_inside_the_scored_folder_is_refused(small_model: Path, incoming: Path, medres: Medres) -> None:
    done = medres("score", small_model, incoming, "--out", incoming / "out")
    assert done.returncode == 2
    assert not (incoming / "out").exists()


def test_the_model_gate_decides_what_is_scored(
    small_cohort: Path, incoming: Path, tmp_path: Path, medres: Medres
) -> None:
    from tests.conftest import TINY

    model = tmp_path / "gated"
    done = medres("train", small_cohort, "--label", "disc", "--out", model, *TINY, "--set", "gate=frontal-chest",
                  "--set", "training.stages=[{epochs: 1}]")  # fmt: skip
    assert done.returncode == 0, done.stderr
    write_radiograph(incoming / "hand.dcm", blob(5, bright=True), patient="7", uid="2.25.70", BodyPartExamined="HAND")
    medres("score", model, incoming, "--out", tmp_path / "out")
    assert table(tmp_path / "out").loc["hand.dcm", ["status", "reason"]].tolist() == ["refused", "BODY_PART"]
