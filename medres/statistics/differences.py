"""How sure a difference between two parts of a cohort is, in closed form, patients as the units of chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.records import Interval
from medres.statistics.arrays import checked, patient_numbers
from medres.statistics.intervals import LEAST_PATIENTS, NO_IMAGES, ONE_CLASS
from medres.statistics.metric import Metric, metric


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
        name: of a metric whose `influence` is known.
        labels: 0 or 1 per image.
        scores: probability per image; for sensitivity and specificity the decision 0 or 1.
        groups: the patient of each image.
        inside: which images are the first part.
        confidence: of all intervals that are looked at together.
        comparisons: how many these are (Bonferroni).

    Raises:
        ValueError: see `arrays.checked`; or the metric has no `influence`.
    """
    from scipy.stats import t

    judged = metric(name)
    if judged.influence is None:
        raise ValueError(f"{name}: how far an image moves it is not known")
    truth, values = checked(labels, scores)
    patient = patient_numbers(groups)
    n, n_patients = len(truth), len(np.unique(patient))
    if not n:
        return Interval(None, None, None, NO_IMAGES, 0, 0)
    sides = [np.asarray(inside), ~np.asarray(inside)]
    found = [judged.value(truth[side], values[side]) for side in sides]
    first, second = found
    if first is None or second is None:
        return Interval(None, None, None, f"{ONE_CLASS} (on one side)", n, n_patients)
    value = first - second
    if {first, second} & {0.0, 1.0}:
        return Interval(value, None, None, "no interval: one side is all right or all wrong", n, n_patients)
    fewest = min(len(np.unique(patient[side & (truth == one)])) for side in sides for one in _classes(judged))
    if fewest < LEAST_PATIENTS:
        few = f"no interval: fewer than {LEAST_PATIENTS} patients of a class on one side"
        return Interval(value, None, None, few, n, n_patients)
    parts = np.zeros(n_patients)
    for side, sign, at in zip(sides, (1, -1), (first, second), strict=True):
        parts += sign * np.bincount(
            patient[side], weights=judged.influence(truth[side], values[side], at), minlength=n_patients
        )
    error = float(np.sqrt((parts**2).sum() * n_patients / (n_patients - 1)))
    reach = float(t.isf((1 - confidence) / 2 / comparisons, fewest - 1)) * error
    method = f"patient-clustered variance, Student's t with {fewest - 1} degrees of freedom"
    if comparisons > 1:
        method += f", simultaneous for {comparisons} differences (Bonferroni)"
    return Interval(value, max(-1.0, value - reach), min(1.0, value + reach), method, n, n_patients)


def _classes(judged: Metric) -> tuple[int, ...]:
    """The classes whose images a metric rests on."""
    rests_on = judged.share_of
    if rests_on is None:
        return (0, 1)
    classes = np.array([0, 1])
    return tuple(int(one) for one in classes[rests_on(classes, np.zeros(2))])
