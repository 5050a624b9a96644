"""What can still be read of a damaged SQLite store, row by row: a page that is lost takes only its own rows along."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from medres.errors import StoreError
from medres.review.verdicts.record import Verdict, read_marks

_SMALLEST_ROW = 40  # bytes: a file holds no more verdicts than that allows
_FIELDS = tuple(field.name for field in fields(Verdict))


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What was read."""

    verdicts: tuple[Verdict, ...]  # oldest first
    lost: int  # rows that are known to have been there, and cannot be read


def salvage(path: Path) -> Salvaged:
    """The verdicts of a damaged store that can be read; the file is not written to.

    Raises:
        StoreError: not even the list of its tables can be read.
    """
    with closing(sqlite3.connect(path.resolve().as_uri() + "?mode=ro&immutable=1", uri=True)) as database:
        database.row_factory = sqlite3.Row
        database.text_factory = lambda text: text.decode("utf-8", errors="replace")
        try:
            names = [row["name"] for row in database.execute("PRAGMA table_info(verdicts)")]
        except sqlite3.Error as error:
            raise StoreError(f"nothing can be read of {path} ({error}): restore its last backup") from None
        if not set(names) >= {"id", "sop_instance_uid", "verdict"}:
            raise StoreError(f"{path} holds no table of verdicts that could be read: restore its last backup")
        found: list[Verdict] = []
        last, gaps = 0, 0
        for number in range(1, _highest(database, path) + 1):
            verdict = _read(database, number)
            if verdict is not None:
                gaps += number - last - 1
                last = number
                found.append(verdict)
        return Salvaged(tuple(found), gaps + max(0, _known(database) - last))


def _highest(database: sqlite3.Connection, path: Path) -> int:
    return _known(database) or path.stat().st_size // _SMALLEST_ROW


def _known(database: sqlite3.Connection) -> int:
    """The highest id, where it can be read."""
    try:
        return int(database.execute("SELECT max(id) FROM verdicts").fetchone()[0] or 0)
    except (sqlite3.Error, TypeError, ValueError):
        return 0


def _read(database: sqlite3.Connection, number: int) -> Verdict | None:
    """One row; None where it is not there, cannot be read, or is no verdict any more."""
    try:
        row = database.execute("SELECT * FROM verdicts WHERE id = ?", (number,)).fetchone()
        if row is None:
            return None
        said = {name: row[name] for name in row.keys() if name in _FIELDS}  # noqa: SIM118  a Row
        said["created_at"] = datetime.fromisoformat(str(said["created_at"])).replace(tzinfo=UTC)
        said["marks"] = read_marks(said.get("marks", "[]"))
        if said.get("heatmap_shown") is not None:
            said["heatmap_shown"] = bool(said["heatmap_shown"])
        return Verdict(**said)
    except (sqlite3.Error, StoreError, ValueError, TypeError):
        return None
