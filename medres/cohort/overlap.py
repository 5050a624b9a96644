"""Whether an external cohort holds patients or images of the training cohort, as far as the model's folder tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medres.cohort.splits import read_splits
from medres.errors import ManifestError
from medres.records import ManifestRow
from medres.tables import read_csv


@dataclass(frozen=True, slots=True)
class TrainingIdentity:
    """The patients and images that a model learned from, as far as its folder tells; None where it does not."""

    manifests: frozenset[str]  # SHA-256
    patients: frozenset[str] | None = None
    images: frozenset[str] | None = None  # SOPInstanceUIDs
    pixels: frozenset[str] | None = None  # SHA-256 of decoded pixels


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two cohorts share. None: it could not be known."""

    same_manifest: bool
    patients: int | None
    images: int | None
    pixels: int | None
    example: str = ""  # path of an image that should not be here

    @property
    def found(self) -> bool:
        """Whether anything is shared."""
        return self.same_manifest or bool(self.patients or self.images or self.pixels)

    @property
    def checked(self) -> tuple[str, ...]:
        """The identifiers by which patients and images were looked for."""
        known = (("PatientID", self.patients), ("SOPInstanceUID", self.images), ("pixels", self.pixels))
        return ("SHA-256 of the manifest", *(name for name, count in known if count is not None))

    def __str__(self) -> str:
        """What is shared, or that nothing was found, and by what it was looked for."""
        parts = ["the manifest"] if self.same_manifest else []
        counts = ((self.patients, "patients"), (self.images, "images"), (self.pixels, "images with the same pixels"))
        parts += [f"{count} {word}" for count, word in counts if count]
        found = f"{', '.join(parts)} of the training cohort" if parts else "nothing of the training cohort was found"
        return f"{found} (looked for by {', '.join(self.checked)})"


def training_identity(model: Path, *, manifests: Sequence[str]) -> TrainingIdentity:
    """Read which patients and images a model learned from.

    Args:
        model: a cross-validation run, one of its folds, or a model of `medres train`.
        manifests: SHA-256 of the training manifests, as the cards say.
    """
    known = frozenset(manifests)
    if (model / "models").is_dir() and (model / "oof.csv").is_file():
        return _of_run(model, known, fold=None)
    run = model.parent.parent
    if model.parent.name == "models" and model.name.startswith("fold-") and (run / "splits.json").is_file():
        number = model.name.removeprefix("fold-")
        return _of_run(run, known, fold=int(number) if number.isdecimal() else None)
    if (model / "splits.json").is_file():
        folds, _ = read_splits(model / "splits.json")
        return TrainingIdentity(known, frozenset(name for fold in folds for name in (*fold.training, *fold.validation)))
    return TrainingIdentity(known)


def _of_run(run: Path, manifests: frozenset[str], *, fold: int | None) -> TrainingIdentity:
    """The training cohort of a run: all its patients; of one of its folds: those that it did not hold out."""
    splits, table = run / "splits.json", run / "oof.csv"
    patients: frozenset[str] | None = None
    if splits.is_file():
        folds, _ = read_splits(splits)
        chosen = [item for item in folds if fold is None or item.index == fold] or list(folds)
        patients = frozenset(name for item in chosen for name in (*item.training, *item.validation))
    if not table.is_file():
        return TrainingIdentity(manifests, patients)
    rows = read_csv(table)
    if patients is None and "PatientID" in rows:
        patients = frozenset(rows["PatientID"])
    own = rows[rows["PatientID"].isin(patients)] if patients is not None and "PatientID" in rows else rows
    columns = [frozenset(own[name]) - {""} if name in own else None for name in ("SOPInstanceUID", "pixels_sha256")]
    return TrainingIdentity(manifests, patients, *(column or None for column in columns))


def find_overlap(
    training: TrainingIdentity,
    *,
    manifest_sha256: str,
    rows: Sequence[ManifestRow],
    pixels: Sequence[str | None] | None = None,
    uids: Sequence[str] | None = None,
) -> Overlap:
    """Count the patients and images of the training cohort that are in another cohort.

    Args:
        training: see `training_identity`.
        manifest_sha256: of the other manifest.
        rows: its rows.
        pixels: for each row the SHA-256 of its decoded pixels; not looked for without.
        uids: for each row its file's SOPInstanceUID, which the manifest need not have; without, the manifest's.
    """
    uids = uids if uids is not None else [row.sop_instance_uid for row in rows]
    hashes: Sequence[str | None] = pixels if pixels is not None else [None] * len(rows)
    shared = [row for row in rows if row.patient_id in (training.patients or ())]
    seen = [row for row, uid in zip(rows, uids, strict=True) if uid and uid in (training.images or ())]
    same = [row for row, digest in zip(rows, hashes, strict=True) if digest and digest in (training.pixels or ())]
    first = next(iter((*shared, *seen, *same)), None)
    return Overlap(
        same_manifest=manifest_sha256 in training.manifests,
        patients=None if training.patients is None else len({row.patient_id for row in shared}),
        images=None if training.images is None or not any(uids) else len(seen),
        pixels=None if training.pixels is None or pixels is None else len(same),
        example=first.path.name if first else "",
    )


def refuse_overlap(overlap: Overlap, manifest: Path) -> None:
    """Refuse a cohort that holds patients or images of the training cohort.

    Raises:
        ManifestError: it does.
    """
    if overlap.found:
        example = f", {overlap.example} for one" if overlap.example else ""
        raise ManifestError(
            f"{manifest} is no external cohort, it holds {overlap}{example}; take them out, or give --allow-overlap, "
            "and the report will say so"
        )
