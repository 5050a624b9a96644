"""The memory-mapped pixel cache: a radiograph is decoded and preprocessed once, whatever the folds and epochs."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from medres.cohort.cache_files import NO_ROOM, CacheIndex, Entry, ImageEntry, Journal, PixelFile, RefusalEntry
from medres.cohort.cohort_files import CohortFiles
from medres.cohort.indexing import Progress
from medres.config import Gate, Limits, Preprocessing
from medres.config.versions import hashed_content
from medres.documents import read_document, write_document
from medres.errors import OutputExists, UsageError
from medres.files import make_folder, refuse_links
from medres.imaging import decoders
from medres.imaging.preprocessing import SMALLER, Prepared, pixels_sha256, prepare, specification_hash
from medres.records import ManifestRow, Refusal
from medres.tables import sha256_json
from medres.unfinished import lock, rename_held, unlock

log = logging.getLogger(__name__)

_KEPT_TOGETHER = 64  # rows after which a build is brought to disk
_ATTRIBUTES = 6  # raised whenever a cache keeps other header attributes than before, or tells other things of a file


@dataclass(frozen=True, slots=True)
class CachedImage:
    """What the cache knows of one usable row besides its pixels."""

    row: int  # its place in the manifest
    sop_instance_uid: str
    pixels_sha256: str
    review: tuple[str, ...]
    warnings: tuple[str, ...]
    attributes: dict[str, str]
    smaller: str = ""  # the kind of smaller copy that was decoded: see `records.copy_name`


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
    """The folder of all caches: MEDRES_CACHE of the environment, else the user's cache folder."""
    return Path(os.environ.get("MEDRES_CACHE") or user_cache_path("medres"))


def cached_pixels(
    rows: Sequence[ManifestRow],
    spec: Preprocessing,
    *,
    gate: Gate,
    limits: Limits,
    left_out: Mapping[int, Refusal] | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> PixelCache:
    """The preprocessed pixels of a cohort, from the cache or decoded now in worker processes.

    The key is the hash of every file's bytes, the preprocessing specification, the gate, the budgets and the versions
    of what decodes and resizes: when any of them changes, the images are decoded again. Where only the files differ,
    those that another cache holds are copied from it. A refusal that may pass (`errors.MAY_PASS`) is this run's
    alone: no cache keeps it, and the next run tries the file again.

    Args:
        rows: the cohort.
        spec: how pixels are preprocessed.
        gate: which radiographs are admitted.
        limits: budgets of one file.
        left_out: rows that are not tried, and why: refusals that may pass, of the run that this one goes on with.
        folder: where caches lie; `cache_folder()` by default.
        progress: told (done, total) while a cache is built.

    Raises:
        UsageError: there is no room for the cache, or it cannot be written there.
    """
    cohort = CohortFiles(rows, partial(prepare, spec=spec, gate=gate, limits=limits), limits, dict(left_out or {}))
    versions = {**decoders.versions(), "opencv": cv2.__version__}
    lasting = limits.model_dump(exclude={"wall_seconds"})  # what exceeds that is not kept
    making = sha256_json([specification_hash(spec), hashed_content(gate), lasting, versions, _ATTRIBUTES])[:16]
    caches = _Caches((folder or cache_folder()) / "pixels", making)
    size = len(rows) * spec.size**2 * 2
    found = _read(caches.home(cohort))
    if found is None:
        known = caches.known()
        found = caches.without_refused(cohort, known)
    if found is None:
        try:
            make_folder(caches.folder)
            with _workplace(caches.home(cohort)) as building:
                _build(building, cohort, known, spec.size, progress=progress)
                caches.publish(building, cohort)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise UsageError(
                f"the pixel cache of this cohort ({size / 1e6:.0f} MB) cannot be written to {caches.folder}: "
                f"{error.strerror}; make room there, or let MEDRES_CACHE name another folder"
            ) from None
        found = _read(caches.home(cohort))
        assert found is not None
    return _as_cache(found, cohort)


_Found = tuple[NDArray[np.uint16], CacheIndex]  # the pixels of a cache, and its index
_Known = Mapping[str, tuple[NDArray[np.uint16] | None, Entry]]  # by a file's hash: its pixels and its entry


@dataclass(frozen=True, slots=True)
class _Caches:
    """The finished caches of one combination of preprocessing, gate, budgets and decoders."""

    folder: Path
    making: str  # the hash of that combination

    def home(self, cohort: CohortFiles, without: Collection[int] = ()) -> Path:
        """The folder of a cohort's cache that leaves out the rows refused for now, and those in `without`."""
        digests = [None if number in without else cohort.digest(number) for number in range(len(cohort.rows))]
        return self.folder / f"{self.making}-{sha256_json(digests)[:16]}"

    def without_refused(self, cohort: CohortFiles, known: _Known) -> _Found | None:
        """An earlier cache of this cohort that lacks only files refused for now, if they are refused again."""
        digests = [(number, cohort.digest(number)) for number in range(len(cohort.rows))]
        new = [number for number, digest in digests if digest and digest not in known]
        found = _read(self.home(cohort, new)) if new else None
        if found and len(still := cohort.still_refused(new)) == len(new):
            cohort.refused_for_now |= still
            return found
        return None

    def known(self) -> _Known:
        """What these caches hold of every file, by its SHA-256."""
        known: dict[str, tuple[NDArray[np.uint16] | None, Entry]] = {}
        for home in sorted(self.folder.glob(f"{self.making}-*")):
            if not home.suffix and (found := _read(home)):  # or it is being built
                pixels, index = found
                known |= {entry.sha256: (None, entry) for entry in index.refusals if entry.sha256}
                known |= {entry.sha256: (pixels[place], entry) for place, entry in enumerate(index.images)}
        return known

    def publish(self, building: Path, cohort: CohortFiles) -> None:
        """Move a finished cache to its place, unless another run has built the same one in the meantime."""
        home = self.home(cohort)
        if _read(home):
            shutil.rmtree(building, ignore_errors=True)
            return
        shutil.rmtree(home, ignore_errors=True)  # damaged
        rename_held(building, home)
        unlock(home)


def _read(home: Path) -> _Found | None:
    """A finished cache; None where there is none, or a damaged one."""
    try:
        index = read_document(home / "index.json", CacheIndex)
        pixels = np.load(home / "pixels.npy", mmap_mode="r")
        return (pixels, index) if len(pixels) >= len(index.images) else None
    except (UsageError, OSError, ValueError, EOFError, LookupError, TypeError):
        return None


@contextmanager
def _workplace(home: Path) -> Iterator[Path]:
    """The folder in which a cache is built. All runs use the same one in turn, so that an interruption costs nothing.

    Where another process is building the same cache right now, it is a temporary folder.
    """
    building = home.with_name(f"{home.name}.building")
    make_folder(building)
    refuse_links(building)
    try:
        lock(building)
    except OutputExists:
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=".building-", ignore_cleanup_errors=True) as own:
            yield Path(own)
        return
    try:
        yield building
    except BaseException:
        unlock(building)
        raise


