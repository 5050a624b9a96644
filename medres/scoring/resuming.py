"""Which rows of an earlier scoring run still hold, and what has to be scored with the files that are new."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medres.cohort.duplicates import Repeats, short
from medres.imaging.preprocessing import Prepared
from medres.scoring.columns import hashes_of, pieces_of, row_numbers, text_array
from medres.scoring.known import Unchanged
from medres.scoring.stages import Results
from medres.scoring.table import Numbers

Prepare = Callable[[Sequence[str], bool], Results]
"""Reads files; the second argument says whether results come in the order of the paths, or about so."""


class Kept:
    """The files whose rows need not be made again, and which of them share a SOPInstanceUID.

    Args:
        files: all that are there, sorted, relative to the scored folder.
        places: of those that are kept.
        uids: their SOPInstanceUIDs, an Arrow array.
        rows: gives the rows of files by their places.
    """

    def __init__(
        self,
        files: Sequence[str],
        places: Numbers,
        uids: Any,
        rows: Callable[[Numbers], Iterator[Mapping[str, str]]] = lambda _: iter(()),
    ) -> None:
        self._files, self._places, self._uids, self._rows = files, places, uids, rows
        self._mask: NDArray[np.bool_] = np.zeros(len(files), np.bool_)
        self._mask[places] = True
        hashes = hashes_of(uids)
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    @classmethod
    def none(cls, files: Sequence[str]) -> Kept:
        """No file."""
        return cls(files, np.zeros(0, np.int64), text_array([]))

    def __len__(self) -> int:
        return int(self._mask.sum())

    def __iter__(self) -> Iterator[str]:
        return (self._files[place] for place in np.flatnonzero(self._mask).tolist())

    def missing(self) -> list[str]:
        """The files without a row."""
        return [self._files[place] for place in np.flatnonzero(~self._mask).tolist()]

    def sharing(self, uid: str) -> list[str]:
        """The files with a SOPInstanceUID, as they were kept at first."""
        return [self._files[place] for place in self._of(uid).tolist()]

    def _of(self, uid: str) -> Numbers:
        if not uid:  # of all files that are refused, none of which shares it
            return np.zeros(0, np.int64)
        first, last = (np.searchsorted(self._hashes, hash(uid), side=side) for side in ("left", "right"))
        kept = [int(place) for place in self._order[first:last] if self._uids[int(place)].as_py() == uid]
        return self._places[np.array(kept, np.int64)]

    def original(self, copy: str, uid: str, sha256: str) -> Mapping[str, str] | None:
        """The row of the file of which another is a copy, whose row need not be judged anew.

        None where that comes first by its path, or where not all kept files with its SOPInstanceUID hold its bytes.
        """
        places = self._of(uid)
        if not len(places) or self._files[places[0]] > copy:
            return None
        rows = list(self._rows(places))
        return rows[0] if rows and all(row["sha256"] == sha256 for row in rows) else None

    def places(self) -> Numbers:
        """Where the files that are kept are among all."""
        return np.flatnonzero(self._mask)

    def drop(self, path: str) -> None:
        """Keep a file no longer."""
        self._mask[bisect_left(self._files, path)] = False


def kept_rows(held: Unchanged, *, holds: Callable[[Mapping[str, str]], bool]) -> Kept:
    """The files whose rows need not be made again.

    A row is kept if it is the last one of a file that is still there, if it `holds`, and if it says of repeated images
    what a run over the kept files alone would say; else no row of its SOPInstanceUID is kept.

    Args:
        held: rows of files that are what they were.
        holds: whether a row need not be tried again.
    """
    places = np.flatnonzero(held.numbers >= 0)
    places = places[np.fromiter(map(holds, held.found()), np.bool_, len(places))]
    uids = held.table.text("SOPInstanceUID", held.numbers[places])
    hashes = hashes_of(uids)
    found, counts = np.unique(hashes, return_counts=True)
    shared = np.isin(hashes, found[counts > 1])
    repeats = Repeats()
    doubtful: set[str] = set()
    told = shared | held.renewed[places] | _says_of_repeats(held, places)
    for row in held.found(places[told]):
        uid = row["SOPInstanceUID"]
        repeat = repeats.compare(
            row["path"], sop_instance_uid=uid, sha256=row["sha256"], pixels_sha256=row["pixels_sha256"]
        )
        said = row["detail"] if row["status"] == "duplicate" else ""
        would_say = same_image(repeat.identical_to) if repeat.identical_to else ""
        if repeat.conflict != (row["reason"] == "DUPLICATE_CONFLICT") or said != would_say:
            doubtful.add(uid)
    sure = np.array([uid not in doubtful for piece in pieces_of(uids) for uid in piece], np.bool_)
    sure_uids = uids if sure.all() else uids.take(row_numbers(np.flatnonzero(sure)))
    return Kept(held.files, places[sure], sure_uids, held.found)


def _says_of_repeats(held: Unchanged, places: Numbers) -> NDArray[np.bool_]:
    """For each file whether its row calls it a duplicate, or in conflict."""
    numbers = held.numbers[places]
    duplicate: NDArray[np.bool_] = held.table.where("status", "duplicate".__eq__)[numbers]
    conflict: NDArray[np.bool_] = held.table.where("reason", "DUPLICATE_CONFLICT".__eq__)[numbers]
    return duplicate | conflict


def same_image(path: str) -> str:
    """What the row of a duplicate says of the row that holds its score."""
    return f"the same image as {path}"


def with_what_they_share(
    kept: Kept,
    prepare: Prepare,
    *,
    forget: Callable[[str], None],
    remember: Callable[[Mapping[str, str]], object],
) -> Results:
    """Prepare the files without a kept row, and with them those whose SOPInstanceUID a new one turns out to share.

    These come last, in order of path, as in a run from the start: which of them repeats which is judged anew. They are
    taken out of `kept`. So are files of one SOPInstanceUID of which a later one was done before an earlier one: they
    are given twice, and what holds is said the second time. A copy of a file that is kept and comes before it changes
    nothing that was said: it is given alone.

    Args:
        kept: what `kept_rows` gave.
        prepare: reads some files.
        forget: told each SOPInstanceUID that is judged anew.
        remember: told the row of a file that is kept before a copy of it is given.
    """
    given: dict[bytes, str | list[str]] = {}  # by SOPInstanceUID, in ascending order: one path mostly
    again: set[str] = set()
    anew: set[str] = set()  # SOPInstanceUIDs
    for path, result in prepare(kept.missing(), False):
        uid = result.sop_instance_uid if isinstance(result, Prepared) else ""
        before = _listed(given.get(short(uid))) if uid else []
        shared = kept.sharing(uid)
        original = kept.original(path, uid, result.sha256) if shared and uid not in anew else None
        if original:
            if not before:
                remember(original)
            given[short(uid)] = sorted([*before, path])
            yield path, result
        elif uid and (uid in anew or shared or (before and before[-1] > path)):
            anew.add(uid)
            again.update((path, *shared, *before))
            given.pop(short(uid), None)
        else:
            if uid:
                given[short(uid)] = [*before, path] if before else path
            yield path, result
    for path in again:
        kept.drop(path)
    for uid in anew:
        forget(uid)
    if again:
        yield from prepare(sorted(again), True)


def _listed(paths: str | list[str] | None) -> list[str]:
    return [paths] if isinstance(paths, str) else paths or []
