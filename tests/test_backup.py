"""Copies of a store: whole, made while readers save, put back as they were, of whatever database."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from medres.errors import MedresError, OutputExists, StoreError, UsageError
from medres.review.store import ReviewStore, Verdict
from medres.review.verdicts.backup import back_up, kept_head, restore, url_of
from medres.review.verdicts.verification import faults

MODEL = "m"


def _fill(url: str, count: int, *, reader: str = "R", comment: str = "") -> None:
    with ReviewStore.open(url) as store:
        for number in range(count):
            store.save(Verdict(f"1.2.{number}", MODEL, "nodule", "agree", reader, comment), expected_revision=0)
        store.keep_draft(reader, MODEL, "1.2.0", "half a sentence")


def test_a_backup_is_a_store_and_restores_equal(tmp_path: Path) -> None:
    url, backup = url_of(tmp_path / "reviews.db"), tmp_path / "backup.db"
    _fill(url, 5)
    made = back_up(url, backup)
    assert made.verdicts == 5
    if os.name == "posix":
        assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with ReviewStore.open(url) as store:
        everything, head = store.everything(), store.head()
        assert made.head == head == kept_head(backup)
    _fill(url, 3, reader="S")
    with pytest.raises(OutputExists, match="--force"):
        restore(backup, url)
    restored = restore(backup, url, force=True)
    with ReviewStore.open(url) as store:
        assert store.everything() == everything
        assert faults(store, head) == []  # and one line more, of the restoring
        assert (store.head(), store.head().number) == (restored.head, head.number + 1)
        draft = store.draft("R", MODEL, "1.2.0")
        assert draft is not None and draft.content == "half a sentence"
    assert restored.kept is not None
    with ReviewStore.open(url_of(restored.kept)) as store:
        assert len(store.everything()) == 8


def test_a_backup_takes_the_place_of_nothing_and_needs_a_folder(tmp_path: Path) -> None:
    url = url_of(tmp_path / "reviews.db")
    _fill(url, 1)
    (tmp_path / "there.db").touch()
    with pytest.raises(OutputExists):
        back_up(url, tmp_path / "there.db")
    with pytest.raises(UsageError, match="does not exist"):
        back_up(url, tmp_path / "no" / "backup.db")
    assert {path.name for path in tmp_path.iterdir()} == {"reviews.db", "there.db"}


def test_a_backup_that_is_not_whole_is_not_restored(tmp_path: Path) -> None:
    url, backup = url_of(tmp_path / "reviews.db"), tmp_path / "backup.db"
    _fill(url, 40, comment="x" * 500)
    back_up(url, backup)
    before = (tmp_path / "reviews.db").read_bytes()
    data = bytearray(backup.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8192] = b"\xa5" * 8192
    for content in (bytes(data), b"no database" * 999, b""):
        backup.write_bytes(content)
        with pytest.raises(MedresError):
            restore(backup, url, force=True)
        assert (tmp_path / "reviews.db").read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"\xa5" * 40_000, b"SQLite format 3\0" + b"\xa5" * 40_000], ids=["noise", "a head"]
)
def test_a_damaged_store_is_restored_and_kept(tmp_path: Path, content: bytes) -> None:
    path, backup = tmp_path / "reviews.db", tmp_path / "backup.db"
    _fill(url_of(path), 5)
    back_up(url_of(path), backup)
    path.write_bytes(content)
    with pytest.raises(OutputExists, match="--force"):
        restore(backup, url_of(path))
    restored = restore(backup, url_of(path), force=True)
    assert restored.kept is not None and restored.kept.read_bytes() == content
    with ReviewStore.open(url_of(path)) as store:
        assert len(store.everything()) == 5 and faults(store) == []


def test_a_backup_is_made_and_restored_while_readers_save(tmp_path: Path) -> None:
    """Nobody waits for the other, and each backup holds what was acknowledged before it began."""
    url, done = url_of(tmp_path / "reviews.db"), threading.Event()
    acknowledged: list[str] = []
    wrong: list[BaseException] = []

    def read() -> None:
        try:
            with ReviewStore.open(url) as store:
                for number in range(10_000):
                    if done.is_set():
                        return
                    store.save(Verdict(f"1.2.{number}", MODEL, "nodule", "agree", "R"), expected_revision=0)
                    acknowledged.append(f"1.2.{number}")
        except BaseException as error:  # noqa: BLE001  told below
            wrong.append(error)

    ReviewStore.open(url).close()
    reading = threading.Thread(target=read)
    reading.start()
    held = []
    try:
        for number in range(4):
            before = list(acknowledged)
            back_up(url, tmp_path / f"{number}.db")
            held.append((before, tmp_path / f"{number}.db"))
    finally:
        done.set()
        reading.join()
    assert wrong == [] and acknowledged
    for before, backup in held:
        with ReviewStore.open(url_of(backup)) as copy:
            assert {one.sop_instance_uid for one in copy.everything()} >= set(before)
            assert faults(copy) == []
            everything = copy.everything()
        restore(backup, url_of(tmp_path / "other.db"), force=True)
        with ReviewStore.open(url_of(tmp_path / "other.db")) as other:
            assert other.everything() == everything


def test_an_app_that_has_the_store_open_goes_on_with_what_was_restored(tmp_path: Path) -> None:
    url, backup = url_of(tmp_path / "reviews.db"), tmp_path / "backup.db"
    _fill(url, 3)
    back_up(url, backup)
    with ReviewStore.open(url) as running:
        running.save(Verdict("1.2.9", MODEL, "nodule", "agree", "R"), expected_revision=0)
        restore(backup, url, force=True)
        assert len(running.everything()) == 3
        running.save(Verdict("1.2.8", MODEL, "nodule", "agree", "R"), expected_revision=0)
        assert faults(running) == []
    with ReviewStore.open(url) as store:
        assert [one.sop_instance_uid for one in store.everything()] == ["1.2.0", "1.2.1", "1.2.2", "1.2.8"]


SAVING = """
import sys
from medres.review.store import ReviewStore, Verdict
with ReviewStore.open(sys.argv[1]) as store:
    start = len(store.everything())
    for number in range(start, start + 100_000):
        store.save(Verdict(f"1.2.{number}", "m", "nodule", "agree", "R", "x" * 300), expected_revision=0)
        print(f"1.2.{number}", flush=True)
