"""The files of a pixel cache: its pixels, its index, and while it is built the journal of the rows done so far."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from medres.documents import Document
from medres.errors import MAY_PASS
from medres.files import ensure_file, write_bytes
from medres.records import Refusal

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
"""What the system says where a cache cannot be written."""


class ImageEntry(Document):
    """What a cache keeps of a usable row besides its pixels."""

    row: int  # its place in the manifest
    sha256: str  # of the file
    sop_instance_uid: str
    pixels_sha256: str
    review: tuple[str, ...]
    warnings: tuple[str, ...]
    attributes: Mapping[str, str]  # by DICOM keyword
    smaller: str = ""  # the kind of smaller copy that was decoded: see `records.copy_name`


class RefusalEntry(Document):
    """What a cache keeps of a row whose file was refused."""

    row: int  # its place in the manifest
    sha256: str | None  # of the file; None where it could not be read
    code: str
    detail: str


Entry = ImageEntry | RefusalEntry
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)


class CacheIndex(Document):
    """The content of `index.json`: every row of a finished cache."""

    images: tuple[ImageEntry, ...]  # in the order of the pixels
    refusals: tuple[RefusalEntry, ...]


class PixelFile:
    """The array of a cache that is being built: uint16 (images, size, size), with room on the disk for all of it."""

    def __init__(self, path: Path, count: int, size: int) -> None:
        shape = (count, size, size)
        found = self._left(path, shape)
        self.new = found is None
        if found is None:
            path.unlink(missing_ok=True)
            ensure_file(path)
            found = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint16, shape=shape)
        self.array: np.memmap[Any, Any] | None = found
        if hasattr(os, "posix_fallocate"):  # else a full disk would be a signal that ends the process
            with path.open("r+b") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
                except OSError as error:
                    if error.errno in NO_ROOM:  # and not one that says that this disk cannot do it
                        if self.new:
                            path.unlink()
                        raise

    @staticmethod
    def _left(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, Any] | None:
        """The array of an interrupted build, if it is whole."""
        try:
            found = np.lib.format.open_memmap(path, mode="r+")
        except (OSError, ValueError, EOFError):
            return None
        return found if found.shape == shape and found.dtype == np.dtype(np.uint16) else None

    def put(self, place: int, pixels: NDArray[np.uint16]) -> None:
        """Store one image."""
        assert self.array is not None
        self.array[place] = pixels

    def flush(self) -> None:
        """Bring everything to disk."""
        assert self.array is not None
        self.array.flush()

    def close(self) -> None:
        """Bring everything to disk and unmap the file: Windows cannot rename a mapped one."""
        self.flush()
        self.array = None


class Journal:
    """What became of each row so far. An entry is written after the pixels that it is about, and can be relied on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: list[Entry] = []
        self.waiting = 0
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        whole, _, damaged = text.rpartition("\n")  # the last line may have been cut off
        for line in whole.splitlines():
            try:
                self.done.append(_ENTRY.validate_python(json.loads(line)))
            except ValueError:
                damaged = line
                break
        if damaged:
            self.cut(len(self.done))

    def cut(self, count: int) -> None:
        """Keep the entries of the first `count` rows; the others are done again."""
        del self.done[count:]
        write_bytes(self.path, "".join(map(_line, self.done)).encode())

    def refused_for_now(self) -> dict[int, Refusal]:
        """The rows that are refused for now, and why."""
        refused = [entry for entry in self.done if isinstance(entry, RefusalEntry)]
        return {entry.row: Refusal("", entry.code, entry.detail) for entry in refused if entry.code in MAY_PASS}

    def add(self, entry: Entry) -> None:
        """Note what became of the next row."""
        self.done.append(entry)
        self.waiting += 1

    def write(self) -> None:
        """Append the rows noted since the last time."""
        if self.waiting:
            ensure_file(self.path)
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.writelines(map(_line, self.done[-self.waiting :]))
        self.waiting = 0


def _line(entry: Entry) -> str:
    return f"{json.dumps(entry.model_dump())}\n"
