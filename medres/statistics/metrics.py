"""What a classifier's scores are worth: pure functions of arrays, undefined is None and never a number.

Labels are 0 or 1, one per image; scores are probabilities (or any score, for AUROC and average precision).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from sklearn import metrics as sklearn_metrics

from medres.statistics.resampling import BINS, STATISTICS, equal_mass_bins

OF_DECISIONS = ("sensitivity", "specificity", "ppv", "npv", "f1")
"""Statistics of decisions, in the order they are shown."""

NO_IMAGES = "undefined: no images"
ONE_CLASS = "undefined: only one class"
_NEVER_CERTAIN = 1e-15  # probabilities of 0 and 1 have no finite logit
_NEWTON_STEPS = 100


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a curve with the score thresholds at which they are reached (score ≥ threshold is positive)."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    thresholds: NDArray[np.float64]  # one per point; ROC starts, precision-recall ends with one beyond every score


@dataclass(frozen=True, slots=True)
class CalibrationCurve:
    """Mean probability and share of positives of bins of equal mass."""

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    n: NDArray[np.int64]  # images per bin
    positives: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CalibrationLine:
    """A logistic regression of the labels on the logit of the probabilities, with what its interval needs."""

    slope: float
    intercept: float
    residuals: NDArray[np.float64]  # (n,): label − fitted probability
    logits: NDArray[np.float64]  # (n,)
    information: NDArray[np.float64]  # (2, 2), of intercept and slope


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and scores as arrays.

    Raises:
        ValueError: unequal lengths, a label that is neither 0 nor 1, or a score that is not finite.
    """
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ValueError(f"one label and one score per image, got shapes {truth.shape} and {values.shape}")
    if not ((truth == 0) | (truth == 1)).all():
        raise ValueError("labels must be 0 or 1; leave unknown and uncertain images out")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite numbers")
    return truth.astype(np.int64), values


def statistic(name: str, labels: ArrayLike, scores: ArrayLike) -> float | None:
    """A statistic of `resampling.STATISTICS` by name; None where it is undefined."""
    truth, values = checked(labels, scores)
    if not len(truth):
        return None
    kernel = STATISTICS[name](truth, values, np.arange(len(truth)))
    value = float(kernel(np.ones((1, len(truth)), dtype=np.int64))[0])
    return None if np.isnan(value) else value


def auroc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half.

    None where a class is missing.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return statistic("auroc", labels, scores)


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Precision averaged over the recall gained at each distinct score (a step curve, not interpolated).

    None where a class is missing.
    """
    return statistic("average_precision", labels, scores)


def partial_auroc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """AUROC over false positive rates up to 0.1, scaled so that chance is 0.5 and perfection 1 (McClish 1989).

    None where a class is missing.
    """
    return statistic("partial_auroc", labels, scores)


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Mean squared difference of probability and label; None for no images."""
    return statistic("brier", labels, probabilities)


def sensitivity(labels: ArrayLike, positive: ArrayLike) -> float | None:
    """Share of positives that are called positive (decisions 0 or 1); None without positives.

    >>> sensitivity([1, 1, 0], [1, 0, 0])
    0.5
    """
    return statistic("sensitivity", labels, positive)


def specificity(labels: ArrayLike, positive: ArrayLike) -> float | None:
    """Share of negatives that are called negative; None without negatives."""
    return statistic("specificity", labels, positive)


def ppv(labels: ArrayLike, positive: ArrayLike) -> float | None:
    """Share of positive calls that are right, at this cohort's prevalence; None where nothing was called."""
    return statistic("ppv", labels, positive)


def npv(labels: ArrayLike, positive: ArrayLike) -> float | None:
    """Share of negative calls that are right, at this cohort's prevalence; None where everything was called."""
    return statistic("npv", labels, positive)


def f1(labels: ArrayLike, positive: ArrayLike) -> float | None:
    """Harmonic mean of sensitivity and PPV, at this cohort's prevalence; None without positives.

    >>> f1([1, 1, 0], [1, 0, 1])
    0.5
    """
    return statistic("f1", labels, positive)


def ppv_at(prevalence: float, *, sensitivity: float, specificity: float) -> float | None:
    """The share of positive calls that are right where `prevalence` of the images are positive (Bayes).

    None where nothing would be called.

    Raises:
        ValueError: an argument is not a share.

    >>> round(ppv_at(0.01, sensitivity=0.95, specificity=0.95) or 0, 3)
    0.161
    """
    if not all(0 <= share <= 1 for share in (prevalence, sensitivity, specificity)):
        raise ValueError("prevalence, sensitivity and specificity are shares from 0 to 1")
    right, wrong = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    return right / (right + wrong) if right + wrong > 0 else None


