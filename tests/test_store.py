"""The review store keeps what was said: all of it, in order, and never silently over another's word."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import inspect

from medres.errors import StoreError
from medres.review.schema import Base
from medres.review.store import LONGEST_COMMENT, Conflict, ReviewStore, Verdict

MODEL = "resnet18-0123456789ab"
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
    second = store.save(replace(VERDICT, verdict="agree", comment="", reviewer="B"), expected_revision=1)
    assert store.history("1.2.840.1", MODEL, "nodule") == (first, second)
    assert store.latest(MODEL) == {("1.2.840.1", "nodule"): second}
    assert (first.revision, second.revision) == (1, 2)


def test_whoever_did_not_see_the_latest_verdict_cannot_overrule_it(store: ReviewStore) -> None:
    first = store.save(VERDICT, expected_revision=0)
    with pytest.raises(Conflict, match=r"Dr\. Ärztin has saved a verdict") as conflict:
        store.save(replace(VERDICT, verdict="agree", reviewer="B"), expected_revision=0)
    assert conflict.value.latest == first
    assert isinstance(conflict.value, StoreError)
    assert store.history("1.2.840.1", MODEL, "nodule") == (first,)


def test_a_revision_that_never_was_is_a_conflict(store: ReviewStore) -> None:
    with pytest.raises(Conflict) as conflict:
        store.save(VERDICT, expected_revision=3)
    assert conflict.value.latest is None


def test_of_many_who_save_at_once_one_succeeds_and_the_others_are_told(url: str) -> None:
    ReviewStore.open(url).close()
    barrier, outcomes = threading.Barrier(6), []

    def review(name: str) -> None:
        with ReviewStore.open(url) as store:
            barrier.wait()
            try:
                outcomes.append(store.save(replace(VERDICT, reviewer=name), expected_revision=0))
            except Conflict as conflict:
                outcomes.append(conflict.latest)

    threads = [threading.Thread(target=review, args=(f"reader {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ReviewStore.open(url) as store:
        (kept,) = store.history("1.2.840.1", MODEL, "nodule")
    assert outcomes == [kept] * 6


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
    ],
)  # fmt: skip
def test_what_is_not_a_verdict_is_refused_and_nothing_is_saved(store: ReviewStore, change: dict[str, str]) -> None:
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
    for table in Base.metadata.sorted_tables:
        columns = {column["name"]: column for column in built.get_columns(table.name)}
        assert set(columns) == {column.name for column in table.columns}
        for column in table.columns:
            found = columns[column.name]
            assert (found["nullable"], str(found["type"])) == (
                column.nullable,
                str(column.type.compile(store._reading.dialect)),
            )
        uniques = {tuple(item["column_names"]) for item in built.get_unique_constraints(table.name)}
        assert uniques == {("sop_instance_uid", "model_id", "label", "revision")}
        assert {item["name"] for item in built.get_check_constraints(table.name)} == {
            "revisions_count_from_one",
            "known_verdict",
        }


def test_the_store_survives_a_crash_of_the_machine_as_well_as_sqlite_can(store: ReviewStore) -> None:
    with store._reading.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() >= 1000
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_file_that_is_no_database_is_refused(tmp_path: Path, url: str) -> None:
    (tmp_path / "reviews.db").write_bytes(b"this is not a database, although it is long enough to be one" * 20)
    with pytest.raises(StoreError, match="not a database"):
        ReviewStore.open(url)


def test_a_damaged_database_is_refused(tmp_path: Path, url: str) -> None:
    with ReviewStore.open(url) as store:
        for number in range(200):
            store.save(replace(VERDICT, sop_instance_uid=f"1.2.{number}", comment="x" * 500), expected_revision=0)
    path = tmp_path / "reviews.db"
    data = bytearray(path.read_bytes())
    data[8192:-4096] = b"\xa5" * (len(data) - 12288)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"damaged|malformed"):
        ReviewStore.open(url)


@pytest.mark.parametrize("url", ["", "reviews.db", "nosuchdatabase://x/y", "sqlite:////nonexistent-folder/reviews.db"])
def test_a_url_that_cannot_be_used_is_one_clear_line(url: str) -> None:
    with pytest.raises(StoreError) as error:
        ReviewStore.open(url)
    assert "\n" not in str(error.value)


def test_a_locked_database_is_reported_and_loses_nothing(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medres.review.store._BUSY_SECONDS", 0.2)
    with ReviewStore.open(url) as store:
        blocker = sqlite3.connect(tmp_path / "reviews.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="could not be saved: database is locked"):
            store.save(VERDICT, expected_revision=0)
        assert store.latest(MODEL) == {}  # readers are not blocked
        blocker.execute("ROLLBACK")
        blocker.close()
        assert store.save(VERDICT, expected_revision=0).revision == 1
