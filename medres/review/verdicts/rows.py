"""Verdicts as rows of the database, and rows as verdicts."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, Table, case, func, insert, select

from medres.errors import StoreError
from medres.review.schema import VerdictRow, reader_of
from medres.review.verdicts.record import Verdict, marks_text, read_marks

TABLE: Table = VerdictRow.__table__  # type: ignore[assignment]  # a table, and declared as anything one selects from
_INSERT = insert(TABLE).inline()  # one statement for all values; nobody asks for the number of the row
_FIELDS = tuple(field.name for field in fields(Verdict) if field.name != "marks")


def verdict_of(row: RowMapping) -> Verdict:
    """A verdict from its row."""
    return Verdict(**{name: row[name] for name in _FIELDS}, marks=read_marks(row["marks"]))


def add(connection: Connection, verdict: Verdict) -> None:
    """Add a verdict that is complete."""
    values = {name: getattr(verdict, name) for name in _FIELDS}
    values |= {"marks": marks_text(verdict.marks), "reader": reader_of(verdict.reviewer)}
    connection.execute(_INSERT, values)


def of_image(sop_instance_uid: str, model_id: str, label: str) -> Select[Any]:
    """The verdicts on one label of one image, oldest first."""
    wanted = (TABLE.c.sop_instance_uid == sop_instance_uid, TABLE.c.model_id == model_id, TABLE.c.label == label)
    return select(TABLE).where(*wanted).order_by(TABLE.c.revision)


def latest_revisions(connection: Connection, image: tuple[str, str, str], reader: str) -> tuple[int, int]:
    """The latest revision of (sop_instance_uid, model_id, label), and the latest of a reader's own; 0 where none is.

    Raises:
        StoreError: as `found`.
    """
    revision = TABLE.c.revision
    asked = of_image(*image).with_only_columns(func.max(revision), func.max(case((TABLE.c.reader == reader, revision))))
    latest, own = connection.execute(asked.order_by(None)).one()
    try:
        return int(latest or 0), int(own or 0)
    except (ValueError, TypeError) as error:
        raise StoreError(f"the review store holds a row that is no verdict: {error}") from None


def found(connection: Connection, asked: Select[Any]) -> tuple[Verdict, ...]:
    """The verdicts that were asked for.

    Raises:
        StoreError: a row holds what no version of medres wrote.
    """
    try:
        return tuple(map(verdict_of, connection.execute(asked).mappings()))
    except (ValueError, TypeError) as error:  # SQLite's columns hold anything, whatever their type
        raise StoreError(f"the review store holds a row that is no verdict: {error}") from None