def npv_at(prevalence: float, *, sensitivity: float, specificity: float) -> float | None:
    """The share of negative calls that are right where `prevalence` of the images are positive (Bayes).

    None where everything would be called.
    """
    return ppv_at(1 - prevalence, sensitivity=specificity, specificity=sensitivity)


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Mean gap between probability and share of positives over ten bins of equal mass; None for no images.

    Source: Naeini et al. 2015, with quantile bins (Nixon et al. 2019).
    """
    return statistic("expected_calibration_error", labels, probabilities)


def calibration_line(labels: ArrayLike, probabilities: ArrayLike) -> tuple[float, float] | None:
    """Slope and intercept of the labels' log odds against the predicted ones; perfect is (1, 0).

    A slope below 1: predictions too extreme; above 1: too timid. An intercept below 0: too high where the
    predicted probability is one half. None where a class is missing or the classes are perfectly separated.
    Source: Cox 1958; Van Calster et al. 2019.
    """
    line = fit_calibration_line(labels, probabilities)
    return (line.slope, line.intercept) if line else None


def fit_calibration_line(labels: ArrayLike, probabilities: ArrayLike) -> CalibrationLine | None:
    """The line of `calibration_line` with residuals and information, for its interval."""
    truth, values = checked(labels, probabilities)
    positives, negatives = values[truth == 1], values[truth == 0]
    if not len(positives) or not len(negatives) or np.ptp(values) == 0:
        return None
    if positives.min() >= negatives.max() or positives.max() <= negatives.min():
        return None  # the likelihood has no maximum
    logits = logit(np.clip(values, _NEVER_CERTAIN, 1 - _NEVER_CERTAIN))
    centre, spread = logits.mean(), logits.std()
    design = np.stack([np.ones(len(logits)), (logits - centre) / spread], axis=1)
    intercept, slope = _newton(design, truth)
    slope /= spread
    intercept -= slope * centre
    fitted = expit(intercept + slope * logits)
    plain = np.stack([np.ones(len(logits)), logits], axis=1)
    information = (plain * (fitted * (1 - fitted))[:, None]).T @ plain
    return CalibrationLine(float(slope), float(intercept), truth - fitted, logits, information)


def _newton(design: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """The maximum of the logistic likelihood, by Newton steps that are halved until they climb."""
    signs = np.where(truth == 1, 1.0, -1.0)

    def loss(candidate: NDArray[np.float64]) -> float:
        return float(np.logaddexp(0.0, -signs * (design @ candidate)).sum())

    weights = np.zeros(2)
    for _ in range(_NEWTON_STEPS):
        fitted = expit(design @ weights)
        hessian = (design * (fitted * (1 - fitted))[:, None]).T @ design
        step = np.linalg.lstsq(hessian, design.T @ (truth - fitted), rcond=None)[0]
        while loss(weights + step) > loss(weights) and np.abs(step).max() > 1e-12:
            step = step / 2
        weights = weights + step
        if np.abs(step).max() < 1e-10:
            break
    return weights


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> Curve | None:
    """x: 1 − specificity, y: sensitivity; None where a class is missing."""
    truth, values = checked(labels, scores)
    if len(np.unique(truth)) < 2:
        return None
    return Curve(*sklearn_metrics.roc_curve(truth, values))


def precision_recall_curve(labels: ArrayLike, scores: ArrayLike) -> Curve | None:
    """x: recall from 1 down to 0, y: precision; None where a class is missing."""
    truth, values = checked(labels, scores)
    if len(np.unique(truth)) < 2:
        return None
    precision, recall, thresholds = sklearn_metrics.precision_recall_curve(truth, values)
    return Curve(recall, precision, np.append(thresholds, np.inf))


def calibration_curve(labels: ArrayLike, probabilities: ArrayLike, *, bins: int = BINS) -> CalibrationCurve | None:
    """The bins behind `expected_calibration_error`; None for no images."""
    truth, values = checked(labels, probabilities)
    if not len(truth):
        return None
    place = equal_mass_bins(values, bins)
    n = np.bincount(place)
    positives = np.bincount(place[truth == 1], minlength=len(n))
    return CalibrationCurve(np.bincount(place, weights=values) / n, positives / n, n, positives)
