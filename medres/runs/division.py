"""Who is held out when: folds that are made, that a split file holds, or that a column of the manifest gives."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medres.cohort.given_folds import folds_from_column
from medres.cohort.manifest import Manifest
from medres.cohort.splits import (
    SplitFile,
    SplitsParent,
    choose_repeat,
    known_rows,
    make_folds,
    read_splits,
    splits_document,
)
from medres.config import Config
from medres.errors import ManifestError, UsageError
from medres.records import Fold

if TYPE_CHECKING:
    from medres.runs.cohort import TrainingCohort

log = logging.getLogger(__name__)

DividedPatients = tuple[tuple[Fold, ...], SplitFile]
"""The folds of a run, and the content of its `splits.json`."""


@dataclass(frozen=True, slots=True)
class Division:
    """How a cross-validation divides patients; without anything, it deals them out itself, as its recipe says.

    >>> Division(column="InstitutionName")  # every hospital is held out once
    Division(splits=None, repeat=None, column='InstitutionName')

    Raises:
        UsageError: two ways are asked for, or a repeat of no split file.
    """

    splits: Path | None = None  # a split file of `medres split`, with its validation patients
    repeat: int | None = None  # of a repeated split file: which of its repeats, from 0
    column: str | None = None  # of the manifest: each value is held out once; train, valid and test are one fold

    def __post_init__(self) -> None:
        if self.splits and self.column:
            raise UsageError("folds come from --splits or from --folds-column, not from both")
        if self.repeat is not None and not self.splits:
            raise UsageError("--repeat chooses among the repeats of a split file: give --splits")

    def given(self, manifest: Manifest, config: Config) -> DividedPatients | None:
        """Folds and content of `splits.json` that were asked for by file or column; None where they are to be made.

        Raises:
            UsageError, ManifestError: the file or the column gives none.
        """
        if self.column:
            fraction = config.training.validation_fraction
            folds, method = folds_from_column(manifest, self.column, validation_fraction=fraction, seed=config.seed)
            document = splits_document(
                folds, labels=manifest.labels, seed=config.seed, manifest_sha256=manifest.sha256, method=method
            )
            return folds, document
        if not self.splits:
            return None
        whole, document = read_splits(self.splits)
        folds = choose_repeat(whole, self.repeat)
        if len(folds) == len(whole):
            return folds, document
        return folds, splits_document(
            folds,
            labels=document.labels,
            seed=document.seed,
            manifest_sha256=document.manifest_sha256,
            method=f"{document.method}; repeat {folds[0].repeat} of split file {document.sha256[:12]}",
            parent=SplitsParent(sha256=document.sha256, repeat=folds[0].repeat),
        )


NO_DIVISION = Division()


def divide(cohort: TrainingCohort, config: Config, given: DividedPatients | None) -> DividedPatients:
    """The folds of a cross-validation: those that were given, or folds of its usable images; every part can be used.

    Raises:
        ManifestError: patients are in no fold, a part has no usable image, or there are too few patients of a class.
    """
    manifest = cohort.manifest
    if given:
        _refuse_missing_patients(given[0], cohort)
    else:
        folds = make_folds(
            cohort.rows,
            manifest.labels,
            folds=config.crossval.folds,
            validation_fraction=config.training.validation_fraction,
            seed=config.seed,
        )
        given = (
            folds,
            splits_document(folds, labels=manifest.labels, seed=config.seed, manifest_sha256=manifest.sha256),
        )
    _refuse_empty_parts(given[0], cohort)
    return given


def _refuse_empty_parts(folds: Sequence[Fold], cohort: TrainingCohort) -> None:
    """Make sure now, not after hours, that every fold can be learnt from and judged.

    Raises:
        ManifestError: none of the images of a part is usable and has a known label.
    """
    for fold in folds:
        parts = {"training": fold.training, "validation": fold.validation, "held-out": fold.held_out}
        for name, patients in parts.items():
            if not cohort.places(patients, learning=name == "training"):
                called = f" ({fold.name})" if fold.name else ""
                raise ManifestError(
                    f"fold {fold.index + 1}{called}: none of its {len(patients)} {name} patients has a usable image "
                    f"with a known label, and {len(cohort.cache.refusals)} files of the cohort were refused: see why "
                    "with `medres check`, or make other folds"
                )


def _refuse_missing_patients(folds: Sequence[Fold], cohort: TrainingCohort) -> None:
    """Make sure that everybody with a known label is in a fold; say who else could have been learnt from.

    Raises:
        ManifestError: patients are missing.
    """
    named = {name for fold in folds for name in (*fold.training, *fold.validation, *fold.held_out)}
    missing = {row.patient_id for row in known_rows(cohort.rows, cohort.manifest.labels)} - named
    if missing:
        raise ManifestError(f"{len(missing)} patients with a known label are in no fold; make a new split file")
    learnable = cohort.places([row.patient_id for row in cohort.rows], learning=True)
    if left := {cohort.rows[place].patient_id for place in learnable} - named:
        log.warning("%d patients who have uncertain labels alone are in no fold: not learnt from", len(left))
