"""A resumed folder of which a list names what to look at: the rows of all other files stay as they are."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from medres.cohort.listing import Listing
from medres.scoring.columns import places_in, row_numbers, text_array
from medres.scoring.known import GONE, SCORED, STAMP, Unchanged, stamp, unchanged
from medres.scoring.shown import Shown
from medres.scoring.table import Selected
from medres.tables import inert_path, named_path


@dataclass(frozen=True, slots=True)
class Listed:
    """What a run goes on from: what is known, and which files have a row at its end."""

    held: Unchanged | None  # also the rows of files that the list does not name; None where nothing is resumed
    listing: Listing  # also those files; without those that were scored and are gone
    left: frozenset[str] = field(default=frozenset())  # files that the list does not name: neither opened nor looked at

    def leaves(self, cell: str) -> bool:
        """Whether a row, by its path, is one of a file that the list does not name."""
        return bool(self.left) and _name(cell) in self.left


def with_unlisted(
    known: Selected, folder: Path, listing: Listing, *, shown: Shown, verify: bool, workers: int | None
) -> Listed:
    """What the ledger knows of the files of a list, and of all others.

    A file that the list names and that is away is gone, if it was scored. One that the list does not name is looked at
    only where its bytes may now lie at a new, named place.

    Args:
        known: what the ledger last said of each path; of the same model.
        folder: that is scored.
        listing: what the list names.
        shown: the tables of the run before.
        verify: hash every named file, whatever its stamp says.
        workers: files that are hashed at a time.
    """
    paths = known.text("path")
    files = text_array(map(inert_path, listing.files))
    missing = text_array(inert_path(refusal.path) for refusal in listing.refused)
    other = (places_in(paths, files) < 0) & (places_in(paths, missing) < 0)
    left = other & known.where("status", GONE.__ne__)
    for place in np.flatnonzero(left & (places_in(paths, shown.column("path")) < 0)).tolist():
        left[place] = _lies(folder, paths[place].as_py())

    new = np.flatnonzero(places_in(files, paths) < 0).tolist()
    sizes = {_size(stamp(folder / listing.files[place])) for place in new} - {""}
    absent = other & known.where(STAMP, lambda text: _size(text) in sizes)
    for place in np.flatnonzero(absent).tolist():
        absent[place] = not _lies(folder, paths[place].as_py())
    found = unchanged(known.only(~other | absent), folder, listing.files, verify=verify, workers=workers)

    names = known.only(absent).text("path").to_pylist()
    scored = absent & known.where("status", SCORED.__contains__)
    for place in np.flatnonzero(scored).tolist():
        left[place] &= paths[place].as_py() in found.gone  # else its row went along with the file
    others = known.only(left)
    keeps = known.only(known.where("status", {*SCORED, GONE}.__contains__)).text("path")
    refused = [refusal for refusal, at in zip(listing.refused, places_in(missing, keeps), strict=True) if at < 0]
    held = _with(found, others, gone=found.gone - set(names))
    left_files = frozenset(map(_name, others.text("path").to_pylist()))
    return Listed(held, Listing(tuple(held.files), tuple(refused)), left_files)


def _with(found: Unchanged, others: Selected, *, gone: frozenset[str]) -> Unchanged:
    """What is known of the files of a list and of others, whose rows hold as they are, in one order."""
    files = [*found.files, *map(_name, others.text("path").to_pylist())]
    order = np.array(sorted(range(len(files)), key=files.__getitem__), dtype=np.int64)
    stamps = pa.concat_arrays([found.stamps, others.text(STAMP)])
    return Unchanged(
        table=found.table,
        files=tuple(files[place] for place in order.tolist()),
        numbers=np.concatenate([found.numbers, others.numbers])[order],
        stamps=stamps.take(row_numbers(order)),
        renewed=np.concatenate([found.renewed, np.zeros(len(others), np.bool_)])[order],
        gone=gone,
    )


def _name(cell: str) -> str:
    """The file of a row, relative to the folder."""
    return named_path(cell).removeprefix("./")  # see `inert_path`


def _lies(folder: Path, cell: str) -> bool:
    return os.path.lexists(folder / _name(cell))


def _size(text: str) -> str:
    return text.partition(" ")[0]
