"""Outputs that take long: one process holds them at a time, and what an interruption leaves can be gone on with."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from medres.errors import OutputExists, UsageError
from medres.tables import refuse_existing, write_json

LOCK = ".lock"
IDENTITY = "unfinished.json"
"""What an unfinished run is: it is only gone on with by the same."""


def lock(folder: Path) -> None:
    """Take a folder, which is made if it is missing, for this process; the lock of a process that is gone is replaced.

    Raises:
        OutputExists: another process holds it; the message names it, and the file to delete if it is gone.
    """
    _take(folder / LOCK)


def _take(path: Path) -> None:
    """Make a lock file, or replace one whose process is gone.

    Whoever replaces it holds a second lock, named after what the first says: of several that find the same lock without
    a process one replaces it, and the others then find a lock that says something else.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = _text(path)
        if found is None:
            try:
                write_new(path, _this_process())
                return
            except (FileExistsError, FileNotFoundError):  # another was faster; or the folder was moved to its place
                continue
        _refuse_if_held(path, found)
        claim = path.with_name(f"{path.name}.{hashlib.sha256(found.encode()).hexdigest()[:12]}")
        _take(claim)
        if _text(path) == found:
            claim.replace(path)  # it says who holds it
            return
        claim.unlink()


def unlock(folder: Path) -> None:
    """Let a folder go, if this process holds it."""
    path = folder / LOCK
    if _text(path) == _this_process():
        path.unlink(missing_ok=True)


def write_new(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file that is not there yet: it appears with its whole content, for one of several that try at once.

    Raises:
        FileExistsError: it is there already.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        try:
            os.link(temporary, path)
        except (FileExistsError, FileNotFoundError):
            raise
        except OSError:  # a file system without hard links
            with path.open("x", encoding="utf-8") as file:
                path.chmod(mode)
                file.write(text)
    finally:
        temporary.unlink(missing_ok=True)


def is_lock(path: Path) -> bool:
    """Whether a file of a folder belongs to its lock."""
    return path.name == LOCK or path.name.startswith(f"{LOCK}.")


def unfinished_folder(path: Path) -> Path:
    """Where an output lies while it is made: beside its place, `.unfinished` after its name.

    >>> unfinished_folder(Path("runs/knee")).name
    'knee.unfinished'
    """
    return path.with_name(f"{path.name}.unfinished")


@contextmanager
def resumable_folder(path: Path, *, identity: Mapping[str, Any], resume: bool, force: bool) -> Iterator[Path]:
    """A folder to fill, which becomes `path` when the block ends without an error, and waits beside it otherwise.

    Args:
        path: the output.
        identity: what the run is (configuration, inputs); a run of another identity is not gone on with.
        resume: go on with what an interrupted run left, if it left anything.
        force: replace `path`, and what an interrupted run left.

    Raises:
        OutputExists: `path` exists; or a folder that is not an interrupted run lies where this one would; or an
            interrupted run waits and neither `resume` nor `force` was given; or another process is writing it.
        UsageError: what waits is another run.
    """
    refuse_existing(path, force=force)
    building = unfinished_folder(path)
    _refuse_foreign(building)
    lock(building)
    finished = False
    try:
        refuse_existing(path, force=force)  # another process may have finished it meanwhile
        _refuse_foreign(building)  # nobody else writes here from now on
        if not resume:
            if not force and not _nothing_to_keep(building):
                raise OutputExists(
                    f"{building} holds an interrupted run: --resume goes on with it, --force starts again"
                )
            _empty(building)
        _same_run(building, dict(identity))
        yield building
        replaced = _set_aside(path)
        building.replace(path)  # with its lock: what else waits for the folder finds it gone
        finished = True
    finally:
        if not finished:
            if _is_ours(building) and _nothing_to_keep(building):
                _empty(building)
            unlock(building)
            with suppress(OSError):  # it holds something, or somebody
                building.rmdir()
    for left in (path / IDENTITY, *filter(is_lock, path.iterdir())):
        left.unlink(missing_ok=True)
    if replaced is not None:
        shutil.rmtree(replaced) if replaced.is_dir() and not replaced.is_symlink() else replaced.unlink()


def _set_aside(path: Path) -> Path | None:
    """Rename what an output replaces, if there is anything; a kill while it is deleted then leaves a whole output."""
    if not path.exists() and not path.is_symlink():
        return None
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.replaced-"))
    aside.rmdir()
    return path.rename(aside)


def hold_to(folder: Path, facts: Mapping[str, Any], *, what: str) -> None:
    """Note what an unfinished run found as it began, or make sure that one that is gone on with finds the same.

    Args:
        folder: what `resumable_folder` gave.
        facts: by name.
        what: the facts in words, for the refusal.

    Raises:
        UsageError: it finds something else.
    """
    place = folder / IDENTITY
    found = json.loads(place.read_text(encoding="utf-8"))
    if any(found.get(name, value) != value for name, value in facts.items()):
        raise UsageError(
            f"{folder} holds an interrupted run that had other {what}: restore what it had and give --resume again, or "
            "give --force to start anew"
        )
    write_json(place, found | dict(facts))


def _is_ours(folder: Path) -> bool:
    """Whether a folder is an unfinished run, or holds nothing at all but a lock."""
    return (folder / IDENTITY).is_file() or all(map(is_lock, folder.iterdir()))


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or not _is_ours(folder)):
        raise OutputExists(
            f"{folder}, where an unfinished run waits, was not written by medres: move it, or choose another --out"
        )


def _same_run(folder: Path, identity: dict[str, Any]) -> None:
    place = folder / IDENTITY
    wanted = json.loads(json.dumps(identity))
    if place.is_file():
        found = json.loads(place.read_text(encoding="utf-8"))
        different = sorted(key for key in wanted if found.get(key) != wanted[key])
        if different:
            raise UsageError(
                f"{folder} holds an interrupted run with another {', '.join(different)}: "
                "repeat its command with --resume, or give --force to start again"
            )
    else:
        write_json(place, wanted)


def _empty(folder: Path) -> None:
    for item in folder.iterdir():
        if is_lock(item):
            continue
        shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()


def _nothing_to_keep(folder: Path) -> bool:
    """No epoch and no model was finished."""
    return not any(folder.rglob("checkpoint*.pt")) and not any(folder.rglob("medres.json"))


def _text(path: Path) -> str | None:
    """What a lock says; None where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _this_process() -> str:
    """What a lock of this process says."""
    return _holder(os.getpid())


@functools.cache
def _holder(pid: int) -> str:
    return json.dumps({"pid": pid, "host": socket.gethostname(), "started": _started(pid)})


def _started(pid: int) -> float:
    """When a process was created, in seconds: after the system's start on Linux, where the clock may be set later.

    Raises:
        psutil.Error: there is none.
    """
    boot = psutil.boot_time()  # first: psutil < 7.1 then reckons with it
    created = psutil.Process(pid).create_time()
    return round(created - boot if sys.platform == "linux" else created, 2)


def _refuse_if_held(path: Path, found: str) -> None:
    """Say no if the process that a lock names lives; the next process of its number, after a restart, is another."""
    try:
        holder = json.loads(found)
        pid, host, started = int(holder["pid"]), str(holder["host"]), holder.get("started")
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # of nobody
    if host == socket.gethostname():
        try:
            now = _started(pid)
        except (psutil.NoSuchProcess, ValueError, OverflowError):
            return
        except psutil.Error:
            now = started
        if started not in {None, now}:
            return
    raise OutputExists(
        f"{path.parent} is being written by process {pid} on {host}; if that process is gone, delete {path}"
    )
