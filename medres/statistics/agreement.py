"""How far answers, a grade or a class, agree with the truth: statistics of confusion matrices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from medres.statistics.kernels import divide
from medres.statistics.resampling import Kernel

Confusions = NDArray[np.float64]
"""(replicates, true, predicted): counts of images."""

OfConfusions = Callable[[Confusions], NDArray[np.float64]]
"""Confusion matrices to one value each; NaN where undefined."""


def accuracy(confusions: Confusions) -> NDArray[np.float64]:
    """The share of images whose answer is right."""
    return divide(np.trace(confusions, axis1=1, axis2=2), confusions.sum(axis=(1, 2)))


def balanced_accuracy(confusions: Confusions) -> NDArray[np.float64]:
    """The mean over values of the share of its images that were recognised; NaN where a value has no image."""
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    found: NDArray[np.float64] = divide(hits, confusions.sum(axis=2)).mean(axis=1)
    return found


def quadratic_weighted_kappa(confusions: Confusions) -> NDArray[np.float64]:
    """Cohen's kappa with weights (i − j)²: 1 is perfect, 0 is chance (Cohen 1968).

    >>> quadratic_weighted_kappa(np.array([[[2.0, 0], [0, 2]], [[1, 1], [1, 1]]])).tolist()
    [1.0, 0.0]
    """
    grades = np.arange(confusions.shape[1])
    weights = (grades[:, None] - grades[None, :]) ** 2
    total = confusions.sum(axis=(1, 2))
    by_chance = confusions.sum(axis=2)[:, :, None] * confusions.sum(axis=1)[:, None, :]
    expected = divide((weights * by_chance).sum(axis=(1, 2)), total)
    return 1 - divide((weights * confusions).sum(axis=(1, 2)), expected)


def mean_absolute_error(confusions: Confusions) -> NDArray[np.float64]:
    """The mean distance of predicted and true grade, in grades."""
    grades = np.arange(confusions.shape[1])
    distance = np.abs(grades[:, None] - grades[None, :])
    return divide((distance * confusions).sum(axis=(1, 2)), confusions.sum(axis=(1, 2)))


def confusion_kernel(
    truth: NDArray[np.intp], answers: NDArray[np.intp], patient: NDArray[np.intp], values: int, statistic: OfConfusions
) -> Kernel:
    """A statistic of answers as a kernel of resampled patients.

    Args:
        truth: number of each image's true value, from 0.
        answers: number of the value that was predicted.
        patient: number of each image's patient.
        values: how many values there are.
        statistic: of the confusion matrix.
    """
    per_patient = np.zeros((int(patient.max()) + 1, values * values))
    np.add.at(per_patient, (patient, truth * values + answers), 1)
    return lambda counts: statistic((counts @ per_patient).reshape(-1, values, values))
