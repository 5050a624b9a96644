"""What a pixel cache is made of while it is built: its array, and what became of each row so far."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medres.errors import MAY_PASS
from medres.records import Refusal

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
"""What the system says where a cache cannot be written."""


class Pixels:
    """The array of a cache that is being built: uint16 (images, size, size), with room on the disk for all of it."""

    def __init__(self, path: Path, count: int, size: int) -> None:
        shape = (count, size, size)
        found = self._left(path, shape)
        self.new = found is None
        if found is None:
            path.unlink(missing_ok=True)
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
        """The array that an interrupted build left, if it is whole."""
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
        """Flush and let go: Windows cannot rename a mapped file."""
        self.flush()
        self.array = None


class Journal:
    """What became of each row so far: written after the pixels it tells of, so that it never promises too much."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: list[dict[str, Any]] = []
        self.waiting = 0
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        whole, _, damaged = text.rpartition("\n")  # the last line may have been cut off
        for line in whole.splitlines():
            try:
                self.done.append(json.loads(line))
            except ValueError:
                damaged = line
                break
        if damaged:
            self.cut(len(self.done))

    def cut(self, count: int) -> None:
        """Keep so many rows: what follows is done again."""
        del self.done[count:]
        self.path.write_text("".join(f"{json.dumps(entry)}\n" for entry in self.done), encoding="utf-8", newline="\n")

    def passing(self) -> dict[int, Refusal]:
        """The rows that are refused for now, and why."""
        found = {entry["row"]: Refusal("", entry["code"], entry["detail"]) for entry in self.done if "code" in entry}
        return {row: refusal for row, refusal in found.items() if refusal.code in MAY_PASS}

    def add(self, entry: dict[str, Any]) -> None:
        """Note what became of the next row."""
        self.done.append(entry)
        self.waiting += 1

    def write(self) -> None:
        """Append the rows noted since the last time."""
        if self.waiting:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.writelines(f"{json.dumps(entry)}\n" for entry in self.done[-self.waiting :])
        self.waiting = 0
