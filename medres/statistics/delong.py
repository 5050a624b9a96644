"""AUROC and differences of AUROCs with DeLong's variance; clustered by patient where patients are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.records import Difference, Interval
from medres.statistics.arrays import checked, patients_of
from medres.statistics.intervals import NO_IMAGES, ONE_CLASS
from medres.statistics.kernels import auroc_influence
from medres.statistics.metric import metric

_INDEPENDENT = "DeLong, images taken as independent, not clustered"
_CLUSTERED = "patient-clustered DeLong (Obuchowski 1997)"
_NO_VARIANCE = "the estimated variance is 0, which is not certainty"


@dataclass(frozen=True, slots=True)
class _Images:
    """Which images are positive, and whose they are."""

    truth: NDArray[np.int64]
    patient: NDArray[np.intp] | None  # None: images are taken as independent
    n_patients: int

    @property
    def method(self) -> str:
        return _INDEPENDENT if self.patient is None else _CLUSTERED

    @property
    def needs(self) -> str:
        who = "two images" if self.patient is None else "two patients with an image"
        return f"{self.method}, needs {who} of each class"

    @property
    def undefined(self) -> str:
        """Why there is no AUROC; "" where there is one."""
        return "" if 0 < self.truth.sum() < len(self.truth) else ONE_CLASS if len(self.truth) else NO_IMAGES

    def variance(self, influence: NDArray[np.float64]) -> float | None:
        """Of an AUROC or a difference; None where fewer than two patients hold one of the classes.

        Where every patient has one image, the clustered variance is DeLong's. Source: Obuchowski 1997.
        """
        held = [np.flatnonzero(self.truth == one) for one in (1, 0)]
        holders, together = [len(places) for places in held], 0.0
        sums: list[NDArray[np.float64]] = [influence[places] for places in held]
        if self.patient is not None:
            owners = [self.patient[places] for places in held]
            holders = [len(np.unique(owner)) for owner in owners]
            sums = [
                np.bincount(owner, part, self.n_patients).astype(np.float64)
                for owner, part in zip(owners, sums, strict=True)
            ]
            together = 2 * float(sums[0] @ sums[1])
        if min(holders) < 2:
            return None
        apart = sum(of / (of - 1) * float(part @ part) for of, part in zip(holders, sums, strict=True))
        return apart + self.n_patients / (self.n_patients - 1) * together


def delong(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None, *, confidence: float = 0.95
) -> Interval:
    """AUROC with DeLong's interval, O(n log n).

    Where the classes are separated, or all scores are equal, the variance is 0 and `method` says that this is no
    certainty; `bootstrap.bootstrap` gives an interval there.

    Args:
        labels: 0 or 1 per image.
        scores: any score per image.
        groups: the patient of each image; None takes images as independent.
        confidence: for example 0.95.

    Raises:
        ValueError: see `arrays.checked`; or not one patient per image.

    Source: DeLong et al. 1988; Obuchowski 1997 for several images per patient.
    """
    from scipy.stats import norm

    truth, values = checked(labels, scores)
    images = _images(truth, groups)
    n, n_patients = len(truth), images.n_patients
    if images.undefined:
        return Interval(None, None, None, images.undefined, n, n_patients)
    value, influence = _area(truth, values)
    variance = images.variance(influence)
    if variance is None:
        return Interval(value, None, None, f"no interval: {images.needs}", n, n_patients)
    reach = float(norm.isf((1 - confidence) / 2) * np.sqrt(variance))
    method = images.method if variance else f"{images.method}; {_NO_VARIANCE}"
    return Interval(value, max(0.0, value - reach), min(1.0, value + reach), method, n, n_patients)


def delong_difference(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
) -> Difference:
    """The second model's AUROC minus the first's on the same images, with DeLong's paired test.

    Two models that rank alike differ by 0 without variance: there is no test then, and `method` says so.

    Args:
        labels: 0 or 1 per image.
        first: one model's score per image.
        second: another's.
        groups: the patient of each image; None takes images as independent.
        confidence: for example 0.95.

    Raises:
        ValueError: see `delong`.
    """
    from scipy.stats import norm

    (truth, before), (_, after) = (checked(labels, scores) for scores in (first, second))
    images = _images(truth, groups)
    n, n_patients = len(truth), images.n_patients
    if images.undefined:
        return Difference(None, None, None, None, None, images.undefined, n, n_patients)
    (old, of_old), (new, of_new) = _area(truth, before), _area(truth, after)
    value, variance = new - old, images.variance(of_new - of_old)
    if not variance:
        reason = images.needs if variance is None else f"{images.method}; {_NO_VARIANCE}"
        return Difference(value, None, None, None, None, f"no interval and no test: paired {reason}", n, n_patients)
    error = float(np.sqrt(variance))
    reach, z = float(norm.isf((1 - confidence) / 2)) * error, value / error
    method = f"paired {images.method}"
    return Difference(value, value - reach, value + reach, z, float(2 * norm.sf(abs(z))), method, n, n_patients)


def _images(truth: NDArray[np.int64], groups: ArrayLike | None) -> _Images:
    if groups is None:
        return _Images(truth, None, len(truth))
    patient = patients_of(groups, truth)
    return _Images(truth, patient, int(patient.max(initial=-1)) + 1)


def _area(truth: NDArray[np.int64], scores: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """The AUROC, and how far each image moves it."""
    value = metric("auroc").value(truth, scores)
    assert value is not None  # both classes are there
    return value, auroc_influence(truth, scores, value)
