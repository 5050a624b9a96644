"""Statistics of thousands of resampled cohorts at once; a plain value is the cohort in which everyone counts once.

A resample draws patients, not images: it is a row of counts, one per patient. Every statistic here is prepared once
for a cohort and then computed for a whole matrix of counts, so that the interval of a figure and the figure itself
come from the same lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.int64]
"""(replicates, patients): how often each patient was drawn."""

Kernel = Callable[[Counts], NDArray[np.float64]]
"""Counts to values, one per replicate; NaN where the statistic is undefined."""

Prepare = Callable[[NDArray[np.int64], NDArray[np.float64], NDArray[np.intp]], Kernel]
"""Labels, scores and patient numbers, one of each per image, to the kernel of a statistic."""

BINS = 10
MOST_FALSE_POSITIVES = 0.1  # the false positive rate up to which the partial AUROC looks
_DIGITS = 12  # of a partial AUROC: sums of shares in another order differ by less, and perfection is exactly 1
_CELLS = 400_000  # of the largest temporary matrix: 3 MB, which a processor's cache holds


def patient_numbers(groups: ArrayLike) -> NDArray[np.intp]:
    """The place of each image's patient in the sorted list of patients.

    >>> patient_numbers(["b", "a", "b"]).tolist()
    [1, 0, 1]
    """
    names = np.asarray(groups, dtype=object).astype(str)
    return np.unique(names, return_inverse=True)[1]


def resamples(patients: int, images: int, *, replicates: int, seed: int) -> Iterator[Counts]:
    """Draw as many patients as there are, with replacement; in chunks that keep memory bounded.

    Args:
        patients: number of patients.
        images: number of images, which decides the size of a chunk.
        replicates: number of draws.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    chunk = max(1, _CELLS // max(patients, images))
    for start in range(0, replicates, chunk):
        rows = min(chunk, replicates - start)
        drawn = generator.integers(0, patients, size=(rows, patients))
        places = (drawn + np.arange(rows)[:, None] * patients).ravel()
        yield np.bincount(places, minlength=rows * patients).reshape(rows, patients)


def divide(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quotient; NaN where the denominator is not above 0."""
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def runs(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Where runs of equal values start in a sorted array."""
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))


def tied_counts(
    labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp], *, descending: bool
) -> Callable[[Counts], tuple[Counts, Counts]]:
    """How many positive and negative images have each distinct score: (replicates, distinct scores), twice."""
    order = np.argsort(-scores if descending else scores, kind="stable")
    starts = runs(scores[order])
    owner, positive = patient[order], labels[order] == 1

    def count(counts: Counts) -> tuple[Counts, Counts]:
        weights = counts[:, owner]
        every = np.add.reduceat(weights, starts, axis=1)
        weights[:, ~positive] = 0
        positives = np.add.reduceat(weights, starts, axis=1)
        return positives, every - positives

    return count


