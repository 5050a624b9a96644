"""Rows as columns in Arrow's memory: text, probabilities, decisions, and the evidence that stays in the parts.

Arrays are made from buffers and read through them: pyarrow would import pandas to ask whether its arguments are
pandas's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Cell = str | float | int | bytes | Sequence[float] | None
Row = Mapping[str, Cell]
"""One row: its cells by column."""

Kind = Literal["text", "probability", "decision", "folds", "cells"]
_PREFIXES: Mapping[str, Kind] = {
    "prob_": "probability",
    "positive_": "decision",
    "folds_": "folds",
    "cells_": "cells",
}
_PANDAS = {
    "text": ("object", "str"),
    "probability": ("float64", "float64"),
    "decision": ("int64", "Int64"),
    "folds": ("list[float64]", "object"),
    "cells": ("bytes", "object"),
}
"""What the file says for pandas: its own type, and the one of the column there."""

_AT_A_TIME = 65_536  # texts that are made bytes at a time


def kind(column: str) -> Kind:
    """What the cells of a column are.

    >>> kind("prob_effusion"), kind("positive_effusion"), kind("cells_effusion"), kind("path")
    ('probability', 'decision', 'cells', 'text')
    """
    return next((found for prefix, found in _PREFIXES.items() if column.startswith(prefix)), "text")


def is_evidence(column: str) -> bool:
    """Whether a column holds what no table shows: each member's probability, or the cells of a map."""
    return kind(column) in {"folds", "cells"}


def arrow_type(column: str) -> Any:
    """How Arrow and Parquet hold a column."""
    return {
        "text": pa.large_string(),
        "probability": pa.float64(),
        "decision": pa.int64(),
        "folds": pa.list_(pa.float64()),
        "cells": pa.binary(),
    }[kind(column)]


def schema_of(columns: Sequence[str]) -> Any:
    """The schema of a file with these columns; `pandas.read_parquet` gives text, float64 and Int64."""
    described = [
        {"name": name, "field_name": name, "pandas_type": said, "numpy_type": numpy_type, "metadata": None}
        for name in columns
        for said, numpy_type in [_PANDAS[kind(name)]]
    ]
    facts = {
        "index_columns": [],
        "column_indexes": [],
        "columns": described,
        "attributes": {},
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": version("pandas"),
    }
    return pa.schema([(name, arrow_type(name)) for name in columns], {"pandas": json.dumps(facts)})


def table_of(columns: Sequence[str], rows: Sequence[Row]) -> Any:
    """Rows as a table, as `predictions.csv` would give them back: no carriage return, an absent text is empty."""
    arrays = [_array(name, [row.get(name) for row in rows]) for name in columns]
    return pa.Table.from_arrays(arrays, schema=schema_of(columns))


def _array(column: str, cells: Sequence[Any]) -> Any:
    match kind(column):
        case "text":
            return text_array("" if cell is None else str(cell).replace("\r", " ") for cell in cells)
        case "folds":
            return _nested(pa.list_(pa.float64()), [None if cell is None else np.asarray(cell) for cell in cells])
        case "cells":
            return _nested(pa.binary(), [None if cell is None else np.frombuffer(cell, np.uint8) for cell in cells])
    known = np.array([cell not in (None, "") for cell in cells], dtype=bool)
    values = [float(cell) if there else 0.0 for cell, there in zip(cells, known, strict=True)]
    numbers = np.array(values, dtype=np.float64 if kind(column) == "probability" else np.int64)
    return pa.Array.from_buffers(arrow_type(column), len(cells), [_bits(known), pa.py_buffer(numbers)])


def _nested(kind: Any, cells: Sequence[NDArray[Any] | None]) -> Any:
    """Lists of numbers, or bytes, of which some are absent."""
    ends = np.cumsum([0, *(0 if cell is None else len(cell) for cell in cells)], dtype=np.int32)
    known = _bits(np.array([cell is not None for cell in cells], dtype=bool))
    there = [cell for cell in cells if cell is not None]
    if kind == pa.binary():
        return pa.Array.from_buffers(
            kind, len(cells), [known, pa.py_buffer(ends), pa.py_buffer(b"".join(cell.tobytes() for cell in there))]
        )
    values = np.concatenate([np.empty(0), *there]).astype(np.float64)
    child = pa.Array.from_buffers(pa.float64(), len(values), [None, pa.py_buffer(values)])
    return pa.Array.from_buffers(kind, len(cells), [known, pa.py_buffer(ends)], children=[child])


