"""The memory-mapped pixel cache: a radiograph is decoded and preprocessed once, whatever the folds and epochs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from medres.cohort.indexing import Progress
from medres.config import Gate, Limits, Preprocessing
from medres.imaging import decoders
from medres.imaging.isolation import Workers
from medres.imaging.preprocessing import prepare, specification_hash
from medres.records import ManifestRow, Refusal
from medres.tables import read_json, sha256_file, sha256_json, write_json


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

    The key is the hash of every file's bytes, the preprocessing specification, the gate, the budgets and the
    decoder versions: when any of them changes, the images are decoded again.
    """
    digests = [sha256_file(row.path) if row.path.is_file() else None for row in rows]
    key = sha256_json([digests, specification_hash(spec), gate.model_dump(), limits.model_dump(), decoders.versions()])
    home = (folder or cache_folder()) / "pixels" / key[:32]
    if not (home / "index.json").is_file():
        home.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=home.parent, prefix=".building-"))
        try:
            _build(building, rows, spec, gate=gate, limits=limits, progress=progress)
            if not home.exists():  # another run may have built the same in the meantime
                building.replace(home)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return _open(home, rows)


def _build(
    building: Path,
    rows: Sequence[ManifestRow],
    spec: Preprocessing,
    *,
    gate: Gate,
    limits: Limits,
    progress: Progress | None,
) -> None:
    stored = np.lib.format.open_memmap(
        building / "pixels.npy", mode="w+", dtype=np.uint16, shape=(len(rows), spec.size, spec.size)
    )
    images: list[dict[str, Any]] = []
    refusals: list[dict[str, Any]] = []
    job = partial(prepare, spec=spec, gate=gate, limits=limits)
    with Workers(limits=limits) as pool:
        for number, (_, result) in enumerate(pool.map(job, (os.fspath(row.path) for row in rows))):
            if isinstance(result, Refusal):
                refusals.append({"row": number, "code": result.code, "detail": result.detail})
            else:
                stored[len(images)] = result.pixels
                images.append(
                    {
                        "row": number,
                        "sop_instance_uid": result.sop_instance_uid,
                        "pixels_sha256": result.pixels_sha256,
                        "review": list(result.review),
                        "warnings": list(result.warnings),
                        "attributes": {**result.attributes, "ViewPosition": result.view_position},
                    }
                )
            if progress:
                progress(number + 1, len(rows))
    stored.flush()
    del stored  # Windows cannot rename a mapped file
    write_json(building / "index.json", {"images": images, "refusals": refusals})


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
