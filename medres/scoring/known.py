"""What is known of a folder from the run before: files that did not change, moved or went, and whether it is the same.

Size, modification time and inode decide whether a file is the one that was scored; where they differ (another mount,
a copy), its bytes do. Nothing that did not change is opened.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from medres.errors import GoneError, Refused, UsageError
from medres.imaging.preprocessing import file_sha256
from medres.scoring.columns import alike, numbers_in, places_in, row_numbers, text_array
from medres.scoring.table import Numbers, RowTable, Selected
from medres.tables import inert_path, named_path

log = logging.getLogger(__name__)

SCORED = frozenset({"ok", "review"})
"""Statuses of rows that hold scores."""

GONE = "gone"
"""The status of a file that was scored and is not there any more."""

STAMP = "file_stamp"
"""The internal column that says which file a row is of: its size, modification time (ns) and inode."""

MOST_GONE = 0.1
"""The share of scored files that may be gone; more look like a folder that is not there (a mount that is missing)."""

RESTATED = 4096  # rows that are written again at a time
_HASHED = 1024  # files whose hashes are asked for at a time
_SAMPLE = 20  # known files by which a folder at another place is recognised


def stamp(path: Path | str) -> str:
    """Size, modification time in nanoseconds and inode of a file; "" where it cannot be looked at.

    >>> stamp(Path("/no/such/file"))
    ''
    """
    try:
        status = os.stat(path)  # noqa: PTH116  of a million files, for which no Path is made
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Which files are what they were, and which rows of the ledger hold of them; one entry for each file."""

    table: RowTable  # of the ledger
    files: Sequence[str]  # sorted, relative
    numbers: Numbers  # of the row that holds of a file; -1 where none does
    stamps: Any  # an Arrow array of text: of now
    renewed: NDArray[np.bool_]  # the row says another stamp or path, or that the file was gone
    gone: frozenset[str]  # names, not said to be gone before, of which neither the file nor its bytes are there

    def said_now(self, places: Numbers) -> dict[str, list[str]]:
        """What the rows of some files say now, where that may be something else than in the ledger, by column."""
        rows = list(self.found(places))
        return {name: [row[name] for row in rows] for name in ("path", STAMP, "status", "reason", "detail")}

    def found(self, places: Numbers | None = None) -> Iterator[Mapping[str, str]]:
        """The rows that hold of files, as they are now: with their name, their stamp, and what they said before.

        Args:
            places: of the files, all of which hold; by default all that do.
        """
        places = np.flatnonzero(self.numbers >= 0) if places is None else places
        rows = self.table.rows(self.numbers[places])
        for place, row in zip(places.tolist(), rows, strict=True):
            if self.renewed[place]:
                yield {**back(row), "path": inert_path(self.files[place]), STAMP: self.stamps[place].as_py()}
            else:
                yield row


def unchanged(known: Selected, folder: Path, files: Sequence[str], *, verify: bool, workers: int | None) -> Unchanged:
    """The rows of files that are there and hold the bytes that were scored, also at a new place.

    Args:
        known: what the ledger last said of each path; of the same model.
        folder: that is scored.
        files: what is in it, relative.
        verify: hash every file, whatever its stamp says.
        workers: files that are hashed at a time.
    """
    names = text_array(map(inert_path, files))
    stamps = text_array(stamp(f"{folder}{os.sep}{path}") for path in files)
    place = places_in(names, known.text("path"))  # of a file's row among the known ones
    old = np.flatnonzero(place >= 0)
    rows = known.only(place[old])
    stamped = alike(known.table.text(STAMP), rows.numbers, stamps, old)
    same = stamped & rows.where(STAMP, bool)
    hashed = rows.where("sha256", bool)
    asked = hashed & (True if verify else ~same)
    held = same & ~asked
    if asked.any():
        hashes = text_array(hashes_of_files(folder, [files[at] for at in old[asked].tolist()], workers))
        held[asked] = numbers_in(pc.equal(hashes, rows.only(asked).text("sha256")))
    numbers = np.full(len(files), -1, np.int64)
    numbers[old[held]] = rows.numbers[held]
    renewed = np.zeros(len(files), np.bool_)
    renewed[old] = held & ~(stamped & rows.where("status", lambda said: said != GONE))

    away = known.only(places_in(known.text("path"), names) < 0)
    away = away.only(away.where("sha256", bool) & away.where("status", {*SCORED, GONE}.__contains__))
    new = np.flatnonzero(place < 0)
    elsewhere = _moved(away, folder, [files[at] for at in new.tolist()], stamps.take(row_numbers(new)), workers)
    for at, number in elsewhere.items():
        numbers[new[at]], renewed[new[at]] = number, True
    missed = away.only(~np.isin(away.numbers, list(elsewhere.values())))
    if len(missed):  # a copy that is there has its bytes, too
        missed = missed.only(places_in(missed.text("sha256"), known.table.text("sha256", numbers[numbers >= 0])) < 0)
    gone = missed.only(missed.where("status", SCORED.__contains__)).text("path").to_pylist()
    return Unchanged(known.table, files, numbers, stamps, renewed, frozenset(gone))


