"""The ledger of a batch: rows in atomic parts, so that a killed run loses nothing and repeats nothing."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from medres.errors import MAY_PASS, MedresError, OutputExists, UsageError
from medres.files import is_leftover, make_folder, refuse_link, remove_leftovers
from medres.provenance import now
from medres.scoring.columns import Row, is_evidence, places_in, slices, text_array
from medres.scoring.evidence import EVIDENCE, EVIDENCE_HOLDS, write_evidence
from medres.scoring.known import GONE, RESTATED, SCORED, STAMP, Unchanged, said_when_gone
from medres.scoring.parts import MOST_OLD, Parts
from medres.scoring.record import UNFINISHED, ScoresRecord, read_scores_record, write_scores_record
from medres.scoring.refusals import Refusals
from medres.scoring.rows import write_tables
from medres.scoring.shown import TABLE, Shown
from medres.scoring.state import STATE
from medres.scoring.table import Numbers, Selected
from medres.tables import MARKER, read_json, refuse_existing, write_json
from medres.unfinished import is_lock, lock, unlock

log = logging.getLogger(__name__)

PARTS = "parts"
ANEW = ".anew"
"""Where `--force` writes until all is whole: what lies in the folder stays until then."""
_WHOLE = "whole.json"  # in ANEW: what is there can take the old results' place
PICTURES = "heatmaps"
_INTERNAL = frozenset({"pixels_sha256", STAMP})


def shown_columns(columns: Sequence[str]) -> list[str]:
    """Those of the columns of parts that `predictions.csv` shows.

    >>> shown_columns(["path", "prob_disc", "pixels_sha256", "cells_disc"])
    ['path', 'prob_disc']
    """
    return [name for name in columns if name not in _INTERNAL and not is_evidence(name)]


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
        self.shown = Shown(folder)
        self.most_gone = 1.0  # the share of the scores there that new tables may be without
        self._parts: Parts | None = None
        self._refusals: Refusals | None = None  # once it is known what was said before
        self._shown_rows = 0  # of the new tables
        self._record: ScoresRecord | None = None
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
            log.warning(
                "a run with --force was ended before it was whole, and goes on now: when it is whole, its tables take "
                "the place of those in %s. To keep these instead, delete %s; --force starts it anew",
                self.folder, anew,
            )  # fmt: skip
        if self.home != self.folder:
            make_folder(self.home)
        remove_leftovers(self.home)
        self._parts = Parts(self.home / PARTS, self.columns)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the folder go; the rows that wait are written, also after an error."""
        try:
            if error is None:
                self.parts.flush()
            else:
                with suppress(OSError):  # the disk may be full, which is the error then
                    self.parts.flush()
                with suppress(OSError):
                    self._say_that_it_failed()
        finally:
            unlock(self.folder)

    def record(self) -> ScoresRecord | None:
        """What the last run said of itself, whole or not; None where there are no results to resume.

        Raises:
            UsageError: it is damaged, of another kind, or written by a newer version.
        """
        if not self.resume or not (self.home / MARKER).is_file():
            return None
        try:
            ended = (self.home / UNFINISHED).is_file()
            return read_scores_record(self.home, UNFINISHED if ended else MARKER)
        except UsageError as error:
            raise UsageError(f"{error}; give --force to score everything anew") from None

    def announce(self, record: ScoresRecord) -> None:
        """Write what this run is, and how it ended: `run.json`, which says so of the tables that are there.

        While it goes on, and tables of an earlier run are there, `run.json` stays theirs.
        """
        tables = (self.home / f"{TABLE}.csv").is_file()
        if tables and record.state in {"running", "failed"}:
            write_scores_record(self.home, record, UNFINISHED)
        else:
            write_scores_record(self.home, record)
            (self.home / UNFINISHED).unlink(missing_ok=True)
        self._record = record

    def _say_that_it_failed(self) -> None:
        if self._record and self._record.state == "running":
            self.announce(self._record.model_copy(update={"state": "failed", "ended": now()}))

    @property
    def parts(self) -> Parts:
        """The parts, of a ledger that was entered."""
        assert self._parts is not None
        return self._parts

    def append(self, rows: Sequence[Row]) -> None:
        """Take rows, which become a part with those before and after them; see `Parts.append`.

        A refusal that the last row of its path says already is not said again.
        """
        known = self._refusals
        self.parts.append(rows if known is None else [row for row in rows if not known.says(row)])

    def renew(self, held: Unchanged, places: Numbers) -> None:
        """Write the rows of files that moved, came back, or have another stamp now, as they are now.

        Args:
            held: what is known of the files.
            places: of those whose rows are kept.
        """
        renewed = places[held.renewed[places]]
        in_order = renewed[np.argsort(held.numbers[renewed], kind="stable")]  # of parts, each of which is read once
        for some in slices(in_order, RESTATED):
            self.parts.restate(held.numbers[some], held.said_now(some))

    def latest(self, *, model_id: str) -> Selected:
        """The last row of every path that a model made, in order of path."""
        rows = self.parts.rows()
        found = Selected(rows, rows.latest(rows.where("model_id", model_id.__eq__)))
        if self._refusals is None:
            self._refusals = Refusals(found)
        return found

    def finish(self, paths: Sequence[str], *, model_id: str) -> Selected:
        """Merge the rows of one model into `predictions.csv` and `.parquet`: the last of each path, sorted by path.

        A file that was scored and is away keeps its scores in a row `gone`. What the rows keep beside
        goes into `evidence.parquet`.

        Args:
            paths: of the files that are there, as rows name them.
            model_id: whose scores are kept.

        Returns:
            The rows of the tables.

        Raises:
            MedresError: a part was damaged while the run went on; `--resume` scores its files again.
            GoneError: the tables that are there hold too many scores which these would be without.
        """
        merged = self._merged(paths, model_id)
        self._refuse_lost(merged, model_id)
        columns = shown_columns(self.columns)
        write_tables(self.home / TABLE, columns, merged.pieces(columns))
        write_evidence(self.home / EVIDENCE, self.parts, merged)
        self._shown_rows = len(merged)
        return merged

    def replaces(self, model_id: str) -> bool:
        """Whether the tables that are there give way to others: those of another model, or of a run with `--force`."""
        return self.shown.there and (self.home != self.folder or bool(self.shown.models() - {model_id}))

    def _refuse_lost(self, merged: Selected, model_id: str) -> None:
        """Look again before the tables are replaced: what was there as the run began may be away now."""
        unread = merged.where("reason", MAY_PASS.__contains__) & merged.where("status", "refused".__eq__)
        if self.replaces(model_id) or unread.sum() > 1:
            read = merged.only(~unread)
            self.shown.refuse_lost(read.text("path"), hashes=lambda: read.text("sha256"), most=self.most_gone)

    def _merged(self, paths: Sequence[str], model_id: str) -> Selected:
        latest = self.latest(model_id=model_id)
        here = places_in(latest.text("path"), text_array(paths)) >= 0
        lacking = len(set(paths)) - here.sum()
        if lacking:
            raise MedresError(
                f"{self.parts.folder} lacks the rows of {lacking} files: a part of it is damaged; give --resume to "
                "score these files again"
            )
        away = ~here
        if away.any():
            moved = places_in(latest.only(away).text("sha256"), latest.only(here).text("sha256")) >= 0
            away[np.flatnonzero(away)[moved]] = False
        going = latest.only(away & latest.where("status", SCORED.__contains__))
        if len(going):
            self.parts.restate(going.numbers, said_when_gone(going))
            latest = self.latest(model_id=model_id)  # of the same paths
        return latest.only(here | (away & latest.where("status", GONE.__eq__)))

    def holds(self) -> dict[str, str]:
        """What the files hold that are not in every folder, as `run.json` says it."""
        return {EVIDENCE: EVIDENCE_HOLDS} if (self.home / EVIDENCE).is_file() else {}

    def whole(self) -> None:
        """All is written: what `--force` made takes the place of what was there, and rows that do not hold may go."""
        self.parts.flush()
        if self.home == self.folder:
            self._compact()
        else:
            names = [path.name for path in self.home.iterdir() if path.is_file() and _is_result(path)]
            pictures = (self.home / PICTURES).is_dir()
            write_json(self.home / _WHOLE, {"files": names, "heatmaps": pictures})
            self._swap()

    def _compact(self) -> None:
        """Let rows go that hold no longer, where they are most."""
        if not self._shown_rows or len(self.parts.rows()) <= MOST_OLD * self._shown_rows:
            return
        try:
            self.parts.drop_old()
        except OSError as error:  # the disk is full: the tables are whole, and the next night tries again
            log.warning("%s could not be made smaller: %s", self.parts.folder, error)
        self._parts = Parts(self.home / PARTS, self.columns)

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
    return path.name in {MARKER, UNFINISHED, EVIDENCE} or path.name.startswith((f"{TABLE}.", "studies."))


def _is_free(folder: Path) -> bool:
    """Whether a folder is absent or holds no more than a run leaves that was killed before it said what it is."""
    if not folder.is_dir():
        return True
    return all(
        is_lock(item)
        or is_leftover(item)
        or item.name.startswith(f".{MARKER}.")  # as earlier versions named it
        or item.name == STATE
        or (item.name == PARTS and item.is_dir() and not any(item.iterdir()))
        for item in folder.iterdir()
    )
