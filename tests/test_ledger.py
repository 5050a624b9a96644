"""What a ledger merges is what a simple list of rows would give, whatever the parts were and however they came."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medres import files
from medres.errors import MedresError, OutputExists
from medres.scoring.columns import Cell
from medres.scoring.evidence import EVIDENCE
from medres.scoring.known import GONE, SCORED, STAMP
from medres.scoring.ledger import Ledger, shown_columns
from medres.scoring.record import ScoresRecord
from medres.tables import inert, inert_path, read_csv, read_json

COLUMNS = [
    "path", "sha256", "status", "reason", "SOPInstanceUID", "prob_a", "positive_a", "model_id", "detail",
    "pixels_sha256", STAMP,
]  # fmt: skip
ENSEMBLE = [*COLUMNS, "folds_a", "cells_a"]
Rows = list[dict[str, Cell]]

NAMES = ["a", "=b", "ü/c", "Icon\r", "zz", "\U0001f9b4", "\uffff", "B"]
LINES = st.fixed_dictionaries(
    {
        "path": st.sampled_from(NAMES).map(inert_path),
        "sha256": st.sampled_from(["", "1", "2", "3"]),
        "status": st.sampled_from(["ok", "review", "refused", "duplicate", GONE]),
        "reason": st.sampled_from(["", "OUTLIER", "NOT_DICOM"]),
        "prob_a": st.one_of(st.none(), st.floats(0, 1)),
        "positive_a": st.sampled_from([None, 0, 1]),
        "model_id": st.sampled_from(["m", "n"]),
        "detail": st.sampled_from(["", "=1+1", "two\nlines", "a\rb", "'x", "-1"]),
    }
)


def merged(rows: Sequence[Mapping[str, Cell]], paths: Sequence[str], model_id: str) -> list[Mapping[str, Cell]]:
    """The rows of the tables, said simply."""
    latest: dict[object, Mapping[str, Cell]] = {row["path"]: row for row in rows if row["model_id"] == model_id}
    here = set(paths)
    hashes = {latest[path]["sha256"] for path in here}
    for path, row in latest.items():
        lasting = row["status"] in {*SCORED, GONE} and row["sha256"] not in hashes
        if path not in here and lasting:
            here.add(str(path))
            if row["status"] != GONE:
                detail = f"was {row['status']} {row['reason']}".strip()
                latest[path] = {**row, "status": GONE, "reason": "", "detail": detail}
    return [latest[path] for path in sorted(here)]


def as_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Cell]]) -> bytes:
    """A table as the first versions wrote it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([inert(row.get(name)) for name in columns] for row in rows)
    return text.getvalue().replace("\r", " ").encode()


@settings(max_examples=40)
@given(parts=st.lists(st.tuples(st.booleans(), st.lists(LINES, min_size=1, max_size=6)), max_size=5), data=st.data())
def test_tables_are_those_of_a_simple_list_of_rows(parts: list[tuple[bool, Rows]], data: st.DataObject) -> None:
    out = Path(tempfile.mkdtemp()) / "out"
    with Ledger(out, COLUMNS, resume=False, force=False) as ledger:
        ledger.announce(ScoresRecord())
        for number, (old, rows) in enumerate(parts):
            if old:  # what an earlier version wrote
                (out / "parts" / f"{number:06d}.csv").write_bytes(as_csv(COLUMNS, rows))
            else:
                ledger.parts._number = number
                ledger.append(rows)
                ledger.parts.flush()
    everything = [row for _, rows in parts for row in rows]
    known = sorted({str(row["path"]) for row in everything if row["model_id"] == "m"})
    paths = data.draw(st.lists(st.sampled_from(known), unique=True) if known else st.just([]))
    with Ledger(out, COLUMNS, resume=True, force=False) as ledger:
        assert [row["path"] for row in ledger.parts.rows().rows()] == [row["path"] for row in everything]
        found = ledger.finish(paths, model_id="m")
        expected = merged(everything, paths, "m")
        assert (out / "predictions.csv").read_bytes() == as_csv(shown_columns(COLUMNS), expected)
        assert pd.read_parquet(out / "predictions.parquet")["path"].tolist() == [row["path"] for row in expected]
        statuses = [row["status"] for row in expected]
        assert found.counts("status") == {status: statuses.count(status) for status in set(statuses)}
        assert ledger.finish(paths, model_id="m").counts("status") == found.counts("status")
    assert not (out / EVIDENCE).exists()


