"""A folder in, one row per file out: whatever the files are, and whenever the run is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from medres.cohort.manifest import read_manifest
from medres.config import GATES, Limits, Preprocessing
from medres.errors import OutputExists
from medres.imaging.isolation import Workers
from medres.imaging.pictures import overlay
from medres.imaging.preprocessing import Placement, inspect, prepare
from medres.imaging.reading import read_radiograph
from medres.model.heatmaps.licence import UNMEASURED, LabelLicence
from medres.records import LabelScore, Prediction, Refusal
from medres.review.recomputing import Recomputation
from medres.scoring.columns import text_array
from medres.scoring.folder import Summary, score_folder
from medres.scoring.heatmaps import Drawn, HeatmapPolicy, HeatmapWriter
from medres.scoring.known import Unchanged
from medres.scoring.ledger import Ledger
from medres.scoring.record import ScoresRecord
from medres.scoring.resuming import kept_rows
from medres.scoring.table import RowTable
from medres.tables import named_path, read_csv
from medres.unfinished import LOCK
from tests.conftest import TINY, Medres
from tests.support.licences import licensed
from tests.support.phantoms import blob, write_radiograph
from tests.support.processes import loaded_after


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
    assert "not a UID" in rows.loc["syntax.dcm", "detail"]  # what was no UID is not quoted
    assert list(pd.read_parquet(out / "predictions.parquet")["path"]) == list(rows.index)
    before = (out / "predictions.csv").read_bytes()
    resumed = medres("score", small_model, folder, "--out", out, "--resume")
    # all but the transfer syntax, which another installation may read, and the circle, which is no file
    assert "6 rows of unchanged files were kept" in resumed.stdout, resumed.stderr
    assert (out / "predictions.csv").read_bytes() == before
    again = Recomputation.open(out, small_model)
    assert again.open_case(next(case for case in again.worklist.cases if case.path == "Icon\r"))


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
    while not list((tmp_path / "out").glob("parts/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    done = medres("score", small_model, folder, "--out", tmp_path / "out", "--resume")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "predictions.csv").read_text() == (tmp_path / "whole" / "predictions.csv").read_text()


def test_two_writers_of_one_folder_the_second_is_refused_and_the_holder_named(tmp_path: Path) -> None:
    with Ledger(tmp_path / "out", ["path"], resume=False, force=False) as ledger:
        ledger.announce(ScoresRecord())
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
            ledger.announce(ScoresRecord())
            ledger.append([{"path": "a"}])
            ledger.whole()
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
        ledger.announce(ScoresRecord())
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    import socket

    (out / LOCK).write_text(json.dumps({"pid": gone.pid, "host": socket.gethostname()}))
    with Ledger(out, ["path"], resume=True, force=False):
        pass


def test_a_file_that_was_refused_while_it_was_copied_is_scored_by_resume(
    small_model: Path, incoming: Path, tmp_path: Path, medres: Medres
) -> None:
    out, cut, whole = tmp_path / "out", incoming / "05.dcm", (incoming / "05.dcm").read_bytes()
    cut.write_bytes(whole[:900])
    assert medres("score", small_model, incoming, "--out", out).returncode == 3
    assert table(out).loc["05.dcm", ["reason", "sha256"]].tolist() == ["TRUNCATED", sha256(whole[:900]).hexdigest()]
    cut.write_bytes(whole)
    medres("score", small_model, incoming, "--out", out, "--resume")
    assert table(out).loc["05.dcm", "status"] in {"ok", "review"}
    assert table(out).loc["05.dcm", "sha256"] == sha256(whole).hexdigest()


def assert_same_outcome(out: Path, other: Path) -> None:
    """The same rows, apart from those of files that are gone; a probability may differ by a few roundings, for images
    were scored in batches of another size."""
    found, expected = table(out), table(other)
    found = found[found["status"] != "gone"]
    scores = [name for name in found if name.startswith("prob_")]
    pd.testing.assert_frame_equal(found.drop(columns=scores), expected.drop(columns=scores))
    values = [rows[scores].apply(pd.to_numeric) for rows in (found, expected)]
    pd.testing.assert_frame_equal(*values, rtol=0, atol=1e-5)


def test_resume_of_a_changed_folder_says_what_a_run_from_the_start_would(small_model: Path, tmp_path: Path) -> None:
    """Conflicts, copies and links that come, change and go; each time every row is the same as from the start."""
    folder, out = tmp_path / "in", tmp_path / "out"

    def put(name: str, seed: int, uid: int) -> None:
        write_radiograph(folder / name, blob(seed, bright=True), patient=str(uid), uid=f"2.25.{uid}")

    def link() -> None:
        (folder / "a").symlink_to(folder / "m", target_is_directory=True)

    put("m/1.dcm", 1, 1)
    put("m/2.dcm", 2, 2)
    put("z.dcm", 3, 3)
    steps: list[Callable[[], object]] = [
        lambda: None,
        lambda: put("b.dcm", 4, 1),  # a conflict, sorted before the row that is kept
        lambda: put("b.dcm", 4, 9),  # and gone again
        lambda: shutil.copy(folder / "z.dcm", folder / "c.dcm"),  # the copy comes first: z is the duplicate
        lambda: put("c.dcm", 5, 5),  # z is none any more
        lambda: put("x.dcm", 6, 2),  # a conflict, sorted after the row that is kept
        lambda: (folder / "m/2.dcm").unlink(),
        link,  # everything below m has another name now
    ]
    for number, step in enumerate(steps):
        step()
        score_folder(small_model, folder, out=out, resume=bool(number), workers=1, most_gone=1.0)
        score_folder(small_model, folder, out=tmp_path / str(number), workers=1)
        assert_same_outcome(out, tmp_path / str(number))
    assert score_folder(small_model, folder, out=out, resume=True, workers=1).reused == sum(
        table(out)["status"] != "gone"
    )


def test_the_last_row_of_a_file_counts_and_a_copy_is_kept_with_its_original() -> None:
    def row(path: str, **more: str) -> dict[str, str]:
        blank = dict.fromkeys(("sha256", "pixels_sha256", "reason", "detail"), "")
        return {"path": path, "status": "ok", "SOPInstanceUID": "1", **blank, **more}

    def kept(rows: list[dict[str, str]], files: list[str], *, holds: Callable[..., bool] = bool) -> list[str]:
        known = RowTable.of(rows, [*rows[0], "file_stamp"])
        latest = {row["path"]: number for number, row in enumerate(known.rows())}
        numbers, stamps = np.array([latest[path] for path in files]), text_array([""] * len(files))
        held = Unchanged(known, files, numbers, stamps, np.zeros(len(files), np.bool_), frozenset())
        return list(kept_rows(held, holds=holds))

    copy = row("b", status="duplicate", detail="the same image as a")
    assert kept([row("a"), copy], ["a", "b"]) == ["a", "b"]
    assert kept([copy], ["b"]) == []
    other = row("c", status="review", reason="DUPLICATE_CONFLICT", sha256="2", pixels_sha256="2")
    assert kept([row("a"), other], ["a", "c"]) == ["a", "c"]
    assert kept([row("a"), other], ["c"]) == []
    newer = row("a", reason="TRUNCATED")
    assert kept([row("a"), newer], ["a"], holds=lambda row: row["reason"] == "") == []


def test_results_under_another_pseudonym_key_are_not_resumed_and_the_record_does_not_show_the_key(
    small_model: Path, incoming: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, medres: Medres
) -> None:
    out = tmp_path / "out"
    score_folder(small_model, incoming, out=out, workers=1)
    assert os.environ["MEDRES_PSEUDONYM_KEY"] not in (out / "run.json").read_text()
    monkeypatch.setenv("MEDRES_PSEUDONYM_KEY", "another key of enough bytes")
    refused = medres("score", small_model, incoming, "--out", out, "--resume")
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert not (out / LOCK).exists()
    score_folder(small_model, incoming, out=out, force=True, workers=1)


def test_no_heatmap_is_drawn_of_a_label_that_failed_and_another_licence_draws_anew(
    small_model: Path, incoming: Path, tmp_path: Path
) -> None:
    model, out = licensed(small_model, tmp_path / "model", {"disc": "validated"}), tmp_path / "out"
    drawn = HeatmapPolicy(enabled=True)

    def names(*, resume: bool) -> tuple[set[str], Summary]:
        summary = score_folder(model, incoming, out=out, heatmaps=drawn, workers=1, resume=resume)
        return {path.name for path in out.glob("heatmaps/*")}, summary

    first, summary = names(resume=False)
    assert (len(first), summary.heatmaps_failed) == (summary.heatmaps, 0)
    licensed(small_model, model, {"disc": "not validated"}, created="2026-11-28T00:00:01Z")
    second, _ = names(resume=True)
    assert len(second) == len(first)
    assert not first & second  # a picture says what its licence was
    licensed(small_model, model, {"disc": "failed"}, created="2026-11-28T00:00:02Z")
    assert names(resume=True)[0] == set()
    last = score_folder(model, incoming, out=tmp_path / "new", heatmaps=drawn, workers=1)
    assert (last.heatmaps, last.heatmaps_failed) == (0, summary.heatmaps + summary.heatmaps_withheld)
    assert any("have failed" in line for line in last.lines())


def test_resume_draws_the_heatmaps_that_are_missing(small_model: Path, incoming: Path, tmp_path: Path) -> None:
    drawn = HeatmapPolicy(enabled=True)
    score_folder(small_model, incoming, out=tmp_path / "whole", heatmaps=drawn, workers=1)
    score_folder(small_model, incoming, out=tmp_path / "out", workers=1)
    summary = score_folder(small_model, incoming, out=tmp_path / "out", heatmaps=drawn, resume=True, workers=1)
    wanted, found = (sorted(path.name for path in (tmp_path / run).glob("heatmaps/*")) for run in ("whole", "out"))
    assert found == wanted != []
    assert summary.heatmaps == len(wanted)
    assert_same_outcome(tmp_path / "out", tmp_path / "whole")
    again = score_folder(small_model, incoming, out=tmp_path / "out", heatmaps=drawn, resume=True, workers=1)
    assert again.reused == again.files


def test_pictures_of_another_model_are_drawn_anew_and_do_not_stay(
    small_model: Path, small_run: Path, incoming: Path, tmp_path: Path
) -> None:
    drawn, out = HeatmapPolicy(enabled=True), tmp_path / "out"
    score_folder(small_model, incoming, out=out, heatmaps=drawn, workers=1)
    pictures = out / "heatmaps"
    of_first = {path.name for path in pictures.iterdir()}
    (pictures / "notes.txt").write_text("of a reader")
    score_folder(small_run, incoming, out=out, resume=True, workers=1)
    assert [path.name for path in pictures.iterdir()] == ["notes.txt"]
    score_folder(small_run, incoming, out=out, heatmaps=drawn, resume=True, workers=1)
    score_folder(small_run, incoming, out=tmp_path / "whole", heatmaps=drawn, workers=1)
    (pictures / "notes.txt").unlink()
    content = {path.name: path.read_bytes() for path in pictures.iterdir()}
    assert content == {path.name: path.read_bytes() for path in (tmp_path / "whole" / "heatmaps").iterdir()}
    assert content.keys().isdisjoint(of_first)


class _Labelled:
    """As much of a classifier as a picture needs, with labels that are no file names."""

    labels = ("view_is_AP/LAT", "../view_is_AP LAT")
    model_id = "resnet18-0123456789"
    preprocessing, gate = Preprocessing(size=64), GATES["any"]

    def native_heatmap(self, placement: Placement, cells: np.ndarray) -> np.ndarray:
        return placement.restore(cells)

    def heatmap_scale(self, label: str, *, stride: int) -> float:
        return 1.0

    def licence(self, label: str, *, stride: int) -> LabelLicence:
        return UNMEASURED


def test_a_heatmap_has_a_name_whatever_its_label_and_is_drawn_over_the_image_that_was_scored(tmp_path: Path) -> None:
    path = write_radiograph(tmp_path / "a.dcm", blob(1, bright=True), patient="1", uid="2.25.1")
    model: Any = _Labelled()
    policy = HeatmapPolicy(enabled=True)
    job = partial(prepare, spec=model.preprocessing, gate=model.gate, limits=Limits())
    item = job(str(path), pictured=policy.pictured)
    positive = {label: LabelScore(1.0, 0.5, True) for label in model.labels}
    prediction = Prediction("2.25.1", "m", positive, "ok", "")
    scores: Any = SimpleNamespace(shown=lambda place, label: np.ones((4, 4), np.float32))
    write_radiograph(path, blob(2, bright=True), patient="1", uid="2.25.1")  # it changes: the picture is the scored one
    with HeatmapWriter(model, tmp_path / "out", policy) as writer:
        assert not writer.are_there(item.sha256, model.labels, [])
        assert writer.draw(item, prediction, scores, 0) == Drawn(written=2)
        assert writer.draw(job(str(path)), prediction, scores, 0) == Drawn(withheld=2)
    assert writer.are_there(item.sha256, model.labels, [])
    pictures = sorted((tmp_path / "out").iterdir())
    assert len(pictures) == 2
    shown = cv2.imread(str(pictures[0]))[: 6 * 96 : 6]  # below it stand legend and words
    left = (shown.shape[1] - 6 * 80) // 2
    shown = shown[:, left : left + 6 * 80 : 6, ::-1].astype(int)
    then, now = (
        overlay(pixels, np.ones((96, 80), np.float32), scale=1.0).astype(int)[4:-4, 4:-4]  # the contour is the edge
        for pixels in (item.picture, read_radiograph(path).pixels)
    )
    assert np.abs(shown[4:-4, 4:-4] - then).max() == 0
    assert np.abs(shown[4:-4, 4:-4] - now).max() > 30


def test_a_refusal_by_size_names_no_bytes_and_every_other_one_the_bytes_that_were_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 101)
    (tmp_path / "text").write_bytes(b"x" * 99)
    job = partial(inspect, gate=GATES["any"], limits=Limits(file_bytes=100))
    with Workers(1) as pool:
        large, text = (
            found for _, found in pool.map(job, [str(tmp_path / "large"), str(tmp_path / "text")], ordered=True)
        )
    assert isinstance(large, Refusal)
    assert isinstance(text, Refusal)
    assert (large.code, large.sha256) == ("LIMIT", "")
    assert (text.code, text.sha256) == ("NOT_DICOM", sha256(b"x" * 99).hexdigest())


@pytest.mark.parametrize("left", [[], [LOCK], [LOCK, ".run.json.x1"], [LOCK, "parts/"]], ids=str)
@pytest.mark.parametrize("how", ["plain", "resume", "force"])
def test_a_run_that_was_killed_before_it_said_what_it_is_is_in_nobody_s_way(
    tmp_path: Path, left: list[str], how: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in left:
        (out / name).mkdir() if name.endswith("/") else (out / name).write_text("")
    with Ledger(out, ["path"], resume=how == "resume", force=how == "force") as ledger:
        ledger.announce(ScoresRecord())
    (out / "run.json").unlink()
    (out / "parts" / "000000.csv").write_text("path\n")
    with pytest.raises(OutputExists):
        Ledger(out, ["path"], resume=how == "resume", force=how == "force")


def test_a_torn_part_is_set_aside_and_its_rows_are_missing(tmp_path: Path) -> None:
    with Ledger(tmp_path / "out", ["path", "status"], resume=False, force=False) as ledger:
        for name in ("a", "b"):
            ledger.append([{"path": name, "status": "ok"}])
            ledger.parts.flush()
        (tmp_path / "out" / "parts" / "000001.parquet").write_bytes(b"\xff\xfe\x00torn")
        assert [row["path"] for row in ledger.parts.rows().rows()] == ["a"]
        assert (tmp_path / "out" / "parts" / "000001.damaged").exists()


@pytest.mark.slow
def test_scoring_one_file_loads_no_compiler_no_reader_of_tables_and_nothing_of_training(
    format3_model: Path, tmp_path: Path
) -> None:
    """What `medres score` costs is the import of torch, its forward passes, and one process that decodes."""
    write_radiograph(tmp_path / "in" / "a.dcm", blob(3, bright=True), patient="1", uid="2.25.1")
    asked = ["medres", "score", str(format3_model), str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--heatmaps"]
    code = f"sys.argv = {asked!r}\nfrom medres.cli import main\ntry:\n    main()\nexcept SystemExit as ending:\n"
    loaded = loaded_after(f"{code}    assert ending.code == 0")
    assert {"torch", "pyarrow", "cv2"} <= loaded
    unwanted = {
        *("torch._dynamo", "torch._inductor", "torchvision", "sympy"),
        *("scipy", "sklearn", "pandas", "monai", "ignite", "matplotlib", "jinja2", "streamlit", "sqlalchemy"),
        *(() if list((tmp_path / "out").rglob("*.png")) else ("pydicom", "imagecodecs", "PIL")),  # of pictures
    }
    assert loaded & unwanted == set()


def test_an_output_inside_the_scored_folder_is_refused(small_model: Path, incoming: Path, medres: Medres) -> None:
    done = medres("score", small_model, incoming, "--out", incoming / "out")
    assert done.returncode == 2
    assert not (incoming / "out").exists()


def test_the_model_gate_decides_what_is_scored(
    small_cohort: Path, incoming: Path, tmp_path: Path, medres: Medres
) -> None:
    model = tmp_path / "gated"
    asked = ("--label", "disc", "--out", model, *TINY, "--set", "gate=frontal-chest")
    done = medres("train", small_cohort, *asked, made="disc")
    assert done.returncode == 0, done.stderr
    write_radiograph(incoming / "hand.dcm", blob(5, bright=True), patient="7", uid="2.25.70", BodyPartExamined="HAND")
    medres("score", model, incoming, "--out", tmp_path / "out")
    assert table(tmp_path / "out").loc["hand.dcm", ["status", "reason"]].tolist() == ["refused", "BODY_PART"]
