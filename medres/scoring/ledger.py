"""The ledger of a batch: rows in atomic parts, so that a killed run loses nothing and repeats nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from medres.errors import OutputExists, UsageError
from medres.tables import MARKER, read_csv, read_json, refuse_existing, write_csv, write_json
from medres.unfinished import is_lock, lock, unlock

if TYPE_CHECKING:
    import pandas as pd

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
        return dict(read_json(place)) if self.resume and place.is_file() else {}

    def announce(self, record: dict[str, Any]) -> None:
        """Write `run.json`: what this run is."""
        write_json(self.folder / MARKER, record)

    def rows(self) -> Iterator[dict[str, str]]:
        """The rows that are already there; a part that cannot be read is set aside and its files are scored again."""
        for part in sorted((self.folder / PARTS).glob("*.csv")):
            try:
                table = read_csv(part)
                complete = set(self.columns) <= set(table.columns)
            except UsageError:
                complete = False
            if complete:
                for row in table.itertuples(index=False):
                    yield dict(zip(table.columns, map(str, row), strict=True))
            else:
                part.replace(part.with_suffix(".damaged"))

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write one part: all of these rows, or none."""
        import pandas as pd

        number = 1 + max((int(part.stem) for part in (self.folder / PARTS).glob("*.csv")), default=-1)
        write_csv(self.folder / PARTS / f"{number:06d}.csv", pd.DataFrame(list(rows), columns=self.columns))

    def finish(self, paths: Sequence[str]) -> pd.DataFrame:
        """Merge the parts into `predictions.csv` and `.parquet`: one row per path, sorted; later parts win."""
        import pandas as pd

        latest = {row["path"]: row for row in self.rows()}
        shown = [name for name in self.columns if name not in INTERNAL]
        table = pd.DataFrame([latest[path] for path in sorted(paths)], columns=shown)
        for name in shown:
            if name.startswith("prob_"):
                table[name] = pd.to_numeric(table[name], errors="coerce")
            elif name.startswith("positive_"):
                table[name] = pd.to_numeric(table[name], errors="coerce").astype("Int64")
        write_csv(self.folder / "predictions.csv", table)
        temporary = self.folder / ".predictions.parquet"
        table.to_parquet(temporary, index=False)
        temporary.replace(self.folder / "predictions.parquet")
        return table


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
