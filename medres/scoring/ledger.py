"""The ledger of a batch: rows in atomic parts, so that a killed run loses nothing and repeats nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from medres.errors import OutputExists, UsageError
from medres.scoring.rows import Row, read_rows, typed, write_parquet, write_rows
from medres.tables import MARKER, read_json, refuse_existing, write_json
from medres.unfinished import is_lock, lock, unlock

PARTS = "parts"
INTERNAL = ("pixels_sha256",)
"""Columns of parts that `predictions.csv` does not show."""


class Ledger:
    """The output folder of one scoring run, held by one process at a time.

    Args:
        folder: the output folder.
        columns: the columns of a row, internal ones included.
        resume: continue a run that lies there.
        force: replace a run that lies there.

    Raises:
        OutputExists: a run lies there and neither `resume` nor `force` was given, it is no folder, or another process
            holds it.
    """

    def __init__(self, folder: Path, columns: Sequence[str], *, resume: bool, force: bool) -> None:
        self.folder = folder
        self.columns = list(columns)
        self.resume, self.force = resume, force
        self._refuse()

    def _refuse(self) -> None:
        if (self.folder.exists() or self.folder.is_symlink()) and not self.folder.is_dir():
            raise OutputExists(f"{self.folder} is not a folder; scores need one: choose another --out")
        if _is_free(self.folder):
            refuse_existing(self.folder / MARKER)
            return
        if not self.resume and not self.force:
            raise OutputExists(
                f"{self.folder} already holds results; give --resume to continue them, or --force to replace them"
            )
        if self.resume and not (self.folder / MARKER).is_file():
            raise OutputExists(
                f"{self.folder} was not written by medres score (it holds no {MARKER}); nothing there to resume"
            )
        refuse_existing(self.folder.resolve(), force=True)  # a link to a folder is filled, never replaced

    def __enter__(self) -> Ledger:
        """Take the folder."""
        lock(self.folder)
        try:
            self._refuse()  # another process may have finished it meanwhile
        except UsageError:
            unlock(self.folder)
            raise
        if self.force and not self.resume:
            for old in (
                *self.folder.glob(f"{PARTS}/*.csv"),
                *self.folder.glob("predictions.*"),
                *self.folder.glob("heatmaps/*.png"),
            ):
                old.unlink()
        (self.folder / PARTS).mkdir(exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the folder go."""
        unlock(self.folder)

    def record(self) -> dict[str, Any]:
        """What `run.json` says of the results to resume; nothing where there are none."""
        place = self.folder / MARKER
        found = read_json(place) if self.resume and place.is_file() else {}
        if not isinstance(found, dict):
            raise UsageError(f"{place} is not the record of a scoring run; give --force to score everything anew")
        return found

    def announce(self, record: dict[str, Any]) -> None:
        """Write `run.json`: what this run is."""
        write_json(self.folder / MARKER, record)

    def rows(self) -> Iterator[dict[str, str]]:
        """The rows that are already there; a part that cannot be read is set aside and its files are scored again."""
        for part in sorted((self.folder / PARTS).glob("*.csv")):
            try:
                rows = read_rows(part)
                complete = all(set(self.columns) <= set(row) for row in rows)
            except UsageError:
                complete = False
            if complete:
                yield from rows
            else:
                part.replace(part.with_suffix(".damaged"))

    def append(self, rows: Sequence[Row]) -> None:
        """Write one part: all of these rows, or none."""
        number = 1 + max((int(part.stem) for part in (self.folder / PARTS).glob("*.csv")), default=-1)
        write_rows(self.folder / PARTS / f"{number:06d}.csv", self.columns, rows)

    def finish(self, paths: Sequence[str]) -> list[dict[str, str]]:
        """Merge the parts into `predictions.csv` and `.parquet`: one row per path, sorted; later parts win.

        Returns:
            The rows of the tables, every cell as text.
        """
        latest = {row["path"]: row for row in self.rows()}
        rows = [latest[path] for path in sorted(paths)]
        shown = [name for name in self.columns if name not in INTERNAL]
        table = {name: typed(name, [row[name] for row in rows]) for name in shown}
        lines = zip(*table.values(), strict=True)
        write_rows(self.folder / "predictions.csv", shown, [dict(zip(shown, line, strict=True)) for line in lines])
        write_parquet(self.folder / "predictions.parquet", table)
        return rows


def _is_free(folder: Path) -> bool:
    """Whether a folder is absent or holds no more than a run leaves that was killed before it said what it is."""
    if not folder.is_dir():
        return True
    return all(
        is_lock(item)
        or item.name.startswith(f".{MARKER}.")
        or (item.name == PARTS and item.is_dir() and not any(item.iterdir()))
        for item in folder.iterdir()
    )