"""


def _killed(url: str, after: int) -> list[str]:
    """What a process acknowledged that was killed while it saved."""
    with subprocess.Popen([sys.executable, "-c", SAVING, url], stdout=subprocess.PIPE, text=True) as saving:
        assert saving.stdout is not None
        told = [saving.stdout.readline() for _ in range(after)]
        saving.send_signal(signal.SIGKILL)
        told += saving.stdout.readlines()
    return [line.strip() for line in told if line.endswith("\n")]


def _assert_nothing_was_lost(url: str, acknowledged: list[str]) -> None:
    with ReviewStore.open(url) as store:
        assert {one.sop_instance_uid for one in store.everything()} >= set(acknowledged)
        assert faults(store) == []


def test_a_process_that_is_killed_while_it_saves_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    url = url_of(tmp_path / "reviews.db")
    acknowledged = [name for after in (2, 5) for name in _killed(url, after)]
    assert len(acknowledged) >= 7
    _assert_nothing_was_lost(url, acknowledged)


@pytest.mark.sweep
@pytest.mark.timeout(3600)
def test_of_200_kills_none_loses_a_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url, acknowledged = url_of(tmp_path / "reviews.db"), list[str]()
    for number in range(200):
        acknowledged += _killed(url, 1 + number % 7)
        _assert_nothing_was_lost(url, acknowledged)
    with capsys.disabled():
        print(f"\n200 kills during saves: {len(acknowledged)} verdicts acknowledged, 0 lost, integrity_check ok")


def test_a_store_that_is_no_backup_is_named(tmp_path: Path) -> None:
    for name in ("no.db", "."):
        with pytest.raises((UsageError, StoreError)):
            kept_head(tmp_path / name)
