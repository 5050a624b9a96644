"""How sure a difference between two parts of a cohort is, in closed form, patients as the units of chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata, t

from medres.records import Interval
from medres.statistics.bounds import LEAST_PATIENTS
from medres.statistics.metrics import NO_IMAGES, ONE_CLASS, checked, statistic
from medres.statistics.resampling import patient_numbers


def difference(
    name: str,
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    inside: NDArray[np.bool_],
    *,
    confidence: float = 0.95,
    comparisons: int = 1,
) -> Interval:
    """A statistic of some images minus that of all others; a patient may have images in both.

    The variance is the sum of squares of what each patient contributes to the difference (Obuchowski 1997 for the
    AUROC; the linearised ratio for shares). The quantile is Student's, with one degree of freedom less than the
    patients of the rarest class on the smaller side: few patients give a wide interval, not a bold one.

    Args:
        name: auroc, sensitivity or specificity.
        labels: 0 or 1 per image.
        scores: probability per image; for sensitivity and specificity the decision 0 or 1.
        groups: the patient of each image.
        inside: which images are the first part.
        confidence: of all intervals that are looked at together.
        comparisons: how many these are (Bonferroni).

    Raises:
        ValueError: see `metrics.checked`.
    """
    truth, values = checked(labels, scores)
    patient = patient_numbers(groups)
    n, n_patients = len(truth), len(np.unique(patient))
    if not n:
        return Interval(None, None, None, NO_IMAGES, 0, 0)
    sides = [np.asarray(inside), ~np.asarray(inside)]
    found = [statistic(name, truth[side], values[side]) for side in sides]
    first, second = found
    if first is None or second is None:
        return Interval(None, None, None, f"{ONE_CLASS} (on one side)", n, n_patients)
    value = first - second
    if {first, second} & {0.0, 1.0}:
        return Interval(value, None, None, "no interval: one side is all right or all wrong", n, n_patients)
    fewest = min(len(np.unique(patient[side & (truth == one)])) for side in sides for one in _classes(name))
    if fewest < LEAST_PATIENTS:
        few = f"no interval: fewer than {LEAST_PATIENTS} patients of a class on one side"
        return Interval(value, None, None, few, n, n_patients)
    parts = np.zeros(n_patients)
    for side, sign, at in zip(sides, (1, -1), (first, second), strict=True):
        parts += sign * np.bincount(
            patient[side], weights=_contributions(name, truth[side], values[side], at), minlength=n_patients
        )
    error = float(np.sqrt((parts**2).sum() * n_patients / (n_patients - 1)))
    reach = float(t.isf((1 - confidence) / 2 / comparisons, fewest - 1)) * error
    method = f"patient-clustered variance, Student's t with {fewest - 1} degrees of freedom"
    if comparisons > 1:
        method += f", simultaneous for {comparisons} differences (Bonferroni)"
    return Interval(value, max(-1.0, value - reach), min(1.0, value + reach), method, n, n_patients)


def _classes(name: str) -> tuple[int, ...]:
    return {"auroc": (0, 1), "sensitivity": (1,), "specificity": (0,)}[name]


def _contributions(
    name: str, truth: NDArray[np.int64], scores: NDArray[np.float64], value: float
) -> NDArray[np.float64]:
    """How each image moves the statistic, to first order; the sum is 0."""
    found = np.zeros(len(truth))
    if name == "auroc":
        positive = truth == 1
        m, n = int(positive.sum()), int((~positive).sum())
        ranks = rankdata(scores)
        above = (ranks[positive] - rankdata(scores[positive])) / n  # per positive: the share of negatives below it
        below = 1 - (ranks[~positive] - rankdata(scores[~positive])) / m
        found[positive], found[~positive] = (above - value) / m, (below - value) / n
        return found
    base = truth == _classes(name)[0]
    right = (scores > 0) == (truth == 1)
    found[base] = (right[base] - value) / base.sum()
    return found