def _bits(known: NDArray[np.bool_]) -> Any:
    return pa.py_buffer(np.packbits(known, bitorder="little").tobytes())


def text_array(cells: Iterable[str]) -> Any:
    """Texts, a slice at a time: a million of them as Python's own would be ten times as large."""
    waiting, ends, parts = iter(cells), [np.zeros(1, np.int64)], []
    while piece := [cell.encode(errors="backslashreplace") for cell in islice(waiting, _AT_A_TIME)]:
        ends.append(ends[-1][-1] + np.cumsum(np.fromiter(map(len, piece), np.int64, len(piece))))
        parts.append(b"".join(piece))
    offsets = np.concatenate(ends)
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(b"".join(parts)))


def one_piece(array: Any) -> Any:
    """A column as one array."""
    if not isinstance(array, pa.ChunkedArray):
        return array
    if array.num_chunks == 1:
        return array.chunk(0)
    return pa.concat_arrays(array.chunks) if array.num_chunks else pa.nulls(0, array.type)


def dense(array: Any) -> Any:
    """A column in one piece, text plain."""
    array = one_piece(array)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def numbers_in(array: Any) -> NDArray[Any]:
    """Whole numbers, or True and False, as NumPy has them; an absent one is anything."""
    array = dense(array)
    if pa.types.is_boolean(array.type):
        return numbers_in(array.cast(pa.uint8())).astype(bool)
    values: NDArray[Any] = np.frombuffer(array.buffers()[1] or b"", array.type.to_pandas_dtype())
    return values[array.offset : array.offset + len(array)]


def known_numbers(array: Any) -> NDArray[np.float64]:
    """Numbers as NumPy has them, NaN where one is absent."""
    return np.where(numbers_in(dense(array).is_valid()), numbers_in(array), np.nan)


def number_array(numbers: NDArray[np.generic]) -> Any:
    """Numbers of NumPy, int64 or float64, as an array of Arrow."""
    held = np.ascontiguousarray(numbers)
    return pa.Array.from_buffers(pa.from_numpy_dtype(held.dtype), len(held), [None, pa.py_buffer(held)])


def row_numbers(numbers: NDArray[np.integer]) -> Any:
    """Row numbers as `take` wants them."""
    return number_array(numbers.astype(np.int64, copy=False))


def pieces_of(array: Any) -> Iterator[list[str]]:
    """The texts of an array, so many at a time."""
    for start in range(0, len(array), _AT_A_TIME):
        yield array.slice(start, _AT_A_TIME).to_pylist()


def hashes_of(array: Any) -> NDArray[np.int64]:
    """A number for each text, the same for the same in this process, and hardly ever for others."""
    return np.fromiter((hash(cell) for piece in pieces_of(array) for cell in piece), np.int64, len(array))


def alike(one: Any, places: NDArray[np.int64], other: Any, others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether texts of one array, at some places, are those of another at its places; both are as many."""
    found = [
        numbers_in(pc.equal(one.take(row_numbers(mine)), other.take(row_numbers(theirs))))
        for mine, theirs in zip(slices(places, _AT_A_TIME), slices(others, _AT_A_TIME), strict=True)
    ]
    return np.concatenate([np.zeros(0, np.bool_), *found])


def places_in(wanted: Any, known: Any) -> NDArray[np.int64]:
    """For each text a place where it is among others, -1 where it is not.

    Arrow's own `index_in` copies all texts into a table; here 32 bytes a text are enough.
    """
    if not len(known):
        return np.full(len(wanted), -1, np.int64)
    hashes, theirs = hashes_of(wanted), hashes_of(known)
    order = np.argsort(theirs, kind="stable")
    place = order[np.minimum(np.searchsorted(theirs, hashes, sorter=order), len(order) - 1)]
    there = np.flatnonzero(theirs[place] == hashes)
    if not alike(wanted, there, known, place[there]).all():  # two texts with one hash
        found = pc.index_in(wanted, value_set=known)
        return np.where(numbers_in(found.is_valid()), numbers_in(found), -1).astype(np.int64)
    places = np.full(len(wanted), -1, np.int64)
    places[there] = place[there]
    return places


def texts(column: str, array: Any) -> list[str]:
    """The cells of a column as `predictions.csv` shows them, before they are made inert."""
    cells = dense(array).to_pylist()
    return cells if kind(column) == "text" else ["" if cell is None else repr(cell) for cell in cells]


def slices(numbers: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers, so many at a time."""
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
