"""From counts, or from the resampled values of a figure, to its interval or to the reason why it has none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medres.records import Interval

LEAST_PATIENTS = 5
"""Patients of the rarer class below which ranks, differences of two and calibration lines get no interval.

In simulated cohorts of 200 patients with 2, 3, 5 and 8 positive ones, percentiles of the replicates hold an AUROC of
0.76 in 60, 73, 85 and 93 of 100, and `logit_interval` in 95 or more; but below five its bounds lie 0.7 apart or more
and say nothing, and those of a partial AUROC hold it in 69 to 88. Percentiles of a paired difference hold 0 in 80 to
94 of 100 with three positive patients, in 88 to 95 with five. See `tests/test_coverage.py`.
"""

NO_IMAGES = "undefined: no images"
ONE_CLASS = "undefined: only one class"
ONE_PATIENT = "no interval: only one patient"
UNDEFINED = "no interval: undefined in every resample"
SAME_VALUE = "no interval: every resample gives the same value"
ROUNDING = 1e-12  # values that are this close differ by the order of a sum alone


def fewest_patients(labels: NDArray[np.int64], patient: NDArray[np.intp]) -> int:
    """Patients with an image of the class that fewer of them have."""
    return min(len(np.unique(patient[labels == one])) for one in (0, 1))


def too_few(labels: NDArray[np.int64], patient: NDArray[np.intp]) -> str:
    """Why there is no interval where a class has hardly a patient; "" where both have enough."""
    if len(np.unique(patient)) < 2:
        return ONE_PATIENT
    for one, word in ((1, "with"), (0, "without")):
        if len(np.unique(patient[labels == one])) < LEAST_PATIENTS:
            return f"no interval: fewer than {LEAST_PATIENTS} patients {word} the finding"
    return ""


def no_bounds(drawn: NDArray[np.float64], n_patients: int) -> str:
    """Why replicates, NaN where undefined, give no interval; "" where they do. That all agree is no certainty."""
    if n_patients < 2:
        return ONE_PATIENT
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return UNDEFINED
    return SAME_VALUE if np.ptp(defined) <= ROUNDING else ""


def percentile_interval(
    value: float, drawn: NDArray[np.float64], *, n: int, n_patients: int, confidence: float, seed: int, how: str = ""
) -> Interval:
    """The interval of a defined value from its resampled values (replicates,), NaN where undefined."""
    reason = no_bounds(drawn, n_patients)
    if reason:
        return Interval(value, None, None, reason, n, n_patients)
    low, high = percentiles(drawn, confidence)
    method = f"patient-clustered bootstrap, percentile, {len(drawn)} replicates, seed {seed}{how}"
    return Interval(value, low, high, method + undefined_replicates(drawn), n, n_patients)


def deviation_interval(
    value: float, drawn: NDArray[np.float64], *, n: int, n_patients: int, confidence: float, seed: int
) -> Interval:
    """The interval of an expected calibration error from how far the gaps of its bins move when patients are resampled.

    The error adds up the sizes of gaps, so chance alone makes it grow and resampling makes it grow again: percentiles
    of its replicates would miss 0 where the model is perfectly calibrated. But two errors never differ by more than
    their gaps do, added up; so the distance that so many resamples keep to the cohort, on either side of the error,
    holds the error of these bins at least so often: 0 exactly where the gaps do not refute perfect calibration. In
    simulated cohorts of 60 to 1,000 patients 0 is held in 88 to 95 of 100, the errors of miscalibrated models in 98 or
    more.

    Args:
        value: the error.
        drawn: of the resamples, the sum over bins of how far the gap lies from the cohort's (replicates,).
        n: images.
        n_patients: patients.
        confidence: for example 0.95.
        seed: of the resamples.
    """
    reason = no_bounds(drawn, n_patients)
    if reason:
        return Interval(value, None, None, reason, n, n_patients)
    reach = float(np.nanquantile(drawn, confidence))
    method = (
        f"patient-clustered bootstrap of the gaps in these bins, conservative, {len(drawn)} replicates, seed {seed}; "
        "0 is within unless the gaps refute perfect calibration"
    )
    return Interval(value, max(0.0, value - reach), min(1.0, value + reach), method, n, n_patients)


def exact_interval(value: float, trials: int, of: str, *, n: int, n_patients: int, confidence: float) -> Interval:
    """The interval of a value of 0 or 1 that every resample gives: as of so many independent things, all alike."""
    low, high = exact_bounds(round(value) * trials, trials, confidence=confidence)
    return Interval(value, low, high, f"exact binomial on {trials} {of}", n, n_patients)


def percentiles(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """The bounds that leave (1 − confidence) / 2 of the defined values on either side."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(values[~np.isnan(values)], [tail, 1 - tail])
    return float(low), float(high)


def undefined_replicates(drawn: NDArray[np.float64]) -> str:
    """What `method` says of replicates without a value, "" where there are none."""
    lost = int(np.isnan(drawn).sum())
    return f"; {lost} undefined and left out" if lost else ""


def exact_bounds(hits: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's bounds of a share of n, which is above 0.

    >>> [round(bound, 4) for bound in exact_bounds(10, 10)]
    [0.6915, 1.0]
    """
    from scipy.stats import binomtest

    found = binomtest(hits, n).proportion_ci(confidence_level=confidence, method="exact")
    return float(found.low), float(found.high)


def wilson(hits: int, n: int, *, confidence: float = 0.95) -> Interval:
    """A share with Wilson's score interval; images are taken as independent.

    >>> found = wilson(8, 10)
    >>> found.value, round(found.low or 0, 4), round(found.high or 0, 4)
    (0.8, 0.4902, 0.9433)

    Raises:
        ValueError: more hits than images.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is not a share")
    if n == 0:
        return Interval(None, None, None, NO_IMAGES, 0, 0)
    low, high = wilson_bounds(hits / n, n, confidence=confidence)
    return Interval(hits / n, low, high, "Wilson score interval; images taken as independent, not clustered", n, n)


def wilson_bounds(share: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score bounds of a share of n.

    Written out because scipy's `binomtest` takes whole hits of n alone, and a share of images is not a whole number of
    the patients that stand for the sample; where both apply they agree (`tests/test_intervals.py`).
    """
    from scipy.stats import norm

    z = float(norm.isf((1 - confidence) / 2))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    return min(share, max(0.0, centre - reach)), max(share, min(1.0, centre + reach))
