"""Outputs that take long: one process holds them at a time, and what an interruption leaves can be gone on with."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medres.errors import OutputExists, UsageError
from medres.files import make_folder, new_folder, refuse_link, refuse_links, remove_leftovers
from medres.tables import refuse_existing, write_json

LOCK = ".lock"
HOLDER = f"{LOCK}.holder"
"""Which process took the lock: for messages only."""

IDENTITY = "unfinished.json"
"""What an unfinished run is: it is only gone on with by the same."""

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


_held: dict[tuple[int, int], FileLock] = {}
"""The locks of this process, by device and number of their files, which stay the same when a folder is renamed."""


def lock(folder: Path) -> None:
    """Take a folder, which is made if it is missing, for this process, until `unlock` or the end of the process.

    The kernel holds the lock (`flock` on Linux and macOS): when a process ends, however it ends, it holds nothing any
    more, and a lock file that it left is in nobody's way. Processes in containers and on other hosts see the lock where
    the file system passes it on, as NFS with its lock service does.

    Raises:
        OutputExists: another process holds it, or this one already does; the message names the holder. Or a link lies
            where the lock should be, or where the folder should be and leads nowhere.
        UsageError: the file system has no locks.
    """
    path = folder / LOCK
    while True:
        if not folder.is_dir():  # what is one may be a link that somebody named: see `resumable_folder`
            make_folder(folder)
        try:
            taken, file = _take(path)
        except Timeout:
            raise OutputExists(f"{folder} is being written by {_holder(folder)}") from None
        except FileNotFoundError:  # the folder was moved to its place just now
            continue
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise UsageError(f"{folder} lies on a file system without locks; choose another --out") from None
            refuse_link(path)
            raise
        if path.exists() and os.path.samestat(path.stat(), file):
            break
        taken.release()  # the folder was moved to its place in between: this is no longer its lock
    _held[file.st_dev, file.st_ino] = taken
    try:
        write_json(folder / HOLDER, {"pid": os.getpid(), "host": socket.gethostname()})
    except BaseException:  # the disk is full
        unlock(folder)
        raise


def _take(path: Path) -> tuple[FileLock, os.stat_result]:
    """A lock file, held, and which file that is.

    Raises:
        Timeout: it is held already.
        OSError: it cannot be opened or locked.
    """
    files: list[os.stat_result] = []
    taken = FileLock(
        path, blocking=False, thread_local=False, on_acquired=lambda opened: files.append(os.fstat(opened))
    )
    taken.acquire()
    return taken, files[-1]


def unlock(folder: Path) -> None:
    """Let a folder go, if this process holds it, under whatever name it was taken."""
    path = folder / LOCK
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    taken = _held.pop((found.st_dev, found.st_ino), None)
    if taken is not None:
        (folder / HOLDER).unlink(missing_ok=True)
        with suppress(PermissionError):  # Windows deletes no open file; there the release does
            path.unlink(missing_ok=True)  # while it is held: who waits for this file finds that it has no name
        taken.release()


def rename_held(folder: Path, path: Path) -> None:
    """Give a folder that this process holds its final name; it stays held.

    On Windows, where no folder with an open file can be renamed, it is let go first.
    """
    if sys.platform == "win32":
        unlock(folder)
    folder.replace(path)


def _holder(folder: Path) -> str:
    """Who holds a folder, as far as is known."""
    try:
        holder = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f"process {int(holder['pid'])} on {holder['host']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"


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
        OutputExists: `path` exists; or a folder that is not an interrupted run, or a link, lies where this one would;
            or a link lies in it; or an interrupted run waits and neither `resume` nor `force` was given; or another
            process is writing it.
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
        remove_leftovers(building)
        if not resume:
            if not force and not _nothing_to_keep(building):
                raise OutputExists(
                    f"{building} holds an interrupted run: --resume goes on with it, --force starts again"
                )
            _empty(building)
        _same_run(building, dict(identity))
        yield building
        replaced = _set_aside(path)
        rename_held(building, path)  # with its lock: what else waits for the folder finds it gone
        finished = True
    finally:
        if not finished:
            if _is_ours(building) and _nothing_to_keep(building):
                _empty(building)
            unlock(building)
            with suppress(OSError):  # it holds something, or somebody
                building.rmdir()
    unlock(path)
    for left in (path / IDENTITY, *filter(is_lock, path.iterdir())):
        left.unlink(missing_ok=True)
    if replaced is not None:
        shutil.rmtree(replaced) if replaced.is_dir() and not replaced.is_symlink() else replaced.unlink()


def _set_aside(path: Path) -> Path | None:
    """Rename what an output replaces, if there is anything; a kill while it is deleted then leaves a whole output."""
    if not path.exists() and not path.is_symlink():
        return None
    aside = new_folder(path.parent, f".{path.name}.replaced-")
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
    refuse_links(folder)
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
