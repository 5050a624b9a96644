"""Rows without pandas are what pandas writes, to the byte, and reads."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from medres.errors import ManifestError
from medres.scoring.columns import table_of
from medres.scoring.rows import read_rows, write_tables
from medres.tables import read_csv, write_csv

COLUMNS = ["path", "status", "prob_a", "positive_a", "detail"]
ROWS = [
    {"path": "a.dcm", "status": "ok", "prob_a": 0.1, "positive_a": 0, "detail": ""},
    {"path": 'ü, "b".dcm', "status": "review", "prob_a": 1e-7, "positive_a": 1, "detail": "two\nlines"},
    {"path": "c.dcm", "status": "refused", "detail": "=1+1"},
    {"path": "0", "status": "ok", "prob_a": 1 / 3, "positive_a": 1, "detail": "'tis -1\r"},
]


def as_pandas() -> pd.DataFrame:
    table = pd.DataFrame(ROWS, columns=COLUMNS)
    return table.assign(positive_a=table["positive_a"].astype("Int64"), detail=table["detail"].fillna(""))


def test_a_csv_is_the_one_that_pandas_writes_and_reads_back_as_text(tmp_path: Path) -> None:
    write_tables(tmp_path / "ours", COLUMNS, [table_of(COLUMNS, ROWS[:1]), table_of(COLUMNS, ROWS[1:])])
    write_csv(tmp_path / "theirs.csv", as_pandas())
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "theirs.csv").read_bytes()
    assert read_rows(tmp_path / "ours.csv") == read_csv(tmp_path / "theirs.csv").to_dict("records")
    write_tables(tmp_path / "none", COLUMNS, [])
    assert read_rows(tmp_path / "none.csv") == []
    assert pd.read_parquet(tmp_path / "none.parquet").columns.tolist() == COLUMNS


def test_a_parquet_is_the_one_that_pandas_writes(tmp_path: Path) -> None:
    write_tables(tmp_path / "ours", COLUMNS, [table_of(COLUMNS, ROWS)])
    expected = read_csv(tmp_path / "ours.csv")
    expected["prob_a"] = pd.to_numeric(expected["prob_a"])
    expected["positive_a"] = pd.to_numeric(expected["positive_a"]).astype("Int64")
    expected.to_parquet(tmp_path / "theirs.parquet", index=False)
    found = pd.read_parquet(tmp_path / "ours.parquet")
    pd.testing.assert_frame_equal(found, pd.read_parquet(tmp_path / "theirs.parquet"))
    assert (tmp_path / "ours.parquet").read_bytes() == (tmp_path / "theirs.parquet").read_bytes()
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_decisions_of_a_part_that_pandas_wrote_are_read() -> None:
    cells = [{"positive_a": "1.0"}, {"positive_a": ""}, {"positive_a": "0"}]
    assert table_of(["positive_a"], cells).column(0).to_pylist() == [1, None, 0]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00torn", b"path,status\na\n", b"path,status\na,ok,\n"], ids=repr)
def test_a_torn_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "torn.csv").write_bytes(content)
    with pytest.raises(ManifestError, match=r"torn\.csv"):
        read_rows(tmp_path / "torn.csv")
