"""One process at a time: a lock is whole when it appears, names its process, and is replaced by one other at most."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from medres.cohort.pseudonyms import pseudonym_key
from medres.errors import OutputExists, UsageError
from medres.unfinished import LOCK, lock, unlock

SPAWN = multiprocessing.get_context("spawn")


def stale(folder: Path, **says: object) -> None:
    """A lock of a process that is gone."""
    folder.mkdir(exist_ok=True)
    holder = {"pid": 2**22 + 1, "host": socket.gethostname(), "started": 1.0, **says}
    (folder / LOCK).write_text(json.dumps(holder))


def _contend(folder: Path, turns: int, inside: Path, found: multiprocessing.Queue[list[str]]) -> None:
    """Take the folder again and again, now and then as if killed, and note whenever somebody else is inside, too."""
    wrong, held = [], 0
    end = time.monotonic() + 20
    while held < turns and time.monotonic() < end:
        try:
            lock(folder)
        except OutputExists:
            time.sleep(0.001)
            continue
        except Exception as error:  # noqa: BLE001  it is what the test looks for
            wrong.append(repr(error))
            break
        held += 1
        try:
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            wrong.append("two at once")
        text = (folder / LOCK).read_text()
        if json.loads(text)["pid"] != os.getpid():
            wrong.append(text)
        inside.unlink(missing_ok=True)
        if held % 2:
            temporary = folder / f"{LOCK}.old-{os.getpid()}"
            temporary.write_text(
                json.dumps({"pid": 2**22 + 1, "host": socket.gethostname(), "turn": [os.getpid(), held]})
            )
            temporary.replace(folder / LOCK)  # now it is of a process that is gone
        else:
            unlock(folder)
    found.put([*wrong, *([] if held else ["never held"])])


def test_of_many_that_find_a_lock_without_a_process_one_takes_it(tmp_path: Path) -> None:
    folder, found = tmp_path / "out", SPAWN.Queue()
    stale(folder)
    processes = [SPAWN.Process(target=_contend, args=(folder, 25, tmp_path / "inside", found)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [found.get(timeout=60) for _ in processes] == [[]] * len(processes)
    for process in processes:
        process.join()
    assert [path.name for path in folder.iterdir() if path.name != LOCK] == []


def test_a_process_that_was_killed_while_it_took_a_lock_over_is_in_nobody_s_way(tmp_path: Path) -> None:
    import hashlib

    stale(tmp_path)
    claim = f"{LOCK}.{hashlib.sha256((tmp_path / LOCK).read_bytes()).hexdigest()[:12]}"
    (tmp_path / claim).write_text((tmp_path / LOCK).read_text())
    lock(tmp_path)
    with pytest.raises(OutputExists, match=r"delete .*lock"):
        lock(tmp_path)
    unlock(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_number_of_a_process_does_not_hold_for_a_later_process_of_that_number(tmp_path: Path) -> None:
    stale(tmp_path, pid=os.getpid())  # as after a restart of the machine or the container
    lock(tmp_path)
    started = json.loads((tmp_path / LOCK).read_text())["started"]
    assert started != 1.0
    stale(tmp_path, pid=os.getpid(), started=started)
    with pytest.raises(OutputExists):
        lock(tmp_path)


def test_a_lock_of_another_host_holds_and_another_s_lock_is_not_let_go(tmp_path: Path) -> None:
    stale(tmp_path, host="elsewhere")
    with pytest.raises(OutputExists, match="on elsewhere; if that process is gone, delete"):
        lock(tmp_path)
    unlock(tmp_path)
    assert (tmp_path / LOCK).is_file()


@pytest.mark.parametrize("says", ["", "{", "[]", '{"pid": -4, "host": "HOST"}', '{"pid": "x"}'])
def test_a_torn_lock_is_of_nobody(tmp_path: Path, says: str) -> None:
    (tmp_path / LOCK).write_text(says.replace("HOST", socket.gethostname()))
    lock(tmp_path)
    unlock(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system's own time of creation is compared")
def test_a_clock_that_is_set_does_not_end_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock(tmp_path)
    boot, created = psutil.boot_time(), psutil.Process().create_time()
    monkeypatch.setattr(psutil, "boot_time", lambda: boot + 3600)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: created + 3600)
    with pytest.raises(OutputExists):
        lock(tmp_path)


def _make_key(home: Path, found: multiprocessing.Queue[bytes | None]) -> None:
    os.environ["XDG_CONFIG_HOME"] = str(home)
    os.environ.pop("MEDRES_PSEUDONYM_KEY", None)
    try:
        found.put(pseudonym_key())
    except UsageError:
        found.put(None)


@pytest.mark.skipif(sys.platform != "linux", reason="where a user's files lie is set by XDG_CONFIG_HOME")
def test_first_runs_at_once_get_one_key_and_an_empty_key_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SPAWN.Queue()
    processes = [SPAWN.Process(target=_make_key, args=(tmp_path, found)) for _ in range(4)]
    for process in processes:
        process.start()
    keys = {found.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    path = tmp_path / "medres" / "pseudonym.key"
    assert keys == {path.read_bytes()}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    path.write_bytes(b"")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("MEDRES_PSEUDONYM_KEY")
    with pytest.raises(UsageError, match=r"pseudonym\.key has 0 bytes"):
        pseudonym_key()
