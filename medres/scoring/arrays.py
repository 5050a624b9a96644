"""Columns of a table as Arrow's arrays, from and to NumPy, without importing pandas as `pyarrow.array` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


def texts(cells: Sequence[str]) -> Any:
    """A column of text."""
    import pyarrow as pa

    encoded = [cell.encode() for cell in cells]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return pa.LargeStringArray.from_buffers(len(cells), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def numbers(values: NDArray[np.generic]) -> Any:
    """A column of int64 or float64."""
    import pyarrow as pa

    held = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(held.dtype), len(held), [None, pa.py_buffer(held)])


def text_column(table: pa.Table, name: str) -> Any:
    """A column of a table as one array of text."""
    import pyarrow as pa

    return table[name].cast(pa.large_string()).combine_chunks()


def number_column(table: pa.Table, name: str) -> NDArray[np.float64]:
    """A column of a table as numbers, NaN where there is none."""
    found = table[name].combine_chunks()
    known = _bits(found, 0) if found.null_count else np.ones(len(found), dtype=bool)
    return np.where(known, values(found), np.nan)


def values(column: Any) -> NDArray[Any]:
    """The cells of a column of int32, int64, float64 or booleans; `to_numpy` would import pandas."""
    if str(column.type) == "bool":
        return _bits(column, 1)
    return np.frombuffer(column.buffers()[1] or b"", dtype=_DTYPES[str(column.type)])[column.offset :][: len(column)]


_DTYPES = {"int32": np.int32, "int64": np.int64, "uint64": np.uint64, "double": np.float64}


def _bits(column: Any, buffer: int) -> NDArray[np.bool_]:
    held = np.frombuffer(column.buffers()[buffer] or b"", dtype=np.uint8)
    return np.unpackbits(held, bitorder="little").astype(bool)[column.offset :][: len(column)]


def picked(column: Any, places: NDArray[np.integer], *, where: NDArray[np.bool_] | None = None) -> Any:
    """The cells at some places; "" where `where` is false."""
    import pyarrow as pa

    if where is None:
        return column.take(numbers(places.astype(np.int64)))
    ended = pa.concat_arrays([column, texts([""])])
    return ended.take(numbers(np.where(where, places, len(column)).astype(np.int64)))


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of text as numbers of its values."""

    codes: NDArray[np.int32]
    values: tuple[str, ...]

    @classmethod
    def of(cls, column: Any) -> Coded:
        """A column of few values."""
        found = column.dictionary_encode()
        return cls(values(found.indices), tuple(value.as_py() for value in found.dictionary))

    def are(self, *wanted: str) -> NDArray[np.bool_]:
        """Which cells hold one of some values; case does not matter."""
        chosen = np.array([value.upper() in {one.upper() for one in wanted} for value in self.values], dtype=bool)
        return chosen[self.codes] if len(chosen) else np.zeros(len(self.codes), dtype=bool)
