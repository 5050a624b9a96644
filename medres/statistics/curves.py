"""Empirical curves, and curves with pointwise patient-clustered bands: what a report draws, as arrays.

A band holds the curve's value at one place with the chosen confidence; the whole curve leaves it more often than that.
Sensitivity and precision are shares of few patients at many places, and where every resample agrees (separated classes)
that is not certainty: their bands are those of `_share_band`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.statistics.arrays import checked, patients_of
from medres.statistics.intervals import ONE_PATIENT
from medres.statistics.kernels import tied_counts
from medres.statistics.resampling import Counts, CurveKernel, resamples

_RATES = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a curve with the score thresholds at which they are reached (score ≥ threshold is positive)."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    thresholds: NDArray[np.float64]  # one per point; ROC starts, precision-recall ends with one beyond every score


@dataclass(frozen=True, slots=True)
class Band:
    """A curve at given places, with the bounds of each of its values; NaN where undefined."""

    x: NDArray[np.float64]  # (points,)
    y: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    method: str
    n: int  # images
    n_patients: int


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> Curve | None:
    """x: 1 − specificity, y: sensitivity; None where a class is missing."""
    truth, values = checked(labels, scores)
    if len(np.unique(truth)) < 2:
        return None
    from sklearn import metrics

    return Curve(*metrics.roc_curve(truth, values))


def precision_recall_curve(labels: ArrayLike, scores: ArrayLike) -> Curve | None:
    """x: recall from 1 down to 0, y: precision; None where a class is missing."""
    truth, values = checked(labels, scores)
    if len(np.unique(truth)) < 2:
        return None
    from sklearn import metrics

    precision, recall, thresholds = metrics.precision_recall_curve(truth, values)
    return Curve(recall, precision, np.append(thresholds, np.inf))


def roc_band(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    *,
    rates: ArrayLike = _RATES,
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Band | None:
    """Sensitivity at fixed 1 − specificity, between the points of the empirical curve on its straight lines.

    None where a class is missing.

    Args:
        labels: 0 or 1 per image.
        scores: any score per image.
        groups: the patient of each image.
        rates: 1 − specificity, [0, 1], (points,).
        replicates: number of resamples.
        confidence: of each point's bounds.
        seed: of the resamples.

    Raises:
        ValueError: see `arrays.checked`; not one patient per image; or a rate outside [0, 1].
    """
    truth, values, patient = images_of(labels, scores, groups)
    places = np.asarray(rates, dtype=np.float64)
    if not ((places >= 0) & (places <= 1)).all():
        raise ValueError("rates lie between 0 and 1")
    if len(np.unique(truth)) < 2:
        return None
    tied = tied_counts(truth, values, patient, descending=True)

    def curves(counts: Counts) -> NDArray[np.float64]:
        positives, negatives = (np.cumsum(part, axis=1).astype(np.float64) for part in tied(counts))
        found = np.full((len(counts), len(places)), np.nan)
        for row, (hits, alarms) in enumerate(zip(positives, negatives, strict=True)):
            if hits[-1] and alarms[-1]:
                wanted = _whole(places * alarms[-1])
                found[row] = np.interp(wanted, np.append(0.0, alarms), np.append(0.0, hits)) / hits[-1]
        return found

    band = _share_band(places, curves, truth, patient, lambda y: np.ones_like(y), (replicates, confidence, seed))
    everything = places == 1  # where everything is called positive, whoever comes
    band.low[everything & ~np.isnan(band.low)] = 1.0
    return band


def precision_recall_band(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    *,
    recalls: ArrayLike = _RATES[1:],
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Band | None:
    """Precision at the highest threshold that reaches fixed recalls (no interpolation, which would flatter).

    None where a class is missing. Arguments as for `roc_band`; recalls are above 0.

    Raises:
        ValueError: see `roc_band`; or a recall of 0.
    """
    truth, values, patient = images_of(labels, scores, groups)
    places = np.asarray(recalls, dtype=np.float64)
    if not ((places > 0) & (places <= 1)).all():
        raise ValueError("recalls are above 0 and at most 1")
    if len(np.unique(truth)) < 2:
        return None
    tied = tied_counts(truth, values, patient, descending=True)

    def curves(counts: Counts) -> NDArray[np.float64]:
        positives, negatives = (np.cumsum(part, axis=1).astype(np.float64) for part in tied(counts))
        found = np.full((len(counts), len(places)), np.nan)
        for row, (hits, alarms) in enumerate(zip(positives, negatives, strict=True)):
            if hits[-1] and alarms[-1]:
                first = np.searchsorted(hits, _whole(places * hits[-1]), side="left")
                found[row] = hits[first] / (hits[first] + alarms[first])
        return found

    return _share_band(places, curves, truth, patient, lambda y: places / y, (replicates, confidence, seed))


def images_of(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.intp]]:
    """Labels, scores and patient numbers, one of each per image."""
    truth, values = checked(labels, scores)
    return truth, values, patients_of(groups, truth)


def _whole(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rate times a number of images, without what rounding adds to or takes from a whole number."""
    nearest = np.round(counts)
    return np.where(np.abs(counts - nearest) < 1e-9 * np.maximum(nearest, 1), nearest, counts)


