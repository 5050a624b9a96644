"""Statistics of thousands of resampled cohorts at once; a plain value is the cohort in which everyone counts once.

A resample draws patients, not images: it is a row of counts, one per patient. Every statistic here is prepared once
for a cohort and then computed for a whole matrix of counts, so that the interval of a figure and the figure itself
come from the same lines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.statistics.resampling import Counts, Kernel

Prepare = Callable[[NDArray[np.int64], NDArray[np.float64], NDArray[np.intp]], Kernel]
"""Labels, scores and patient numbers, one of each per image, to the kernel of a statistic."""

PrepareWithin = Callable[[NDArray[np.int64], NDArray[np.float64], NDArray[np.intp], NDArray[Any]], Kernel]
"""The same with the stratum of each image: only images of one stratum are compared with each other."""

Statistic = Callable[[NDArray[np.int64], NDArray[np.float64]], float | None]
"""Labels and scores, one of each per image, to a value; None where undefined."""

MOST_FALSE_POSITIVES = 0.1
"""The false positive rate up to which the partial AUROC looks."""

_DIGITS = 12  # of a partial AUROC: sums of shares in another order differ by less, and perfection is exactly 1


def divide(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """The quotient; NaN where the denominator is not above 0."""
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def first_places(values: NDArray[Any]) -> NDArray[np.intp]:
    """Where runs of equal values start in a sorted array."""
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))


def tied_counts(
    labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp], *, descending: bool
) -> Callable[[Counts], tuple[Counts, Counts]]:
    """How many positive and negative images have each distinct score: (replicates, distinct scores), twice."""
    order = np.argsort(-scores if descending else scores, kind="stable")
    starts = first_places(scores[order])
    owner, positive = patient[order], labels[order] == 1

    def count(counts: Counts) -> tuple[Counts, Counts]:
        weights = counts[:, owner]
        every = np.add.reduceat(weights, starts, axis=1)
        weights[:, ~positive] = 0
        positives = np.add.reduceat(weights, starts, axis=1)
        return positives, every - positives

    return count


def auroc(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """The area under the ROC curve: the chance that a positive image scores above a negative one, ties half."""
    return auroc_within(labels, scores, patient, np.zeros(len(labels), dtype=np.int64))


def auroc_within(
    labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp], strata: NDArray[Any]
) -> Kernel:
    """The AUROC over the pairs of a positive and a negative of the same stratum.

    Pairs in the right order, ties half, are counted in whole numbers up to the last division. With the strata of a
    covariate it is what the score says beyond that covariate: the covariate-adjusted AUROC of Janes and Pepe 2009,
    every pair counting once.

    Args:
        labels: 0 or 1 per image.
        scores: any score.
        patient: number of each image's patient, whom the counts count.
        strata: the stratum of each image.
    """
    stratum = np.unique(strata, return_inverse=True)[1]
    size = int(stratum.max(initial=-1)) + 1
    with_pairs = np.logical_and(*(np.bincount(stratum[labels == one], minlength=size) > 0 for one in (1, 0)))
    kept = with_pairs[stratum]
    if not kept.any():
        return lambda counts: np.full(len(counts), np.nan)
    labels, scores, patient, stratum = labels[kept], scores[kept], patient[kept], stratum[kept]
    if 2 * labels.sum() > len(labels):  # swapping classes and signs changes no pair; the rarer class is looked up
        labels, scores = 1 - labels, -scores
    distinct, place = np.unique(scores, return_inverse=True)
    key = stratum * len(distinct) + place  # sorts by stratum, then by score
    first, second = (np.flatnonzero(labels == one) for one in (1, 0))
    first, second = (places[np.argsort(key[places], kind="stable")] for places in (first, second))
    left, right = (np.searchsorted(key[second], key[first], side=side) for side in ("left", "right"))
    of_first, starts = first_places(stratum[first]), first_places(stratum[second])
    ends = np.append(starts[1:], len(second))

    def values(counts: Counts) -> NDArray[np.float64]:
        below = np.zeros((len(counts), len(second) + 1), dtype=np.int64)
        np.cumsum(np.take(counts, patient[second], axis=1), axis=1, out=below[:, 1:])
        weights = np.take(counts, patient[first], axis=1)
        beaten_twice = np.take(below, left, axis=1) + np.take(below, right, axis=1)
        totals = np.add.reduceat(weights, of_first, axis=1)  # per stratum
        before, up_to = below[:, starts], below[:, ends]
        right_twice = np.einsum("ij,ij->i", weights, beaten_twice) - 2 * (totals * before).sum(axis=1)
        pairs = (totals * (up_to - before)).sum(axis=1)
        return divide(right_twice.astype(np.float64), 2.0 * pairs)

    return values


def auroc_influence(labels: NDArray[np.int64], scores: NDArray[np.float64], value: float) -> NDArray[np.float64]:
    """How far each image moves the AUROC: its share of the other class on the right side, less the AUROC.

    O(n log n); the sum is 0. Source: Sun and Xu 2014.

    Args:
        labels: 0 or 1 per image; both classes.
        scores: any score.
        value: the AUROC.
    """
    order = np.argsort(scores)
    positive = labels[order] == 1
    m, n = int(positive.sum()), int((~positive).sum())
    starts = first_places(scores[order])
    ends = np.append(starts[1:], len(order))
    before = np.append(0, np.cumsum(positive))  # positives in front of each place
    run = np.repeat(np.arange(len(starts)), ends - starts)
    positives_twice = (before[starts] + before[ends])[run]  # below each image, ties half
    negatives_twice = (starts + ends)[run] - positives_twice
    right = np.where(positive, negatives_twice / (2 * n), 1 - positives_twice / (2 * m))
    influence = np.empty(len(order))
    influence[order] = (right - value) / np.where(positive, m, n)
    return influence


def partial_auroc(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
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


def average_precision(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """Precision at every distinct score, weighted by the recall gained there."""
    tied = tied_counts(labels, scores, patient, descending=True)

    def values(counts: Counts) -> NDArray[np.float64]:
        positives, negatives = tied(counts)
        hits, called = np.cumsum(positives, axis=1), np.cumsum(positives + negatives, axis=1)
        gained = (positives * divide(hits.astype(np.float64), np.maximum(called, 1).astype(np.float64))).sum(axis=1)
        total = hits[:, -1].astype(np.float64)
        return divide(gained, np.where(called[:, -1] > total, total, 0.0))  # undefined without negatives, too

    return values


def ratio(numerator: ArrayLike, denominator: ArrayLike, patient: NDArray[np.intp]) -> Kernel:
    """A sum over images divided by another sum over images; both are summed per patient beforehand."""
    patients = int(patient.max()) + 1
    above = np.bincount(patient, weights=np.asarray(numerator, dtype=np.float64), minlength=patients)
    under = np.bincount(patient, weights=np.asarray(denominator, dtype=np.float64), minlength=patients)

    def values(counts: Counts) -> NDArray[np.float64]:
        return divide((counts * above).sum(axis=1), (counts * under).sum(axis=1))

    return values


def brier(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """The mean squared difference of probability and label."""
    return ratio((scores - labels) ** 2, np.ones(len(labels)), patient)


def sensitivity(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """The share of positives that are called positive; scores are decisions, 0 or 1."""
    return ratio((labels == 1) & (scores > 0), labels == 1, patient)


def specificity(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """The share of negatives that are not called positive; scores are decisions, 0 or 1."""
    return ratio((labels == 0) & (scores <= 0), labels == 0, patient)


def ppv(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """The share of positive calls that are right; scores are decisions, 0 or 1."""
    return ratio((labels == 1) & (scores > 0), scores > 0, patient)


def npv(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """The share of negative calls that are right; scores are decisions, 0 or 1."""
    return ratio((labels == 0) & (scores <= 0), scores <= 0, patient)


def f1(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
    """2 TP / (positives + calls): 0 where no positive was found, undefined where there is none to find."""
    hits = ratio(2 * ((labels == 1) & (scores > 0)), (labels == 1).astype(np.int64) + (scores > 0), patient)
    positives = np.bincount(patient, weights=labels == 1, minlength=int(patient.max()) + 1)

    def values(counts: Counts) -> NDArray[np.float64]:
        return np.where(counts @ positives > 0, hits(counts), np.nan)

    return values


def share_influence(right: NDArray[np.bool_], base: NDArray[np.bool_], value: float) -> NDArray[np.float64]:
    """How far each image moves a share of the images of `base`; the sum is 0."""
    found = np.zeros(len(base))
    found[base] = (right[base] - value) / base.sum()
    return found


def sensitivity_influence(labels: NDArray[np.int64], scores: NDArray[np.float64], value: float) -> NDArray[np.float64]:
    """How far each image moves the sensitivity."""
    return share_influence((scores > 0) == (labels == 1), labels == 1, value)


def specificity_influence(labels: NDArray[np.int64], scores: NDArray[np.float64], value: float) -> NDArray[np.float64]:
    """How far each image moves the specificity."""
    return share_influence((scores > 0) == (labels == 1), labels == 0, value)


def of_repeated_images(function: Statistic) -> Prepare:
    """Any function of labels and scores as a kernel: each resample repeats images as often as they were drawn. Slow."""

    def prepare(labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]) -> Kernel:
        def one(row: NDArray[np.int64]) -> float:
            places = np.repeat(np.arange(len(labels)), row[patient])
            value = function(labels[places], scores[places])
            return np.nan if value is None else value

        return lambda counts: np.array([one(row) for row in counts], dtype=np.float64)

    return prepare