def test_evidence_is_kept_for_the_rows_that_have_any_also_when_their_files_moved_or_went(tmp_path: Path) -> None:
    rows: Rows = [{"path": f"{number}", "sha256": str(number), "status": "ok", "model_id": "m"} for number in range(4)]
    rows[1] |= {"folds_a": [0.25, 0.75], "cells_a": b"\x00\x3c" * 4}
    rows[2] |= {"folds_a": [0.5, 1.0]}
    with Ledger(tmp_path / "out", ENSEMBLE, resume=False, force=False) as ledger:
        ledger.announce(ScoresRecord())
        ledger.append(rows[:2])
        ledger.parts.flush()
        ledger.append(rows[2:])
        ledger.finish(["0", "2", "3"], model_id="m")  # 1 is gone
        again = ledger.finish(["0", "1", "3"], model_id="m")
        assert again.counts("status") == {"ok": 2, GONE: 2}
    assert "cells_a" not in pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    found = pd.read_parquet(tmp_path / "out" / EVIDENCE)
    assert found.columns.tolist() == ["path", "sha256", "folds_a", "cells_a"]
    assert found["path"].tolist() == ["1", "2"]
    assert [list(value) for value in found["folds_a"]] == [[0.25, 0.75], [0.5, 1.0]]
    assert found["cells_a"].tolist() == [b"\x00\x3c" * 4, None]
    with Ledger(tmp_path / "out", COLUMNS, resume=True, force=False) as ledger:  # a run that keeps none
        ledger.announce(ScoresRecord())
        ledger.finish(["0", "1", "3"], model_id="m")
        assert pd.read_parquet(tmp_path / "out" / EVIDENCE)["path"].tolist() == ["1", "2"]
        ledger.append([{**row, "model_id": "other"} for row in (rows[0], rows[3])])
        ledger.finish(["0", "3"], model_id="other")
    assert not (tmp_path / "out" / EVIDENCE).exists()


def test_a_part_that_is_damaged_while_the_run_goes_on_is_named_and_resumed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(MedresError, match="lacks the rows of 1 files"):  # noqa: SIM117
        with Ledger(out, COLUMNS, resume=False, force=False) as ledger:
            ledger.announce(ScoresRecord(state="running"))
            for name in ("a", "b"):
                ledger.append([{"path": name, "status": "ok", "model_id": "m"}])
                ledger.parts.flush()
            part = out / "parts" / "000001.parquet"
            part.write_bytes(part.read_bytes()[:-9])
            ledger.finish(["a", "b"], model_id="m")
    assert read_json(out / "run.json")["state"] == "failed"
    with Ledger(out, COLUMNS, resume=True, force=False) as ledger:
        assert ledger.latest(model_id="m").text("path").to_pylist() == ["a"]


def test_rows_that_wait_are_written_when_a_run_is_interrupted(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), Ledger(out, COLUMNS, resume=False, force=False) as ledger:
        ledger.announce(ScoresRecord(state="running"))
        ledger.append([{"path": "a", "status": "ok", "model_id": "m"}])
        assert not list((out / "parts").iterdir())
        raise KeyboardInterrupt
    with Ledger(out, COLUMNS, resume=True, force=False) as ledger:
        assert ledger.latest(model_id="m").text("path").to_pylist() == ["a"]
        assert (ledger.record() or ScoresRecord()).state == "failed"


class _Full:
    """A disk that is full from a certain write on."""

    def __init__(self, file: object, counted: Iterator[bool]) -> None:
        self._file, self._counted = file, counted

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def write(self, content: bytes) -> int:
        if next(self._counted):
            raise OSError(28, os.strerror(28))
        return self._file.write(content)  # type: ignore[attr-defined, no-any-return]


@contextmanager
def full_after(monkeypatch: pytest.MonkeyPatch, writes: int) -> Iterator[list[int]]:
    """Inside, the disk takes so many writes and is full from then on."""
    done = [0]

    def counted() -> Iterator[bool]:
        while True:
            done[0] += 1
            yield done[0] > writes

    count, opened = counted(), os.fdopen
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fdopen", lambda *given: _Full(opened(*given), count))
        yield done


