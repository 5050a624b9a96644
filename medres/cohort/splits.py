"""Folds that keep patients together, written as a file whose hash travels with every model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from medres.cohort.stratification import STRATIFIED, inner_part, patient_counts, stratified_parts
from medres.documents import Document, fault, write_document
from medres.errors import ManifestError, UsageError
from medres.records import Fold, ManifestRow
from medres.tables import read_json, sha256_json

REPEAT_SEEDS = 100_003
"""What lies between the seeds of two repeats: far more than a cohort has folds, so that no two share a seed."""


def make_folds(
    rows: Sequence[ManifestRow],
    labels: Sequence[str],
    *,
    folds: int,
    validation_fraction: float,
    seed: int,
    repeats: int = 1,
) -> tuple[Fold, ...]:
    """Divide patients into folds; each fold's training patients give an inner validation split of the same kind.

    Held-out patients of a fold choose nothing; its validation patients choose epoch (unless the last is kept),
    temperature and thresholds. Every patient is held out once in each repeat, and every repeat has its own seed: folds
    0 to k − 1 are the first repeat. The same rows and seed always give the same folds, whatever the order of the rows.
    Patients of whom nothing is known but uncertain labels are in the training part of every fold (see
    `uncertain_patients`).

    Raises:
        ManifestError: too few patients of one class for that many folds.
    """
    usable = known_rows(rows, labels)
    refuse_few_patients(usable, labels, folds)
    names, counts, _ = patient_counts(usable, labels)
    uncertain = uncertain_patients(rows, labels)
    made = []
    for repeat in range(repeats):
        own = seed + REPEAT_SEEDS * repeat
        part = stratified_parts(counts, folds, own)
        for number in range(folds):
            held_out = {name for name, one in zip(names, part, strict=True) if one == number}
            rest = [row for row in usable if row.patient_id not in held_out]
            training, validation = inner_split(rest, labels, validation_fraction, own + 1 + number)
            index = repeat * folds + number
            made.append(Fold(index, training + uncertain, validation, tuple(sorted(held_out)), repeat=repeat))
    return tuple(made)


def make_inner_split(
    rows: Sequence[ManifestRow], labels: Sequence[str], *, validation_fraction: float, seed: int
) -> Fold:
    """One division into training and validation patients, nobody held out: for a final model.

    Raises:
        ManifestError: too few patients of one class.
    """
    usable = known_rows(rows, labels)
    refuse_few_patients(usable, labels, 2)
    training, validation = inner_split(usable, labels, validation_fraction, seed)
    return Fold(0, training + uncertain_patients(rows, labels), validation, ())


def known_rows(rows: Sequence[ManifestRow], labels: Sequence[str]) -> list[ManifestRow]:
    """The rows that have at least one known target."""
    return [row for row in rows if any(row.targets[label] is not None for label in labels)]


def uncertain_patients(rows: Sequence[ManifestRow], labels: Sequence[str]) -> tuple[str, ...]:
    """Patients without a known target but with an uncertain one, sorted.

    Nobody can be judged by them, so they are never held out and choose nothing; `training.uncertain` says whether they
    are learnt from. They are in the folds whatever it says, so that its policies can be compared on the same folds.
    """
    known = {row.patient_id for row in known_rows(rows, labels)}
    return tuple(sorted({row.patient_id for row in rows if not row.uncertain.isdisjoint(labels)} - known))


def inner_split(
    rows: Sequence[ManifestRow], labels: Sequence[str], fraction: float, seed: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and validation patients, both with both classes of every label where there are two such patients."""
    names, counts, known = patient_counts(rows, labels)
    part = stratified_parts(counts, max(2, round(1 / fraction)), seed)
    chosen = part == inner_part(known, part)
    return tuple(np.array(names)[~chosen].tolist()), tuple(np.array(names)[chosen].tolist())


def refuse_few_patients(rows: Sequence[ManifestRow], labels: Sequence[str], folds: int) -> None:
    """Make sure that every fold can have both classes held out and in its validation split, as far as rows can tell.

    Raises:
        ManifestError: too few patients of one class; what is wrong with a manifest is said before an image is decoded.
    """
    for label in labels:
        for value, name in ((1, "positive"), (0, "negative")):
            count = len({row.patient_id for row in rows if row.targets[label] == value})
            if count < 2 * folds:
                raise ManifestError(
                    f"label {label!r} has {count} {name} patients; {folds} folds, each with a validation split, "
                    f"need at least {2 * folds}: choose fewer folds or add patients"
                )


