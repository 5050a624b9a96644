"""Many readers at once, on SQLite and on a real PostgreSQL: nothing is lost, and nobody waits for much longer."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from medres.errors import OutputExists, StoreError
from medres.review.store import Conflict, ReviewStore, Verdict
from medres.review.verdicts.backup import back_up, restore, url_of
from medres.review.verdicts.turns import Turns
from medres.review.verdicts.verification import faults
from tests.support.postgres import PRESENT, postgres

MODEL = "m"
needs_postgres = pytest.mark.skipif(not PRESENT, reason="Debian packages postgresql and python3-psycopg absent")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return url_of(tmp_path / "reviews.db")
    found: str = request.getfixturevalue("server")
    _empty(found)
    return found


def _empty(url: str) -> None:
    """The server's database as a new one."""
    from sqlalchemy import create_engine, text

    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def _read(store: ReviewStore, reader: str, saves: int, waits: float) -> list[tuple[Verdict, float]]:
    """What one reader saved, on images that all share, and how long each save took, in seconds."""
    drawn = random.Random(reader)
    done = []
    for number in range(saves):
        time.sleep(drawn.uniform(0, waits))
        verdict = Verdict(f"1.2.{number}", MODEL, "nodule", drawn.choice(["agree", "disagree", "unsure"]), reader)
        begun = time.perf_counter()
        done.append((store.save(verdict, expected_revision=0), time.perf_counter() - begun))
    return done


def _all_read(store: ReviewStore, readers: int, saves: int, waits: float) -> list[tuple[Verdict, float]]:
    found: list[tuple[Verdict, float]] = []
    threads = [
        threading.Thread(target=lambda name=f"reader {number}": found.extend(_read(store, name, saves, waits)))
        for number in range(readers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _key(verdict: Verdict) -> tuple[str, str]:
    return verdict.sop_instance_uid, verdict.reviewer


def test_what_many_readers_save_at_once_is_all_kept(url: str) -> None:
    with ReviewStore.open(url) as store, ReviewStore.open(url) as other:  # another process of the same store
        ours = threading.Thread(target=_all_read, args=(store, 4, 5, 0.002))
        ours.start()
        theirs = _read(other, "elsewhere", 5, 0.002)
        ours.join()
        everything = store.everything()
        assert len(everything) == len(set(map(_key, everything))) == 25
        assert {_key(verdict) for verdict, _ in theirs} <= set(map(_key, everything))
        assert faults(store) == []
        with pytest.raises(Conflict):
            store.save(Verdict("1.2.0", MODEL, "nodule", "agree", "Reader 1"), expected_revision=0)


def test_drafts_readers_and_changes_are_kept_alike_wherever(url: str) -> None:
    with ReviewStore.open(url) as store:
        store.keep_draft("A", MODEL, "1.2", "first")
        store.keep_draft("a", MODEL, "1.2", "second")
        saved = store.save(
            Verdict("1.2", MODEL, "nodule", "agree", "A", "é😀", seconds_in_view=1.5), expected_revision=0
        )
    with ReviewStore.open(url) as store:
        draft = store.draft("A", MODEL, "1.2")
        assert draft is not None and draft.content == "second" and draft.saved_at.utcoffset() is not None
        assert store.history("1.2", MODEL, "nodule") == (saved,)
        assert store.changes(MODEL).verdicts == (saved,)
        assert store.readers() == ("A",)


def test_a_backup_of_any_database_is_restored_into_any(url: str, tmp_path: Path) -> None:
    with ReviewStore.open(url) as store:
        _all_read(store, 2, 4, 0)
        everything, head = store.everything(), store.head()
    assert back_up(url, tmp_path / "backup.db").head == head
    with pytest.raises(OutputExists):
        restore(tmp_path / "backup.db", url)
    restored = restore(tmp_path / "backup.db", url, force=True)
    assert restored.kept is not None and restored.kept.is_file()
    with ReviewStore.open(url) as store:
        assert store.everything() == everything and faults(store, head) == []
        store.save(Verdict("1.2.99", MODEL, "nodule", "agree", "reader 0"), expected_revision=0)
        assert len(store.everything()) == len(everything) + 1 and faults(store) == []


def test_turns_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    turns, order = Turns(), list[int]()
    asked = [threading.Event() for _ in range(20)]

    def wait(number: int) -> None:
        asked[number].set()
        with turns.turn():
            order.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(20)]
    with turns.turn():
        for number, thread in enumerate(threads):
            thread.start()
            asked[number].wait()
            while len(turns._waiting) <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(20))


