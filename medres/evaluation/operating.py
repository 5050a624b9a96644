"""What each frozen threshold reaches on patients who did not choose it, and what a call would mean elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.config import Evaluation
from medres.model.calibration import Rule
from medres.records import Interval
from medres.statistics.bounds import percentile_interval
from medres.statistics.intervals import NO_IMAGES, Sample, bootstraps, replicate
from medres.statistics.metrics import OF_DECISIONS, npv_at, ppv_at
from medres.statistics.resampling import divide, patient_numbers

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
) -> dict[str, Any]:
    """Every figure of every rule's decisions, all from the same resampled patients, as JSON values.

    Args:
        truth: 0 or 1 per image.
        decisions: for each rule, 0 or 1 per image.
        patients: the patient of each image.
        evaluation: replicates and confidence of the intervals.
        seed: of the resamples.

    Returns:
        `{RULE: {"sensitivity", "specificity", "ppv", "npv", "f1": {"value", "low", "high", "method", "n",
        "n_patients"}, "n_called", "at_prevalence": {PREVALENCE: {"ppv", "npv": {...}}}}}`.
    """
    found: dict[str, Any] = {}
    for rule, called in decisions.items():
        samples = [Sample(truth, called, patients, name) for name in OF_DECISIONS]
        intervals = bootstraps(samples, replicates=evaluation.replicates, confidence=evaluation.confidence, seed=seed)
        found[rule] = {
            **{name: asdict(one) for name, one in zip(OF_DECISIONS, intervals, strict=True)},
            "n_called": int(called.sum()),
            "at_prevalence": _at_prevalences(samples[:2], intervals[:2], evaluation, seed),
        }
    return found


def _at_prevalences(
    shares: list[Sample], intervals: list[Interval], evaluation: Evaluation, seed: int
) -> dict[str, dict[str, Any]]:
    """PPV and NPV from sensitivity and specificity, resampled together; both are taken to hold at any prevalence.

    Where no resample has a wrong call (or a right one), the bounds are those of the intervals of both: a specificity of
    40 in 40 is no promise that every call is right where one in a hundred has the finding.
    """
    values, drawn = replicate(shares, replicates=evaluation.replicates, seed=seed)
    sensitivity, specificity = np.concatenate([values[:, None], drawn], axis=1)  # the cohort's own come first
    n, n_patients = len(np.asarray(shares[0].labels)), len(np.unique(patient_numbers(shares[0].groups)))

    def stated(
        right: NDArray[np.float64], wrong: NDArray[np.float64], at: Callable[..., float | None], prevalence: float
    ) -> dict[str, Any]:
        share = divide(right, right + wrong)
        if np.isnan(share[0]):
            return asdict(Interval(None, None, None, _NO_PREDICTION if n else NO_IMAGES, n, n_patients))
        confidence = evaluation.confidence
        found = percentile_interval(
            float(share[0]), share[1:], n=n, n_patients=n_patients, confidence=confidence, seed=seed
        )
        if found.low is None:
            low, high = (_bound(at, prevalence, *part) for part in zip(*map(_both, intervals), strict=True))
            if low is not None and high is not None:
                found = Interval(found.value, low, high, _FROM_BOTH, n, n_patients)
        return asdict(found)

    return {
        f"{prevalence:g}": {
            "ppv": stated(prevalence * sensitivity, (1 - prevalence) * (1 - specificity), ppv_at, prevalence),
            "npv": stated((1 - prevalence) * specificity, prevalence * (1 - sensitivity), npv_at, prevalence),
        }
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
