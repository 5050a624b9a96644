"""What a reader's desk holds beside verdicts: who reads, and what they have begun to say and not saved."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, delete, insert, select

from medres.errors import StoreError
from medres.review.names import fault_of_name
from medres.review.schema import DraftRow, ReaderRow, reader_of
from medres.review.verdicts import audit
from medres.review.verdicts.record import LONGEST_NAME, fault_of_text

LONGEST_DRAFT = 200_000  # characters: a comment that is too long to be saved is kept all the same


@dataclass(frozen=True, slots=True)
class Place:
    """Whose desk, and which image lies on it."""

    reader: str
    model_id: str
    sop_instance_uid: str  # as a verdict names the image


@dataclass(frozen=True, slots=True)
class Draft:
    """What a reader has begun to say of an image, and not saved."""

    content: str  # the page's own words
    saved_at: datetime


def checked_name(name: str) -> str:
    """A reader's name without space around it.

    Raises:
        StoreError: it is missing, too long, or holds markup.
    """
    text = name.strip()
    complaint = "" if text else "the reader's name is missing"
    complaint = complaint or fault_of_text("the reader's name", text, LONGEST_NAME) or fault_of_name(text)
    if complaint:
        raise StoreError(f"{complaint}; nobody was added")
    return text


def listed(connection: Connection) -> dict[int, str]:
    """The readers' names in alphabetical order, by the number that an address may hold instead of a name."""
    found = connection.execute(select(ReaderRow.id, ReaderRow.name).order_by(ReaderRow.reader))
    return {int(row.id): str(row.name) for row in found}


def name_of(connection: Connection, name: str) -> str:
    """The name of a reader as it is listed; whoever is new is added."""
    reader = reader_of(name)
    known = connection.execute(select(ReaderRow.name).where(ReaderRow.reader == reader)).scalar_one_or_none()
    if known is not None:
        return known
    connection.execute(insert(ReaderRow).values(name=name, reader=reader, added_at=datetime.now(UTC)))
    audit.append(connection, "reader", name, {})
    return name


def keep_draft(connection: Connection, place: Place, content: str) -> None:
    """Put a draft in the place of the one before.

    Raises:
        StoreError: it is not text, or longer than anybody writes.
    """
    if complaint := fault_of_text("the draft", content, LONGEST_DRAFT):
        raise StoreError(f"{complaint}; the draft of before is still kept")
    drop_draft(connection, place)
    values = {"reader": reader_of(place.reader), "model_id": place.model_id, "content": content}
    kept = insert(DraftRow).values(**values, sop_instance_uid=place.sop_instance_uid, saved_at=datetime.now(UTC))
    connection.execute(kept)


def draft(connection: Connection, place: Place) -> Draft | None:
    """The draft of an image; None where nothing is kept."""
    found = connection.execute(select(DraftRow.content, DraftRow.saved_at).where(*_at(place))).one_or_none()
    return Draft(found.content, found.saved_at) if found else None


def drop_draft(connection: Connection, place: Place) -> None:
    """Forget a draft."""
    connection.execute(delete(DraftRow).where(*_at(place)))


def _at(place: Place) -> tuple[ColumnElement[bool], ...]:
    return (
        DraftRow.reader == reader_of(place.reader),
        DraftRow.model_id == place.model_id,
        DraftRow.sop_instance_uid == place.sop_instance_uid,
    )
