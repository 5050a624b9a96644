"""The memory-mapped pixel cache: a radiograph is decoded and preprocessed once, whatever the folds and epochs."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from medres.cohort.indexing import Progress
from medres.config import Gate, Limits, Preprocessing
from medres.errors import OutputExists
from medres.imaging import decoders
from medres.imaging.isolation import Workers
from medres.imaging.preprocessing import prepare, specification_hash
from medres.records import ManifestRow, Refusal
from medres.tables import read_json, sha256_file, sha256_json, write_json
from medres.unfinished import lock, unlock

log = logging.getLogger(__name__)

_KEPT_TOGETHER = 64  # rows after which a build is brought to disk
_ATTRIBUTES = 2  # raised whenever a cache keeps other header attributes than before


@dataclass(frozen=True, slots=True)
class CachedImage:
    """What the cache knows of one usable row besides its pixels."""

    row: int  # its place in the manifest
    sop_instance_uid: str
    pixels_sha256: str
    review: tuple[str, ...]
    warnings: tuple[str, ...]
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class PixelCache:
    """Preprocessed pixels of a cohort, and the rows that have none."""

    pixels: NDArray[np.uint16]  # (images, size, size), memory-mapped, read-only
    images: tuple[CachedImage, ...]  # same order as `pixels`
    refusals: tuple[tuple[int, Refusal], ...]  # (manifest row, why)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the memory map again instead of being sent a copy."""
        if isinstance(self.pixels, np.memmap) and self.pixels.filename:
            return _reopen, (os.fspath(self.pixels.filename), self.images, self.refusals)
        return PixelCache, (self.pixels, self.images, self.refusals)


def _reopen(path: str, images: tuple[CachedImage, ...], refusals: tuple[tuple[int, Refusal], ...]) -> PixelCache:
    return PixelCache(np.load(path, mmap_mode="r")[: len(images)], images, refusals)


def cache_folder() -> Path:
    """Where caches lie: the environment's MEDRES_CACHE, else the user's cache folder."""
    return Path(os.environ.get("MEDRES_CACHE") or user_cache_path("medres"))


def cached_pixels(
    rows: Sequence[ManifestRow],
    spec: Preprocessing,
    *,
    gate: Gate,
    limits: Limits,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> PixelCache:
    """The preprocessed pixels of a cohort, from the cache or decoded now in worker processes.

    The key is the hash of every file's bytes, the preprocessing specification, the gate, the budgets and the versions
    of what decodes and resizes: when any of them changes, the images are decoded again. Where only the files differ,
    those that another cache holds are copied from it.
    """
    with ThreadPoolExecutor() as threads:
        digests = list(threads.map(_digest, rows))
    versions = {**decoders.versions(), "opencv": cv2.__version__}
    making = sha256_json([specification_hash(spec), gate.model_dump(), limits.model_dump(), versions, _ATTRIBUTES])[:16]
    home = (folder or cache_folder()) / "pixels" / f"{making}-{sha256_json(digests)[:16]}"
    if not (home / "index.json").is_file():
        home.parent.mkdir(parents=True, exist_ok=True)
        with _workplace(home) as building:
            known = _known(home.parent, making)
            _build(building, rows, digests, known, spec, gate=gate, limits=limits, progress=progress)
            if not home.exists():  # another run may have built the same in the meantime
                building.replace(home)
    return _open(home, rows)


def _digest(row: ManifestRow) -> str | None:
    return sha256_file(row.path) if row.path.is_file() else None


_Known = Mapping[str | None, tuple[NDArray[np.uint16], dict[str, Any]]]  # by a file's hash: its pixels and its entry


def _known(folder: Path, making: str) -> _Known:
    """The images of all finished caches that were made in the same way."""
    found = {}
    for index in folder.glob(f"{making}-*/index.json"):
        if not index.parent.suffix:  # or it is being built
            pixels = np.load(index.parent / "pixels.npy", mmap_mode="r")
            for place, entry in enumerate(read_json(index)["images"]):
                found[entry["sha256"]] = (pixels[place], entry)
    return found


@contextmanager
def _workplace(home: Path) -> Iterator[Path]:
    """The folder in which a cache is built: one for all runs in turn, so that an interruption costs nothing.

    Where another process is building the same cache right now, a folder of one's own.
    """
    building = home.with_name(f"{home.name}.building")
    building.mkdir(exist_ok=True)
    try:
        lock(building)
    except OutputExists:
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=".building-", ignore_cleanup_errors=True) as own:
            yield Path(own)
        return
    try:
        yield building
    finally:
        unlock(building if building.exists() else home)
    shutil.rmtree(building, ignore_errors=True)  # only where `home` was there already


