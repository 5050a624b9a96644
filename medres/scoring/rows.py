"""Rows of a scored folder on disk, CSV and Parquet as pandas writes them, without importing pandas."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from medres.errors import ManifestError
from medres.files import replaced
from medres.tables import inert, original, write_text

Cell = str | float | int | None
Row = Mapping[str, Cell]
"""One row: its cells by column."""


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write rows as CSV (UTF-8, floats in full precision), atomically, text cells inert; an absent cell is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([inert(row.get(name)) for name in columns] for row in rows)
    write_text(path, text.getvalue().replace("\r", " "))  # Python before 3.13 does not quote it: a row would end there


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV that `write_rows` wrote, every cell as text ("" where empty).

    Raises:
        ManifestError: it is missing, damaged or cut.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            columns, *lines = csv.reader(file)
    except (OSError, ValueError, csv.Error) as error:  # ValueError: not UTF-8, or nothing at all
        raise ManifestError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if any(len(line) != len(columns) for line in lines):
        raise ManifestError(f"{path} is damaged: a line has not as many cells as there are columns")
    return [dict(zip(columns, map(original, line), strict=True)) for line in lines]


def typed(column: str, cells: Sequence[str]) -> Sequence[Cell]:
    """The cells of a column: probabilities as float, decisions as int, None where there is none; else text."""
    kind = _kind(column)
    if kind == "float64":
        return [float(cell) if cell else None for cell in cells]
    if kind == "Int64":  # a part that was written by pandas may say "1.0"
        return [int(float(cell)) if cell else None for cell in cells]
    return cells


def write_parquet(path: Path, columns: Mapping[str, Sequence[Cell]]) -> None:
    """Write columns of text, float or int as Parquet, atomically.

    The file says what pandas would: `pandas.read_parquet` gives text, float64 and Int64 columns.
    """
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {name: _kind(name) for name in columns}
    described = [
        {
            "name": name,
            "field_name": name,
            "pandas_type": "object" if kind == "str" else kind.lower(),
            "numpy_type": kind,
            "metadata": None,
        }
        for name, kind in kinds.items()
    ]
    facts = {
        "index_columns": [],
        "column_indexes": [],
        "columns": described,
        "attributes": {},
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": version("pandas"),
    }
    arrays = [_arrow_array(kinds[name], cells) for name, cells in columns.items()]
    schema = pa.schema(
        [(name, array.type) for name, array in zip(columns, arrays, strict=True)], {"pandas": json.dumps(facts)}
    )
    with replaced(path) as file:
        parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), file)


def _arrow_array(kind: str, cells: Sequence[Cell]) -> Any:
    """A column as Arrow's memory has it; `pyarrow.array` would import pandas to ask whether the cells are pandas's."""
    import pyarrow as pa

    if kind == "str":
        texts = [str(cell).encode() for cell in cells]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        return pa.LargeStringArray.from_buffers(len(cells), pa.py_buffer(ends), pa.py_buffer(b"".join(texts)))
    known = np.packbits(np.array([cell is not None for cell in cells], dtype=bool), bitorder="little")
    values = np.array([cell or 0 for cell in cells], dtype=kind.lower())
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(values.dtype), len(cells), list(map(pa.py_buffer, (known, values)))
    )


def _kind(column: str) -> str:
    return "float64" if column.startswith("prob_") else "Int64" if column.startswith("positive_") else "str"
