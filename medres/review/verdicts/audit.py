"""The audit trail: lines that are only added, each with the hash of the one before.

Who alters or removes a line breaks the chain behind it; who removes the last lines is found out by the head, the last
number and hash, that every backup and every export keeps. A line of a saved verdict holds the verdict's own hash, so
that an altered or removed verdict is found as well. Whoever can write to the database can forge the whole chain anew:
compare it with a head that lies elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import Connection, insert, select

from medres.review.schema import AuditRow
from medres.tables import sha256_json

Action = Literal["start", "view", "reveal", "save", "export", "restore", "migrate", "reader"]
Detail = Mapping[str, str | int | None]

FIRST = "0" * 64
"""What the first line holds in place of the hash before it."""

_TABLE = AuditRow.__table__


@dataclass(frozen=True, slots=True)
class Head:
    """The last line of a trail, by which a removed tail is found."""

    number: int = 0  # 0: the trail is empty
    hash: str = FIRST


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the trail."""

    number: int
    at: str
    actor: str
    action: str
    detail: str
    hash: str

    def expected(self, before: str) -> str:
        """The hash that it must have behind a line with this hash."""
        return sha256_json([before, self.number, self.at, self.actor, self.action, self.detail])

    def told(self, name: str) -> str:
        """One part of its detail as text; "" where it has none."""
        try:
            found = json.loads(self.detail)
        except ValueError:
            return ""
        return str(found.get(name, "")) if isinstance(found, dict) else ""


def head(connection: Connection) -> Head:
    """The last line's number and hash."""
    found = connection.execute(
        select(_TABLE.c.number, _TABLE.c.hash).order_by(_TABLE.c.number.desc()).limit(1)
    ).one_or_none()
    return Head(int(found.number), str(found.hash)) if found else Head()


def append(connection: Connection, action: Action, actor: str, detail: Detail) -> Head:
    """Add a line, in a transaction that no other writer can come between; the head with it."""
    last = head(connection)
    text = json.dumps(dict(detail), sort_keys=True, ensure_ascii=False)
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    line = Line(last.number + 1, at, actor, action, text, "")
    found = Head(line.number, line.expected(last.hash))
    values = {
        "number": line.number, "at": at, "actor": actor, "action": action, "detail": text, "hash": found.hash,
    }  # fmt: skip
    connection.execute(insert(AuditRow), values)  # beside the statement, which is compiled once
    return found


def lines(connection: Connection) -> Iterator[Line]:
    """All lines, the first one first."""
    columns = [_TABLE.c[name] for name in Line.__slots__]
    for row in connection.execute(select(*columns).order_by(_TABLE.c.number)):
        yield Line(*row)


def chain_faults(trail: Iterator[Line], known: Head | None) -> Iterator[str]:
    """What is wrong with a trail, in sentences; none where it is whole.

    Args:
        trail: its lines.
        known: a head that was kept elsewhere, which the trail must still hold.
    """
    before = Head()
    met = known is None or known.number == 0
    for line in trail:
        if line.number != before.number + 1:
            missing = f"{before.number + 1}" if line.number == before.number + 2 else f"{before.number + 1} and more"
            yield f"audit line {missing} before line {line.number} is missing"
        elif line.hash != line.expected(before.hash):
            yield f"audit line {line.number} ({line.action} of {line.at}) is not what was written"
        before = Head(line.number, line.hash)
        met = met or before == known
    if known is not None and known.number > before.number:
        yield (
            f"the audit trail ends with line {before.number}, and line {known.number} was there when the head was "
            "kept: its last lines were removed"
        )
    elif known is not None and not met:
        yield f"audit line {known.number} is another one than when the head was kept: the trail was written anew"
