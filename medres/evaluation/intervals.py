"""How sure a figure is: intervals that resample patients, because images of one patient are not independent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta, norm, rankdata

from medres.evaluation import metrics
from medres.evaluation.metrics import checked, fit_calibration_line
from medres.evaluation.resampling import STATISTICS, Counts, Kernel, Prepare, patient_numbers, resamples
from medres.records import Interval

Statistic = Callable[[NDArray[np.int64], NDArray[np.float64]], float | None]
"""Labels and scores, one of each per image, to a value; None where undefined."""

_Base = Callable[[NDArray[np.int64], NDArray[np.float64]], NDArray[np.bool_]]

_BASES: Mapping[str, _Base] = {  # the images that a share is a share of
    "sensitivity": lambda labels, _: labels == 1,
    "specificity": lambda labels, _: labels == 0,
    "ppv": lambda _, scores: scores > 0,
    "npv": lambda _, scores: scores <= 0,
}
ONE_CLASS = "undefined: only one class"
_NO_BASE = {
    "sensitivity": f"{ONE_CLASS} (no positive image)",
    "specificity": f"{ONE_CLASS} (no negative image)",
    "ppv": "undefined: nothing was called positive",
    "npv": "undefined: nothing was called negative",
}
NO_IMAGES = "undefined: no images"
ONE_PATIENT = "no interval: only one patient"
INFLATED = "no interval: resampling inflates this error; judge by the calibration slope and intercept"


def bootstrap(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    *,
    statistic: str | Statistic = "auroc",
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """An estimate with its patient-clustered bootstrap interval.

    Percentiles of the replicates; those in which the statistic is undefined are left out and counted in `method`.
    Where every replicate agrees (a perfect score) resampling shows no uncertainty: shares then get the exact
    binomial interval of their patients, AUROC that of disjoint pairs of patients, others none. The expected
    calibration error gets none either: resampling inflates it, so that the interval of a perfectly calibrated
    model would miss the truth half of the time. `n` counts the images that the statistic rests on: for a
    sensitivity, the positives.

    Args:
        labels: 0 or 1 per image.
        scores: probability per image; for sensitivity, specificity, ppv, npv the decision 0 or 1.
        groups: the patient of each image.
        statistic: a name of `resampling.STATISTICS`, or a function of labels and scores (slower).
        replicates: number of resamples.
        confidence: for example 0.95.
        seed: of the resamples.

    Raises:
        ValueError: see `metrics.checked`; or an unknown statistic.
    """
    truth, values = checked(labels, scores)
    patient = patient_numbers(groups)
    if patient.shape != truth.shape:
        raise ValueError(f"one patient per image, got {patient.shape} for {truth.shape}")
    if isinstance(statistic, str) and statistic not in STATISTICS:
        raise ValueError(f"no statistic {statistic!r}; known: {', '.join(STATISTICS)}")
    name = statistic if isinstance(statistic, str) else ""
    base = _BASES[name](truth, values) if name in _BASES else np.ones(len(truth), dtype=bool)
    n, n_patients = int(base.sum()), len(np.unique(patient[base]))
    if not len(truth):
        return Interval(None, None, None, NO_IMAGES, 0, 0)
    value = metrics.statistic(statistic, truth, values) if isinstance(statistic, str) else statistic(truth, values)
    if value is None:
        return Interval(None, None, None, _NO_BASE.get(name, ONE_CLASS), n, n_patients)
    if n_patients < 2:
        return Interval(value, None, None, ONE_PATIENT, n, n_patients)
    if name == "expected_calibration_error":
        return Interval(value, None, None, INFLATED, n, n_patients)
    prepare = STATISTICS[statistic] if isinstance(statistic, str) else _slow(statistic)
    kernel, patients = prepare(truth, values, patient), int(patient.max()) + 1
    drawn = np.concatenate([kernel(c) for c in resamples(patients, len(truth), replicates=replicates, seed=seed)])
    defined = drawn[~np.isnan(drawn)]
    if not len(defined) or (np.ptp(defined) == 0 and defined[0] == value):
        return _unanimous(name, value, truth, patient, base, confidence)
    low, high = percentiles(defined, confidence)
    method = f"patient-clustered bootstrap, percentile, {replicates} replicates, seed {seed}"
    return Interval(value, low, high, method + undefined_replicates(drawn), n, n_patients)


def bootstrap_difference(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike,
    *,
    statistic: str = "auroc",
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The second model's statistic minus the first's on the same images, both from the same resampled patients.

    Arguments as for `bootstrap`; an interval that holds 0 is a tie.

    Raises:
        ValueError: see `bootstrap`.
    """
    pairs = [checked(labels, scores) for scores in (first, second)]
    truth, patient = pairs[0][0], patient_numbers(groups)
    if statistic not in STATISTICS or patient.shape != truth.shape:
        raise ValueError(f"needs one patient per image and a statistic of {', '.join(STATISTICS)}")
    n, n_patients = len(truth), len(np.unique(patient))
    if not n:
        return Interval(None, None, None, NO_IMAGES, 0, 0)
    kernels = [STATISTICS[statistic](truth, scores, patient) for _, scores in pairs]

    def difference(counts: Counts) -> NDArray[np.float64]:
        return kernels[1](counts) - kernels[0](counts)

    value = float(difference(np.ones((1, n_patients), dtype=np.int64))[0])
    if np.isnan(value):
        return Interval(None, None, None, _NO_BASE.get(statistic, ONE_CLASS), n, n_patients)
    if n_patients < 2:
        return Interval(value, None, None, ONE_PATIENT, n, n_patients)
    drawn = np.concatenate([difference(c) for c in resamples(n_patients, n, replicates=replicates, seed=seed)])
    defined = drawn[~np.isnan(drawn)]
    low, high = percentiles(defined, confidence)
    method = f"paired patient-clustered bootstrap, percentile, {replicates} replicates, seed {seed}"
    return Interval(value, low, high, method + undefined_replicates(drawn), n, n_patients)


