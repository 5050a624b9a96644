"""What stands behind a score and no table shows: each member's probability and the cells of its maps, in one file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from medres.files import replaced
from medres.scoring.columns import numbers_in, row_numbers, schema_of, slices
from medres.scoring.parts import Parts
from medres.scoring.table import Selected

EVIDENCE = "evidence.parquet"
EVIDENCE_HOLDS = "paths and hashes, each member's probability, and the cells of maps: for whoever may see the images"
_AT_A_TIME = 256  # rows, of which each may hold the maps of many labels: who looks at one reads no more than these


def write_evidence(path: Path, parts: Parts, rows: Selected) -> None:
    """Write path, sha256 and evidence of the rows that have any, in their order; no file where none has.

    Args:
        path: the file.
        parts: where the evidence lies.
        rows: of `predictions.csv`.
    """
    pieces = _with_evidence(parts, rows)
    first = next(pieces, None)
    if first is None:
        path.unlink(missing_ok=True)
        return
    with replaced(path) as file, parquet.ParquetWriter(file, first.schema) as writer:
        for piece in chain([first], pieces):
            writer.write_table(piece)


def _with_evidence(parts: Parts, rows: Selected) -> Iterator[Any]:
    schema = schema_of(["path", "sha256", *parts.evidence_columns])
    for numbers in slices(rows.numbers, _AT_A_TIME) if parts.hold_evidence else ():
        found = parts.evidence(numbers)
        there = np.any([numbers_in(column.is_valid()) for column in found.columns], axis=0)
        if there.any():
            told = rows.table.table.select(["path", "sha256"]).take(row_numbers(numbers))
            for name, column in zip(found.column_names, found.columns, strict=True):
                told = told.append_column(name, column)
            yield told.take(row_numbers(np.flatnonzero(there))).cast(schema)