def check_folds(folds: Sequence[Fold]) -> None:
    """Make sure that no patient has two roles in a fold, or is held out twice in a repeat.

    Raises:
        ManifestError: an overlap.
    """
    for fold in folds:
        roles = (fold.training, fold.validation, fold.held_out)
        if sum(map(len, roles)) != len(set().union(*roles)):
            raise ManifestError(f"fold {fold.index}: a patient is in two of training, validation and held-out")
    held_out = Counter((fold.repeat, name) for fold in folds for name in fold.held_out)
    twice = {name for (_, name), count in held_out.items() if count > 1}
    if twice:
        raise ManifestError(f"{len(twice)} patients are held out in two folds")
    if len({fold.index for fold in folds}) != len(folds):
        raise ManifestError("two folds have the same number")


def choose_repeat(folds: Sequence[Fold], repeat: int | None) -> tuple[Fold, ...]:
    """The folds of one repeat, numbered from 0: what one cross-validation run goes through.

    Raises:
        UsageError: there are several and none was chosen, or there is no such repeat.
    """
    known = sorted({fold.repeat for fold in folds})
    if repeat is None and len(known) > 1:
        raise UsageError(
            f"the split file holds {len(known)} repeats and a run goes through one: give --repeat, "
            f"{known[0]} to {known[-1]}; `medres compare` takes the runs together"
        )
    chosen = [fold for fold in folds if fold.repeat == (known[0] if repeat is None else repeat)]
    if not chosen:
        raise UsageError(f"the split file has no repeat {repeat}; it has {', '.join(map(str, known))}")
    return tuple(replace(fold, index=number) for number, fold in enumerate(chosen))


class SplitsParent(Document):
    """The repeated split file that these folds are one repeat of."""

    sha256: str
    repeat: int


class FoldPatients(Document):
    """One fold of a split file: PatientIDs by what they do in it. See `records.Fold`."""

    index: int
    repeat: int = 0
    name: str = ""
    training: tuple[str, ...]
    validation: tuple[str, ...]
    held_out: tuple[str, ...]


class SplitFile(Document):
    """The content of `splits.json`."""

    method: str = ""  # how patients were divided, in words
    labels: tuple[str, ...] = ()
    seed: int = 0
    manifest_sha256: str = ""
    parent: SplitsParent | None = None
    folds: tuple[FoldPatients, ...]
    sha256: str  # of everything else in the file

    def content_sha256(self) -> str:
        """What `sha256` must be: the hash of everything else as it is written."""
        return sha256_json(self.model_dump(mode="json", exclude_unset=True, exclude={"sha256"}))

    def folds_sha256(self) -> str:
        """The hash of the folds alone: two runs with the same one divided patients in the same way."""
        return sha256_json(self.model_dump(mode="json", exclude_unset=True, include={"folds"})["folds"])


def splits_document(
    folds: Sequence[Fold],
    *,
    labels: Sequence[str],
    seed: int,
    manifest_sha256: str,
    method: str = STRATIFIED,
    parent: SplitsParent | None = None,
) -> SplitFile:
    """The folds as the content of `splits.json`.

    `parent` says of which repeated split file these folds are one repeat.

    Raises:
        ManifestError: patients overlap.
    """
    check_folds(folds)
    patients = tuple(
        FoldPatients(
            index=fold.index,
            repeat=fold.repeat,
            name=fold.name,
            training=fold.training,
            validation=fold.validation,
            held_out=fold.held_out,
        )
        for fold in folds
    )
    found = SplitFile(
        method=method,
        labels=tuple(labels),
        seed=seed,
        manifest_sha256=manifest_sha256,
        folds=patients,
        sha256="",
        **({"parent": parent} if parent else {}),
    )
    return found.model_copy(update={"sha256": found.content_sha256()})


def write_splits(path: Path, document: SplitFile) -> None:
    """Write `splits.json`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_document(path, document)


def read_splits(path: Path) -> tuple[tuple[Fold, ...], SplitFile]:
    """Read and verify `splits.json`.

    Raises:
        ManifestError: it was altered, is not a split file, or patients overlap.
    """
    content = read_json(path)
    try:
        document = SplitFile.model_validate(content)
    except ValidationError as error:
        raise ManifestError(f"{path} is not a split file of `medres split`: {fault(error)}") from None
    if document.content_sha256() != document.sha256:
        raise ManifestError(f"{path} was altered after it was written: its sha256 no longer fits")
    folds = tuple(
        Fold(fold.index, fold.training, fold.validation, fold.held_out, repeat=fold.repeat, name=fold.name)
        for fold in document.folds
    )
    check_folds(folds)
    return folds, document
