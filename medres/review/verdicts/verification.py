"""Whether a store is whole: its pages, its audit trail, and every verdict against the line that was written with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, select

from medres.documents import Document
from medres.errors import StoreError
from medres.review.store import ReviewStore
from medres.review.verdicts import audit, rows
from medres.review.verdicts.record import digest

Key = tuple[str, str, str, str]
"""Image, model, label, revision."""


class Kept(Document):
    """What an export says of itself, with the head of the audit trail as it was."""

    medres: str = ""
    created: str = ""
    verdicts: int = 0
    readers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    audit_lines: int = 0
    audit_head: str = audit.FIRST
    whole: bool = True  # False: the store was damaged, and this is what could be read of it
    labels_by: str = ""  # whose labels the manifest has: majority, or a reader
    files: Mapping[str, str] = {}  # SHA-256 by name

    def head(self) -> audit.Head:
        """The last line of the trail when this was written."""
        return audit.Head(self.audit_lines, self.audit_head)


EXPORT = "verdicts.json"
"""The file of an export that holds a `Kept`."""


def faults(store: ReviewStore, known: audit.Head | None = None) -> list[str]:
    """What is wrong with a store, in sentences; none where it is whole.

    Args:
        store: the store.
        known: a head of its audit trail that was kept elsewhere: see `kept_head`.
    """
    with store.reading() as connection:
        return [*_page_faults(connection), *audit.chain_faults(audit.lines(connection), known), *_verdicts(connection)]


def _page_faults(connection: Connection) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        for (found,) in connection.exec_driver_sql("PRAGMA integrity_check(20)"):
            if found != "ok":
                yield f"the database contradicts itself: {found}"


def _verdicts(connection: Connection) -> Iterator[str]:
    written: dict[Key, str] = {}
    for line in audit.lines(connection):
        if line.action in ("save", "migrate"):
            said = json.loads(line.detail)
            written[said["image"], said["model"], said["label"], str(said["revision"])] = said["digest"]
    for verdict in rows.found(connection, select(rows.TABLE).order_by(rows.TABLE.c.id)):
        key = (verdict.sop_instance_uid, verdict.model_id, verdict.label, str(verdict.revision))
        expected = written.pop(key, None)
        if expected is None:
            yield f"{_named(key)} has no line in the audit trail: it was not saved by medres"
        elif expected != digest(verdict):
            yield f"{_named(key)} is not what was saved"
    for key in written:
        yield f"{_named(key)} is missing: it was saved, and is not there any more"


def _named(key: Key) -> str:
    image, _, label, revision = key
    return f"verdict {revision} on “{label}” of image {image}"


def refuse_faulty(store: ReviewStore, name: str) -> None:
    """Say no to a store that is not whole.

    Raises:
        StoreError: names the first fault.
    """
    if found := faults(store):
        more = f", and {len(found) - 1} more faults" if len(found) > 1 else ""
        raise StoreError(f"{name} is not whole: {found[0]}{more}")
