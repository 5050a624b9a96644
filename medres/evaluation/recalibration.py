"""What recalibration on a new cohort would give, judged on patients who did not choose it.

It is never mixed with what the frozen model gives: it says what could be had, not what there is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medres.config import Evaluation
from medres.evaluation.performance import pooled
from medres.evaluation.results import RecalibrationRecord
from medres.evaluation.table import JudgedImages
from medres.model.calibration import choose_operating_point
from medres.statistics.calibration import calibration_line
from medres.statistics.metric import shown_in

PARTS = 5
FEWEST = 10
"""Patients of each class below which two numbers and a threshold are not fitted."""

_NEVER_CERTAIN = 1e-15


@dataclass(frozen=True, slots=True)
class CrossFitted:
    """Cross-fitted probabilities and decisions, or why there are none."""

    images: JudgedImages | None  # `folds` are the parts of the cross-fitting
    reason: str = ""


def recalibrate(images: JudgedImages, *, evaluation: Evaluation, seed: int) -> CrossFitted:
    """Slope and intercept on the log odds, and the threshold, fitted on four fifths of the patients for the last fifth.

    Source: logistic recalibration, Cox 1958; Steyerberg et al. 2004.

    Args:
        images: what the frozen model said.
        evaluation: the rule of the threshold.
        seed: of the parts.
    """
    counts = [len(np.unique(images.patients[images.truth == one])) for one in (1, 0)]
    if min(counts) < FEWEST:
        few = f"{counts[0]} positive and {counts[1]} negative patients"
        return CrossFitted(None, f"{few}: fewer than {FEWEST} of a class are too few to fit on")
    probabilities, positive = np.empty(len(images.truth)), np.empty(len(images.truth), dtype=np.int64)
    parts = np.empty(len(images.truth), dtype=np.int64)
    for number, (fit, held_out) in enumerate(_parts(images, seed)):
        line = calibration_line(images.truth[fit], images.probabilities[fit])
        if line is None:
            return CrossFitted(None, "the scores separate the classes perfectly, or are all equal: no line fits")
        if line[0] <= 0:
            return CrossFitted(None, "higher scores do not mean more positives here: no recalibration mends that")
        fitted, applied = (_apply(line, images.probabilities[part]) for part in (fit, held_out))
        point = choose_operating_point(images.truth[fit], fitted, evaluation)
        probabilities[held_out], positive[held_out] = applied, applied >= point.threshold
        parts[held_out] = number
    return CrossFitted(replace(images, probabilities=probabilities, positive=positive, folds=parts))


def recalibration_record(
    images: JudgedImages, *, evaluation: Evaluation, seed: int
) -> tuple[RecalibrationRecord, CrossFitted]:
    """What `run.json` keeps of one label's recalibration, and the probabilities it rests on."""
    found = recalibrate(images, evaluation=evaluation, seed=seed)
    if found.images is None:
        return RecalibrationRecord(reason=found.reason, metrics=None), found
    figures = pooled(found.images, evaluation, seed, place="recalibration")
    order = sorted(shown_in("recalibration"), key=lambda one: one.judges == "decisions")
    return RecalibrationRecord(reason="", metrics={one.name: figures[one.name] for one in order}), found


def _parts(images: JudgedImages, seed: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(n_splits=PARTS, shuffle=True, random_state=seed)
    return list(splitter.split(images.truth[:, None], images.truth, images.patients))


def _apply(line: tuple[float, float], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import expit, logit

    slope, intercept = line
    odds = logit(np.clip(probabilities, _NEVER_CERTAIN, 1 - _NEVER_CERTAIN))
    return np.asarray(expit(intercept + slope * odds))