def _build(building: Path, cohort: CohortFiles, known: _Known, size: int, *, progress: Progress | None) -> None:
    """Decode or copy every row, in order, and go on where an interrupted build ended.

    Rows that are refused for now are noted in `cohort.refused_for_now`, and not in the index.
    """
    count = len(cohort.rows)
    journal = Journal(building / "done.jsonl")
    stored = PixelFile(building / "pixels.npy", count, size)
    if stored.new and journal.done:
        journal.cut(0)
    waiting = [number for number in journal.refused_for_now() if cohort.digest(number)]
    still = cohort.still_refused(waiting)
    if len(still) < len(waiting):
        journal.cut(waiting[len(still)])
    start = len(journal.done)
    new = [number for number in range(start, count) if (digest := cohort.digest(number)) and digest not in known]
    log.info("decoding %d of %d images into a cache of %.0f MB", len(new), count, count * size**2 * 2 / 1e6)
    images = sum(isinstance(entry, ImageEntry) for entry in journal.done)
    with closing(cohort.decoded(new)) as results:
        for number in range(start, count):
            digest = cohort.digest(number)
            result: Prepared | Refusal
            if digest and digest in known:
                copied, entry = known[digest]
                if copied is not None:
                    stored.put(images, copied)
                    images += 1
                journal.add(entry.model_copy(update={"row": number}))
            elif isinstance(result := next(results)[1] if digest else cohort.refused_for_now[number], Refusal):
                journal.add(RefusalEntry(row=number, sha256=digest, code=result.code, detail=result.detail))
            else:
                stored.put(images, result.pixels)
                images += 1
                assert digest is not None  # it was decoded
                journal.add(
                    ImageEntry(
                        row=number,
                        sha256=digest,
                        sop_instance_uid=result.sop_instance_uid,
                        # of what the network sees, where not all stored values were decoded
                        pixels_sha256=result.pixels_sha256 or pixels_sha256(result.pixels),
                        review=result.review,
                        warnings=result.warnings,
                        attributes={**result.attributes, "ViewPosition": result.view_position},
                        smaller=result.provenance.get(SMALLER, ""),
                    )
                )
            if journal.waiting == _KEPT_TOGETHER:
                stored.flush()
                journal.write()
            if progress:
                progress(number + 1, count)
    stored.close()
    journal.write()
    still = journal.refused_for_now()
    cohort.refused_for_now |= {
        number: refusal for number, refusal in still.items() if number not in cohort.refused_for_now
    }
    settled = [entry for entry in journal.done if entry.row not in still]
    index = CacheIndex(
        images=tuple(entry for entry in settled if isinstance(entry, ImageEntry)),
        refusals=tuple(entry for entry in settled if isinstance(entry, RefusalEntry)),
    )
    write_document(building / "index.json", index)
    journal.path.unlink(missing_ok=True)


def _as_cache(found: _Found, cohort: CohortFiles) -> PixelCache:
    pixels, index = found
    images = tuple(
        CachedImage(
            row=entry.row,
            sop_instance_uid=entry.sop_instance_uid,
            pixels_sha256=entry.pixels_sha256,
            review=entry.review,
            warnings=entry.warnings,
            attributes=dict(entry.attributes),
            smaller=entry.smaller,
        )
        for entry in index.images
    )
    refused = {entry.row: (entry.code, entry.detail) for entry in index.refusals}
    refused |= {row: (refusal.code, refusal.detail) for row, refusal in cohort.refused_for_now.items()}
    refusals = tuple(
        (row, Refusal(os.fspath(cohort.rows[row].path), *reason)) for row, reason in sorted(refused.items())
    )
    return PixelCache(pixels=pixels[: len(images)], images=images, refusals=refusals)
