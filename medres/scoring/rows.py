"""The tables of a scored folder on disk, CSV and Parquet as pandas writes them, written piece by piece without it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pyarrow.compute as pc
from pyarrow import parquet

from medres.errors import ManifestError
from medres.files import replaced
from medres.scoring.columns import kind, numbers_in, schema_of
from medres.tables import FORMULA, inert, original

_QUOTED = re.escape("".join((*FORMULA, "'")))
_MAY_BE_FORMULA = f"^[{_QUOTED}]"


def write_tables(path: Path, columns: Sequence[str], pieces: Iterable[Any]) -> None:
    """Write `path`.csv (UTF-8, floats in full precision, text cells inert) and `path`.parquet, each atomically.

    Args:
        path: both files, without an ending.
        columns: of the tables.
        pieces: Arrow tables with these columns, one after the other; one at a time is in memory.
    """
    with ExitStack() as files:
        text = files.enter_context(replaced(path.with_name(f"{path.name}.csv")))
        binary = files.enter_context(replaced(path.with_name(f"{path.name}.parquet")))
        writer = files.enter_context(parquet.ParquetWriter(binary, schema_of(columns)))
        _write_lines(text, [columns])
        for piece in pieces:
            writer.write_table(piece)
            _write_lines(text, zip(*map(_inert_cells, columns, piece.columns), strict=True))


def _write_lines(file: IO[bytes], lines: Iterable[Iterable[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    safe = text.getvalue().replace("\r", " ")  # Python before 3.13 does not quote it: a row would end there
    file.write(safe.encode(errors="backslashreplace"))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows as CSV, atomically, as `write_tables` does; a cell that a row does not have is empty.

    Floats are in full precision, text cells inert.
    """
    cells = ([inert(cell) for cell in map(row.get, columns)] for row in rows)
    with replaced(path) as file:
        _write_lines(file, [columns])
        _write_lines(file, cells)


def _inert_cells(column: str, cells: Any) -> list[object]:
    found: list[object] = cells.to_pylist()
    if kind(column) == "text" and numbers_in(pc.match_substring_regex(cells, _MAY_BE_FORMULA)).any():
        return [inert(cell) for cell in found]
    return found


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV that `write_tables` or an earlier version wrote, every cell as text ("" where empty).

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
