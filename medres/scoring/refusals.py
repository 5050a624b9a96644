"""Refusals that were said before: a file that is refused night after night has one row for it, not one a night."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from medres.scoring.columns import Row, is_evidence, row_numbers
from medres.scoring.table import RowTable, Selected


class Refusals:
    """The refusals among the last rows of a ledger.

    Args:
        last: the last row of every path, in order of path.
    """

    def __init__(self, last: Selected) -> None:
        refused = last.only(last.where("status", "refused".__eq__))
        self._table = RowTable(last.table.table.take(row_numbers(refused.numbers)))
        self._paths: Any = self._table.text("path")
        self._otherwise: set[str] = set()  # paths of which something else was said since

    def says(self, row: Row) -> bool:
        """Whether a row is, cell for cell, what the last one of its path says."""
        path = str(row["path"]).replace("\r", " ")
        place = bisect_left(range(len(self._paths)), path, key=lambda number: self._paths[number].as_py())
        if place == len(self._paths) or self._paths[place].as_py() != path or path in self._otherwise:
            return False
        same = not any(map(is_evidence, row)) and self._one(row) == self._table.row(place)
        if not same:
            self._otherwise.add(path)
        return same

    def _one(self, row: Row) -> dict[str, str]:
        return RowTable.of([row], self._table.columns).row(0)
