"""Folds that a column of the manifest gives: named folds, one site left out at a time, or training and test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from medres.cohort.manifest import Manifest
from medres.cohort.splits import inner_split, known_rows, uncertain_patients
from medres.errors import ManifestError
from medres.records import Fold, ManifestRow

_ROLES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "training"),
    **dict.fromkeys(("valid", "val", "validation", "validate", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "held-out", "held_out", "holdout"), "held_out"),
}
_MOST_FOLDS = 50  # as `crossval.folds`
_MOST_NAMED = 50  # patients named in one complaint

GIVEN = "given by the column"
"""How the words of `splits.json` begin where a column gave the folds."""


def folds_from_column(
    manifest: Manifest, column: str, *, validation_fraction: float, seed: int
) -> tuple[tuple[Fold, ...], str]:
    """The folds that a column gives, and what `splits.json` says of them.

    Values are names of folds, and each is held out once; with a column such as InstitutionName this leaves one site
    out at a time. Where every value is a role (train, valid, test), there is one fold: "test" is held out (without
    it, "valid" is), and "valid" is the inner validation split. Without a given one, the inner split is drawn from the
    fold's training patients, stratified and patient-grouped. Patients who have uncertain labels alone are learnt from
    (see `uncertain_patients`) where the column does not hold them out.

    Raises:
        ManifestError: no such column, blank cells, one value or too many, patients with several values (they are
            named), or too few patients to learn from.
    """
    if column not in manifest.table:
        raise ManifestError(f"{manifest.path}: no column {column} (it has {', '.join(manifest.table.columns)})")
    cells = [str(cell).strip() for cell in manifest.table[column]]
    _every_row_has_one(manifest, column, cells)
    _no_patient_has_two(manifest, column, cells)
    owner = dict(zip((row.patient_id for row in manifest.rows), cells, strict=True))
    usable = known_rows(manifest.rows, manifest.labels)
    uncertain = uncertain_patients(manifest.rows, manifest.labels)
    if all(cell.casefold() in _ROLES for cell in cells):
        roles = {patient: _ROLES[cell.casefold()] for patient, cell in owner.items()}
        fold = _by_role(usable, manifest.labels, roles, column, validation_fraction, seed)
        learnt = tuple(patient for patient in uncertain if roles[patient] == "training")
        fold = replace(fold, training=fold.training + learnt)
        return (fold,), f"{GIVEN} {column}: one fold, patient-grouped"
    values = sorted({owner[row.patient_id] for row in usable})  # one that no known label has holds nobody out
    folds = []
    for number, value in enumerate(values):
        rest = [row for row in usable if owner[row.patient_id] != value]
        _enough_of_each(rest, manifest.labels, f"{column} without {value!r}", least=2)
        training, validation = inner_split(rest, manifest.labels, validation_fraction, seed + 1 + number)
        held_out = _patients(row for row in usable if owner[row.patient_id] == value)
        learnt = tuple(patient for patient in uncertain if owner[patient] != value)
        folds.append(Fold(number, training + learnt, validation, held_out, name=value))
    return tuple(folds), f"{GIVEN} {column}: each value held out once, patient-grouped"


def _every_row_has_one(manifest: Manifest, column: str, cells: Sequence[str]) -> None:
    blank, values = cells.count(""), set(cells)
    if blank:
        raise ManifestError(f"{manifest.path}: column {column} is blank in {blank} rows; every row needs its fold")
    if not 2 <= len(values) <= _MOST_FOLDS:
        raise ManifestError(
            f"{manifest.path}: column {column} has {len(values)} different values; folds need 2 to {_MOST_FOLDS}"
        )


def _no_patient_has_two(manifest: Manifest, column: str, cells: Sequence[str]) -> None:
    values: dict[str, set[str]] = defaultdict(set)
    for row, cell in zip(manifest.rows, cells, strict=True):
        values[row.patient_id].add(cell)
    shared = sorted(patient for patient, found in values.items() if len(found) > 1)
    if shared:
        named = ", ".join(shared[:_MOST_NAMED])
        more = f" and {len(shared) - _MOST_NAMED} more" if len(shared) > _MOST_NAMED else ""
        raise ManifestError(
            f"{manifest.path}: column {column} puts {len(shared)} patients into more than one part, so the same person "
            f"would be learnt from and judged: {named}{more}"
        )


def _by_role(
    rows: Sequence[ManifestRow],
    labels: Sequence[str],
    roles: dict[str, str],
    column: str,
    validation_fraction: float,
    seed: int,
) -> Fold:
    if "held_out" not in roles.values():  # train and valid only: what was not trained on is held out
        roles = {patient: "held_out" if role == "validation" else role for patient, role in roles.items()}
    parts = {name: [row for row in rows if roles[row.patient_id] == name] for name in set(_ROLES.values())}
    if not parts["training"] or not parts["held_out"]:
        raise ManifestError(f"column {column} has no labelled row to train on, or none to test on")
    if parts["validation"]:
        _enough_of_each(parts["training"], labels, f"the training rows of {column}", least=1)
        _enough_of_each(parts["validation"], labels, f"the validation rows of {column}", least=1)
        training, validation = _patients(parts["training"]), _patients(parts["validation"])
        return Fold(0, training, validation, _patients(parts["held_out"]), name="test")
    _enough_of_each(parts["training"], labels, f"the training rows of {column}", least=2)
    training, validation = inner_split(parts["training"], labels, validation_fraction, seed + 1)
    return Fold(0, training, validation, _patients(parts["held_out"]), name="test")


def _patients(rows: Iterable[ManifestRow]) -> tuple[str, ...]:
    return tuple(sorted({row.patient_id for row in rows}))


def _enough_of_each(rows: Sequence[ManifestRow], labels: Sequence[str], where: str, *, least: int) -> None:
    """Training and its inner validation split both need a patient of either class: together two."""
    for label in labels:
        for value, name in ((1, "positive"), (0, "negative")):
            count = len({row.patient_id for row in rows if row.targets[label] == value})
            if count < least:
                needed = f"at least {least} {'is' if least == 1 else 'are'} needed"
                raise ManifestError(f"{where}: label {label!r} has {count} {name} patients; {needed}")
