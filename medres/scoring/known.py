"""What is known of a folder from the run before: files that did not change, moved or went, and whether it is the same.

Size, modification time and inode decide whether a file is the one that was scored; where they differ (another mount,
a copy), its bytes do. Nothing that did not change is opened.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from medres.errors import GoneError, Refused, UsageError
from medres.imaging.preprocessing import file_sha256
from medres.tables import inert_path, named_path

log = logging.getLogger(__name__)

Row = dict[str, str]

SCORED = frozenset({"ok", "review"})
"""Statuses of rows that hold scores."""

GONE = "gone"
"""The status of a file that was scored and is not there any more."""

STAMP = "file_stamp"
"""The internal column that says which file a row is of: its size, modification time (ns) and inode."""

MOST_GONE = 0.1
"""The share of scored files that may be gone; more look like a folder that is not there (a mount that is missing)."""

_SAMPLE = 20  # known files by which a folder at another place is recognised


def stamp(path: Path) -> str:
    """Size, modification time in nanoseconds and inode of a file; "" where it cannot be looked at.

    >>> stamp(Path("/no/such/file"))
    ''
    """
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Rows whose files are what they were."""

    rows: dict[str, Row]  # by path, with the stamp of now
    renewed: frozenset[str]  # paths whose rows hold another stamp or path than the ledger's
    gone: frozenset[str]  # names, not said to be gone before, of which neither the file nor its bytes are there


def unchanged(
    rows: Mapping[str, Row], folder: Path, files: Sequence[str], *, verify: bool, workers: int | None
) -> Unchanged:
    """The rows of files that are there and hold the bytes that were scored, also at a new place.

    Args:
        rows: what the ledger last said, by path; of the same model.
        folder: that is scored.
        files: what is in it, relative.
        verify: hash every file, whatever its stamp says.
        workers: files that are hashed at a time.
    """
    here = {inert_path(path): path for path in files}
    stamps = {name: stamp(folder / path) for name, path in here.items()}
    same = {name for name in here if name in rows and rows[name].get(STAMP) and rows[name][STAMP] == stamps[name]}
    asked = [name for name in here if name in rows and rows[name]["sha256"] and (verify or name not in same)]
    away = [
        row for name, row in rows.items() if name not in here and row["sha256"] and row["status"] in {*SCORED, GONE}
    ]
    moved = _candidates(away, {name: stamps[name] for name in here if name not in rows})
    hashes = dict(_hashes(folder, here, {*asked, *moved}, workers))
    found = {name: rows[name] for name in same if name not in asked}
    found |= {name: rows[name] for name in asked if hashes[name] == rows[name]["sha256"]}
    for name, candidates in moved.items():
        row = next((row for row in candidates if row["sha256"] == hashes[name]), None)
        if row is not None:
            found[name] = row
    now = {name: {**back(row), "path": name, STAMP: stamps[name]} for name, row in found.items()}
    renewed = frozenset(here[name] for name, row in now.items() if row != found[name])
    elsewhere = {row["path"] for name, row in found.items() if name not in rows}
    gone = frozenset(row["path"] for row in away if row["status"] in SCORED) - elsewhere
    return Unchanged({here[name]: row for name, row in now.items()}, renewed, gone)


def as_gone(row: Row) -> Row:
    """The row of a file that was scored and is away: its scores stay."""
    return {**row, "status": GONE, "reason": "", "detail": f"was {row['status']} {row['reason']}".strip()}


def back(row: Row) -> Row:
    """What a row said before its file went; itself where that did not.

    >>> back(as_gone({"status": "review", "reason": "OUTLIER", "detail": ""}))
    {'status': 'review', 'reason': 'OUTLIER', 'detail': ''}
    """
    if row["status"] != GONE:
        return row
    status, _, reason = row["detail"].removeprefix("was ").partition(" ")
    return {**row, "status": status, "reason": reason, "detail": ""}


def _candidates(away: Iterable[Row], new: Mapping[str, str]) -> dict[str, list[Row]]:
    """Rows of files that are away, by the new names that a file of the same size has."""
    by_size: dict[str, list[Row]] = {}
    for row in away:
        by_size.setdefault(row.get(STAMP, "").partition(" ")[0], []).append(row)
    by_size.pop("", None)
    sizes = {name: text.partition(" ")[0] for name, text in new.items()}
    return {name: by_size[size] for name, size in sizes.items() if size in by_size}


def _hashes(
    folder: Path, here: Mapping[str, str], names: Iterable[str], workers: int | None
) -> Iterator[tuple[str, str]]:
    """The SHA-256 of files, "" where they cannot be read."""

    def one(name: str) -> tuple[str, str]:
        try:
            return name, file_sha256(folder / here[name])
        except Refused:
            return name, ""

    with ThreadPoolExecutor(workers or os.cpu_count()) as threads:
        yield from threads.map(one, sorted(names))


def refuse_many_gone(known: int, gone: int, *, most: float, folder: Path, empty: bool) -> None:
    """Stop before anything is written where more files are away than a night takes.

    Raises:
        GoneError: more than `most` of the known files, and more than one, or the folder is empty.
    """
    if gone > most * known and (gone > 1 or empty):
        raise GoneError(
            f"{gone} of {known} files that were scored are gone from {folder}: is a mount missing? Nothing was "
            f"written. If they are meant to be gone, give --max-gone {100 * gone / known:.0f}% or more; their scores "
            "are kept in rows with the status gone"
        )


def refuse_other_folder(was: str | None, rows: Mapping[str, Row], folder: Path, files: int) -> None:
    """Make sure that results which are resumed are of this folder, also where it lies at another place now.

    Raises:
        UsageError: it is another: of a sample of its known files most are not here.
    """
    if was in (None, str(folder.resolve())) or not rows or not files:
        return
    known = [row for row in rows.values() if row.get(STAMP)] or list(rows.values())
    sample = known[:: max(1, len(known) // _SAMPLE)][:_SAMPLE]
    there = sum(_same_size(folder, row) for row in sample)
    if 2 * there < len(sample):
        raise UsageError(
            f"the results are of {was}, and {folder} is another folder: {there} of {len(sample)} known files are here. "
            "Give the folder that was scored, another --out, or --force"
        )
    log.info("the folder was %s before", was)


def _same_size(folder: Path, row: Row) -> bool:
    found, known = stamp(folder / named_path(row["path"])), row.get(STAMP, "")
    return bool(found) and (not known or found.partition(" ")[0] == known.partition(" ")[0])
