"""A resumed folder of which a list names what to look at: the rows of all other files stay as they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from medres.cohort.listing import Listing
from medres.scoring.known import GONE, SCORED, STAMP, Row, Unchanged, stamp, unchanged
from medres.tables import inert_path, named_path


@dataclass(frozen=True, slots=True)
class Listed:
    """What a run goes on from: what is known, and which files have a row at its end."""

    held: Unchanged | None  # also the rows of files that the list does not name; None where nothing is resumed
    listing: Listing  # also those files; without those that were scored and are gone
    left: frozenset[str] = frozenset()  # files that the list does not name: neither opened nor looked at


def with_unlisted(
    rows: Mapping[str, Row], folder: Path, listing: Listing, *, table: Path, verify: bool, workers: int | None
) -> Listed:
    """What the ledger knows of the files of a list, and of all others.

    A file that the list names and that is away is gone, if it was scored. One that the list does not name is looked at
    only where its bytes may now lie at a new, named place.

    Args:
        rows: what the ledger last said, by path; of the same model.
        folder: that is scored.
        listing: what the list names.
        table: `predictions.parquet` of the run before, which need not be there.
        verify: hash every named file, whatever its stamp says.
        workers: files that are hashed at a time.
    """
    named = {inert_path(path) for path in (*listing.files, *(refusal.path for refusal in listing.refused))}
    asked = {name: row for name, row in rows.items() if name in named}
    shown = set(_paths(table))
    left = {
        name: row
        for name, row in rows.items()
        if name not in named and row["status"] != GONE and (name in shown or _lies(folder, name))
    }
    sizes = {_size(stamp(folder / path)) for path in listing.files if inert_path(path) not in rows} - {""}
    absent = {
        name: row
        for name, row in rows.items()
        if name not in named and _size(row.get(STAMP, "")) in sizes and not _lies(folder, name)
    }
    found = unchanged(asked | absent, folder, listing.files, verify=verify, workers=workers)
    moved = {name for name, row in absent.items() if row["status"] in SCORED and name not in found.gone}
    others = {_name(name): row for name, row in left.items() if name not in moved}
    refused = tuple(
        refusal for refusal in listing.refused if rows.get(inert_path(refusal.path), {}).get("status") not in _KEPT
    )
    return Listed(
        Unchanged({**found.rows, **others}, found.renewed, found.gone - absent.keys()),
        Listing(tuple(sorted({*listing.files, *others})), refused),
        frozenset(others),
    )


_KEPT = frozenset({*SCORED, GONE})  # a file that is away keeps such a row


def _paths(table: Path) -> Iterator[str]:
    """The paths of a table, as its cells have them; none where it is not there, or no table."""
    if not table.is_file():
        return
    import pyarrow as pa
    from pyarrow import parquet

    try:
        for batch in parquet.ParquetFile(table).iter_batches(columns=["path"]):
            yield from batch.column(0).to_pylist()
    except (OSError, pa.ArrowException):  # it is made again; what lies in the folder still has its row
        return


def _name(cell: str) -> str:
    """The file of a row, relative to the folder."""
    return named_path(cell).removeprefix("./")  # see `inert_path`


def _lies(folder: Path, cell: str) -> bool:
    return os.path.lexists(folder / _name(cell))


def _size(text: str) -> str:
    return text.partition(" ")[0]
