"""Patients instead of images: what a model says of everybody once, by a rule that was chosen beforehand."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medres.config import Evaluation
from medres.evaluation.results import PatientResults
from medres.evaluation.table import JudgedImages
from medres.records import Interval

PatientRule = Literal["any", "mean", "worst"]


def of_patients(images: JudgedImages, rule: PatientRule) -> JudgedImages:
    """One row per patient: positive where an image is, scored by the highest or the mean probability.

    `any`: called where any image is. `mean`: where half of the images are or more. `worst`: as the image of the highest
    probability is; with one threshold for all that is the same as `any`.
    """
    names, first, owner = np.unique(images.patients, return_index=True, return_inverse=True)
    count = np.bincount(owner)
    highest = np.full(len(names), -np.inf)
    np.maximum.at(highest, owner, images.probabilities)
    called = np.bincount(owner, weights=images.positive)
    probabilities: NDArray[np.float64] = highest
    positive = called > 0
    if rule == "mean":
        probabilities = np.bincount(owner, weights=images.probabilities) / count
        positive = called >= count / 2
    elif rule == "worst":
        at_highest = images.probabilities == highest[owner]
        positive = np.bincount(owner, weights=images.positive * at_highest) > 0
    return JudgedImages(
        truth=(np.bincount(owner, weights=images.truth) > 0).astype(np.int64),
        probabilities=probabilities,
        positive=positive.astype(np.int64),
        patients=names,
        folds=images.folds[first],
        rows=images.rows[first],
        uncertain=images.uncertain,
        unknown=images.unknown,
    )


def patient_results(images: JudgedImages, figures: dict[str, Interval], evaluation: Evaluation) -> PatientResults:
    """The record of a label's patients.

    Args:
        images: all judged images.
        figures: of `of_patients`.
        evaluation: the rule.
    """
    _, owner = np.unique(images.patients, return_inverse=True)
    count, positives = np.bincount(owner), np.bincount(owner, weights=images.truth)
    return PatientResults(
        rule=evaluation.patient_rule,
        n_images=len(images.truth),
        n_patients=len(count),
        n_positive=int((positives > 0).sum()),
        several=int((count > 1).sum()),
        disagreeing=int(((positives > 0) & (positives < count)).sum()),
        figures=figures,
    )
