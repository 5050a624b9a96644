"""Which rows of an earlier scoring run still hold, and what has to be scored with the files that are new."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from medres.cohort.duplicates import Repeats
from medres.imaging.preprocessing import Prepared
from medres.records import Refusal
from medres.tables import inert_path

Row = dict[str, str]
Results = Iterator[tuple[str, Prepared | Refusal]]
Prepare = Callable[[Sequence[str], bool], Results]
"""Reads files; the second argument says whether results come in the order of the paths, or about so."""


def kept_rows(rows: Iterable[Row], files: Sequence[str], *, holds: Callable[[Row], bool]) -> dict[str, Row]:
    """The rows that need not be made again, by path.

    A row is kept if it is the last one of a file that is still there, if it `holds`, and if it says of repeated images
    what a run over the kept files alone would say; else no row of its SOPInstanceUID is kept.

    Args:
        rows: of the ledger, in the order in which they were written.
        files: sorted, relative to the scored folder.
        holds: whether model and bytes are the same.
    """
    latest = {row["path"]: row for row in rows}
    found = {path: latest[inert_path(path)] for path in files if inert_path(path) in latest}
    found = {path: row for path, row in found.items() if holds(row)}
    repeats = Repeats()
    doubtful: set[str] = set()
    for row in found.values():
        uid = row["SOPInstanceUID"]
        repeat = repeats.compare(
            row["path"], sop_instance_uid=uid, sha256=row["sha256"], pixels_sha256=row["pixels_sha256"]
        )
        said = row["detail"] if row["status"] == "duplicate" else ""
        would_say = same_image(repeat.identical_to) if repeat.identical_to else ""
        if repeat.conflict != (row["reason"] == "DUPLICATE_CONFLICT") or said != would_say:
            doubtful.add(uid)
    return {path: row for path, row in found.items() if row["SOPInstanceUID"] not in doubtful}


def same_image(path: str) -> str:
    """What the row of a duplicate says of the row that holds its score."""
    return f"the same image as {path}"


def with_what_they_share(
    files: Sequence[str], kept: dict[str, Row], prepare: Prepare, *, forget: Callable[[str], None]
) -> Results:
    """Prepare the files without a kept row, and with them those whose SOPInstanceUID a new one turns out to share.

    These come last, in order of path, as in a run from the start: which of them repeats which is judged anew. They are
    taken out of `kept`. So are files of one SOPInstanceUID of which a later one was done before an earlier one: they
    are given twice, and what holds is said the second time.

    Args:
        files: sorted, relative to the scored folder.
        kept: what `kept_rows` gave.
        prepare: reads some files.
        forget: told each SOPInstanceUID that is judged anew.
    """
    sharing: dict[str, list[str]] = {}
    for path, row in kept.items():
        if row["SOPInstanceUID"]:
            sharing.setdefault(row["SOPInstanceUID"], []).append(path)
    given: dict[str, list[str]] = {}  # by SOPInstanceUID, in ascending order
    again: set[str] = set()
    anew: set[str] = set()  # SOPInstanceUIDs
    for path, result in prepare([path for path in files if path not in kept], False):
        uid = result.sop_instance_uid if isinstance(result, Prepared) else ""
        if uid and (uid in anew or uid in sharing or (uid in given and given[uid][-1] > path)):
            anew.add(uid)
            again.update((path, *sharing.get(uid, ()), *given.pop(uid, ())))
        else:
            if uid:
                given.setdefault(uid, []).append(path)
            yield path, result
    for path in again:
        kept.pop(path, None)
    for uid in anew:
        forget(uid)
    if again:
        yield from prepare(sorted(again), True)
