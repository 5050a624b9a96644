"""What each frozen threshold reaches on patients who did not choose it, and what a call would mean elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.config import Evaluation
from medres.evaluation.results import OperatingPointResults, PredictiveValues
from medres.model.calibration import Rule
from medres.records import Interval
from medres.statistics.arrays import patient_numbers
from medres.statistics.bootstrap import Sample, bootstraps, replicate
from medres.statistics.intervals import NO_IMAGES
from medres.statistics.kernels import divide
from medres.statistics.metric import shown_in
from medres.statistics.student import logit_interval

PREVALENCES = (0.01, 0.05, 0.2)
"""At which PPV and NPV are stated, besides the cohort's own."""

_FROM_BOTH = "from the bounds of sensitivity and specificity (every resample gives the same value)"
_NO_PREDICTION = "undefined: a class is missing, or nothing was called so"


def points_of_rules(
    truth: NDArray[np.int64],
    decisions: Mapping[Rule, NDArray[np.int64]],
    patients: ArrayLike,
    *,
    evaluation: Evaluation,
    seed: int,
) -> dict[Rule, OperatingPointResults]:
    """Every figure of every rule's decisions, all from the same resampled patients.

    Args:
        truth: 0 or 1 per image.
        decisions: for each rule, 0 or 1 per image.
        patients: the patient of each image.
        evaluation: replicates and confidence of the intervals.
        seed: of the resamples.
    """
    found: dict[Rule, OperatingPointResults] = {}
    names = [one.name for one in shown_in("rules")]
    for rule, called in decisions.items():
        samples = [Sample(truth, called, patients, name) for name in names]
        intervals = bootstraps(samples, replicates=evaluation.replicates, confidence=evaluation.confidence, seed=seed)
        shares = [(samples[names.index(name)], intervals[names.index(name)]) for name in ("sensitivity", "specificity")]
        found[rule] = OperatingPointResults(
            figures=dict(zip(names, intervals, strict=True)),
            n_called=int(called.sum()),
            at_prevalence=_at_prevalences(shares, evaluation, seed),
        )
    return found


def ppv_at(prevalence: float, *, sensitivity: float, specificity: float) -> float | None:
    """The share of positive calls that are right where `prevalence` of the images are positive (Bayes).

    None where nothing would be called.

    Raises:
        ValueError: an argument is not a share.

    >>> round(ppv_at(0.01, sensitivity=0.95, specificity=0.95) or 0, 3)
    0.161
    """
    if not all(0 <= share <= 1 for share in (prevalence, sensitivity, specificity)):
        raise ValueError("prevalence, sensitivity and specificity are shares from 0 to 1")
    right, wrong = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    return right / (right + wrong) if right + wrong > 0 else None


def npv_at(prevalence: float, *, sensitivity: float, specificity: float) -> float | None:
    """The share of negative calls that are right where `prevalence` of the images are positive (Bayes).

    None where everything would be called.
    """
    return ppv_at(1 - prevalence, sensitivity=specificity, specificity=sensitivity)


def _at_prevalences(
    shares: Sequence[tuple[Sample, Interval]], evaluation: Evaluation, seed: int
) -> dict[str, PredictiveValues]:
    """PPV and NPV from sensitivity and specificity, resampled together; both are taken to hold at any prevalence.

    Where no resample has a wrong call (or a right one), the bounds are those of the intervals of both: a specificity of
    40 in 40 is no promise that every call is right where one in a hundred has the finding.
    """
    samples, intervals = [sample for sample, _ in shares], [interval for _, interval in shares]
    values, drawn = replicate(samples, replicates=evaluation.replicates, seed=seed)
    sensitivity, specificity = np.concatenate([values[:, None], drawn], axis=1)  # the cohort's own come first
    fewest = min(interval.n_patients for interval in intervals)  # with an image of either class
    n, n_patients = len(np.asarray(samples[0].labels)), len(np.unique(patient_numbers(samples[0].groups)))

    def stated(
        right: NDArray[np.float64], wrong: NDArray[np.float64], at: Callable[..., float | None], prevalence: float
    ) -> Interval:
        share = divide(right, right + wrong)
        if np.isnan(share[0]):
            return Interval(None, None, None, _NO_PREDICTION if n else NO_IMAGES, n, n_patients)
        confidence = evaluation.confidence
        found = logit_interval(
            float(share[0]), share[1:], fewest=fewest, n=n, n_patients=n_patients, confidence=confidence, seed=seed
        )
        if found.low is None:
            low, high = (_bound(at, prevalence, *part) for part in zip(*map(_both, intervals), strict=True))
            if low is not None and high is not None:
                found = Interval(found.value, low, high, _FROM_BOTH, n, n_patients)
        return found

    return {
        f"{prevalence:g}": PredictiveValues(
            ppv=stated(prevalence * sensitivity, (1 - prevalence) * (1 - specificity), ppv_at, prevalence),
            npv=stated((1 - prevalence) * specificity, prevalence * (1 - sensitivity), npv_at, prevalence),
        )
        for prevalence in PREVALENCES
    }


def _both(interval: Interval) -> tuple[float | None, float | None]:
    return interval.low, interval.high


def _bound(
    at: Callable[..., float | None], prevalence: float, sensitivity: float | None, specificity: float | None
) -> float | None:
    return (
        None
        if sensitivity is None or specificity is None
        else at(prevalence, sensitivity=sensitivity, specificity=specificity)
    )
