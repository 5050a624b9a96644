"""All problems of a manifest at once: its form, its files, and patients who leak."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from medres.cohort.indexing import Progress
from medres.cohort.leakage import find_leaks
from medres.cohort.manifest import read_manifest
from medres.cohort.tasks import LABEL_PREFIX
from medres.config import Gate, Limits
from medres.errors import ManifestError
from medres.imaging.isolation import Workers
from medres.imaging.preprocessing import inspect
from medres.records import Refusal
from medres.tables import read_csv


def check_manifest(
    path: Path, *, root: Path | None = None, gate: Gate, limits: Limits, progress: Progress | None = None
) -> tuple[str, ...]:
    """Every problem found, one line each; nothing means that the manifest can be trained on.

    Raises:
        ManifestError: the file is not a table at all.
    """
    labels = [name.removeprefix(LABEL_PREFIX) for name in read_csv(path).columns if name.startswith(LABEL_PREFIX)]
    try:
        manifest = read_manifest(path, labels, root=root)
    except ManifestError as error:
        return tuple(str(error).removeprefix(f"{path}: ").split("; "))
    found = [] if labels else ["no label_ column: nothing to learn"]
    job = partial(inspect, gate=gate, limits=limits)
    pixels: list[str | None] = []
    with Workers(limits=limits) as pool:
        results = pool.map(job, (os.fspath(row.path) for row in manifest.rows))
        for number, (row, (_, result)) in enumerate(zip(manifest.rows, results, strict=True), start=1):
            if isinstance(result, Refusal):
                found.append(f"{row.path}: {result.code}: {result.detail}")
                pixels.append(None)
            else:
                pixels.append(result.pixels_sha256)
                if row.sop_instance_uid and row.sop_instance_uid != result.sop_instance_uid:
                    found.append(f"{row.path}: its SOPInstanceUID is not the one in the manifest")
            if progress:
                progress(number, len(manifest.rows))
    found += [f"{leak.kind}: {leak.detail}" for leak in find_leaks(manifest.rows, pixels)]
    return tuple(found)
