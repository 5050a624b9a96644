"""Means of one value per image, and of paired differences, with intervals that resample patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.records import Interval
from medres.statistics.arrays import patient_numbers
from medres.statistics.intervals import LEAST_PATIENTS, NO_IMAGES, SAME_VALUE, exact_interval, no_bounds, percentiles
from medres.statistics.resampling import Resampling, resamples

FEW = f"no interval: fewer than {LEAST_PATIENTS} patients"


def clustered_mean(
    values: ArrayLike, groups: ArrayLike, *, resampling: Resampling | None = None, shares: bool = False
) -> Interval:
    """The mean over images, with its patient-clustered bootstrap interval.

    Percentiles of the resampled means, moved away from the mean by √(n ÷ (n − 1)), as few patients make a bootstrap
    narrow. None below `intervals.LEAST_PATIENTS` patients.

    Args:
        values: one per image; NaN where it is undefined, which is left out.
        groups: the patient of each image.
        resampling: how patients are resampled.
        shares: the values are 0 or 1: where all are alike, the interval is the exact one of so many patients.

    Raises:
        ValueError: not one patient per image.
    """
    chosen = resampling or Resampling()
    found, patient = np.asarray(values, dtype=np.float64), patient_numbers(groups)
    if found.ndim != 1 or patient.shape != found.shape:
        raise ValueError(f"one value and one patient per image, got {found.shape} and {patient.shape}")
    defined = np.isfinite(found)
    found, patient = found[defined], np.unique(patient[defined], return_inverse=True)[1]
    n, n_patients = len(found), int(patient.max()) + 1 if len(patient) else 0
    if not n:
        return Interval(None, None, None, NO_IMAGES, 0, 0)
    value = float(found.mean())
    if n_patients < LEAST_PATIENTS:
        return Interval(value, None, None, FEW, n, n_patients)
    drawn = _resampled(found, patient, n_patients, chosen)
    reason = no_bounds(drawn, n_patients)
    if reason == SAME_VALUE and shares and value in (0.0, 1.0):
        of = "patients (every resample gives the same value)"
        return exact_interval(value, n_patients, of, n=n, n_patients=n_patients, confidence=chosen.confidence)
    if reason == SAME_VALUE:  # a constant: nothing of it is uncertain
        return Interval(value, value, value, "every image gives the same value", n, n_patients)
    widened = value + (drawn - value) * np.sqrt(n_patients / (n_patients - 1))
    low, high = percentiles(widened, chosen.confidence)
    if shares:
        low, high = max(0.0, low), min(1.0, high)
    method = f"patient-clustered bootstrap, percentile, {chosen.replicates} replicates, seed {chosen.seed}"
    return Interval(value, low, high, method, n, n_patients)


def _resampled(
    values: NDArray[np.float64], patient: NDArray[np.intp], patients: int, resampling: Resampling
) -> NDArray[np.float64]:
    """The mean in every resample of patients."""
    sums = np.bincount(patient, weights=values, minlength=patients)
    sizes = np.bincount(patient, minlength=patients).astype(np.float64)
    parts = [
        (counts @ sums) / (counts @ sizes)
        for counts in resamples(patients, len(values), replicates=resampling.replicates, seed=resampling.seed)
    ]
    return np.concatenate(parts)
