"""The parts of a ledger: Parquet files of rows, each there as a whole or not at all, which any program can read."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from medres.errors import MedresError, UsageError
from medres.files import make_folder, replaced
from medres.scoring.columns import Row, arrow_type, dense, is_evidence, row_numbers, schema_of, slices, table_of
from medres.scoring.known import STAMP
from medres.scoring.rows import read_rows
from medres.scoring.table import Numbers, RowTable, small_decisions

log = logging.getLogger(__name__)

PART_ROWS = 128
"""Rows that a part holds at least, unless SECONDS have gone by or the run ends."""

MOST_ROWS = 4096
MOST_OLD = 2  # times as many rows as hold may lie in the parts
SECONDS = 30.0
_SHARE = 32  # of the rows that are there, a part holds one in so many: a long run has hundreds of parts, not thousands
_NAME = re.compile(r"(\d+)\.(csv|parquet)")
_JOINED = 256  # parts, or as many rows as they hold at least, that are made one table at a time
_BEFORE = {STAMP: "", "StudyDate": "", "ImageLaterality": "", "precision": "float32", "decode": "full"}
"""What rows say that were written before these columns were there; the last two of images that were decoded."""


class Parts:
    """The numbered parts in a folder, in the order in which they were written.

    Args:
        folder: of the parts.
        columns: of a row.
    """

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        make_folder(folder)
        self.folder, self.columns = folder, list(columns)
        named = [(int(found[1]), path) for path in folder.iterdir() if (found := _NAME.fullmatch(path.name))]
        self._unread = [path for _, path in sorted(named)]
        self._number = 1 + max((number for number, _ in named), default=-1)
        self._sound: list[Path] = []  # what was read, with the number of its first row
        self._starts: list[int] = []
        self._with_evidence: set[Path] = set()
        self._of_more: set[Path] = set()  # with columns that are not read here: of a model with more labels
        self._table = RowTable.of([], self.columns)
        self._waiting: list[Row] = []
        self._since = time.monotonic()
        self._written = 0
        self.evidence_columns = [name for name in self.columns if is_evidence(name)]

    def append(self, rows: Sequence[Row]) -> None:
        """Take rows; a part is written when enough wait, or have waited for long enough."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting += rows
        there = len(self._table) + self._written
        enough = max(PART_ROWS, min(MOST_ROWS, there // _SHARE))
        if len(self._waiting) >= enough or time.monotonic() - self._since >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait as one part: all of them, or none."""
        if self._waiting:
            self._write(table_of(self.columns, self._waiting))
            self._waiting = []

    def _write(self, table: Any) -> None:
        path = self.folder / f"{self._number:06d}.parquet"
        with replaced(path) as file:
            parquet.write_table(table, file, write_page_checksum=True)
        self._unread.append(path)
        self._number += 1
        self._written += int(table.num_rows)

    def rows(self) -> RowTable:
        """All rows, without their evidence; each part is read once.

        A part that cannot be read is set aside, so that its files are scored again. One with other columns, of a model
        with other labels, stays as it is and is not among them.
        """
        self.flush()
        if self._unread:
            self._table = RowTable.joined(self._joined())
            self._written = 0
        return self._table

    def _joined(self) -> Iterator[Any]:
        tables = [self._table.table]
        count = joined = len(self._table)
        waiting, self._unread = self._unread, []
        for path in waiting:
            table = self._read(path)
            if table is None:
                continue
            self._sound.append(path)
            self._starts.append(count)
            count += table.num_rows
            tables.append(table)
            if len(tables) >= _JOINED or count - joined >= _JOINED * PART_ROWS:
                yield RowTable.joined(tables).table
                tables, joined = [], count
        yield from tables

    def _read(self, path: Path) -> Any:
        """The rows of a part as an Arrow table; None where it is damaged, and set aside, or of other columns."""
        wanted, evidence = [name for name in self.columns if not is_evidence(name)], False
        try:
            if path.suffix == ".csv":
                rows = read_rows(path)
                there = set(rows[0]) if rows else set(wanted)
                table = table_of([name for name in wanted if name in there], rows)
            else:
                file = parquet.ParquetFile(path, page_checksum_verification=True)
                there = set(file.schema_arrow.names)
                evidence = _holds_evidence(file.metadata)
                table = file.read([name for name in wanted if name in there], use_threads=False)
                table = table.cast(schema_of(table.column_names))
            table = small_decisions(table)
        except (UsageError, pa.ArrowException, OSError, ValueError, OverflowError) as error:  # the last two: no number
            log.warning("%s is damaged and is set aside: its files are scored again (%s)", path, error)
            path.replace(path.with_suffix(".damaged"))
            return None
        if not set(wanted) - set(_BEFORE) <= there:
            log.info("%s holds rows of a model with other labels, and stays as it is", path)
            return None
        if evidence:
            self._with_evidence.add(path)
        if not all(name in wanted or is_evidence(name) for name in there):
            self._of_more.add(path)
        self.evidence_columns += sorted(filter(is_evidence, there - set(self.evidence_columns)))
        for name in _BEFORE:
            if name in wanted and name not in there:
                table = table.append_column(name, _said_before(name, table))
        return table.select(wanted)

    def evidence(self, numbers: Numbers) -> Any:
        """The evidence of some rows, in their order, as an Arrow table; each part is opened once.

        Raises:
            MedresError: a part was damaged since its rows were read; it is set aside.
        """
        starts = np.array(self._starts, np.int64)
        owners = np.searchsorted(starts, numbers, side="right") - 1
        pieces, places = [self._nothing(0)], [np.zeros(0, np.int64)]
        for owner in np.unique(owners):
            mine = np.flatnonzero(owners == owner)
            pieces.append(self._evidence_in(self._sound[owner], numbers[mine] - starts[owner]))
            places.append(mine)
        order = np.argsort(np.concatenate(places), kind="stable")
        return pa.concat_tables(pieces).take(row_numbers(order))

    def _evidence_in(self, path: Path, numbers: Numbers) -> Any:
        if path not in self._with_evidence:
            return self._nothing(len(numbers))
        try:
            file = parquet.ParquetFile(path, page_checksum_verification=True)
            there = [name for name in self.evidence_columns if name in file.schema_arrow.names]
            table = file.read(there, use_threads=False).take(row_numbers(numbers))
            found = {name: dense(table.column(name)).cast(arrow_type(name)) for name in there}
        except (pa.ArrowException, OSError) as error:
            path.replace(path.with_suffix(".damaged"))
            raise MedresError(
                f"{path} was damaged and is set aside ({error}); give --resume to score its files again"
            ) from None
        arrays = [found.get(name, pa.nulls(len(numbers), arrow_type(name))) for name in self.evidence_columns]
        return pa.Table.from_arrays(arrays, schema=schema_of(self.evidence_columns)) if arrays else self._nothing(0)

    @property
    def hold_evidence(self) -> bool:
        """Whether any row that was read has evidence."""
        return bool(self._with_evidence)

    def _nothing(self, count: int) -> Any:
        arrays = [pa.nulls(count, arrow_type(name)) for name in self.evidence_columns]
        return pa.Table.from_arrays(arrays, schema=schema_of(self.evidence_columns))

    def restate(self, numbers: Numbers, cells: Mapping[str, Sequence[str]]) -> None:
        """Write some rows again as new parts, with other texts in some columns, and with the evidence they have.

        Args:
            numbers: of rows that `rows` gave.
            cells: by column, one text for each of them.
        """
        self.flush()
        order = np.argsort(numbers, kind="stable")  # each part is opened once or twice, however many rows there are
        columns = [*self.columns, *(name for name in self.evidence_columns if name not in self.columns)]
        for places in slices(order, MOST_ROWS):
            told = {name: [column[place] for place in places] for name, column in cells.items()}
            table = self._table.changed(numbers[places], told)
            for name, column in zip(self.evidence_columns, self.evidence(numbers[places]).columns, strict=True):
                table = table.append_column(name, column)
            self._write(table.select(columns).cast(schema_of(columns)))

    def drop_old(self) -> None:
        """Where most rows are not the last of their path and model any more, keep only those that are."""
        rows = self.rows()
        models = rows.text("model_id").unique().to_pylist()
        last = [rows.latest(rows.where("model_id", model_id.__eq__)) for model_id in models]
        held = np.sort(np.concatenate([np.zeros(0, np.int64), *last]))
        if len(rows) > MOST_OLD * len(held):
            self.keep_only(held)

    def keep_only(self, numbers: Numbers) -> None:
        """Write some rows as new parts and delete the old ones; what `rows` gave holds no longer.

        A run that is killed meanwhile leaves some rows twice. Parts of a model with more labels stay.

        Args:
            numbers: of rows that `rows` gave.
        """
        old = [path for path in self._sound if path not in self._of_more]
        owners = np.searchsorted(np.array(self._starts, np.int64), numbers, side="right") - 1
        stays = np.array([path in self._of_more for path in self._sound], np.bool_)
        self.restate(numbers[~stays[owners]], {})
        for path in old:
            path.unlink()


def _holds_evidence(facts: Any) -> bool:
    """Whether a Parquet file has a cell of evidence, as its own figures say."""
    chunks = [
        facts.row_group(group).column(column)
        for group in range(facts.num_row_groups)
        for column in range(facts.num_columns)
        if is_evidence(facts.schema.column(column).path)
    ]
    return any(
        chunk.statistics is None
        or not chunk.statistics.has_null_count
        or chunk.statistics.null_count < chunk.num_values
        for chunk in chunks
    )


def _said_before(column: str, table: Any) -> Any:
    """A column that was not there yet."""
    said = _BEFORE[column]
    statuses = table.column("status").to_pylist()
    cells = ["" if status == "refused" and column != STAMP else said for status in statuses]
    return table_of([column], [{column: cell} for cell in cells]).column(0)