def percentiles(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """The bounds that leave (1 − confidence) / 2 of the values on either side."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def undefined_replicates(drawn: NDArray[np.float64]) -> str:
    """What `method` says of replicates without a value, "" where there are none."""
    lost = int(np.isnan(drawn).sum())
    return f"; {lost} undefined and left out" if lost else ""


def _slow(function: Statistic) -> Prepare:
    """Any function as a kernel: each resample's images are repeated as often as they were drawn."""

    def prepare(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
        def one(row: Counts) -> float:
            places = np.repeat(np.arange(len(labels)), row[patient])
            value = function(labels[places], scores[places])
            return np.nan if value is None else value

        return lambda counts: np.array([one(row) for row in counts], dtype=np.float64)

    return prepare


def _unanimous(
    name: str,
    value: float,
    labels: NDArray[np.int64],
    patient: NDArray[np.intp],
    base: NDArray[np.bool_],
    confidence: float,
) -> Interval:
    """The interval of a share or an AUROC that is exactly 0 or 1 in every resample."""
    n, n_patients = int(base.sum()), len(np.unique(patient[base]))
    if value not in (0.0, 1.0) or name not in ("auroc", *_BASES):
        return Interval(value, None, None, "no interval: every resample gives the same value", n, n_patients)
    if name == "auroc":
        positives, negatives = (len(np.unique(patient[labels == one])) for one in (1, 0))
        trials = max(1, min(positives, negatives, n_patients // 2))
        method = f"exact binomial on {trials} disjoint pairs of patients (the classes are separated)"
    else:
        trials = n_patients
        method = f"exact binomial on {trials} patients (every resample gives the same value)"
    low, high = exact_bounds(round(value) * trials, trials, confidence=confidence)
    return Interval(value, low, high, method, n, n_patients)


def exact_bounds(hits: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's bounds of a share.

    >>> [round(bound, 4) for bound in exact_bounds(10, 10)]
    [0.6915, 1.0]
    """
    """The bounds that leave (1 − confidence) / 2 of the values on either side."""
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(1 - tail, hits + 1, n - hits))
    return low, high


def wilson(hits: int, n: int, *, confidence: float = 0.95) -> Interval:
    """A share with Wilson's score interval; images are taken as independent.

    >>> found = wilson(8, 10)
    >>> found.value, round(found.low or 0, 4), round(found.high or 0, 4)
    (0.8, 0.4902, 0.9433)
    """
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is not a share")
    if n == 0:
        return Interval(None, None, None, NO_IMAGES, 0, 0)
    z = float(norm.isf((1 - confidence) / 2))
    share = hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    low, high = min(share, max(0.0, centre - reach)), max(share, min(1.0, centre + reach))
    return Interval(share, low, high, "Wilson score interval; images taken as independent, not clustered", n, n)


def delong(labels: ArrayLike, scores: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """AUROC with DeLong's interval, O(n log n); images are taken as independent, one per patient.

    Source: DeLong et al. 1988; Sun and Xu 2014 for the ranks.
    """
    truth, values = checked(labels, scores)
    positives, negatives = values[truth == 1], values[truth == 0]
    m, n = len(positives), len(negatives)
    method = "DeLong, images taken as independent, not clustered"
    if not m or not n:
        return Interval(None, None, None, ONE_CLASS, m + n, m + n)
    ranks = rankdata(np.concatenate([positives, negatives]))
    above = (ranks[:m] - rankdata(positives)) / n  # per positive: the share of negatives below it
    below = 1 - (ranks[m:] - rankdata(negatives)) / m  # per negative: the share of positives above it
    value = float(above.mean())
    if m < 2 or n < 2:
        return Interval(value, None, None, f"no interval: {method} needs two images of each class", m + n, m + n)
    reach = float(norm.isf((1 - confidence) / 2) * np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n))
    return Interval(value, max(0.0, value - reach), min(1.0, value + reach), method, m + n, m + n)


def calibration_intervals(
    labels: ArrayLike, probabilities: ArrayLike, groups: ArrayLike, *, confidence: float = 0.95
) -> dict[str, Interval]:
    """`calibration_slope` and `calibration_intercept` with patient-clustered sandwich intervals.

    Source: Liang and Zeger 1986, with the factor P / (P − 1) for P patients.
    """
    truth, values = checked(labels, probabilities)
    patient = patient_numbers(groups)
    n, n_patients = len(truth), len(np.unique(patient))
    names = ("calibration_intercept", "calibration_slope")
    line = fit_calibration_line(truth, values)
    if line is None:
        one_class = len(np.unique(truth)) < 2
        reason = ONE_CLASS if one_class else "undefined: scores separate the classes perfectly, or are all equal"
        return dict.fromkeys(names, Interval(None, None, None, NO_IMAGES if not n else reason, n, n_patients))
    if n_patients < 2:
        return {
            name: Interval(value, None, None, ONE_PATIENT, n, n_patients)
            for name, value in zip(names, (line.intercept, line.slope), strict=True)
        }
    parts = np.stack([line.residuals, line.residuals * line.logits], axis=1)
    scores = np.zeros((n_patients, 2))
    np.add.at(scores, patient, parts)
    bread: Any = np.linalg.inv(line.information)
    covariance = bread @ (scores.T @ scores) @ bread * (n_patients / (n_patients - 1))
    reach = float(norm.isf((1 - confidence) / 2)) * np.sqrt(np.diag(covariance))
    method = "patient-clustered sandwich, normal approximation"
    return {
        name: Interval(value, float(value - half), float(value + half), method, n, n_patients)
        for name, value, half in zip(names, (line.intercept, line.slope), reach, strict=True)
    }
