"""The audit trail finds whatever was altered or removed behind its back, and its head finds a removed tail."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.review.store import ReviewStore, Verdict
from medres.review.verdicts.audit import Head, Line, chain_faults
from medres.review.verdicts.backup import url_of
from medres.review.verdicts.verification import faults

SAVED = 6


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a start, six verdicts of two readers, and a view."""
    path = tmp_path_factory.mktemp("audit") / "reviews.db"
    with ReviewStore.open(url_of(path)) as store:
        store.note("start", "", {"model": "m"})
        for number in range(SAVED):
            verdict = Verdict(f"1.2.{number // 2}", "m", "nodule", "agree", f"R{number % 2}")
            store.save(verdict, expected_revision=0)
        store.note("view", "R0", {"image": "1.2.0"})
        assert faults(store) == []
    return path


def _after(path: Path, statement: str, known: Head | None = None) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute(statement).rowcount >= 1
        database.commit()
    with ReviewStore.open(url_of(path)) as store:
        return faults(store, known)


@pytest.mark.parametrize("column", ["at", "actor", "action", "detail", "hash"])
@pytest.mark.parametrize("number", [1, 4, 10])
def test_an_altered_line_is_found(whole: Path, tmp_path: Path, column: str, number: int) -> None:
    path = Path(shutil.copy(whole, tmp_path))
    # A removed space leaves `detail` the JSON that it was.
    value = "replace(detail, '{', '{ ')" if column == "detail" else f"'x' || {column}"
    value = "'view'" if column == "action" and number != 10 else "'reveal'" if column == "action" else value
    found = _after(path, f"UPDATE audit SET {column} = {value} WHERE number = {number}")
    assert any(f"audit line {number} " in fault for fault in found)


@pytest.mark.parametrize("number", [1, 5])
def test_a_removed_line_is_found(whole: Path, tmp_path: Path, number: int) -> None:
    path = Path(shutil.copy(whole, tmp_path))
    found = _after(path, f"DELETE FROM audit WHERE number = {number}")
    assert f"audit line {number} before line {number + 1} is missing" in found


def test_a_removed_tail_is_found_by_the_head_that_was_kept(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(whole, tmp_path))
    with ReviewStore.open(url_of(path)) as store:
        head = store.head()
        assert faults(store, head) == []
    assert _after(path, f"DELETE FROM audit WHERE number = {head.number}") == []  # a view: nothing tells
    with ReviewStore.open(url_of(path)) as store:
        (found,) = faults(store, head)
        assert "its last lines were removed" in found
        store.note("view", "R1", {"image": "1.2.1"})  # in its place
        (found,) = faults(store, head)
        assert "was written anew" in found


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE verdicts SET verdict = 'disagree' WHERE id = 2", "is not what was saved"),
        ("UPDATE verdicts SET comment = 'x' WHERE id = 2", "is not what was saved"),
        ("UPDATE verdicts SET reviewer = 'X' WHERE id = 2", "is not what was saved"),
        ("DELETE FROM verdicts WHERE id = 2", "is missing: it was saved"),
        ("UPDATE verdicts SET revision = 9 WHERE id = 2", "has no line in the audit trail"),
    ],
)
def test_an_altered_or_removed_verdict_is_found(whole: Path, tmp_path: Path, statement: str, said: str) -> None:
    found = _after(Path(shutil.copy(whole, tmp_path)), statement)
    assert any(said in fault for fault in found)


def _chain(texts: list[str]) -> list[Line]:
    made: list[Line] = []
    for number, text in enumerate(texts, start=1):
        line = Line(number, "t", text, "view", "{}", "")
        made.append(Line(number, "t", text, "view", "{}", line.expected(made[-1].hash if made else Head().hash)))
    return made


CHANGES: list[Callable[[list[Line], int, int], list[Line]]] = [
    lambda lines, one, _: lines[:one] + lines[one + 1 :],
    lambda lines, one, other: [lines[{one: other, other: one}.get(n, n)] for n in range(len(lines))],
    lambda lines, one, _: [*lines[:one], lines[one], *lines[one:]],
]


@given(
    texts=st.lists(st.text(max_size=4), min_size=2, max_size=8, unique=True),
    change=st.sampled_from(CHANGES),
    data=st.data(),
)
def test_no_line_is_removed_moved_or_repeated_unseen(
    texts: list[str], change: Callable[[list[Line], int, int], list[Line]], data: st.DataObject
) -> None:
    lines = _chain(texts)
    head = Head(lines[-1].number, lines[-1].hash)
    assert list(chain_faults(iter(lines), head)) == []
    one = data.draw(st.integers(0, len(lines) - 1))
    other = data.draw(st.integers(0, len(lines) - 1).filter(lambda number: number != one))
    assert list(chain_faults(iter(change(lines, one, other)), head)) != []
