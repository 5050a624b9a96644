"""Parts are Parquet that any program reads, and those of earlier versions are read beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow.dataset
import pytest

from medres.errors import MedresError
from medres.scoring import parts
from medres.scoring.columns import Cell
from medres.scoring.parts import PART_ROWS, SECONDS, Parts

COLUMNS = ["path", "sha256", "status", "prob_a", "positive_a", "pixels_sha256", "file_stamp", "folds_a", "cells_a"]
ROWS: list[dict[str, Cell]] = [
    {"path": "0001", "sha256": "00", "status": "ok", "prob_a": 1 / 3, "positive_a": 0, "pixels_sha256": "0e1",
     "file_stamp": "1 2 3", "folds_a": [0.25, 1 / 3], "cells_a": b"\x00\xff"},
    {"path": "'=1+1", "sha256": "01", "status": "refused"},
    {"path": "c", "sha256": "02", "status": "review", "prob_a": 1e-7, "positive_a": 1},
]  # fmt: skip


def paths(found: Parts) -> list[str]:
    return [row["path"] for row in found.rows().rows()]


def test_other_programs_read_them_as_they_are(tmp_path: Path) -> None:
    written = Parts(tmp_path / "parts", COLUMNS)
    for row in ROWS:
        written.append([row])
        written.flush()
    assert sorted(path.name for path in written.folder.iterdir()) == [f"00000{number}.parquet" for number in range(3)]
    table = pyarrow.dataset.dataset(written.folder, format="parquet").to_table()
    assert table.column("path").to_pylist() == ["0001", "'=1+1", "c"]
    assert table.column("cells_a").to_pylist() == [b"\x00\xff", None, None]
    found = pd.concat([pd.read_parquet(path) for path in sorted(written.folder.iterdir())], ignore_index=True)
    assert found["pixels_sha256"].tolist() == ["0e1", "", ""]
    assert found["file_stamp"].tolist() == ["1 2 3", "", ""]
    assert str(found["prob_a"].dtype) == "float64"
    assert found["prob_a"].iloc[[0, 2]].tolist() == [1 / 3, 1e-7]
    assert str(found["positive_a"].dtype) == "Int64"
    assert list(found["folds_a"][0]) == [0.25, 1 / 3]


def test_parts_of_the_first_version_are_read_in_their_order_and_say_what_was_meant(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "000009.csv").write_text("path,sha256,status,prob_a,positive_a,pixels_sha256\n'=1,1,ok,0.5,1.0,2\n")
    (folder / "000010.csv").write_text("path,sha256,status,prob_a,positive_a,pixels_sha256\nb,1,refused,,,\n")
    found = Parts(folder, [*COLUMNS, "precision", "decode"])
    found.append([{"path": "c", "status": "ok", "precision": "bf16", "decode": "1/2"}])
    found.flush()
    assert (folder / "000011.parquet").is_file()
    rows = list(found.rows().rows())
    assert [row["path"] for row in rows] == ["=1", "b", "c"]
    assert [(row["precision"], row["decode"]) for row in rows] == [("float32", "full"), ("", ""), ("bf16", "1/2")]
    assert rows[0]["positive_a"] == "1"
    assert rows[0]["prob_a"] == "0.5"
    assert paths(Parts(folder, [*COLUMNS, "precision", "decode"])) == ["=1", "b", "c"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"\xff" * 99, b"cut", b"flipped"], ids=repr)
def test_a_damaged_part_is_set_aside(tmp_path: Path, content: bytes) -> None:
    written = Parts(tmp_path, COLUMNS)
    for row in ROWS:
        written.append([row])
        written.flush()
    part = tmp_path / "000001.parquet"
    whole = part.read_bytes()
    place = whole.index(b"refused")  # a page has a checksum
    damaged = {b"cut": whole[:-20], b"flipped": whole[:place] + b"R" + whole[place + 1 :]}
    part.write_bytes(damaged.get(content, content))
    again = Parts(tmp_path, COLUMNS)
    assert paths(again) == ["0001", "c"]
    assert (tmp_path / "000001.damaged").is_file()
    again.append(ROWS[1:2])
    assert paths(again) == ["0001", "c", "'=1+1"]


@pytest.mark.parametrize("cells", ["x,1", "0.5,x", "0.5,999", "0.5,1e99"])
def test_a_part_of_a_first_version_with_no_number_where_one_belongs_is_set_aside(tmp_path: Path, cells: str) -> None:
    columns = ["path", "sha256", "status", "prob_a", "positive_a", "pixels_sha256"]
    (tmp_path / "000000.csv").write_text(f"{','.join(columns)}\na,1,ok,{cells},2\n")
    assert paths(Parts(tmp_path, columns)) == []
    assert (tmp_path / "000000.damaged").is_file()


@pytest.mark.parametrize("columns", [COLUMNS[:3], ["path", "sha256", "status", "prob_b", "pixels_sha256"]])
def test_a_part_of_another_model_s_labels_stays_and_is_not_among_the_rows(
    tmp_path: Path, columns: Sequence[str]
) -> None:
    written = Parts(tmp_path, columns)
    written.append([{"path": "a"}])
    written.flush()
    found = Parts(tmp_path, COLUMNS)
    assert paths(found) == []
    found.append([{"path": "b"}])
    assert paths(found) == ["b"]
    assert paths(Parts(tmp_path, columns))[0] == "a"


def test_evidence_that_was_damaged_since_its_part_was_read_is_set_aside_and_said(tmp_path: Path) -> None:
    written = Parts(tmp_path, COLUMNS)
    written.append(ROWS)
    numbers = written.rows().latest()
    (tmp_path / "000000.parquet").write_bytes(b"")
    with pytest.raises(MedresError, match=r"000000\.parquet was damaged .* --resume"):
        written.evidence(numbers)


def test_a_part_without_evidence_is_not_opened_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Parts(tmp_path, COLUMNS)
    for row in ROWS:
        written.append([row])
        written.flush()
    numbers = written.rows().latest()
    assert written.hold_evidence
    (tmp_path / "000001.parquet").unlink()
    (tmp_path / "000002.parquet").unlink()
    found = written.evidence(numbers)
    assert found.column("cells_a").to_pylist() == [None, b"\x00\xff", None]
    assert found.column("folds_a").to_pylist() == [None, [0.25, 1 / 3], None]
    monkeypatch.setattr(parts, "_holds_evidence", lambda _: False)
    assert not Parts(tmp_path, COLUMNS).hold_evidence


def test_a_part_is_written_when_enough_rows_wait_or_they_waited_long_and_each_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(parts.time, "monotonic", lambda: now[0])
    read: list[Path] = []
    reader = Parts._read
    monkeypatch.setattr(Parts, "_read", lambda self, path: read.append(path) or reader(self, path))
    written = Parts(tmp_path, COLUMNS)

    def count() -> int:
        return len(list(tmp_path.iterdir()))

    for number in range(PART_ROWS - 1):
        written.append([{"path": f"{number}"}])
    assert count() == 0
    written.append([{"path": "last"}])
    assert count() == 1
    written.append([{"path": "waits"}])
    assert count() == 1
    now[0] += SECONDS
    written.append([{"path": "waited"}])
    assert count() == 2
    assert len(written.rows()) == PART_ROWS + 2
    written.append([{"path": "new"}])
    assert len(written.rows()) == PART_ROWS + 3
    assert len(read) == len(set(read)) == 3
    for _ in range(200):  # a long run writes fewer, larger ones
        written.append([{"path": "many"}] * PART_ROWS)
    assert count() < 150


def test_rows_that_are_written_again_open_each_part_once_or_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Parts(tmp_path, COLUMNS)
    for number in range(6):
        written.append([{"path": f"{number}{place}", "cells_a": bytes([number, place])} for place in range(5)])
        written.flush()
    numbers = written.rows().latest()
    opened: list[str] = []
    read = Parts._evidence_in
    monkeypatch.setattr(parts, "MOST_ROWS", 3)
    monkeypatch.setattr(
        Parts, "_evidence_in", lambda self, path, some: opened.append(path.name) or read(self, path, some)
    )
    mixed = numbers.reshape(6, 5).T.ravel()  # of all parts in turn
    written.restate(mixed, {"sha256": [f"new {number}" for number in mixed]})
    assert max(map(opened.count, opened)) <= 3
    again = Parts(tmp_path, COLUMNS)
    rows = again.rows()
    last = rows.latest()
    assert [row["sha256"] for row in rows.rows(last)] == [f"new {number}" for number in range(30)]
    cells = again.evidence(last).column("cells_a").to_pylist()
    assert cells == [bytes([number, place]) for number in range(6) for place in range(5)]


def test_parts_of_a_model_with_more_labels_stay_when_others_are_made_fewer(tmp_path: Path) -> None:
    more = [*COLUMNS, "prob_b"]
    for columns, path in ((more, "b"), (COLUMNS, "a"), (COLUMNS, "a")):
        written = Parts(tmp_path, columns)
        written.append([{"path": path, "prob_b": 0.5}])
        written.flush()
    found = Parts(tmp_path, COLUMNS)
    found.keep_only(found.rows().latest())
    assert paths(Parts(tmp_path, COLUMNS)) == ["b", "a"]
    assert [row["prob_b"] for row in Parts(tmp_path, more).rows().rows()] == ["0.5"]