def _auroc(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """Pairs of a positive and a negative in the right order, ties half: whole numbers up to the last division."""
    if 2 * labels.sum() > len(labels):  # swapping classes and signs changes no pair; the rarer class is looked up
        labels, scores = 1 - labels, -scores
    first, second = (np.flatnonzero(labels == one) for one in (1, 0))
    first, second = (places[np.argsort(scores[places], kind="stable")] for places in (first, second))
    left, right = (np.searchsorted(scores[second], scores[first], side=side) for side in ("left", "right"))

    def values(counts: Counts) -> NDArray[np.float64]:
        below = np.zeros((len(counts), len(second) + 1), dtype=np.int64)
        np.cumsum(np.take(counts, patient[second], axis=1), axis=1, out=below[:, 1:])
        weights = np.take(counts, patient[first], axis=1)
        beaten_twice = np.take(below, left, axis=1) + np.take(below, right, axis=1)
        right_twice = np.einsum("ij,ij->i", weights, beaten_twice)
        return divide(right_twice.astype(np.float64), 2.0 * weights.sum(axis=1) * below[:, -1])

    return values


def _partial_auroc(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """The area left of a false positive rate, scaled so that chance is 0.5 and perfection 1 (McClish 1989)."""
    tied = tied_counts(labels, scores, patient, descending=True)
    most = MOST_FALSE_POSITIVES
    by_chance = most**2 / 2

    def values(counts: Counts) -> NDArray[np.float64]:
        positives, negatives = (part.astype(np.float64) for part in tied(counts))
        rises = divide(positives, positives.sum(axis=1, keepdims=True) + np.zeros_like(positives))
        steps = divide(negatives, negatives.sum(axis=1, keepdims=True) + np.zeros_like(negatives))
        ends, tops = np.cumsum(steps, axis=1), np.cumsum(rises, axis=1)
        inside = np.clip(most - (ends - steps), 0, steps)  # how much of each segment lies left of the limit
        slopes = np.divide(rises, steps, out=np.zeros_like(rises), where=steps > 0)
        area: NDArray[np.float64] = (inside * (tops - rises + slopes * inside / 2)).sum(axis=1)
        scaled = (1 + (area - by_chance) / (most - by_chance)) / 2
        return np.round(scaled, _DIGITS)

    return values


def _average_precision(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """Precision at every distinct score, weighted by the recall gained there."""
    tied = tied_counts(labels, scores, patient, descending=True)

    def values(counts: Counts) -> NDArray[np.float64]:
        positives, negatives = tied(counts)
        hits, called = np.cumsum(positives, axis=1), np.cumsum(positives + negatives, axis=1)
        gained = (positives * divide(hits.astype(np.float64), np.maximum(called, 1).astype(np.float64))).sum(axis=1)
        total = hits[:, -1].astype(np.float64)
        return divide(gained, np.where(called[:, -1] > total, total, 0.0))  # undefined without negatives, too

    return values


def _ratio(numerator: ArrayLike, denominator: ArrayLike, patient: NDArray[np.intp]) -> Kernel:
    """A sum over images divided by another: both are summed per patient beforehand."""
    patients = int(patient.max()) + 1
    above = np.bincount(patient, weights=np.asarray(numerator, dtype=np.float64), minlength=patients)
    under = np.bincount(patient, weights=np.asarray(denominator, dtype=np.float64), minlength=patients)

    def values(counts: Counts) -> NDArray[np.float64]:
        return divide((counts * above).sum(axis=1), (counts * under).sum(axis=1))

    return values


def _brier(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    return _ratio((scores - labels) ** 2, np.ones(len(labels)), patient)


def _sensitivity(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    return _ratio((labels == 1) & (scores > 0), labels == 1, patient)


def _specificity(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    return _ratio((labels == 0) & (scores <= 0), labels == 0, patient)


def _ppv(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    return _ratio((labels == 1) & (scores > 0), scores > 0, patient)


def _npv(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    return _ratio((labels == 0) & (scores <= 0), scores <= 0, patient)


def _f1(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """2 TP / (positives + calls): 0 where no positive was found, undefined where there is none to find."""
    hits = _ratio(2 * ((labels == 1) & (scores > 0)), (labels == 1).astype(np.int64) + (scores > 0), patient)
    positives = np.bincount(patient, weights=labels == 1, minlength=int(patient.max()) + 1)

    def values(counts: Counts) -> NDArray[np.float64]:
        return np.where(counts @ positives > 0, hits(counts), np.nan)

    return values


def equal_mass_bins(probabilities: NDArray[np.float64], bins: int = BINS) -> NDArray[np.intp]:
    """The bin of each probability: cut at quantiles, equal probabilities always together, no bin empty.

    >>> equal_mass_bins(np.array([0.1, 0.9, 0.2, 0.8]), bins=2).tolist()
    [0, 1, 0, 1]
    """
    edges = np.quantile(probabilities, np.linspace(0, 1, bins + 1)[1:-1])
    return np.unique(np.searchsorted(edges, probabilities, side="right"), return_inverse=True)[1]


def _calibration_gaps(
    labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]
) -> Callable[[Counts], NDArray[np.float64]]:
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


def _expected_calibration_error(
    labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]
) -> Kernel:
    gaps = _calibration_gaps(labels, scores, patient)
    return lambda counts: np.abs(gaps(counts)).sum(axis=1)


def calibration_deviation(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """How far the gaps behind the expected calibration error move from those of the whole cohort, added up."""
    gaps = _calibration_gaps(labels, scores, patient)
    found = gaps(np.ones((1, int(patient.max()) + 1), dtype=np.int64))
    return lambda counts: np.abs(gaps(counts) - found).sum(axis=1)


STATISTICS: Mapping[str, Prepare] = {
    "auroc": _auroc,
    "average_precision": _average_precision,
    "partial_auroc": _partial_auroc,
    "sensitivity": _sensitivity,
    "specificity": _specificity,
    "ppv": _ppv,
    "npv": _npv,
    "f1": _f1,
    "brier": _brier,
    "expected_calibration_error": _expected_calibration_error,
}
"""Statistics by name. Scores are probabilities, or decisions (1 positive, 0 negative) where a decision is judged."""
