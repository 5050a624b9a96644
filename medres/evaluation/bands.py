"""Pointwise bands of curves: the interval of a curve's height at each place, patients resampled."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from medres.config import Evaluation
from medres.evaluation.resampling import patient_numbers, resamples
from medres.evaluation.summary import Judged

Values = NDArray[np.float64]
_Height = Callable[[Values, Values, Values], Values]
"""Cumulated positives and negatives of one resample, by falling score, and places, to the curve's heights there."""


def sensitivity_band(images: Judged, rates: Values, evaluation: Evaluation, seed: int) -> tuple[Values, Values]:
    """Lower and upper bound of the sensitivity at each false positive rate."""

    def height(hits: Values, alarms: Values, at: Values) -> Values:
        place = np.searchsorted(alarms / alarms[-1], at, side="right") - 1
        return np.where(place < 0, 0.0, hits[place] / hits[-1])

    return _band(images, rates, height, evaluation, seed)


def precision_band(images: Judged, recalls: Values, evaluation: Evaluation, seed: int) -> tuple[Values, Values]:
    """Lower and upper bound of the precision at each recall."""

    def height(hits: Values, alarms: Values, at: Values) -> Values:
        place = np.searchsorted(hits / hits[-1], np.maximum(at, np.finfo(float).tiny), side="left")
        place = np.minimum(place, len(hits) - 1)
        return hits[place] / (hits + alarms)[place]

    return _band(images, recalls, height, evaluation, seed)


def decision_band(
    images: Judged, thresholds: Values, evaluation: Evaluation, seed: int
) -> tuple[Values, Values, Values]:
    """Net benefit at each threshold probability, with its lower and upper bound."""
    patient = patient_numbers(images.patients)
    patients = int(patient.max()) + 1
    odds = thresholds / (1 - thresholds)
    worth = np.where(images.truth[:, None] == 1, 1.0, -odds) * (images.probabilities[:, None] >= thresholds)
    per_patient = np.zeros((patients, len(thresholds)))
    np.add.at(per_patient, patient, worth)
    sizes = np.bincount(patient, minlength=patients)
    drawn = np.concatenate(
        [(counts @ per_patient) / (counts @ sizes)[:, None] for counts in _draws(images, patients, evaluation, seed)]
    )
    return (per_patient.sum(axis=0) / len(images.truth), *_bounds(drawn, evaluation))


def _band(images: Judged, at: Values, height: _Height, evaluation: Evaluation, seed: int) -> tuple[Values, Values]:
    """Bounds of the heights of resampled curves; resamples without one of the classes are left out."""
    patient = patient_numbers(images.patients)
    order = np.argsort(-images.probabilities, kind="stable")
    owner, positive, scores = patient[order], images.truth[order] == 1, images.probabilities[order]
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # the last image of each distinct score
    heights = []
    for counts in _draws(images, int(patient.max()) + 1, evaluation, seed):
        weights = counts[:, owner].astype(np.float64)
        hits = np.cumsum(weights * positive, axis=1)[:, ends]
        alarms = np.cumsum(weights * ~positive, axis=1)[:, ends]
        both = (hits[:, -1] > 0) & (alarms[:, -1] > 0)
        heights += [height(one, other, at) for one, other in zip(hits[both], alarms[both], strict=True)]
    if not heights:
        return np.full(len(at), np.nan), np.full(len(at), np.nan)
    return _bounds(np.array(heights), evaluation)


def _draws(images: Judged, patients: int, evaluation: Evaluation, seed: int) -> Iterator[NDArray[np.int64]]:
    return resamples(patients, len(images.truth), replicates=evaluation.replicates, seed=seed)


def _bounds(drawn: Values, evaluation: Evaluation) -> tuple[Values, Values]:
    tail = (1 - evaluation.confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return low, high
