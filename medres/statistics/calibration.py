"""Do probabilities keep their word? Bins of equal mass, the calibration error, and the calibration line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.records import Interval
from medres.statistics.arrays import checked, patient_numbers
from medres.statistics.intervals import NO_IMAGES, ONE_CLASS, fewest_patients, too_few
from medres.statistics.kernels import divide, of_repeated_images, ratio
from medres.statistics.resampling import Counts, CurveKernel, Kernel

BINS = 10
NO_VARIANCE = (
    "no interval: scores nearly separate the classes, or are nearly equal, so that the variance is lost in rounding"
)
_NEVER_CERTAIN = 1e-15  # probabilities of 0 and 1 have no finite logit
_NEWTON_STEPS = 100
_SINGULAR = 1e12  # condition number from which an inverse is right to less than four digits


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


def equal_mass_bins(probabilities: NDArray[np.float64], bins: int = BINS) -> NDArray[np.intp]:
    """The bin of each probability: cut at quantiles, equal probabilities always together, no bin empty.

    >>> equal_mass_bins(np.array([0.1, 0.9, 0.2, 0.8]), bins=2).tolist()
    [0, 1, 0, 1]
    """
    edges = np.quantile(probabilities, np.linspace(0, 1, bins + 1)[1:-1])
    return np.unique(np.searchsorted(edges, probabilities, side="right"), return_inverse=True)[1]


def _calibration_gaps(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> CurveKernel:
    """Mean probability less share of positives per bin, times the bin's share of images: (replicates, bins).

    The bins are those of the whole cohort.
    """
    patients, place = int(patient.max()) + 1, equal_mass_bins(scores)
    gaps = np.zeros((patients, int(place.max()) + 1))
    np.add.at(gaps, (patient, place), scores - labels)
    images = np.bincount(patient, minlength=patients)

    def values(counts: Counts) -> NDArray[np.float64]:
        total = (counts * images).sum(axis=1, keepdims=True).astype(np.float64)
        return divide(counts @ gaps, np.broadcast_to(total, (len(counts), gaps.shape[1])))

    return values


def expected_calibration_error(
    labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]
) -> Kernel:
    """The mean gap between probability and share of positives over the bins.

    Source: Naeini et al. 2015, with quantile bins (Nixon et al. 2019).
    """
    gaps = _calibration_gaps(labels, scores, patient)
    return lambda counts: np.abs(gaps(counts)).sum(axis=1)


def calibration_deviation(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """How far the gaps behind the expected calibration error move from those of the whole cohort, added up."""
    gaps = _calibration_gaps(labels, scores, patient)
    found = gaps(np.ones((1, int(patient.max()) + 1), dtype=np.int64))
    return lambda counts: np.abs(gaps(counts) - found).sum(axis=1)


def calibration_line(labels: ArrayLike, probabilities: ArrayLike) -> tuple[float, float] | None:
    """Slope and intercept of the labels' log odds against the predicted ones; perfect is (1, 0).

    A slope below 1: predictions too extreme; above 1: too timid. An intercept below 0: too high where the
    predicted probability is one half. None where a class is missing or the classes are perfectly separated.
    Source: Cox 1958. What Van Calster et al. 2019 call the calibration intercept is `intercept_at_slope_1`.
    """
    line = fit_calibration_line(labels, probabilities)
    return (line.slope, line.intercept) if line else None


def fit_calibration_line(labels: ArrayLike, probabilities: ArrayLike) -> CalibrationLine | None:
    """The line of `calibration_line` with residuals and information, for its interval."""
    from scipy.special import expit, logit

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
    from scipy.special import expit

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


def intercept_at_slope_1(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """What must be added to the log odds so that the mean probability is the share of positives; perfect is 0.

    Below 0: probabilities are too high on the whole. None where a class is missing.
    Source: calibration in the large, Van Calster et al. 2019.

    >>> round(intercept_at_slope_1([0, 1, 1, 1], [0.5, 0.5, 0.5, 0.5]), 4)  # the odds are 3
    1.0986
    """
    from scipy.optimize import brentq
    from scipy.special import expit, logit

    truth, values = checked(labels, probabilities)
    if len(np.unique(truth)) < 2:
        return None
    logits = logit(np.clip(values, _NEVER_CERTAIN, 1 - _NEVER_CERTAIN))
    widest = float(np.abs(logits).max() + np.log(len(truth)) + 1)
    found = brentq(lambda shift: float((expit(shift + logits) - truth).sum()), -widest, widest, xtol=1e-12)
    return float(found)


def calibration_in_the_large(
    labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]
) -> Kernel:
    """`intercept_at_slope_1`, fitted anew to every resample."""
    return of_repeated_images(intercept_at_slope_1)(labels, scores, patient)


def observed_to_expected(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """Positives that there are, divided by those that the probabilities add up to. Source: Riley et al. 2016."""
    return ratio(labels, scores, patient)


def calibration_slope(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """The slope of the calibration line, fitted anew to every resample."""
    return of_repeated_images(lambda truth, values: (calibration_line(truth, values) or (None, None))[0])(
        labels, scores, patient
    )


def calibration_intercept(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """The intercept of the calibration line, fitted anew to every resample."""
    return of_repeated_images(lambda truth, values: (calibration_line(truth, values) or (None, None))[1])(
        labels, scores, patient
    )


def calibration_intervals(
    labels: ArrayLike, probabilities: ArrayLike, groups: ArrayLike, *, confidence: float = 0.95
) -> dict[str, Interval]:
    """`calibration_slope`, `calibration_intercept` and `calibration_in_the_large` with clustered sandwich intervals.

    No bounds where the variance is lost in rounding, as where the classes are all but separated; nor where a class has
    fewer than LEAST_PATIENTS patients: with 2 to 4 of 200 they would hold the truth in 74 to 85 of 100.

    Source: Liang and Zeger 1986, with the factor P / (P − 1) for P patients.
    """
    truth, values = checked(labels, probabilities)
    patient = patient_numbers(groups)
    n, n_patients = len(truth), len(np.unique(patient))
    names = ("calibration_intercept", "calibration_slope")
    line = fit_calibration_line(truth, values)
    large = {"calibration_in_the_large": _in_the_large(truth, values, patient, confidence)}
    if line is None:
        one_class = len(np.unique(truth)) < 2
        reason = ONE_CLASS if one_class else "undefined: scores separate the classes perfectly, or are all equal"
        undefined = Interval(None, None, None, NO_IMAGES if not n else reason, n, n_patients)
        return dict.fromkeys(names, undefined) | large
    values_of = dict(zip(names, (line.intercept, line.slope), strict=True))
    few = too_few(truth, patient)
    unbounded = {name: Interval(value, None, None, few, n, n_patients) for name, value in values_of.items()}
    if few:
        return unbounded | large
    parts = np.stack([line.residuals, line.residuals * line.logits], axis=1)
    scores = np.zeros((n_patients, 2))
    np.add.at(scores, patient, parts)
    settled = np.isfinite(line.information).all() and np.linalg.cond(line.information) < _SINGULAR
    bread: Any = np.linalg.inv(line.information) if settled else np.full((2, 2), np.nan)
    variances = np.diag(bread @ (scores.T @ scores) @ bread) * (n_patients / (n_patients - 1))
    if not (np.isfinite(variances) & (variances > 0)).all():
        return {name: replace(one, method=NO_VARIANCE) for name, one in unbounded.items()} | large
    quantile, method = _sandwich(truth, patient, confidence)
    return {
        name: Interval(value, float(value - half), float(value + half), method, n, n_patients)
        for (name, value), half in zip(values_of.items(), quantile * np.sqrt(variances), strict=True)
    } | large


def _sandwich(truth: NDArray[np.int64], patient: NDArray[np.intp], confidence: float) -> tuple[float, str]:
    """The quantile of a sandwich interval, and how it was made."""
    from scipy.stats import t as student

    freedom = fewest_patients(truth, patient) - 1
    words = f"patient-clustered sandwich, Student's t with {freedom} degrees of freedom"
    return float(student.isf((1 - confidence) / 2, freedom)), words


def _in_the_large(
    truth: NDArray[np.int64], values: NDArray[np.float64], patient: NDArray[np.intp], confidence: float
) -> Interval:
    from scipy.special import expit, logit

    n, n_patients = len(truth), len(np.unique(patient))
    value = intercept_at_slope_1(truth, values)
    if value is None:
        return Interval(None, None, None, ONE_CLASS if n else NO_IMAGES, n, n_patients)
    if few := too_few(truth, patient):
        return Interval(value, None, None, few, n, n_patients)
    fitted = expit(value + logit(np.clip(values, _NEVER_CERTAIN, 1 - _NEVER_CERTAIN)))
    information = float((fitted * (1 - fitted)).sum())
    squares = float((np.bincount(patient, weights=truth - fitted) ** 2).sum()) * n_patients / (n_patients - 1)
    if information <= 0 or squares <= 0:
        return Interval(value, None, None, NO_VARIANCE, n, n_patients)
    quantile, method = _sandwich(truth, patient, confidence)
    half = quantile * float(np.sqrt(squares)) / information
    return Interval(value, value - half, value + half, method, n, n_patients)


def calibration_curve(labels: ArrayLike, probabilities: ArrayLike, *, bins: int = BINS) -> CalibrationCurve | None:
    """The bins behind `expected_calibration_error`; None for no images."""
    truth, values = checked(labels, probabilities)
    if not len(truth):
        return None
    place = equal_mass_bins(values, bins)
    n = np.bincount(place)
    positives = np.bincount(place[truth == 1], minlength=len(n))
    return CalibrationCurve(np.bincount(place, weights=values) / n, positives / n, n, positives)
