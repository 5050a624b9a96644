"""Verdicts of readers, kept: an append-only history in SQLite or PostgreSQL, with readers, drafts and an audit trail.

Nothing here changes or deletes a verdict. A change of mind is one more row. Readers do not overrule each other: each
has a history of their own, and whoever saves says which revision of the image's history they had before their eyes, so
that two tabs of one reader cannot overrule each other unseen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, make_url, select
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from medres.errors import StoreError
from medres.review import address
from medres.review.schema import reader_of, upgrade
from medres.review.verdicts import audit, database, desk, rows
from medres.review.verdicts.blinding import has_judged, is_of
from medres.review.verdicts.record import (
    LONGEST_COMMENT,
    LONGEST_NAME,
    Opinion,
    Verdict,
    checked,
    digest,
)
from medres.review.verdicts.turns import Writers

__all__ = ["LONGEST_COMMENT", "LONGEST_NAME", "Conflict", "Opinion", "ReviewStore", "Verdict"]


class Conflict(StoreError):  # noqa: N818  reads as what it says: the same reader was faster elsewhere
    """The reader saved a verdict elsewhere in between; `latest` is that one, and nothing was written."""

    default_code = "CONFLICT"

    def __init__(self, latest: Verdict | None) -> None:
        whose = "the history of this image has changed" if latest is None else f"{latest.reviewer} has saved a verdict"
        super().__init__(f"{whose} since this page was opened; nothing was saved")
        self.latest = latest


@dataclass(frozen=True, slots=True)
class Seen:
    """The history of one label of one image as one reader may see it."""

    own: tuple[Verdict, ...]  # oldest first
    others: tuple[Verdict, ...]  # of other readers, oldest first; empty until there is one of one's own
    hidden: int  # verdicts of others that are there, and not shown yet
    elsewhere: tuple[Verdict, ...] = ()  # whoever's that may be seen, kept under another name of the image


@dataclass(frozen=True, slots=True)
class Changes:
    """The verdicts that were saved since a place in the store, oldest first."""

    verdicts: tuple[Verdict, ...]
    last: int  # the place behind them


class ReviewStore:
    """An open review store.

    ::

        with ReviewStore.open("sqlite:////data/reviews.db") as store:
            saved = store.save(Verdict("1.2.3", "m", "nodule", "agree", "R. Ader"), expected_revision=0)
            store.latest("m")["1.2.3", "nodule"].revision
    """

    def __init__(self, engine: Engine, secrets: tuple[str, ...] = ()) -> None:
        self._reading, self._secrets = engine, secrets
        self._revealed: set[tuple[str, ...]] = set()
        self._writing_engine = engine.execution_options(**{database.WRITES: True})
        self._writers = Writers(self._writing_engine, database.take_turn)

    @classmethod
    def open(cls, url: str) -> ReviewStore:
        """Open a store, creating or upgrading its tables.

        Args:
            url: an SQLAlchemy URL, for example `sqlite:////data/reviews.db` or `postgresql+psycopg://host/reviews`.
                Its password is in no message.

        Raises:
            StoreError: the URL is not one, is of memory or a network share, the database cannot be opened, is damaged,
                another program's, or of a newer schema.
        """
        secrets = address.secrets(url)
        try:
            engine = database.open_engine(make_url(address.checked(url)))
        except ModuleNotFoundError as error:  # of another package: SQLAlchemy asks for it by its name
            needed = f"the review store's database needs a driver that is not installed ({error.name})"
            raise StoreError(f"{needed}; for PostgreSQL: pip install 'medres[postgresql]'") from None
        except (ArgumentError, NoSuchModuleError, ImportError, ValueError, TypeError) as error:
            said = address.without(_line(error), secrets)
            raise StoreError(f"the review store's URL cannot be used: {said}") from None
        store = cls(engine, secrets)
        try:
            with store.writing("opened") as connection:
                database.refuse_damaged(connection)
                upgrade(connection)
        except StoreError:
            store.close()
            raise
        return store

    @property
    def path(self) -> Path | None:
        """The file of a SQLite store; None of another database."""
        return database.sqlite_file(self._reading.url)

    def __enter__(self) -> ReviewStore:
        """Already open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Let all connections go."""
        self._reading.dispose()

    def save(self, verdict: Verdict, *, expected_revision: int) -> Verdict:
        """Add a verdict to its reader's history, and return it with its revision and time.

        A reader who is not in the list yet is added to it; a name that differs from a listed one by case or spaces
        alone is that reader.

        Args:
            verdict: its `created_at` and `revision` are set here.
            expected_revision: the latest revision of this label of this image that the reader saw; 0 if none.

        Raises:
            Conflict: the same reader has saved a later one; or nobody has ever saved that revision.
            StoreError: the verdict is not one, or the database cannot be written; nothing was saved.
        """
        clean = checked(verdict)
        with self.writing("saved") as connection:
            image = (clean.sop_instance_uid, clean.model_id, clean.label)
            latest, own = rows.latest_revisions(connection, image, reader_of(clean.reviewer))
            if expected_revision > latest or own > expected_revision:
                known = rows.found(connection, rows.of_image(*image))
                raise Conflict(  # of another reader not even that they said something
                    next((one for one in known if own and one.revision == own), None)
                )
            name = desk.name_of(connection, clean.reviewer)
            complete = replace(clean, reviewer=name, created_at=datetime.now(UTC), revision=latest + 1)
            rows.add(connection, complete)
            told: audit.Detail = {
                "digest": digest(complete), "image": complete.sop_instance_uid, "label": complete.label,
                "model": complete.model_id, "revision": complete.revision,
            }  # fmt: skip
            audit.append(connection, "save", name, told)
        return complete

    def latest(self, model_id: str) -> dict[tuple[str, str], Verdict]:
        """The latest verdict of every reviewed label, whoever's, by (sop_instance_uid, label)."""
        return {key: found[-1] for key, found in self.latest_of_each(model_id).items()}

    def latest_of_each(self, model_id: str) -> dict[tuple[str, str], tuple[Verdict, ...]]:
        """The latest verdict of each reader, oldest first, of every reviewed label, by (sop_instance_uid, label)."""
        newest = (
            select(func.max(rows.TABLE.c.id))
            .where(rows.TABLE.c.model_id == model_id)
            .group_by(rows.TABLE.c.sop_instance_uid, rows.TABLE.c.label, rows.TABLE.c.reader)
        )
        with self.reading() as connection:
            latest = rows.found(connection, _all().where(rows.TABLE.c.id.in_(newest)))
        found: dict[tuple[str, str], tuple[Verdict, ...]] = {}
        for verdict in latest:
            key = (verdict.sop_instance_uid, verdict.label)
            found[key] = (*found.get(key, ()), verdict)
        return found

    def history(self, sop_instance_uid: str, model_id: str, label: str) -> tuple[Verdict, ...]:
        """All verdicts on one label of one image, oldest first, whoever's."""
        with self.reading() as connection:
            return rows.found(connection, rows.of_image(sop_instance_uid, model_id, label))

    def seen_by(self, reader: str, image: tuple[str, str, str], *, blinded: bool = True, other_name: str = "") -> Seen:
        """The history of (sop_instance_uid, model_id, label) as a reader may see it.

        Args:
            reader: who looks.
            image: of what.
            blinded: others' verdicts are shown only once there is one of one's own, which is noted as a reveal; that an
                image was skipped is none.
            other_name: under which verdicts may have been kept that were meant for this image; "" where there is none.
        """
        found = self.history(*image)
        elsewhere = self.history(other_name, *image[1:]) if other_name else ()
        own = tuple(one for one in found if is_of(reader, one))
        others = tuple(one for one in found if not is_of(reader, one))
        if blinded and not has_judged(own):
            mine = tuple(one for one in elsewhere if is_of(reader, one))
            unseen = (one for one in (*others, *elsewhere) if one not in mine and one.verdict != "skipped")
            return Seen(own, (), len(tuple(unseen)), mine)
        for name, shown in ((image[0], others), (other_name, elsewhere)):
            self._reveal(reader, (name, *image[1:]), [one for one in shown if not is_of(reader, one)])
        return Seen(own, others, 0, elsewhere)

    def _reveal(self, reader: str, image: tuple[str, str, str], shown: Sequence[Verdict]) -> None:
        """Note once, however often a page is drawn, that others' verdicts were shown to a reader."""
        if not shown or (place := (reader_of(reader), *image, str(shown[-1].revision))) in self._revealed:
            return
        self._revealed.add(place)
        told: audit.Detail = {"image": image[0], "model": image[1], "label": image[2], "revision": shown[-1].revision}
        self.note("reveal", reader, told)

    def changes(self, model_id: str, since: int = 0) -> Changes:
        """The verdicts of a model's images that were saved behind a place; 0: all."""
        asked = _all().where(rows.TABLE.c.model_id == model_id, rows.TABLE.c.id > since)
        with self.reading() as connection:
            last = connection.execute(select(func.max(rows.TABLE.c.id))).scalar_one() or 0
            found = rows.found(connection, asked.where(rows.TABLE.c.id <= last))
        return Changes(found, int(last))

    def everything(self) -> tuple[Verdict, ...]:
        """Every verdict of every model, oldest first."""
        with self.reading() as connection:
            return rows.found(connection, _all())

    def readers(self) -> tuple[str, ...]:
        """The names of the readers, in alphabetical order."""
        return tuple(self.listed().values())

    def listed(self) -> dict[int, str]:
        """The same names by the number that an address may hold instead of a name."""
        with self.reading() as connection:
            return desk.listed(connection)

    def add_reader(self, name: str) -> str:
        """Put a reader on the list; the name as it is listed.

        Raises:
            StoreError: the name is missing, too long, or holds markup.
        """
        text = desk.checked_name(name)
        with self.writing("saved") as connection:
            return desk.name_of(connection, text)

    def keep_draft(self, reader: str, model_id: str, sop_instance_uid: str, content: str) -> None:
        """Keep what a reader has begun to say of an image, in place of what was kept before.

        Raises:
            StoreError: it is not text, or longer than anybody writes.
        """
        with self.writing("saved") as connection:
            desk.keep_draft(connection, desk.Place(reader, model_id, sop_instance_uid), content)

    def draft(self, reader: str, model_id: str, sop_instance_uid: str) -> desk.Draft | None:
        """What a reader has begun to say of an image; None where nothing is kept."""
        with self.reading() as connection:
            return desk.draft(connection, desk.Place(reader, model_id, sop_instance_uid))

    def drop_draft(self, reader: str, model_id: str, sop_instance_uid: str) -> None:
        """Forget a draft: it was saved, or its reader took it back."""
        with self.writing("saved") as connection:
            desk.drop_draft(connection, desk.Place(reader, model_id, sop_instance_uid))

    def note(self, action: audit.Action, actor: str, detail: audit.Detail) -> audit.Head:
        """Add a line to the audit trail."""
        with self.writing("saved") as connection:
            return audit.append(connection, action, actor, detail)

    def head(self) -> audit.Head:
        """The last line of the audit trail."""
        with self.reading() as connection:
            return audit.head(connection)

    @contextmanager
    def writing(self, done: str) -> Iterator[Connection]:
        """A transaction that no other writer comes between; `done` says in messages what could not be."""
        with self._storing(done), self._writers.writing() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to ask; what fails is a StoreError."""
        with self._storing("read"), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def _storing(self, done: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            said = address.without(_line(error), self._secrets)
            if database.is_damage(error) and self._reading.dialect.name == "sqlite":
                raise database.damaged(said) from None
            raise StoreError(f"the review store could not be {done}: {said}") from None


def _all() -> Select[Any]:
    return select(rows.TABLE).order_by(rows.TABLE.c.id)


def _line(error: BaseException) -> str:
    """The cause in one line, without the statement and its values."""
    return " ".join(str(getattr(error, "orig", None) or error).split())