def a_run(out: Path, rows: Sequence[Mapping[str, Cell]], *, resume: bool) -> None:
    """As `score_folder` uses a ledger: rows that are known are not made again."""
    with Ledger(out, ENSEMBLE, resume=resume, force=False) as ledger:
        known = set(ledger.latest(model_id="m").text("path").to_pylist()) if resume else set()
        ledger.announce(ScoresRecord(state="running"))
        for row in rows:
            if row["path"] not in known:
                ledger.append([row])
                if len(str(row["path"])) % 7 == 0:
                    ledger.parts.flush()
        ledger.finish([str(row["path"]) for row in rows], model_id="m")
        ledger.announce(ScoresRecord(state="finished"))
        ledger.whole()


def full_at(points: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Fill the disk at so many points of a run; each leaves nothing that is half, and is resumed to the same tables.

    Returns:
        How many runs ended early, and how many messages named a path of the folder.
    """
    rows: Rows = [
        {"path": "x" * (number + 1), "sha256": str(number), "status": "ok", "prob_a": number / 99, "positive_a": 0,
         "model_id": "m", "cells_a": os.urandom(64)}
        for number in range(60)
    ]  # fmt: skip
    with full_after(monkeypatch, 10**9) as done:
        a_run(folder / "whole", rows, resume=False)
    ended = named = 0
    for point in range(points):
        out = folder / str(point)
        with full_after(monkeypatch, point * done[0] // points):
            try:
                a_run(out, rows, resume=False)
            except OSError as error:
                ended += 1
                named += str(out) in str(error)
        for path in out.rglob("*"):
            assert not path.name.endswith(".partial")
            if path.suffix == ".parquet":
                pd.read_parquet(path)
            if path.name == "run.json":
                json.loads(path.read_text())
        assert not (out / "predictions.csv").exists() or len(read_csv(out / "predictions.csv")) == len(rows)
        a_run(out, rows, resume=(out / "run.json").exists())
        for name in ("predictions.csv", EVIDENCE):
            assert (out / name).read_bytes() == (folder / "whole" / name).read_bytes()
    return ended, named


def test_a_disk_that_is_full_leaves_nothing_half_and_the_message_names_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert full_at(6, tmp_path, monkeypatch) == (6, 6)


@pytest.mark.sweep
def test_so_does_one_that_is_full_at_any_of_fifty_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended, named = full_at(50, tmp_path, monkeypatch)
    with capsys.disabled():
        print(f"\n{ended} of 50 runs met a full disk, {named} named the path, all were resumed to the same tables")
    assert ended == named == 50


def raced(folder: Path) -> int:
    """Two writers of one folder at once.

    Returns:
        How many had it.
    """
    together, let_go = threading.Barrier(2), threading.Barrier(2)
    won: list[int] = []

    def one() -> None:
        together.wait()
        try:
            with Ledger(folder, COLUMNS, resume=False, force=True) as ledger:
                won.append(1)
                ledger.announce(ScoresRecord())
                let_go.wait()
        except OutputExists:
            let_go.wait()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(won)


def test_of_two_writers_at_once_one_has_the_folder(tmp_path: Path) -> None:
    assert [raced(tmp_path / str(number)) for number in range(5)] == [1] * 5


RACER = """
import sys, time
from pathlib import Path
from medres.errors import OutputExists
from medres.scoring.ledger import Ledger
from medres.scoring.record import ScoresRecord
print("ready", flush=True)
for line in sys.stdin:
    try:
        with Ledger(Path(line.strip()), ["path"], resume=False, force=True) as ledger:
            ledger.announce(ScoresRecord())
            began = time.monotonic()
            time.sleep(0.05)
            print(began, time.monotonic(), flush=True)
    except OutputExists:
        print("refused", flush=True)
"""


@pytest.mark.sweep
def test_two_processes_that_race_a_hundred_times_never_both_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = []
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    for number in range(100):
        for racer in racers:
            assert racer.stdin
            racer.stdin.write(f"{tmp_path / str(number)}\n")
            racer.stdin.flush()
        said.append([racer.stdout.readline().split() for racer in racers if racer.stdout])
    for racer in racers:
        racer.communicate()
    refused = sum(["refused"] in pair for pair in said)
    with capsys.disabled():
        print(f"\n100 races: {refused} times the second was refused, {100 - refused} times it came after the first")
    for pair in said:
        spans = sorted([float(began), float(ended)] for began, ended in (one for one in pair if len(one) == 2))
        assert spans
        assert len(spans) == 1 or spans[0][1] <= spans[1][0]


MADE = """
import hashlib, json, resource, sys, time
from pathlib import Path
if sys.argv[4] == "torch":
    import torch
from medres.scoring import known
from medres.scoring.known import unchanged
from medres.scoring.ledger import Ledger
from medres.scoring.record import ScoresRecord
from medres.scoring.resuming import kept_rows
out, count, resume = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "resume"
columns = ["path", "sha256", "status", "reason", "SOPInstanceUID", "StudyInstanceUID", "PatientKey", "ViewPosition",
           "prob_disc", "positive_disc", "model_id", "warnings", "detail", "pixels_sha256", "file_stamp"]
files = [f"{number // 1000:04d}/radiograph-{number:07d}.dcm" for number in range(count)]
def stamp(path):
    number = int(str(path)[-11:-4])
    return f"{5000000 + number} 1732700000{number:09d} {40000000 + number}"
def made(number):
    text = hashlib.sha256(b"%d" % number).hexdigest()
    path = files[number]
    row = {"path": path, "sha256": text, "model_id": "resnet18-0123456789ab", "file_stamp": stamp(path)}
    if number % 50 == 7:
        return row | {"status": "refused", "reason": "NOT_DICOM", "detail": f"no DICOM: begins with {number}"}
    root = "1.2.826.0.1.3680043.8.498."
    return row | {
        "status": "ok", "SOPInstanceUID": f"{root}{int(text[:24], 16)}", "PatientKey": text[:12], "ViewPosition": "PA",
        "StudyInstanceUID": f"{root}{int(text[24:48], 16)}", "prob_disc": int(text[:8], 16) / 2**32,
        "positive_disc": number % 2, "pixels_sha256": text[::-1]}
known.stamp = stamp
with Ledger(out, columns, resume=resume, force=False) as ledger:
    began = time.monotonic()
    if resume:
        held = unchanged(ledger.latest(model_id="resnet18-0123456789ab"), Path("in"), files, verify=False, workers=1)
        kept = kept_rows(held, holds=lambda row: row["reason"] != "LIMIT" and row["positive_disc"] in {"0", "1", ""})
        assert len(kept) == count and not kept.missing()
        ledger.renew(held, kept.places())
    else:
        ledger.announce(ScoresRecord(state="running"))
        for first in range(0, count, 128):
            ledger.append([made(number) for number in range(first, min(count, first + 128))])
        began = time.monotonic()
    rows = ledger.finish(files, model_id="resnet18-0123456789ab")
    assert rows.counts("status").total() == count
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, time.monotonic() - began]))
"""


def made_ledger(out: Path, count: int, how: str, *, beside: str = "") -> tuple[int, float]:
    """So many rows made and merged, or resumed: most memory resident (MiB), and seconds of the merge."""
    done = subprocess.run(
        [sys.executable, "-c", MADE, str(out), str(count), how, beside], check=True, capture_output=True, text=True
    )
    most, seconds = json.loads(done.stdout)
    return most, seconds


@pytest.mark.sweep
def test_a_million_rows_take_less_than_one_and_a_half_gigabytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for how in ("new", "resume"):
        most, seconds = made_ledger(tmp_path / "out", 1_000_000, how, beside="torch")
        with capsys.disabled():
            print(f"\n1,000,000 rows, {how}: {most} MiB resident at most, {seconds:.0f} s")
        assert most * 2**20 < 1.5e9
        content = (tmp_path / "out" / "predictions.csv").read_bytes()
        (tmp_path / f"{how}.csv").write_bytes(content)
    assert (tmp_path / "new.csv").read_bytes() == (tmp_path / "resume.csv").read_bytes()


@pytest.mark.slow
def test_rows_of_a_ledger_take_little_memory(tmp_path: Path) -> None:
    few, _ = made_ledger(tmp_path / "few", 1_000, "new")
    many, _ = made_ledger(tmp_path / "many", 40_000, "new")
    again, _ = made_ledger(tmp_path / "many", 40_000, "resume")
    assert max(many, again) - few < 160  # MiB; as dictionaries they took 360