def _saved_together(store: ReviewStore, readers: Sequence[str]) -> dict[str, object]:
    """What each reader was told who saved while another one's part was not done: the verdict, or the error."""
    told: dict[str, object] = {}

    def save(number: int, reader: str) -> None:
        try:
            told[f"{number}"] = store.save(Verdict("1.2", MODEL, "nodule", "agree", reader), expected_revision=0)
        except StoreError as error:
            told[f"{number}"] = error

    threads = [threading.Thread(target=save, args=one) for one in enumerate(readers)]
    try:
        with store.writing("saved"):
            for number, thread in enumerate(threads):
                thread.start()
                while len(store._writers._turns._waiting) <= number:
                    time.sleep(0.001)
    except StoreError as error:
        told["first"] = error
    for thread in threads:
        thread.join()
    return told


def test_who_waits_shares_one_commit_and_what_fails_leaves_the_others_parts_alone(url: str) -> None:
    with ReviewStore.open(url) as store:
        commits = []
        event.listen(store._writing_engine, "commit", lambda _: commits.append(1))
        told = _saved_together(store, ["A", "B", "a", "C"])
        assert len(commits) == 1
        assert [type(told[f"{number}"]) for number in range(4)] == [Verdict, Verdict, Conflict, Verdict]
        assert [(one.reviewer, one.revision) for one in store.everything()] == [("A", 1), ("B", 2), ("C", 3)]
        assert faults(store) == [] and store.readers() == ("A", "B", "C")


@pytest.mark.parametrize("failing", ["commit", "a part"])
def test_where_the_database_fails_nobody_is_told_that_something_was_kept(url: str, failing: str) -> None:
    def refuse(*arguments: Any) -> None:
        if failing == "commit" or ("INSERT INTO verdicts" in arguments[2] and "'C'" in str(arguments[3])):
            raise OperationalError("INSERT", {}, Exception("no space left"))

    with ReviewStore.open(url) as store:
        kept = store.save(Verdict("1.2", MODEL, "nodule", "agree", "Z"), expected_revision=0)
        name = "commit" if failing == "commit" else "before_cursor_execute"
        event.listen(store._writing_engine, name, refuse)
        told = _saved_together(store, ["A", "B", "C"])
        event.remove(store._writing_engine, name, refuse)
        assert [type(one) for one in told.values()] == [StoreError] * 4
        assert store.everything() == (kept,) and faults(store) == []
        store.save(Verdict("1.2", MODEL, "nodule", "agree", "A"), expected_revision=1)
        assert len(store.everything()) == 2 and faults(store) == []


@pytest.mark.sweep
@pytest.mark.timeout(3600)
def test_fifty_readers_save_two_hundred_times_each(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with ReviewStore.open(url) as store:
        alone = median(took for _, took in _read(store, "alone", 100, 0.05))
        found = _all_read(store, 50, 200, 0.05)
        kept = {_key(verdict): verdict for verdict in store.everything()}
        assert all(kept[_key(verdict)] == verdict for verdict, _ in found)
        assert len(found) == 10_000 and len(kept) == 10_100
        assert faults(store) == []
    times = sorted(took for _, took in found)
    slow = times[int(0.99 * len(times))]
    with capsys.disabled():
        print(
            f"\n{url.split(':')[0]}: 50 readers x 200 saves, 0 lost; alone {1000 * alone:.1f} ms (median), together "
            f"{1000 * median(times):.1f} ms (median), {1000 * slow:.1f} ms (99 %) = {slow / alone:.0f} times alone"
        )
    assert slow <= 75 * alone
