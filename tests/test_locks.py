"""One process at a time holds an output: the kernel's lock says who, and a killed process holds nothing."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import socket
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from medres import unfinished
from medres.cohort.pseudonyms import pseudonym_key
from medres.errors import OutputExists, UsageError
from medres.unfinished import HOLDER, LOCK, is_lock, lock, rename_held, unlock

SPAWN = multiprocessing.get_context("spawn")


def abandon(folder: Path) -> None:
    """Leave a folder as a process does that is killed: its files lie there, and the kernel holds nothing."""
    found = (folder / LOCK).stat()
    unfinished._held.pop((found.st_dev, found.st_ino)).release()


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
        text = (folder / HOLDER).read_text()
        if json.loads(text)["pid"] != os.getpid():
            wrong.append(text)
        inside.unlink(missing_ok=True)
        if held % 2:
            abandon(folder)
        else:
            unlock(folder)
    found.put([*wrong, *([] if held else ["never held"])])


def test_of_many_that_want_a_folder_one_at_a_time_has_it_whatever_killed_ones_left(tmp_path: Path) -> None:
    folder, found = tmp_path / "out", SPAWN.Queue()
    lock(folder)
    abandon(folder)
    processes = [SPAWN.Process(target=_contend, args=(folder, 25, tmp_path / "inside", found)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [found.get(timeout=60) for _ in processes] == [[]] * len(processes)
    for process in processes:
        process.join()
    assert [path.name for path in folder.iterdir() if not is_lock(path)] == []


def _hold(folder: Path, held: multiprocessing.Queue[int]) -> None:
    lock(folder)
    held.put(os.getpid())
    time.sleep(600)


def test_a_held_folder_is_refused_by_the_holder_s_name_and_is_free_once_that_is_killed(tmp_path: Path) -> None:
    held = SPAWN.Queue()
    process = SPAWN.Process(target=_hold, args=(tmp_path, held), daemon=True)
    process.start()
    pid = held.get(timeout=60)
    with pytest.raises(OutputExists, match=f"is being written by process {pid} on {re.escape(socket.gethostname())}"):
        lock(tmp_path)
    unlock(tmp_path)  # another's lock is not let go
    with pytest.raises(OutputExists, match=f"by process {pid}"):
        lock(tmp_path)
    process.kill()
    process.join()
    assert (tmp_path / LOCK).exists()
    lock(tmp_path)
    assert json.loads((tmp_path / HOLDER).read_text())["pid"] == os.getpid()
    unlock(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "says",
    ["", "{", '{"pid": 1, "host": "elsewhere", "started": 1.0}', "OWN"],
    ids=["empty", "torn", "another host", "this process"],
)
def test_a_lock_file_that_an_earlier_version_left_is_in_nobody_s_way(tmp_path: Path, says: str) -> None:
    """It held by the number of its process, which another process may have by now."""
    own = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": 1.0})
    (tmp_path / LOCK).write_text(says.replace("OWN", own))
    lock(tmp_path)
    with pytest.raises(OutputExists, match=f"process {os.getpid()}"):
        lock(tmp_path)
    unlock(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("says", ["", "{", "[]", '{"pid": "x", "host": "h"}', '{"pid": 1}'])
def test_a_lock_holds_whatever_is_said_of_its_holder(tmp_path: Path, says: str) -> None:
    lock(tmp_path)
    (tmp_path / HOLDER).write_text(says)
    with pytest.raises(OutputExists, match="is being written by another process"):
        lock(tmp_path)
    unlock(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="no folder with an open file is renamed there")
def test_a_renamed_folder_stays_held_and_its_old_name_is_free(tmp_path: Path) -> None:
    lock(tmp_path / "old")
    rename_held(tmp_path / "old", tmp_path / "new")
    lock(tmp_path / "old")
    with pytest.raises(OutputExists):
        lock(tmp_path / "new")
    for name in ("old", "new"):
        unlock(tmp_path / name)
        assert list((tmp_path / name).iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(self: FileLock) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(UsageError, match="without locks; choose another --out"):
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
