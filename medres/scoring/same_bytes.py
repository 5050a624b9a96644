"""Files that hold the same bytes: a folder that was copied twice is decoded once."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from medres.errors import MAY_PASS, Refused
from medres.imaging.preprocessing import Prepared, file_sha256
from medres.records import Refusal
from medres.scoring.known import stamp
from medres.scoring.stages import Results

log = logging.getLogger(__name__)

_HEAD = 4096  # bytes in which files of one size differ, as a rule: a DICOM header names its image there
_AT_ONCE = 10_000  # files that wait for a thread
_THREADS = 8  # a file on a network share is waited for, not computed


@dataclass(frozen=True, slots=True)
class Copies:
    """Which files hold the bytes of an earlier one."""

    of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by the first one's path; ascending
    sha256: Mapping[str, str] = field(default_factory=dict)  # of the first ones' bytes, by path
    stamps: Mapping[str, str] = field(default_factory=dict)  # of the copies, from before they were read, by path

    def with_copies(self, paths: Sequence[str], read: Callable[[Sequence[str]], Results]) -> Results:
        """What reading some files gives, each of the copies after the file whose bytes it holds.

        A file that changed meanwhile, or was refused for a reason that may pass, speaks for itself alone: its copies
        are read.

        Args:
            paths: of all, copies included.
            read: reads files, in any order.
        """
        copies = {path for others in self.of.values() for path in others}
        left: list[str] = []
        for path, result in read([path for path in paths if path not in copies]):
            yield path, result
            others = self.of.get(path, ())
            if result.sha256 != self.sha256.get(path) or (isinstance(result, Refusal) and result.code in MAY_PASS):
                left += others
            else:
                yield from ((other, _named(result, other)) for other in others)
        if left:
            yield from read(sorted(left))


def _named(result: Prepared | Refusal, path: str) -> Prepared | Refusal:
    return replace(result, path=path)


def same_bytes(folder: Path, paths: Sequence[str], *, workers: int | None) -> Copies:
    """Which of some files hold the same bytes: those of one size whose beginnings and hashes are equal.

    Args:
        folder: where they lie.
        paths: relative to it.
        workers: files that are read at a time.
    """
    sizes = _of_one_size(folder, sorted(paths))
    stamps = {path: stamp(folder / path) for group in sizes for path in group}
    if sizes:
        log.info("looking for copies among %d files, each as large as another", len(stamps))
    with ThreadPoolExecutor(workers or _THREADS) as threads:
        heads = _keys(sizes, lambda path: _head(folder / path), threads)
        alike = [part for group in sizes for part in _groups(group, heads.__getitem__)]
        hashes = _keys(alike, lambda path: _sha256(folder / path), threads)
    same = [part for group in alike for part in _groups(group, hashes.__getitem__)]
    return Copies(
        {first: tuple(others) for first, *others in same},
        {first: hashes[first] for first, *_ in same},
        {path: stamps[path] for _, *others in same for path in others},
    )


def _of_one_size(folder: Path, paths: Sequence[str]) -> list[list[str]]:
    """Paths of regular files that have a size in common, where there are several; no text is kept of the others."""
    sizes = np.fromiter((_size(folder / path) for path in paths), np.int64, len(paths))
    order = np.argsort(sizes, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(sizes[order])) + 1)
    return [[paths[place] for place in group] for group in groups if len(group) > 1 and sizes[group[0]] >= 0]


def _size(path: Path) -> int:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _groups(paths: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    """Paths that have the same key, where it is known and there are several; ascending."""
    found: dict[str, list[str]] = {}
    for path in sorted(paths):
        found.setdefault(key(path), []).append(path)
    return [group for value, group in found.items() if value and len(group) > 1]


def _keys(groups: Iterable[Sequence[str]], key: Callable[[str], str], threads: ThreadPoolExecutor) -> dict[str, str]:
    found: dict[str, str] = {}
    waiting = (path for group in groups for path in group)
    while paths := list(islice(waiting, _AT_ONCE)):
        found.update(zip(paths, threads.map(key, paths), strict=True))
    return found


def _head(path: Path) -> str:
    from medres.imaging.reading import open_regular

    try:
        with open_regular(path) as file:
            return hashlib.sha256(file.read(_HEAD)).hexdigest()[:16]
    except (Refused, OSError):
        return ""


def _sha256(path: Path) -> str:
    try:
        return file_sha256(os.fspath(path))
    except Refused:
        return ""
