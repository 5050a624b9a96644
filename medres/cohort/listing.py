"""Which files of a folder are looked at: every one below it, or those that a list names."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medres.errors import UsageError
from medres.records import Refusal

STDIN = "-"
"""The list that is read from standard input."""

_BOM = b"\xef\xbb\xbf"  # of editors that mark UTF-8


@dataclass(frozen=True, slots=True)
class Listing:
    """What a walk through a folder found, sorted by path."""

    files: tuple[str, ...]  # relative to the folder, "/" between parts
    refused: tuple[Refusal, ...]  # links that lead out of it, and what could not be looked into; paths likewise


def list_files(folder: Path, *, may_be_empty: bool = False) -> Listing:
    """Every file below a folder, each once: links to folders are followed, but never in a circle or out of it.

    Raises:
        UsageError: `folder` is missing, not a folder, cannot be listed, or holds no file where it may not be empty.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    root = os.path.realpath(folder)
    files: list[str] = []
    refused: list[Refusal] = []
    visited: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        here = waiting.pop()
        try:
            status = (folder / here).stat()
            if (status.st_dev, status.st_ino) in visited and status.st_ino:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder / here) as found:
                entries = sorted(found, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            if not here:
                raise UsageError(f"{folder} cannot be listed: {error.strerror}") from None
            refused.append(Refusal(here, "UNREADABLE", f"a folder that cannot be listed: {error.strerror}"))
            continue
        for entry in entries:
            path = f"{here}/{entry.name}" if here else entry.name
            try:
                if entry.is_symlink() and not Path(os.path.realpath(entry)).is_relative_to(root):
                    refused.append(Refusal(path, "OUTSIDE_ROOT", "a link that leads out of the folder"))
                else:
                    (waiting if entry.is_dir() else files).append(path)
            except OSError as error:
                refused.append(Refusal(path, "UNREADABLE", f"cannot be looked at: {error.strerror}"))
    if not files and not refused and not may_be_empty:
        raise UsageError(f"{folder} holds no files")
    return Listing(tuple(sorted(files)), tuple(sorted(refused, key=lambda item: item.path)))


def read_names(source: str | os.PathLike[str], *, nul: bool = False) -> list[str]:
    """The names that a list holds, as they stand there; blank lines are none. Names need not be UTF-8.

    Args:
        source: a file, or STDIN.
        nul: names end with NUL, as `find -print0` writes them, and may hold any other character. Without, they end with
            a line feed, or carriage return and line feed.

    Raises:
        UsageError: the list cannot be read.
    """
    try:
        content = sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"the list {source} cannot be read: {error.strerror}") from None
    if nul:
        names = content.split(b"\0")
    else:
        if b"\0" in content:
            raise UsageError(f"the list {source} holds NUL characters: give it as --files0")
        names = [name.removesuffix(b"\r") for name in content.removeprefix(_BOM).split(b"\n")]
    return [os.fsdecode(name) for name in names if name]


def list_named(folder: Path, names: Iterable[str]) -> Listing:
    """The files that a list names, each once; what is no file in the folder is refused, one by one.

    Args:
        folder: to which names are relative; an absolute name lies in it.
        names: in any order.

    Raises:
        UsageError: `folder` is missing or not a folder, or there are names and not one of them is there.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    root = os.path.realpath(folder)
    files: set[str] = set()
    refused: dict[str, Refusal] = {}
    for name in names:
        path = _within(folder, root, name)
        if path is None:
            refused[name] = Refusal(name, "OUTSIDE_ROOT", "the list names it, and it lies outside of the folder")
        elif path not in files and path not in refused:
            refusal = _no_file(folder, root, path)
            if refusal:
                refused[path] = refusal
            else:
                files.add(path)
    if refused and not files:
        first = next(iter(refused.values()))
        raise UsageError(
            f"not one of the {len(refused)} names of the list is a file in {folder}; the first is {first.path!r}, "
            f"{first.detail}. Names are relative to the folder, or absolute; is a mount missing?"
        )
    return Listing(tuple(sorted(files)), tuple(sorted(refused.values(), key=lambda item: item.path)))


def _within(folder: Path, root: str, name: str) -> str | None:
    """A name relative to the folder, "/" between parts; None where it leads out of it."""
    given = Path(name)
    if ".." not in given.parts:
        if not given.is_absolute():
            return given.as_posix()
        for base in (folder.absolute(), Path(root)):
            if given.is_relative_to(base):
                return given.relative_to(base).as_posix()
    place = Path(root, name)  # what ".." means depends on links above it
    real = Path(os.path.realpath(place)) if place.name == ".." else Path(os.path.realpath(place.parent), place.name)
    return real.relative_to(root).as_posix() if real.is_relative_to(root) else None


def _no_file(folder: Path, root: str, path: str) -> Refusal | None:
    """Why what lies there is not looked at; None of a file."""
    place = folder / path
    try:
        if not Path(os.path.realpath(place)).is_relative_to(root):
            return Refusal(path, "OUTSIDE_ROOT", "a link that leads out of the folder")
        if place.is_dir():
            return Refusal(path, "UNREADABLE", "a folder; the list names files, each by itself")
        if not os.path.lexists(place):
            return Refusal(path, "UNREADABLE", "the list names it, and it is not there")
    except (OSError, ValueError) as error:  # a name too long, or one with a NUL
        return Refusal(path, "UNREADABLE", f"cannot be looked at: {getattr(error, 'strerror', '') or error}")
    return None
