"""Patient-grouped, stratified folds, written as a file whose hash travels with every model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medres.errors import ManifestError
from medres.records import Fold, ManifestRow
from medres.tables import read_json, sha256_json, write_json

METHOD = "StratifiedGroupKFold: folds keep patients together and class shares equal"


def make_folds(
    rows: Sequence[ManifestRow], labels: Sequence[str], *, folds: int, validation_fraction: float, seed: int
) -> tuple[Fold, ...]:
    """Divide patients into folds; each fold's training patients give an inner validation split of the same kind.

    Held-out patients of a fold choose nothing; its validation patients choose epoch, temperature and thresholds.
    The same rows and seed always give the same folds.

    Raises:
        ManifestError: too few patients of one class for that many folds.
    """
    usable = [row for row in rows if any(row.targets[label] is not None for label in labels)]
    _enough_patients(usable, labels, folds)
    patients = np.array([row.patient_id for row in usable])
    classes = _classes(usable, labels, folds)
    result = []
    for index, (rest, held_out) in enumerate(_split(classes, patients, folds, seed)):
        training, validation = _inner(classes[rest], patients[rest], validation_fraction, seed + 1 + index)
        result.append(Fold(index, training, validation, _names(patients[held_out])))
    return tuple(result)


def make_inner_split(
    rows: Sequence[ManifestRow], labels: Sequence[str], *, validation_fraction: float, seed: int
) -> Fold:
    """One division into training and validation patients, nobody held out: for a final model.

    Raises:
        ManifestError: too few patients of one class.
    """
    usable = [row for row in rows if any(row.targets[label] is not None for label in labels)]
    _enough_patients(usable, labels, 2)
    patients = np.array([row.patient_id for row in usable])
    training, validation = _inner(_classes(usable, labels, 2), patients, validation_fraction, seed)
    return Fold(0, training, validation, ())


def _enough_patients(rows: Sequence[ManifestRow], labels: Sequence[str], folds: int) -> None:
    for label in labels:
        for value, name in ((1, "positive"), (0, "negative")):
            count = len({row.patient_id for row in rows if row.targets[label] == value})
            if count < 2 * folds:
                raise ManifestError(
                    f"label {label!r} has {count} {name} patients; {folds} folds, each with a validation split, "
                    f"need at least {2 * folds}: choose fewer folds or add patients"
                )


def _classes(rows: Sequence[ManifestRow], labels: Sequence[str], folds: int) -> np.ndarray[Any, np.dtype[np.str_]]:
    """The combination of targets of each row; combinations too rare to divide are one class."""
    names = ["".join({None: "?", 0: "0", 1: "1"}[row.targets[label]] for label in labels) for row in rows]
    owners: dict[str, set[str]] = defaultdict(set)
    for name, row in zip(names, rows, strict=True):
        owners[name].add(row.patient_id)
    return np.array([name if len(owners[name]) >= 2 * folds else "rare" for name in names])


def _split(classes: Any, patients: Any, folds: int, seed: int) -> list[tuple[Any, Any]]:
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    if min(Counter(classes.tolist()).values()) < folds:
        splitter = GroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    else:
        splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(classes)), classes, patients))


def _inner(classes: Any, patients: Any, fraction: float, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    parts = max(2, round(1 / fraction))
    training, validation = _split(classes, patients, parts, seed)[0]
    return _names(patients[training]), _names(patients[validation])


def _names(patients: Any) -> tuple[str, ...]:
    return tuple(sorted({str(name) for name in patients}))


def check_folds(folds: Sequence[Fold]) -> None:
    """Make sure that no patient has two roles in a fold, or is held out twice.

    Raises:
        ManifestError: an overlap.
    """
    for fold in folds:
        roles = (fold.training, fold.validation, fold.held_out)
        if sum(map(len, roles)) != len(set().union(*roles)):
            raise ManifestError(f"fold {fold.index}: a patient is in two of training, validation and held-out")
    held_out = Counter(name for fold in folds for name in fold.held_out)
    twice = [name for name, count in held_out.items() if count > 1]
    if twice:
        raise ManifestError(f"{len(twice)} patients are held out in two folds")


def splits_document(folds: Sequence[Fold], *, labels: Sequence[str], seed: int, manifest_sha256: str) -> dict[str, Any]:
    """The folds as the content of `splits.json`; `sha256` is the hash of everything else in it."""
    check_folds(folds)
    content = {
        "method": METHOD,
        "labels": list(labels),
        "seed": seed,
        "manifest_sha256": manifest_sha256,
        "folds": [
            {
                "index": fold.index,
                "training": list(fold.training),
                "validation": list(fold.validation),
                "held_out": list(fold.held_out),
            }
            for fold in folds
        ],
    }
    return {**content, "sha256": sha256_json(content)}


def write_splits(path: Path, document: Mapping[str, Any]) -> None:
    """Write `splits.json`."""
    write_json(path, document)


def read_splits(path: Path) -> tuple[tuple[Fold, ...], dict[str, Any]]:
    """Read and verify `splits.json`.

    Raises:
        ManifestError: it was altered, is not a split file, or patients overlap.
    """
    document = read_json(path)
    try:
        content = {key: value for key, value in document.items() if key != "sha256"}
        folds = tuple(
            Fold(item["index"], tuple(item["training"]), tuple(item["validation"]), tuple(item["held_out"]))
            for item in content["folds"]
        )
        recorded = document["sha256"]
    except (AttributeError, KeyError, TypeError):
        raise ManifestError(f"{path} is not a split file of `medres split`") from None
    if sha256_json(content) != recorded:
        raise ManifestError(f"{path} was altered after it was written: its sha256 no longer fits")
    check_folds(folds)
    return folds, document
