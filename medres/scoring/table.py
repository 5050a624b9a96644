"""Rows of a ledger in memory, column by column: a million of them in some 400 MB, each known by its number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from medres.scoring.columns import (
    Row,
    alike,
    arrow_type,
    dense,
    is_evidence,
    kind,
    numbers_in,
    one_piece,
    pieces_of,
    row_numbers,
    schema_of,
    slices,
    table_of,
    text_array,
    texts,
)

Numbers = NDArray[np.int64]

_MANY = frozenset({"path", "sha256", "pixels_sha256", "file_stamp", "SOPInstanceUID", "StudyInstanceUID", "PatientKey"})
"""Columns of text in which hardly two cells are alike; the others are kept as a list of texts and a number a row."""

_AT_A_TIME = 16_384  # rows that are Python's own at a time


@dataclass(frozen=True, slots=True)
class RowTable:
    """Rows by number, in the order in which they were written; their evidence stays on disk."""

    table: Any  # pyarrow.Table, each column in one piece

    @classmethod
    def of(cls, rows: Sequence[Row], columns: Sequence[str]) -> RowTable:
        """A table of rows that are there already."""
        return cls.joined([table_of([name for name in columns if not is_evidence(name)], rows)])

    @classmethod
    def joined(cls, tables: Iterable[Any]) -> RowTable:
        """Tables of the same columns one after the other; one column at a time is there twice."""
        whole = pa.concat_tables(map(_compact, tables)).unify_dictionaries()
        for place, name in enumerate(whole.column_names):
            if whole.column(place).num_chunks != 1:
                whole = whole.set_column(place, name, pa.chunked_array([one_piece(whole.column(place))]))
                pa.default_memory_pool().release_unused()
        return cls(whole)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.table.column_names)

    def text(self, column: str, numbers: Numbers | None = None) -> Any:
        """A column of text, or its cells of some rows, as an Arrow array."""
        array = self.table.column(column)
        return dense(array if numbers is None else array.take(row_numbers(numbers)))

    def where(self, column: str, wanted: Callable[[str], object]) -> NDArray[np.bool_]:
        """For each row whether a cell of text is wanted; asked once for each text of a column of few."""
        array = one_piece(self.table.column(column))
        if not pa.types.is_dictionary(array.type):
            asked = (bool(wanted(cell)) for piece in pieces_of(array) for cell in piece)
            return np.fromiter(asked, np.bool_, len(self))
        answers = np.array([bool(wanted(cell)) for cell in array.dictionary.to_pylist()], np.bool_)
        found: NDArray[np.bool_] = answers[numbers_in(array.indices)]
        return found

    def latest(self, among: NDArray[np.bool_] | None = None) -> Numbers:
        """The last row of each path, in order of path.

        Args:
            among: the rows that count, all by default.
        """
        numbers = np.arange(len(self)) if among is None else np.flatnonzero(among)
        if not len(numbers):
            return numbers
        paths = self.text("path", None if among is None or among.all() else numbers)
        order = numbers_in(pc.sort_indices(paths)).astype(np.int64)  # stable: bytes of UTF-8, which is Python's order
        last = np.append(~alike(paths, order[:-1], paths, order[1:]), True)
        found: Numbers = numbers[order[last]]
        return found

    def rows(self, numbers: Numbers | None = None) -> Iterator[Mapping[str, str]]:
        """Rows as mappings of text; a column is read when it is first asked for."""
        for some in slices(np.arange(len(self)) if numbers is None else numbers, _AT_A_TIME):
            piece = _Slice(self.table, some)
            for place in range(len(some)):
                yield _View(piece, place)

    def row(self, number: int) -> dict[str, str]:
        """One row, every cell as text."""
        return dict(next(self.rows(np.array([number]))))

    def changed(self, numbers: Numbers, cells: Mapping[str, Sequence[str]]) -> Any:
        """Some rows, with other texts in some columns, as an Arrow table of plain columns."""
        table = plain(self.table.take(row_numbers(numbers)))
        for name, column in cells.items():
            table = table.set_column(table.column_names.index(name), name, text_array(column))
        return table


@dataclass(frozen=True, slots=True)
class Selected:
    """Some rows of a table, in an order of their own."""

    table: RowTable
    numbers: Numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def text(self, column: str) -> Any:
        """The cells of a column of text, as an Arrow array."""
        return self.table.text(column, self.numbers)

    def where(self, column: str, wanted: Callable[[str], object]) -> NDArray[np.bool_]:
        """For each of the rows whether a cell of text is wanted."""
        found: NDArray[np.bool_] = self.table.where(column, wanted)[self.numbers]
        return found

    def only(self, places: NDArray[Any]) -> Selected:
        """Those at some places, or those of which a mask says so."""
        return Selected(self.table, self.numbers[places])

    def rows(self) -> Iterator[Mapping[str, str]]:
        """The rows as mappings of text."""
        return self.table.rows(self.numbers)

    def counts(self, column: str) -> Counter[str]:
        """How often each text stands in a column of few; empty cells are not counted."""
        array = one_piece(self.table.table.column(column))
        counts = np.bincount(numbers_in(array.indices)[self.numbers], minlength=len(array.dictionary))
        pairs = zip(array.dictionary.to_pylist(), counts.tolist(), strict=True)
        return Counter({text: count for text, count in pairs if text and count})

    def pieces(self, columns: Sequence[str]) -> Iterator[Any]:
        """Arrow tables of so many rows at a time, as files hold them; an empty one where there are no rows."""
        chosen = self.table.table.select(columns)
        for some in list(slices(self.numbers, _AT_A_TIME)) or [self.numbers]:
            yield plain(chosen.take(row_numbers(some)))


class _Slice:
    """Some rows, of which columns are read when they are asked for."""

    def __init__(self, table: Any, numbers: Numbers) -> None:
        self._table, self._numbers = table, row_numbers(numbers)
        self.columns: list[str] = table.column_names
        self._read: dict[str, list[str]] = {}

    def cells(self, column: str) -> list[str]:
        found = self._read.get(column)
        if found is None:
            found = self._read[column] = texts(column, self._table.column(column).take(self._numbers))
        return found


class _View(Mapping[str, str]):
    """One row of a slice."""

    __slots__ = ("_place", "_slice")

    def __init__(self, piece: _Slice, place: int) -> None:
        self._slice, self._place = piece, place

    def __getitem__(self, column: str) -> str:
        return self._slice.cells(column)[self._place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._slice.columns)

    def __len__(self) -> int:
        return len(self._slice.columns)


def plain(table: Any) -> Any:
    """A table whose columns of text are plain, as files hold them."""
    arrays = [
        dense(column).cast(arrow_type(name)) for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema_of(table.column_names))


def small_decisions(table: Any) -> Any:
    """A table whose decisions are a byte each.

    Raises:
        pyarrow.ArrowInvalid: one is neither 0 nor 1, nor any number as small.
    """
    for place, name in enumerate(table.column_names):
        if kind(name) == "decision":
            table = table.set_column(place, name, table.column(place).cast(pa.int8()))
    return table


def _compact(table: Any) -> Any:
    """A table whose columns of few texts hold each of them once, and whose decisions are a byte each."""
    table = small_decisions(table)
    for place, name in enumerate(table.column_names):
        if kind(name) == "text" and name not in _MANY and not pa.types.is_dictionary(table.column(place).type):
            table = table.set_column(place, name, table.column(place).dictionary_encode())
    return table
