"""What recalibration on a new cohort would give, judged on patients who did not choose it, and never mixed with what
the frozen model gives."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from medres.config import Evaluation
from medres.evaluation.performance import pooled
from medres.evaluation.table import JudgedImages
from medres.model.calibration import choose_operating_point
from medres.statistics.metrics import calibration_line

PARTS = 5
FEWEST = 10
"""Patients of each class below which two numbers and a threshold are not fitted."""

METRICS = (
    "brier", "expected_calibration_error", "calibration_slope", "calibration_intercept", "sensitivity", "specificity",
)  # fmt: skip
"""What recalibration can change; it leaves the order of scores, and with it the AUROC, as it is."""

_NEVER_CERTAIN = 1e-15


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """Cross-fitted probabilities and decisions, or why there are none."""

    images: JudgedImages | None  # `folds` are the parts of the cross-fitting
    reason: str = ""


def recalibrate(images: JudgedImages, *, evaluation: Evaluation, seed: int) -> Recalibrated:
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
        return Recalibrated(None, f"{few}: fewer than {FEWEST} of a class are too few to fit on")
    probabilities, positive = np.empty(len(images.truth)), np.empty(len(images.truth), dtype=np.int64)
    parts = np.empty(len(images.truth), dtype=np.int64)
    for number, (fit, held_out) in enumerate(_parts(images, seed)):
        line = calibration_line(images.truth[fit], images.probabilities[fit])
        if line is None:
            return Recalibrated(None, "the scores separate the classes perfectly, or are all equal: no line fits")
        if line[0] <= 0:
            return Recalibrated(None, "higher scores do not mean more positives here: no recalibration mends that")
        fitted, applied = (_apply(line, images.probabilities[part]) for part in (fit, held_out))
        point = choose_operating_point(images.truth[fit], fitted, evaluation)
        probabilities[held_out], positive[held_out] = applied, applied >= point.threshold
        parts[held_out] = number
    return Recalibrated(replace(images, probabilities=probabilities, positive=positive, folds=parts))


def recalibration_record(
    images: JudgedImages, *, evaluation: Evaluation, seed: int
) -> tuple[dict[str, Any], Recalibrated]:
    """What `run.json` keeps of one label's recalibration, and the probabilities it rests on."""
    found = recalibrate(images, evaluation=evaluation, seed=seed)
    if found.images is None:
        return {"reason": found.reason, "metrics": None}, found
    metrics = pooled(found.images, evaluation, seed)
    return {"reason": "", "metrics": {name: asdict(metrics[name]) for name in METRICS}}, found


def _parts(images: JudgedImages, seed: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(n_splits=PARTS, shuffle=True, random_state=seed)
    return list(splitter.split(images.truth[:, None], images.truth, images.patients))


def _apply(line: tuple[float, float], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    slope, intercept = line
    odds = logit(np.clip(probabilities, _NEVER_CERTAIN, 1 - _NEVER_CERTAIN))
    return np.asarray(expit(intercept + slope * odds))
