"""The ledger of a batch: rows in atomic parts, so that a killed run loses nothing and repeats nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from medres.errors import OutputExists, UsageError
from medres.files import make_folder, refuse_link, remove_leftovers
from medres.scoring.known import GONE, SCORED, STAMP, as_gone
from medres.scoring.rows import Row, read_rows, typed, write_parquet, write_rows
from medres.scoring.state import STATE
from medres.tables import MARKER, read_json, refuse_existing, write_json
from medres.unfinished import is_lock, lock, unlock

PARTS = "parts"
ANEW = ".anew"
"""Where `--force` writes until all is whole: what lies in the folder stays until then."""
_WHOLE = "whole.json"  # in ANEW: what is there can take the old results' place
PICTURES = "heatmaps"
_SAID_BEFORE = {"precision": "float32", "decode": "full"}
"""What rows say of images that were decoded before these columns were there."""
INTERNAL = ("pixels_sha256", STAMP)
"""Columns of parts that `predictions.csv` does not show."""


class Ledger:
    """The output folder of one scoring run, held by one process at a time.

    Args:
        folder: the output folder.
        columns: the columns of a row, internal ones included.
        resume: continue a run that lies there.
        force: replace a run that lies there.

    Raises:
        OutputExists: a run lies there and neither `resume` nor `force` was given, it is no folder, another process
            holds it, or a link lies where parts or heatmaps belong.
    """

    def __init__(self, folder: Path, columns: Sequence[str], *, resume: bool, force: bool) -> None:
        self.folder = folder
        self.columns = list(columns)
        self.resume, self.force = resume, force
        self.home = folder  # where rows and pictures go
        self._number = 0
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
            for name in (PARTS, PICTURES, ANEW):
                refuse_link(self.folder / name)
            self._swap()  # what a killed run had made whole
            self._choose_home()
        except BaseException:
            unlock(self.folder)
            raise
        return self

    def _choose_home(self) -> None:
        """Where this run writes, made ready."""
        anew = self.folder / ANEW
        if self.force and not self.resume:
            shutil.rmtree(anew, ignore_errors=True)
            if (self.folder / MARKER).is_file():
                self.home = anew
        elif (anew / MARKER).is_file():
            self.home = anew  # a run of --force that was ended
        if self.home != self.folder:
            make_folder(self.home)
        remove_leftovers(self.home)
        make_folder(self.home / PARTS)
        self._number = 1 + max((int(part.stem) for part in (self.home / PARTS).glob("*.csv")), default=-1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the folder go."""
        unlock(self.folder)

    def record(self) -> dict[str, Any]:
        """What `run.json` says of the results to resume; nothing where there are none."""
        place = self.home / MARKER
        found = read_json(place) if self.resume and place.is_file() else {}
        if not isinstance(found, dict):
            raise UsageError(f"{place} is not the record of a scoring run; give --force to score everything anew")
        return found

    def announce(self, record: dict[str, Any]) -> None:
        """Write `run.json`: what this run is."""
        write_json(self.home / MARKER, record)

    def rows(self) -> Iterator[dict[str, str]]:
        """The rows that are already there; a part that cannot be read is set aside and its files are scored again."""
        for part in sorted((self.home / PARTS).glob("*.csv")):
            try:
                rows = read_rows(part)
                complete = all(set(self.columns) - {STAMP, *_SAID_BEFORE} <= set(row) for row in rows)
            except UsageError:
                complete = False
            if complete:
                for row in rows:  # the first versions had no stamps, and said less
                    said = dict.fromkeys(_SAID_BEFORE, "") if row["status"] == "refused" else _SAID_BEFORE
                    yield {STAMP: "", **said, **row}
            else:
                part.replace(part.with_suffix(".damaged"))

    def latest(self, *, model_id: str) -> dict[str, dict[str, str]]:
        """The last row of every path that a model made."""
        return {row["path"]: row for row in self.rows() if row["model_id"] == model_id}

    def append(self, rows: Sequence[Row]) -> None:
        """Write one part: all of these rows, or none; nothing where there are no rows."""
        if not rows:
            return
        write_rows(self.home / PARTS / f"{self._number:06d}.csv", self.columns, rows)
        self._number += 1

    def finish(self, paths: Sequence[str], *, model_id: str) -> list[dict[str, str]]:
        """Merge the parts into `predictions.csv` and `.parquet`: one row per path, sorted; later parts win.

        A file that was scored by the same model and is away keeps its scores in a row `gone`.

        Args:
            paths: of the files that are there.
            model_id: whose scores are kept.

        Returns:
            The rows of the tables, every cell as text.
        """
        latest = {row["path"]: row for row in self.rows()}
        here = set(paths)
        moved = {latest[path]["sha256"] for path in here}
        away = [
            row if row["status"] == GONE else as_gone(row)
            for path, row in latest.items()
            if path not in here
            and row["status"] in {*SCORED, GONE}
            and row["model_id"] == model_id
            and row["sha256"] not in moved
        ]
        self.append([row for row in away if row != latest[row["path"]]])
        latest |= {row["path"]: row for row in away}
        here |= {row["path"] for row in away}
        rows = [latest[path] for path in sorted(here)]
        shown = [name for name in self.columns if name not in INTERNAL]
        table = {name: typed(name, [row[name] for row in rows]) for name in shown}
        lines = zip(*table.values(), strict=True)
        write_rows(self.home / "predictions.csv", shown, [dict(zip(shown, line, strict=True)) for line in lines])
        write_parquet(self.home / "predictions.parquet", table)
        return rows

    def whole(self) -> None:
        """All is written: what `--force` made takes the place of what was there."""
        if self.home != self.folder:
            names = [path.name for path in self.home.iterdir() if path.is_file() and _is_result(path)]
            pictures = (self.home / PICTURES).is_dir()
            write_json(self.home / _WHOLE, {"files": names, "heatmaps": pictures})
            self._swap()

    def _swap(self) -> None:
        """Let what is whole take its place, file by file: the folder stays, with verdicts and whatever else is in it.

        A run that is killed meanwhile leaves a swap that the next one goes on with.
        """
        anew = self.folder / ANEW
        if not (anew / _WHOLE).is_file():
            return
        said = read_json(anew / _WHOLE)
        for name, there in ((PARTS, True), (PICTURES, said["heatmaps"])):
            old, new = self.folder / name, anew / name
            refuse_link(old)
            if new.is_dir() or not there:
                shutil.rmtree(old, ignore_errors=True)
            if new.is_dir():
                new.rename(old)
        for old in [path for path in self.folder.iterdir() if _is_result(path) and path.name not in said["files"]]:
            old.unlink()
        for name in said["files"]:
            with suppress(FileNotFoundError):  # it was put there before the swap was ended
                (anew / name).replace(self.folder / name)
        shutil.rmtree(anew)
        self.home = self.folder


def _is_result(path: Path) -> bool:
    return path.name == MARKER or path.name.startswith("predictions.")


def _is_free(folder: Path) -> bool:
    """Whether a folder is absent or holds no more than a run leaves that was killed before it said what it is."""
    if not folder.is_dir():
        return True
    return all(
        is_lock(item)
        or item.name.startswith(f".{MARKER}.")
        or item.name == STATE
        or (item.name == PARTS and item.is_dir() and not any(item.iterdir()))
        for item in folder.iterdir()
    )
