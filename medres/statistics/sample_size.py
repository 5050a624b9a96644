"""How many patients an external validation needs for figures of a stated precision (Riley et al. 2021).

Riley, Debray, Collins et al. 2021, Minimum sample size for external validation of a clinical prediction model with a
binary outcome: one image per patient is assumed, and 95 % intervals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medres.statistics.arrays import checked

_NEVER_CERTAIN = 1e-15
_Z = 1.959964

AUROC_WIDTH = 0.1
"""Of the interval of an AUROC: 0.05 on either side."""

SLOPE_WIDTH = 0.2
"""Of the interval of a calibration slope: 0.9 to 1.1."""

RATIO_WIDTH = 0.2
"""Of the interval of observed ÷ expected: about 0.9 to 1.1."""

WIDTHS = {"auroc": AUROC_WIDTH, "calibration_slope": SLOPE_WIDTH, "observed_expected": RATIO_WIDTH}
"""By metric. The widths are those that the authors' own software asks for where nobody says otherwise."""


def patients_needed(labels: ArrayLike, probabilities: ArrayLike, auroc: float | None) -> dict[str, int]:
    """For each figure of `WIDTHS` the patients that would make its interval so wide; {} where a class is missing.

    Args:
        labels: 0 or 1 per image.
        probabilities: one per image.
        auroc: of these.
    """
    truth, values = checked(labels, probabilities)
    prevalence = float(truth.mean()) if len(truth) else 0.0
    if not 0 < prevalence < 1 or auroc is None:
        return {}
    slope = patients_for_slope(truth, values)
    found = {"auroc": patients_for_auroc(auroc, prevalence)} if 0 < auroc < 1 else {}
    found |= {} if slope is None else {"calibration_slope": slope}
    return found | {"observed_expected": patients_for_ratio(prevalence)}


def patients_for_auroc(auroc: float, prevalence: float, *, width: float = AUROC_WIDTH) -> int:
    """Patients that make the interval of an AUROC so wide.

    Source: Newcombe 2006, the variance that needs no more than AUROC and prevalence; Riley et al. 2021, criterion 3.

    >>> patients_for_auroc(0.75, 0.1)
    1008
    """
    error = width / (2 * _Z)
    patients = 10

    def variance(n: float) -> float:
        first = auroc * (1 - auroc) / (n**2 * prevalence * (1 - prevalence))
        both = (1 - auroc) / (2 - auroc) + auroc / (1 + auroc)
        return first * (1 + (n / 2 - 1) * both)

    low, high = patients, patients
    while variance(high) > error**2:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if variance(middle) > error**2 else (low, middle)
    return high


def patients_for_ratio(prevalence: float, *, width: float = RATIO_WIDTH) -> int:
    """Patients that make the interval of observed ÷ expected, where it is 1, so wide. Riley et al. 2021, criterion 1.

    >>> patients_for_ratio(0.5), patients_for_ratio(0.1)
    (386, 3469)
    """
    error = np.arcsinh(width / 2) / _Z  # exp(z s) − exp(−z s) is the width
    return int(np.ceil((1 - prevalence) / (prevalence * error**2)))


def patients_for_slope(labels: ArrayLike, probabilities: ArrayLike, *, width: float = SLOPE_WIDTH) -> int | None:
    """Patients whose probabilities are spread like these that make the interval of a calibration slope so wide.

    From the information of a well calibrated model: Riley et al. 2021, criterion 2. None where all are equal.

    Args:
        labels: 0 or 1 per image.
        probabilities: one per image, of the model.
        width: of the interval.
    """
    _, values = checked(labels, probabilities)
    if not len(values) or np.ptp(values) == 0:
        return None
    likely = np.clip(values, _NEVER_CERTAIN, 1 - _NEVER_CERTAIN)
    logits, weights = np.log(likely) - np.log1p(-likely), likely * (1 - likely)
    level, both, slope = weights.mean(), (weights * logits).mean(), (weights * logits**2).mean()
    determinant = level * slope - both**2
    if determinant <= 0:
        return None
    return int(np.ceil(level / determinant / (width / (2 * _Z)) ** 2))
