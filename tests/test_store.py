"""The review store keeps what was said: all of it, in order, of every reader, and never silently over a word."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import CheckConstraint, UniqueConstraint, inspect

from medres.errors import StoreError
from medres.review.schema import Base
from medres.review.store import LONGEST_COMMENT, Conflict, ReviewStore, Seen, Verdict
from medres.review.verdicts import audit, database
from medres.review.verdicts.desk import LONGEST_DRAFT
from medres.review.verdicts.record import Mark
from medres.review.verdicts.salvage import salvage
from medres.review.verdicts.verification import faults
from tests.conftest import ROOT

MODEL = "resnet18-0123456789ab"
FIRST_VERSION = ROOT / "tests/fixtures/stores/v0001.db"
VERDICT = Verdict("1.2.840.1", MODEL, "nodule", "disagree", "Dr. Ärztin", "Rippe, kein Rundherd")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{(tmp_path / 'reviews.db').as_posix()}"


@pytest.fixture
def store(url: str) -> Iterator[ReviewStore]:
    with ReviewStore.open(url) as store:
        yield store


def test_a_verdict_survives_a_restart(url: str) -> None:
    before = datetime.now(UTC)
    with ReviewStore.open(url) as store:
        saved = store.save(VERDICT, expected_revision=0)
    with ReviewStore.open(url) as store:
        assert store.latest(MODEL) == {("1.2.840.1", "nodule"): saved}
    assert saved == replace(VERDICT, created_at=saved.created_at, revision=1)
    assert saved.created_at is not None
    assert before <= saved.created_at <= before + timedelta(minutes=1)
    assert saved.created_at.utcoffset() == timedelta(0)


def test_a_change_of_mind_is_added_and_nothing_is_lost(store: ReviewStore) -> None:
    first = store.save(VERDICT, expected_revision=0)
    second = store.save(replace(VERDICT, verdict="agree", comment=""), expected_revision=1)
    assert store.history("1.2.840.1", MODEL, "nodule") == (first, second)
    assert store.latest(MODEL) == {("1.2.840.1", "nodule"): second}
    assert (first.revision, second.revision) == (1, 2)


def test_two_readers_disagree_and_both_are_kept(store: ReviewStore) -> None:
    first = store.save(VERDICT, expected_revision=0)
    second = store.save(replace(VERDICT, verdict="agree", reviewer="B"), expected_revision=0)  # blind to the first
    assert store.latest_of_each(MODEL) == {("1.2.840.1", "nodule"): (first, second)}
    changed = store.save(replace(VERDICT, verdict="unsure"), expected_revision=1)
    assert store.latest_of_each(MODEL) == {("1.2.840.1", "nodule"): (second, changed)}
    assert store.history("1.2.840.1", MODEL, "nodule") == (first, second, changed)


def test_of_two_tabs_of_one_reader_the_second_is_told_and_nothing_is_written(store: ReviewStore) -> None:
    first = store.save(VERDICT, expected_revision=0)
    other = store.save(replace(VERDICT, verdict="agree", reviewer="B"), expected_revision=0)
    with pytest.raises(Conflict, match=r"Dr\. Ärztin has saved a verdict") as conflict:
        store.save(replace(VERDICT, verdict="agree", reviewer="dr.  ärztin"), expected_revision=0)
    assert conflict.value.latest == first
    assert isinstance(conflict.value, StoreError)
    assert store.history("1.2.840.1", MODEL, "nodule") == (first, other)


def test_a_revision_that_never_was_is_a_conflict(store: ReviewStore) -> None:
    with pytest.raises(Conflict) as conflict:
        store.save(VERDICT, expected_revision=3)
    assert conflict.value.latest is None


def test_of_many_tabs_that_save_at_once_one_succeeds_and_the_others_are_told(url: str) -> None:
    ReviewStore.open(url).close()
    barrier, outcomes = threading.Barrier(6), []

    def review() -> None:
        with ReviewStore.open(url) as store:
            barrier.wait()
            try:
                outcomes.append(store.save(VERDICT, expected_revision=0))
            except Conflict as conflict:
                outcomes.append(conflict.latest)

    threads = [threading.Thread(target=review) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ReviewStore.open(url) as store:
        (kept,) = store.history("1.2.840.1", MODEL, "nodule")
    assert outcomes == [kept] * 6


def test_anothers_verdict_is_seen_once_there_is_one_of_ones_own(store: ReviewStore) -> None:
    image = ("1.2.840.1", MODEL, "nodule")
    theirs = store.save(VERDICT, expected_revision=0)
    assert store.seen_by("B", image) == Seen((), (), 1)
    assert store.seen_by("B", image, blinded=False).others == (theirs,)
    own = store.save(replace(VERDICT, verdict="agree", reviewer="B"), expected_revision=0)
    for _ in range(3):
        assert store.seen_by("b", image) == Seen((own,), (theirs,), 0)
    with store.reading() as connection:
        actions = [line.action for line in audit.lines(connection)]
    assert actions == ["reader", "save", "reveal", "reader", "save"]  # once, when B was first shown it


def test_all_that_a_reader_says_comes_back(store: ReviewStore) -> None:
    said = Verdict(
        "1.2", MODEL, "kl_ge_2", "own", "R", "text", confidence=70, grade="3", corrected_label="fracture",
        marks=(Mark("box", 10, 20.5, 3, 4, "osteophyte"), Mark("point", 1, 2)), heatmap="misled",
        seconds_in_view=12.34, heatmap_shown=True, called=1, probability=0.7,
    )  # fmt: skip
    saved = store.save(said, expected_revision=0)
    assert store.history("1.2", MODEL, "kl_ge_2") == (saved,)
    assert saved == replace(said, created_at=saved.created_at, revision=1, seconds_in_view=12.3)
    skipped = store.save(
        Verdict("1.2", MODEL, "kl_ge_2", "skipped", "R", skip_reason="not my region"), expected_revision=1
    )
    assert store.latest(MODEL)["1.2", "kl_ge_2"] == skipped


def test_readers_are_a_list_and_a_name_typed_otherwise_is_the_listed_one(store: ReviewStore) -> None:
    assert store.add_reader(" Dr. Zoë ") == "Dr. Zoë"
    assert store.save(replace(VERDICT, reviewer="dr.  zoë"), expected_revision=0).reviewer == "Dr. Zoë"
    assert store.add_reader("A") == "A"
    assert store.readers() == ("A", "Dr. Zoë") == tuple(store.listed().values())
    for name in ("", " ", "<b>", "x" * 201, "a\nb"):
        with pytest.raises(StoreError, match="nobody was added"):
            store.add_reader(name)


def test_a_draft_survives_a_restart_and_a_comment_that_is_too_long(url: str) -> None:
    long = "x" * (LONGEST_COMMENT + 1)
    with ReviewStore.open(url) as store:
        store.keep_draft("R", MODEL, "1.2", "first words")
        store.keep_draft("R", MODEL, "1.2", long)
        store.keep_draft("R", MODEL, "1.3", "of another image")
        with pytest.raises(StoreError, match=r"the comment has 4001 characters.*nothing was saved"):
            store.save(replace(VERDICT, comment=long), expected_revision=0)
        with pytest.raises(StoreError, match="the draft of before is still kept"):
            store.keep_draft("R", MODEL, "1.2", "x" * (LONGEST_DRAFT + 1))
    with ReviewStore.open(url) as store:
        found = store.draft("r", MODEL, "1.2")
        assert found is not None and found.content == long
        assert store.draft("S", MODEL, "1.2") is None
        store.drop_draft("R", MODEL, "1.2")
        assert store.draft("R", MODEL, "1.2") is None
        assert store.draft("R", MODEL, "1.3") is not None


def test_what_changed_since_is_told_once(store: ReviewStore) -> None:
    first = store.save(VERDICT, expected_revision=0)
    one = store.changes(MODEL)
    assert one.verdicts == (first,)
    assert store.changes(MODEL, one.last).verdicts == ()
    second = store.save(replace(VERDICT, label="effusion"), expected_revision=0)
    store.save(replace(VERDICT, model_id="another"), expected_revision=0)
    assert store.changes(MODEL, one.last).verdicts == (second,)


def test_models_labels_and_images_do_not_mix(store: ReviewStore) -> None:
    for image in ("1.2.840.1", "1.2.840.2"):
        for model in (MODEL, "another"):
            for label in ("nodule", "effusion"):
                store.save(replace(VERDICT, sop_instance_uid=image, model_id=model, label=label), expected_revision=0)
    assert set(store.latest("another")) == {(f"1.2.840.{n}", label) for n in (1, 2) for label in ("nodule", "effusion")}
    assert {verdict.model_id for verdict in store.latest("another").values()} == {"another"}
    assert store.latest("unknown") == {}


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)
HOSTILE = st.sampled_from(
    [
        "<script>alert(1)</script>",
        "'; DROP TABLE verdicts; --",
        '"\\"',
        "%s %(a)s :name ?",
        "é̈‮txt",
        "😀",
        "\r\n\t",
        "{{7*7}}",
    ]
)


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewStore]:
    with ReviewStore.open(f"sqlite:///{(tmp_path_factory.mktemp('store') / 'reviews.db').as_posix()}") as store:
        yield store


@given(comment=TEXT | HOSTILE, label=TEXT.filter(str.strip) | HOSTILE)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back_as_it_was_typed(shared_store: ReviewStore, comment: str, label: str) -> None:
    revision = len(shared_store.history("1.2", MODEL, label))
    saved = shared_store.save(Verdict("1.2", MODEL, label, "unsure", "R", comment), expected_revision=revision)
    assert saved.comment == comment.strip()
    assert shared_store.latest(MODEL)["1.2", label] == saved


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "maybe"}, {"reviewer": " "}, {"reviewer": "x" * 201}, {"reviewer": "a<b>"}, {"reviewer": "a\nb"},
        {"sop_instance_uid": ""}, {"label": ""},
        {"comment": "x" * (LONGEST_COMMENT + 1)}, {"comment": "a\0b"}, {"comment": "\ud800"}, {"model_id": ""},
        {"verdict": "own"}, {"verdict": "skipped"}, {"confidence": 101}, {"heatmap": "pretty"}, {"called": 2},
        {"seconds_in_view": float("nan")}, {"seconds_in_view": -1.0}, {"probability": 1.5}, {"grade": "x" * 201},
        {"marks": (Mark("point", 1, 2, 3, 4),)}, {"marks": (Mark("box", 1, 2),)}, {"marks": (Mark("point", 1e9, 2),)},
        {"marks": (Mark("point", float("nan"), 2),)}, {"marks": (Mark("point", 1, 2),) * 201},
    ],
)  # fmt: skip
def test_what_is_not_a_verdict_is_refused_and_nothing_is_saved(store: ReviewStore, change: dict[str, Any]) -> None:
    with pytest.raises(StoreError):
        store.save(replace(VERDICT, **change), expected_revision=0)
    assert store.latest(MODEL) == {}


def test_a_store_of_a_newer_schema_is_refused(tmp_path: Path, url: str) -> None:
    ReviewStore.open(url).close()
    with sqlite3.connect(tmp_path / "reviews.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(StoreError, match="'9999', which this version of medres does not know"):
        ReviewStore.open(url)


def test_the_migrations_build_the_tables_that_the_code_uses(store: ReviewStore) -> None:
    built = inspect(store._reading)
    assert set(built.get_table_names()) == {*Base.metadata.tables, "alembic_version"}
    for table in Base.metadata.sorted_tables:
        columns = {column["name"]: column for column in built.get_columns(table.name)}
        assert set(columns) == {column.name for column in table.columns}
        for column in table.columns:
            found = columns[column.name]
            assert (found["nullable"], str(found["type"])) == (
                column.nullable,
                str(column.type.compile(store._reading.dialect)),
            )
        for kind, names in (
            (UniqueConstraint, {item["name"] for item in built.get_unique_constraints(table.name)}),
            (CheckConstraint, {item["name"] for item in built.get_check_constraints(table.name)}),
        ):
            assert names == {item.name for item in table.constraints if isinstance(item, kind)}


def test_a_store_of_the_first_version_migrates_and_each_verdict_goes_to_its_reader(tmp_path: Path, url: str) -> None:
    """`v0001.db` was written by the last version that kept one history for all readers."""
    shutil.copy(FIRST_VERSION, tmp_path / "reviews.db")
    with ReviewStore.open(url) as store:
        everything = store.everything()
        assert [(one.sop_instance_uid, one.label, one.verdict, one.reviewer, one.revision) for one in everything] == [
            ("2.25.1", "nodule", "disagree", "Dr. Ärztin", 1),
            ("2.25.1", "nodule", "agree", "B. Second", 2),
            ("2.25.1", "nodule", "unsure", "Dr. Ärztin", 3),
            ("2.25.2", "nodule", "agree", "dr.  ärztin", 1),
            ("2.25.2", "effusion", "unsure", "C", 1),
            ("2.25.2", "nodule", "disagree", "B. Second", 1),
        ]
        assert everything[0].comment == "Rippe, kein Rundherd" and everything[4].comment == "😀 <b>"
        assert everything[0].created_at == datetime(2026, 11, 28, 5, 46, 55, 770679, tzinfo=UTC)
        assert store.readers() == ("B. Second", "C", "Dr. Ärztin")
        own = store.latest_of_each(MODEL)["2.25.1", "nodule"]
        assert [(one.reviewer, one.verdict) for one in own] == [("B. Second", "agree"), ("Dr. Ärztin", "unsure")]
        assert faults(store) == []
    with ReviewStore.open(url) as store:  # once
        assert store.head().number == len(everything)


def test_a_copy_of_the_file_after_a_save_holds_every_verdict(tmp_path: Path, url: str) -> None:
    with ReviewStore.open(url) as store:
        for number in range(4):
            store.save(replace(VERDICT, sop_instance_uid=f"1.2.{number}"), expected_revision=0)
            shutil.copy(tmp_path / "reviews.db", tmp_path / "copy.db")
            with ReviewStore.open(f"sqlite:///{(tmp_path / 'copy.db').as_posix()}") as copy:
                assert copy.everything() == store.everything()
        assert {path.name for path in tmp_path.iterdir()} == {"reviews.db", "copy.db"}
        with store.reading() as connection:
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() >= 1000
    assert found == {"journal_mode": "delete", "synchronous": 3, "foreign_keys": 1}  # 3: FULL, and the folder


def test_a_file_that_is_no_database_is_refused(tmp_path: Path, url: str) -> None:
    (tmp_path / "reviews.db").write_bytes(b"this is not a database, although it is long enough to be one" * 20)
    with pytest.raises(StoreError, match=r"not a database.*medres verdicts restore BACKUP"):
        ReviewStore.open(url)


def test_a_damaged_database_is_refused(tmp_path: Path, url: str) -> None:
    with ReviewStore.open(url) as store:
        for number in range(200):
            store.save(replace(VERDICT, sop_instance_uid=f"1.2.{number}", comment="x" * 500), expected_revision=0)
    path = tmp_path / "reviews.db"
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8192] = b"\xa5" * 8192
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"damaged.*medres verdicts restore BACKUP.*medres verdicts export") as refused:
        ReviewStore.open(url)
    assert refused.value.code == database.DAMAGED
    found = salvage(path)
    assert found.verdicts and len(found.verdicts) + found.lost == 200
    assert {one.comment for one in found.verdicts} == {"x" * 500}


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///x?mode=memory", "sqlite:///file:x"])
def test_a_store_in_memory_is_refused_by_name(url: str) -> None:
    with pytest.raises(StoreError, match=r"memory|more than its file"):
        ReviewStore.open(url)


def test_a_store_of_another_program_is_refused_and_left_alone(tmp_path: Path, url: str) -> None:
    with sqlite3.connect(tmp_path / "reviews.db") as other:
        other.execute("CREATE TABLE experiments (x)")
    other.close()
    before = (tmp_path / "reviews.db").read_bytes()
    with pytest.raises(StoreError, match=r"tables of another program \(experiments\)"):
        ReviewStore.open(url)
    assert (tmp_path / "reviews.db").read_bytes() == before


def test_half_of_a_store_with_a_write_ahead_log_is_refused_by_name(tmp_path: Path, url: str) -> None:
    """As a copy of `reviews.db` alone was, while an app of an earlier version ran."""
    whole = tmp_path / "whole.db"
    writing = sqlite3.connect(whole)
    writing.execute("PRAGMA journal_mode=WAL")
    writing.execute("CREATE TABLE verdicts (x)")
    writing.commit()
    shutil.copy(whole, tmp_path / "reviews.db")
    writing.close()
    with pytest.raises(StoreError, match=r"half of a store.*reviews.db-wal"):
        ReviewStore.open(url)


def test_a_store_that_an_earlier_medres_holds_open_is_refused_until_that_has_ended(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medres.review.verdicts.database.BUSY_SECONDS", 0.1)
    shutil.copy(FIRST_VERSION, tmp_path / "reviews.db")
    earlier = sqlite3.connect(tmp_path / "reviews.db")
    earlier.execute("SELECT * FROM verdicts").fetchall()
    with pytest.raises(StoreError, match="another program holds the review store open"):
        ReviewStore.open(url)
    earlier.close()
    with ReviewStore.open(url) as store:
        assert len(store.everything()) == 6


@pytest.mark.parametrize("url", ["", "reviews.db", "nosuchdatabase://x/y", "sqlite:////nonexistent-folder/reviews.db"])
def test_a_url_that_cannot_be_used_is_one_clear_line(url: str) -> None:
    with pytest.raises(StoreError) as error:
        ReviewStore.open(url)
    assert "\n" not in str(error.value)


def test_a_locked_database_is_reported_and_loses_nothing(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medres.review.verdicts.database.BUSY_SECONDS", 0.2)
    with ReviewStore.open(url) as store:
        blocker = sqlite3.connect(tmp_path / "reviews.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="could not be saved: database is locked"):
            store.save(VERDICT, expected_revision=0)
        assert store.latest(MODEL) == {}  # readers are not blocked
        blocker.execute("ROLLBACK")
        blocker.close()
        assert store.save(VERDICT, expected_revision=0).revision == 1
