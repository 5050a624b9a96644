"""Outputs that take long: one process holds them at a time, and what an interruption leaves can be gone on with."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from medres.errors import OutputExists, UsageError
from medres.tables import refuse_existing, write_json

LOCK = ".lock"
IDENTITY = "unfinished.json"
"""What an unfinished run is: it is only gone on with by the same."""


def lock(folder: Path) -> None:
    """Take a folder for this process; the lock of a process that is gone does not count.

    Raises:
        OutputExists: another process holds it; the message names it.
    """
    path = folder / LOCK
    holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
    for _ in range(2):
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(holder)
            return
        except FileExistsError:
            other = _read_lock(path)
            if other["host"] != socket.gethostname() or psutil.pid_exists(other["pid"]):
                raise OutputExists(f"{folder} is being written by process {other['pid']} on {other['host']}") from None
            path.unlink(missing_ok=True)  # its process is gone
    raise OutputExists(f"{folder} is being written by another process")


def unlock(folder: Path) -> None:
    """Let a folder go."""
    (folder / LOCK).unlink(missing_ok=True)


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
    building.mkdir(parents=True, exist_ok=True)
    lock(building)
    try:
        _refuse_foreign(building)  # nobody else writes here from now on
        if not resume:
            if not force and not _nothing_to_keep(building):
                raise OutputExists(
                    f"{building} holds an interrupted run: --resume goes on with it, --force starts again"
                )
            _empty(building)
        _same_run(building, dict(identity))
        yield building
        if path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (building / IDENTITY).unlink()
        unlock(building)
        building.replace(path)
    finally:
        if building.exists():
            unlock(building)
            if _is_ours(building) and _nothing_to_keep(building):
                shutil.rmtree(building, ignore_errors=True)


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
    return (folder / IDENTITY).is_file() or all(item.name == LOCK for item in folder.iterdir())


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
        if item.name == LOCK:
            continue
        shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()


def _nothing_to_keep(folder: Path) -> bool:
    """No epoch and no model was finished."""
    return not any(folder.rglob("checkpoint*.pt")) and not any(folder.rglob("medres.json"))


def _read_lock(path: Path) -> dict[str, Any]:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return {"pid": int(holder["pid"]), "host": str(holder["host"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"pid": -1, "host": socket.gethostname()}
