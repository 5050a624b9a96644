"""What every statistic takes: labels, scores and patients as arrays, checked once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


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


def patient_numbers(groups: ArrayLike) -> NDArray[np.intp]:
    """The place of each image's patient in the sorted list of patients.

    >>> patient_numbers(["b", "a", "b"]).tolist()
    [1, 0, 1]
    """
    names = np.asarray(groups, dtype=object).astype(str)
    return np.unique(names, return_inverse=True)[1]


def patients_of(groups: ArrayLike, truth: NDArray[np.int64]) -> NDArray[np.intp]:
    """The number of each image's patient.

    Raises:
        ValueError: not one patient per image.
    """
    patient = patient_numbers(groups)
    if patient.shape != truth.shape:
        raise ValueError(f"one patient per image, got {patient.shape} for {truth.shape}")
    return patient