def _share_band(
    x: NDArray[np.float64],
    curves: CurveKernel,
    truth: NDArray[np.int64],
    patient: NDArray[np.intp],
    called: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    chosen: tuple[int, float, int],
) -> Band:
    """A curve of shares with pointwise bounds by Student's t on the logit scale, which hold the exact binomial's.

    On the logit scale a share of 0 or 1 is drawn in by half a patient (Jeffreys). The binomial's bounds (Clopper and
    Pearson) are those of so many independent patients. In simulated cohorts of 30 to 400 patients the bands hold
    sensitivity and precision in 93 to 100 of 100; percentiles hold them in 31 to 99 (`tests/test_curves.py`).

    Args:
        called: from the curve's values, the patients of whom each is a share, in parts of the positive patients.
        chosen: replicates, confidence and seed.
    """
    from scipy.stats import beta
    from scipy.stats import t as student

    replicates, confidence, seed = chosen
    y, drawn, reason = _resampled(curves, truth, patient, replicates, seed)
    n, patients = len(truth), int(patient.max()) + 1
    if reason:
        nothing = np.full(len(x), np.nan)
        return Band(x, y, nothing, nothing, reason, n, patients)
    positive = len(np.unique(patient[truth == 1]))
    of = np.maximum(positive * called(y), 1.0)

    def logit(shares: NDArray[np.float64]) -> NDArray[np.float64]:
        within = (shares * of + 0.5) / (of + 1)
        return np.asarray(np.log(within) - np.log1p(-within))

    tail, freedom, hits = (1 - confidence) / 2, max(positive - 1, 1), y * of
    reach = float(student.isf(tail, freedom)) * np.nanstd(logit(drawn), axis=0, ddof=1)
    low, high = (1 / (1 + np.exp(-(logit(y) + side * reach))) for side in (-1, 1))
    exact_low = np.where(hits > 0, beta.ppf(tail, np.maximum(hits, 1e-9), of - hits + 1), 0.0)
    exact_high = np.where(hits < of, beta.isf(tail, hits + 1, np.maximum(of - hits, 1e-9)), 1.0)
    lost = int(np.isnan(drawn).any(axis=1).sum())
    method = (
        f"pointwise patient-clustered bootstrap, logit scale, Student's t with {freedom} degrees of "
        f"freedom, at least the exact binomial's bounds, {replicates} replicates, seed {seed}"
        + (f"; {lost} undefined and left out" if lost else "")
    )
    return Band(x, y, np.minimum(low, exact_low), np.maximum(high, exact_high), method, n, patients)


def _resampled(
    curves: CurveKernel, truth: NDArray[np.int64], patient: NDArray[np.intp], replicates: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """A curve (points,), that of resampled patients (replicates, points), and why it has no band ("": it has one)."""
    patients = int(patient.max()) + 1
    y = curves(np.ones((1, patients), dtype=np.int64))[0]
    if patients < 2:
        return y, np.empty((0, len(y))), ONE_PATIENT
    every = resamples(patients, len(truth), replicates=replicates, seed=seed)
    return y, np.concatenate([curves(counts) for counts in every]), ""


def band_of(
    x: NDArray[np.float64],
    curves: CurveKernel,
    truth: NDArray[np.int64],
    patient: NDArray[np.intp],
    replicates: int,
    confidence: float,
    seed: int,
) -> Band:
    """A curve at its places with pointwise percentile bounds from resampled patients."""
    patients, n = int(patient.max()) + 1, len(truth)
    y, drawn, reason = _resampled(curves, truth, patient, replicates, seed)
    if reason:
        nothing = np.full(len(x), np.nan)
        return Band(x, y, nothing, nothing, reason, n, patients)
    defined = ~np.isnan(drawn).any(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn[defined], [tail, 1 - tail], axis=0)
    lost = int((~defined).sum())
    method = f"pointwise patient-clustered bootstrap, percentile, {replicates} replicates, seed {seed}"
    return Band(x, y, low, high, method + (f"; {lost} undefined and left out" if lost else ""), n, patients)
