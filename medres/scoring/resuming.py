"""Which rows of an earlier scoring run still hold, and what has to be scored with the files that are new."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from medres.cohort.duplicates import Repeats, short
from medres.imaging.preprocessing import Prepared
from medres.scoring.columns import numbers_in, places_in, row_numbers, text_array
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
        uids: their SOPInstanceUIDs.
    """

    def __init__(self, files: Sequence[str], places: Numbers, uids: Iterable[str]) -> None:
        self._files = files
        self._mask: NDArray[np.bool_] = np.zeros(len(files), np.bool_)
        self._mask[places] = True
        self._uids = text_array(uids)
        hashes = np.fromiter(map(hash, self._uids.to_pylist()), np.int64, len(places))
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._places, self._uids = hashes[order], places[order], self._uids.take(row_numbers(order))

    @classmethod
    def none(cls, files: Sequence[str]) -> Kept:
        """No file."""
        return cls(files, np.zeros(0, np.int64), [])

    def __len__(self) -> int:
        return int(self._mask.sum())

    def __iter__(self) -> Iterator[str]:
        return (self._files[place] for place in np.flatnonzero(self._mask).tolist())

    def missing(self) -> list[str]:
        """The files without a row."""
        return [self._files[place] for place in np.flatnonzero(~self._mask).tolist()]

    def sharing(self, uid: str) -> list[str]:
        """The files with a SOPInstanceUID, as they were kept at first."""
        first = np.searchsorted(self._hashes, hash(uid))
        last = np.searchsorted(self._hashes, hash(uid), side="right")
        same = [place for place in range(first, last) if self._uids[place].as_py() == uid]
        return [self._files[place] for place in self._places[same].tolist()] if uid and same else []

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
    counted = pc.value_counts(uids)
    several = counted.field("values").take(row_numbers(np.flatnonzero(numbers_in(counted.field("counts")) > 1)))
    shared = places_in(uids, several) >= 0
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
    sure = np.fromiter((uid not in doubtful for uid in _texts(uids)), np.bool_, len(places))
    return Kept(held.files, places[sure], _texts(uids.take(row_numbers(np.flatnonzero(sure)))))


def _says_of_repeats(held: Unchanged, places: Numbers) -> NDArray[np.bool_]:
    """For each file whether its row calls it a duplicate, or in conflict."""
    numbers = held.numbers[places]
    duplicate: NDArray[np.bool_] = held.table.where("status", "duplicate".__eq__)[numbers]
    conflict: NDArray[np.bool_] = held.table.where("reason", "DUPLICATE_CONFLICT".__eq__)[numbers]
    return duplicate | conflict


def _texts(array: Any) -> Iterator[str]:
    for start in range(0, len(array), 16_384):
        yield from array.slice(start, 16_384).to_pylist()


def same_image(path: str) -> str:
    """What the row of a duplicate says of the row that holds its score."""
    return f"the same image as {path}"


def with_what_they_share(kept: Kept, prepare: Prepare, *, forget: Callable[[str], None]) -> Results:
    """Prepare the files without a kept row, and with them those whose SOPInstanceUID a new one turns out to share.

    These come last, in order of path, as in a run from the start: which of them repeats which is judged anew. They are
    taken out of `kept`. So are files of one SOPInstanceUID of which a later one was done before an earlier one: they
    are given twice, and what holds is said the second time.

    Args:
        kept: what `kept_rows` gave.
        prepare: reads some files.
        forget: told each SOPInstanceUID that is judged anew.
    """
    given: dict[bytes, str | list[str]] = {}  # by SOPInstanceUID, in ascending order: one path mostly
    again: set[str] = set()
    anew: set[str] = set()  # SOPInstanceUIDs
    for path, result in prepare(kept.missing(), False):
        uid = result.sop_instance_uid if isinstance(result, Prepared) else ""
        before = _listed(given.get(short(uid))) if uid else []
        shared = kept.sharing(uid)
        if uid and (uid in anew or shared or (before and before[-1] > path)):
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
