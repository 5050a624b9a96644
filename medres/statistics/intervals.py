"""How sure a figure is; images of one patient are not independent, so intervals are clustered by patient.

`bootstrap` for any statistic, `delong` for AUROC (clustered where patients are given), `calibration_intervals` for the
calibration line, `wilson` for shares of independent things; `bootstrap_difference` and `delong_difference` for two
models on the same images.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from medres.records import Interval
from medres.statistics.bootstrap import (
    Sample,
    Statistic,
    bootstrap,
    bootstrap_difference,
    bootstraps,
    replicate,
)
from medres.statistics.bounds import ONE_PATIENT, SAME_VALUE, percentiles, too_few
from medres.statistics.delong import delong, delong_difference
from medres.statistics.metrics import NO_IMAGES, ONE_CLASS, checked, fit_calibration_line
from medres.statistics.proportions import exact_bounds, wilson
from medres.statistics.resampling import patient_numbers

__all__ = [
    "NO_IMAGES",
    "ONE_CLASS",
    "ONE_PATIENT",
    "SAME_VALUE",
    "Sample",
    "Statistic",
    "bootstrap",
    "bootstrap_difference",
    "bootstraps",
    "calibration_intervals",
    "delong",
    "delong_difference",
    "exact_bounds",
    "percentiles",
    "replicate",
    "wilson",
]


NO_VARIANCE = (
    "no interval: scores nearly separate the classes, or are nearly equal, so that the variance is lost in rounding"
)
_SINGULAR = 1e12  # condition number from which an inverse is right to less than four digits


def calibration_intervals(
    labels: ArrayLike, probabilities: ArrayLike, groups: ArrayLike, *, confidence: float = 0.95
) -> dict[str, Interval]:
    """`calibration_slope` and `calibration_intercept` with patient-clustered sandwich intervals.

    No bounds where the variance is lost in rounding, as where the classes are all but separated; nor where a class has
    fewer than LEAST_PATIENTS patients: with 2 to 4 of 200 they would hold the truth in 74 to 85 of 100.

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
    values_of = dict(zip(names, (line.intercept, line.slope), strict=True))
    few = too_few(truth, patient)
    unbounded = {name: Interval(value, None, None, few, n, n_patients) for name, value in values_of.items()}
    if few:
        return unbounded
    parts = np.stack([line.residuals, line.residuals * line.logits], axis=1)
    scores = np.zeros((n_patients, 2))
    np.add.at(scores, patient, parts)
    settled = np.isfinite(line.information).all() and np.linalg.cond(line.information) < _SINGULAR
    bread: Any = np.linalg.inv(line.information) if settled else np.full((2, 2), np.nan)
    variances = np.diag(bread @ (scores.T @ scores) @ bread) * (n_patients / (n_patients - 1))
    if not (np.isfinite(variances) & (variances > 0)).all():
        return {name: replace(one, method=NO_VARIANCE) for name, one in unbounded.items()}
    reach = float(norm.isf((1 - confidence) / 2)) * np.sqrt(variances)
    method = "patient-clustered sandwich, normal approximation"
    return {
        name: Interval(value, float(value - half), float(value + half), method, n, n_patients)
        for (name, value), half in zip(values_of.items(), reach, strict=True)
    }