def said_when_gone(rows: Selected) -> dict[str, list[str]]:
    """What the rows of files say that were scored and are away, by column: their scores stay."""
    cells = zip(rows.text("status").to_pylist(), rows.text("reason").to_pylist(), strict=True)
    details = [f"was {status} {reason}".strip() for status, reason in cells]
    return {"status": [GONE] * len(rows), "reason": [""] * len(rows), "detail": details}


def back(row: Mapping[str, str]) -> dict[str, str]:
    """What a row said before its file went; itself where that did not.

    >>> back({"status": "gone", "reason": "", "detail": "was review OUTLIER"})
    {'status': 'review', 'reason': 'OUTLIER', 'detail': ''}
    """
    if row["status"] != GONE:
        return dict(row)
    status, _, reason = row["detail"].removeprefix("was ").partition(" ")
    return {**row, "status": status, "reason": reason, "detail": ""}


def _moved(away: Selected, folder: Path, files: Sequence[str], stamps: Any, workers: int | None) -> dict[int, int]:
    """The rows of files that are away, by the place of the new file that holds the bytes: of that size and hash."""
    by_size: dict[str, list[tuple[str, int]]] = {}
    for row, number in zip(away.rows(), away.numbers, strict=True):
        by_size.setdefault(row[STAMP].partition(" ")[0], []).append((row["sha256"], int(number)))
    by_size.pop("", None)
    if not by_size:
        return {}
    sizes = [text.partition(" ")[0] for text in stamps.to_pylist()]
    asked = [place for place, size in enumerate(sizes) if size in by_size]
    found: dict[int, int] = {}
    for place, digest in zip(asked, hashes_of_files(folder, [files[place] for place in asked], workers), strict=True):
        number = next((number for known, number in by_size[sizes[place]] if known == digest), None)
        if number is not None:
            found[place] = number
    return found


def hashes_of_files(folder: Path, files: Sequence[str], workers: int | None) -> Iterator[str]:
    """The SHA-256 of files, in their order, "" where they cannot be read."""

    def one(path: str) -> str:
        try:
            return file_sha256(folder / path)
        except Refused:
            return ""

    with ThreadPoolExecutor(workers or os.cpu_count()) as threads:
        for start in range(0, len(files), _HASHED):
            yield from threads.map(one, files[start : start + _HASHED])


def percent(some: int, of: int) -> str:
    """A share in whole percent, rounded up: as much has to be allowed.

    >>> percent(7, 12), percent(6, 6)
    ('59%', '100%')
    """
    return f"{math.ceil(100 * some / of)}%"


def refuse_many_gone(known: int, gone: int, *, most: float, folder: Path, empty: bool) -> None:
    """Stop before anything is written where more files are away than a night takes.

    Raises:
        GoneError: more than `most` of the known files, and more than one, or the folder is empty.
    """
    if gone > most * known and (gone > 1 or empty):
        raise GoneError(
            f"{gone} of {known} files that were scored are gone from {folder}: is a mount missing? Nothing was "
            f"written. If they are meant to be gone, give --max-gone {percent(gone, known)} or more; their scores "
            "are kept in rows with the status gone"
        )


def refuse_other_folder(was: str | None, known: Selected, folder: Path, files: int) -> None:
    """Make sure that results which are resumed are of this folder, also where it lies at another place now.

    Raises:
        UsageError: it is another: of a sample of its known files most are not here.
    """
    known = known.only(known.where("status", GONE.__ne__))
    if was in (None, str(folder.resolve())) or not len(known) or not files:
        return
    stamped = known.only(known.where(STAMP, bool))
    known = stamped if len(stamped) else known
    sample = known.only(np.arange(len(known))[:: max(1, len(known) // _SAMPLE)][:_SAMPLE])
    there = sum(_same_size(folder, row) for row in sample.rows())
    if 2 * there < len(sample):
        raise UsageError(
            f"the results are of {was}, and {folder} is another folder: {there} of {len(sample)} known files are here. "
            "Give the folder that was scored, another --out, or --force --max-gone 100%"
        )
    log.info("the folder was %s before", was)


def _same_size(folder: Path, row: Mapping[str, str]) -> bool:
    found, known = stamp(folder / named_path(row["path"])), row[STAMP]
    return bool(found) and (not known or found.partition(" ")[0] == known.partition(" ")[0])
