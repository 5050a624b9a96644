"""The same patient or the same image under two names, which makes a cross-validation look too good."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medres.cohort.cache import CachedImage
from medres.cohort.identifiers import similar_patients
from medres.cohort.indexing import Progress
from medres.cohort.similarity import similar_images
from medres.records import ManifestRow
from medres.tables import inert_path

LeakKind = Literal["same image", "near-duplicate", "same SOPInstanceUID", "similar PatientID"]
KINDS: Mapping[LeakKind, str] = {
    "same image": "identical pixels under several PatientIDs",
    "near-duplicate": "one image cropped, brightened, compressed again, mirrored or inverted, under several PatientIDs",
    "same SOPInstanceUID": "other pixels under one SOPInstanceUID",
    "similar PatientID": "PatientIDs that differ only by zeros, case, spaces or issuer",
}
"""What is looked for, in words."""


@dataclass(frozen=True, slots=True)
class Leak:
    """One suspicion: images that may show one patient under several PatientIDs, or one image twice."""

    kind: LeakKind
    rows: tuple[int, ...]  # places in the manifest; for PatientIDs the first image of each
    problem: bool  # a cross-validation would be too good because of it; False: only worth knowing
    detail: str  # one line without a PatientID
    correlation: float | None = None  # of near-duplicates


def find_leaks(
    rows: Sequence[ManifestRow],
    images: Sequence[CachedImage],
    pixels: NDArray[np.uint16] | None = None,
    *,
    progress: Progress | None = None,
) -> tuple[Leak, ...]:
    """Look for images and patients that would be kept apart only by name. Nothing is merged: a human decides.

    Two patients with one image are a problem, as are two PatientIDs that are likely one, and one SOPInstanceUID for two
    images. An image that one patient has twice is only worth knowing: folds keep it together. Who has no PatientID may
    be anybody, so that one image in two rows of which one has none is a problem. A file that one patient has in two
    rows is no leak, but a fault of the manifest's form.

    Args:
        rows: the manifest.
        images: what is known of its usable files.
        pixels: (images, similarity.SIDE, similarity.SIDE), same order as `images`; without them near-duplicates are
            not looked for.
        progress: told (done, total) while near-duplicates are compared.
    """
    found = [*_same_image(rows, images), *_same_uid(rows, images), *_similar_patients(rows, images)]
    if pixels is not None:
        found += _near_duplicates(rows, images, pixels, progress)
    return tuple(sorted(found, key=lambda leak: not leak.problem))


def _same_image(rows: Sequence[ManifestRow], images: Sequence[CachedImage]) -> list[Leak]:
    owners: dict[str, list[int]] = defaultdict(list)
    for image in images:
        owners[image.pixels_sha256].append(image.row)
    found = []
    for same in owners.values():
        files = {(rows[row].path, rows[row].patient_id) for row in same}
        if len(files) > 1:
            patients = {rows[row].patient_id for row in same}
            between = len(patients) > 1 or "" in patients
            under = f"under {len(patients)} PatientIDs" if len(patients) > 1 else "twice under one PatientID"
            if "" in patients:
                under = "where a PatientID is blank" if len(patients) == 1 else f"{under}, one of them blank"
            found.append(Leak("same image", tuple(same), between, f"identical pixels {under}: {_named(rows, same)}"))
    return found


def _same_uid(rows: Sequence[ManifestRow], images: Sequence[CachedImage]) -> list[Leak]:
    owners: dict[str, dict[str, int]] = defaultdict(dict)
    for image in images:
        if image.sop_instance_uid:
            owners[image.sop_instance_uid].setdefault(image.pixels_sha256, image.row)
    return [
        Leak(
            "same SOPInstanceUID",
            tuple(same.values()),
            True,
            f"{len(same)} images with other pixels share one: {_named(rows, list(same.values()))}",
        )
        for same in owners.values()
        if len(same) > 1
    ]


def _similar_patients(rows: Sequence[ManifestRow], images: Sequence[CachedImage]) -> list[Leak]:
    first: dict[str, int] = {}
    for number, row in enumerate(rows):
        if row.patient_id:
            first.setdefault(row.patient_id, number)
    sexes = {rows[image.row].patient_id: image.attributes.get("PatientSex", "") for image in images}
    found = []
    for spelling in similar_patients(first, sexes):
        places = [first[patient] for patient in spelling.patients]
        doubt = "" if spelling.likely else f" (perhaps two people: {spelling.reason})"
        detail = f"PatientIDs that differ only by {spelling.differ_by}{doubt}: {_named(rows, places)}"
        found.append(Leak("similar PatientID", tuple(places), spelling.likely, detail))
    return found


def _near_duplicates(
    rows: Sequence[ManifestRow], images: Sequence[CachedImage], pixels: NDArray[Any], progress: Progress | None
) -> list[Leak]:
    patients = [rows[image.row].patient_id or f"\0{image.row}" for image in images]  # a blank one may be anybody's
    found: dict[frozenset[str], Leak] = {}
    for pair in similar_images(pixels, patients, progress=progress):
        one, other = images[pair.first], images[pair.second]
        shown = frozenset((one.pixels_sha256, other.pixels_sha256))
        between = patients[pair.first] != patients[pair.second]
        if len(shown) == 1 or (shown in found and (found[shown].problem or not between)):
            continue  # the same image, or a pair of the same images is told already
        places = (one.row, other.row)
        known = all(rows[place].patient_id for place in places)
        whose = "one PatientID" if not between else "two PatientIDs" if known else "two rows, a PatientID is blank"
        turn = f", {pair.turn}" if pair.turn else ""
        detail = f"{whose}{turn}, correlation {pair.correlation:.2f} after alignment: {_named(rows, places)}"
        found[shown] = Leak("near-duplicate", places, between, detail, round(pair.correlation, 3))
    return list(found.values())


def _named(rows: Sequence[ManifestRow], places: Sequence[int]) -> str:
    """The files of some rows, with as many of their folders as it takes to tell them apart."""
    paths = [rows[place].path for place in places[:4]]
    most = max(len(path.parts) for path in paths) if len(set(paths)) == len(paths) else 1
    names: list[str] = []
    for depth in range(1, most + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return ", ".join(map(inert_path, names)) + (f" and {len(places) - 4} more" if len(places) > 4 else "")