def _build(
    building: Path,
    rows: Sequence[ManifestRow],
    digests: Sequence[str | None],
    known: _Known,
    spec: Preprocessing,
    *,
    gate: Gate,
    limits: Limits,
    progress: Progress | None,
) -> None:
    """Decode or copy every row in order; what an interrupted build left is kept."""
    stored, journal = _Pixels(building, len(rows), spec.size), _Journal(building / "done.jsonl")
    size = len(rows) * spec.size**2 * 2
    start = len(journal.done)
    new = [number for number in range(start, len(rows)) if digests[number] not in known]
    log.info("decoding %d of %d images into a cache of %.0f MB", len(new), len(rows), size / 1e6)
    images = sum("code" not in entry for entry in journal.done)
    job = partial(prepare, spec=spec, gate=gate, limits=limits)
    with Workers(limits=limits) as pool:
        results = pool.map(job, (os.fspath(rows[number].path) for number in new))
        for number in range(start, len(rows)):
            if digests[number] in known:
                copied, entry = known[digests[number]]
                stored.put(images, copied)
                images += 1
                journal.add({**entry, "row": number})
            elif isinstance(result := next(results)[1], Refusal):
                journal.add({"row": number, "code": result.code, "detail": result.detail})
            else:
                stored.put(images, result.pixels)
                images += 1
                journal.add(
                    {
                        "row": number,
                        "sha256": digests[number],
                        "sop_instance_uid": result.sop_instance_uid,
                        "pixels_sha256": result.pixels_sha256,
                        "review": list(result.review),
                        "warnings": list(result.warnings),
                        "attributes": {**result.attributes, "ViewPosition": result.view_position},
                    }
                )
            if journal.waiting == _KEPT_TOGETHER:
                stored.flush()
                journal.write()
            if progress:
                progress(number + 1, len(rows))
    stored.close()
    journal.write()
    index = {
        "images": [entry for entry in journal.done if "code" not in entry],
        "refusals": [entry for entry in journal.done if "code" in entry],
    }
    write_json(building / "index.json", index)
    journal.path.unlink(missing_ok=True)


class _Pixels:
    """The array of a cache that is being built: uint16 (images, size, size)."""

    def __init__(self, folder: Path, count: int, size: int) -> None:
        path = folder / "pixels.npy"
        self.array: np.memmap[Any, Any] | None = np.lib.format.open_memmap(
            path, mode="r+" if path.exists() else "w+", dtype=np.uint16, shape=(count, size, size)
        )

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


class _Journal:
    """What became of each row so far: written after the pixels it tells of, so that it never promises too much."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: list[dict[str, Any]] = []
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        whole, _, torn = text.rpartition("\n")  # the last line may have been cut off
        self.done = [json.loads(line) for line in whole.splitlines()]
        if torn:
            path.write_text(f"{whole}\n" if whole else "", encoding="utf-8")
        self.waiting = 0

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


def _open(home: Path, rows: Sequence[ManifestRow]) -> PixelCache:
    index = read_json(home / "index.json")
    images = tuple(
        CachedImage(
            row=item["row"],
            sop_instance_uid=item["sop_instance_uid"],
            pixels_sha256=item["pixels_sha256"],
            review=tuple(item["review"]),
            warnings=tuple(item["warnings"]),
            attributes=item["attributes"],
        )
        for item in index["images"]
    )
    refusals = tuple(
        (item["row"], Refusal(os.fspath(rows[item["row"]].path), item["code"], item["detail"]))
        for item in index["refusals"]
    )
    pixels = np.load(home / "pixels.npy", mmap_mode="r")[: len(images)]
    return PixelCache(pixels=pixels, images=images, refusals=refusals)
