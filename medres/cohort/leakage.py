"""The same patient or the same image under two names: what would make a cross-validation lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from medres.records import ManifestRow


@dataclass(frozen=True, slots=True)
class Leak:
    """One suspicion: rows that may show one patient under several PatientIDs."""

    kind: str  # "same image", "similar PatientID"
    detail: str


def find_leaks(rows: Sequence[ManifestRow], pixel_hashes: Sequence[str | None]) -> tuple[Leak, ...]:
    """Look for images and patients that would be kept apart only by name.

    Args:
        rows: the manifest.
        pixel_hashes: for each row the SHA-256 of its decoded pixels, or None where it was not read.
    """
    return (*_same_image(rows, pixel_hashes), *_similar_patients(rows))


def _same_image(rows: Sequence[ManifestRow], pixel_hashes: Sequence[str | None]) -> list[Leak]:
    owners: dict[str, list[ManifestRow]] = defaultdict(list)
    for row, digest in zip(rows, pixel_hashes, strict=True):
        if digest is not None:
            owners[digest].append(row)
    return [
        Leak(
            "same image",
            f"identical pixels under {_count(same)}: {', '.join(row.path.name for row in same[:4])}",
        )
        for same in owners.values()
        if len(same) > 1 and len({row.patient_id for row in same}) > 1
    ]


def _count(rows: Sequence[ManifestRow]) -> str:
    return f"{len({row.patient_id for row in rows})} PatientIDs"


def _similar_patients(rows: Sequence[ManifestRow]) -> list[Leak]:
    spellings: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        spellings[normalised_patient_id(row.patient_id)].add(row.patient_id)
    return [
        Leak(
            "similar PatientID",
            "differ only by case, spaces or leading zeros: " + ", ".join(map(repr, sorted(names))),
        )
        for names in spellings.values()
        if len(names) > 1
    ]


def normalised_patient_id(patient_id: str) -> str:
    """A PatientID without what people type differently: case, spaces, leading zeros.

    >>> normalised_patient_id(" 00a 12"), normalised_patient_id("A12")
    ('a12', 'a12')
    """
    return "".join(patient_id.split()).casefold().lstrip("0") or "0"
