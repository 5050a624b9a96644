"""AUROCs that are compared with each other, from the same resampled patients: their shares and differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medres.config import Evaluation
from medres.records import Interval
from medres.statistics.bootstrap import bootstrap
from medres.statistics.intervals import (
    LEAST_PATIENTS,
    exact_interval,
    no_bounds,
    percentile_interval,
)
from medres.statistics.resampling import Kernel, resamples
from medres.statistics.student import difference_interval, logit_interval

NO_PAIRS = "undefined: no positive and negative image to compare"
FEW_PAIRS = f"no interval: fewer than {LEAST_PATIENTS} disjoint pairs of patients to compare"
_AT_CHANCE = "undefined: the score itself is not surely better than chance"

Values = NDArray[np.float64]
Draws = Mapping[str, tuple[float, Values]]
"""Each statistic's value and its replicates, all from the same resampled patients."""


class PairedFigures:
    """Intervals of AUROCs, their shares and their differences, all from the same resampled patients.

    Args:
        kernels: the AUROCs by name, those of the unaltered score as "".
        n: images.
        n_patients: patients.
        pairs: by name, disjoint pairs of patients that it compares: how much a perfect AUROC is worth.
        evaluation: replicates and confidence.
        seed: of the resamples.
    """

    def __init__(
        self,
        kernels: Mapping[str, Kernel],
        *,
        n: int,
        n_patients: int,
        pairs: Mapping[str, int],
        evaluation: Evaluation,
        seed: int,
    ) -> None:
        self.n, self.n_patients, self.pairs, self.evaluation, self.seed = n, n_patients, pairs, evaluation, seed
        self.draws: Draws = dict.fromkeys(kernels, (np.nan, np.zeros(0)))
        if n:
            chunks = [
                {name: kernel(counts) for name, kernel in kernels.items()}
                for counts in resamples(n_patients, n, replicates=evaluation.replicates, seed=seed)
            ]
            once = np.ones((1, n_patients), dtype=np.int64)
            self.draws = {
                name: (float(kernel(once)[0]), np.concatenate([chunk[name] for chunk in chunks]))
                for name, kernel in kernels.items()
            }

    def plain(self, truth: NDArray[np.int64], scores: Values, patients: NDArray[Any]) -> Interval:
        """The AUROC as `metrics.json` has it."""
        replicates, confidence = self.evaluation.replicates, self.evaluation.confidence
        return bootstrap(truth, scores, patients, replicates=replicates, confidence=confidence, seed=self.seed)

    def one(self, name: str, how: str) -> Interval:
        """One AUROC."""
        return self._auroc(*self.draws[name], self.pairs[name], how)

    def mean(self, how: str) -> Interval:
        """The mean of all AUROCs; the one of fewest pairs says how sure it is."""
        value, drawn = np.mean([one[0] for one in self.draws.values()]), [one[1] for one in self.draws.values()]
        return self._auroc(float(value), np.mean(drawn, axis=0), min(self.pairs.values()), how)

    def kept(self, name: str, whole: Interval, altered: Interval) -> Interval:
        """The share of what the whole AUROC is above one half that an altered one still is."""
        if whole.value is None or altered.value is None:
            return Interval(None, None, None, NO_PAIRS, self.n, self.n_patients)
        if whole.low is None or whole.low <= 0.5:
            return Interval(None, None, None, _AT_CHANCE, self.n, self.n_patients)

        def share(part: Any, all_of_it: Any) -> Any:
            above = np.where(np.asarray(all_of_it) > 0.5, np.asarray(all_of_it) - 0.5, np.nan)
            return (part - 0.5) / above

        value, drawn = self._combined(name, "", share)
        defined = drawn[~np.isnan(drawn)]
        if len(defined) and np.ptp(defined) == 0:  # the AUROC's own interval, where it has one, says how sure it is
            bounds = (altered.value, altered.value) if altered.low is None else (altered.low, altered.high)
            low, high = (float(share(bound, whole.value)) for bound in bounds)
            return Interval(value, low, high, f"from that of the AUROC: {altered.method}", self.n, self.n_patients)
        return self._interval(value, drawn, "; share of the same resamples")

    def difference(self, first: str, second: str) -> Interval:
        """The first statistic minus the second."""
        value, drawn = self._combined(first, second, np.subtract)
        pairs = min(self.pairs[name] for name in (first, second))
        if np.isnan(value):
            return Interval(None, None, None, NO_PAIRS, self.n, self.n_patients)
        if pairs < LEAST_PATIENTS:
            return Interval(value, None, None, FEW_PAIRS, self.n, self.n_patients)
        return difference_interval(
            value,
            drawn,
            fewest=pairs,
            n=self.n,
            n_patients=self.n_patients,
            confidence=self.evaluation.confidence,
            seed=self.seed,
            how="; difference of the same resamples",
        )

    def _combined(self, first: str, second: str, combine: Callable[[Any, Any], Any]) -> tuple[float, Values]:
        one, other = self.draws[first], self.draws[second]
        return float(combine(one[0], other[0])), np.asarray(combine(one[1], other[1]), dtype=np.float64)

    def _interval(self, value: float, drawn: Values, how: str) -> Interval:
        if np.isnan(value):
            return Interval(None, None, None, NO_PAIRS, self.n, self.n_patients)
        return percentile_interval(
            value,
            drawn,
            n=self.n,
            n_patients=self.n_patients,
            confidence=self.evaluation.confidence,
            seed=self.seed,
            how=how,
        )

    def _auroc(self, value: float, drawn: Values, pairs: int, how: str) -> Interval:
        if np.isnan(value):
            return Interval(None, None, None, NO_PAIRS, self.n, self.n_patients)
        if pairs < LEAST_PATIENTS:
            return Interval(value, None, None, FEW_PAIRS, self.n, self.n_patients)
        if value in (0.0, 1.0) and no_bounds(drawn, self.n_patients):
            of = f"disjoint pairs of patients (separated in every resample){how}"
            confidence = self.evaluation.confidence
            return exact_interval(value, pairs, of, n=self.n, n_patients=self.n_patients, confidence=confidence)
        return logit_interval(
            value,
            drawn,
            fewest=pairs,
            n=self.n,
            n_patients=self.n_patients,
            confidence=self.evaluation.confidence,
            seed=self.seed,
            how=how,
        )


def disjoint_pairs(positive: NDArray[Any], patient: NDArray[np.intp], strata: NDArray[Any]) -> int:
    """How many pairs of patients, a positive and a negative of the same stratum, no patient being in two of them.

    >>> disjoint_pairs(np.array([1, 0, 1]), np.array([0, 1, 2]), np.array(["a", "a", "b"]))
    1
    """
    found = 0
    for one in np.unique(strata):
        owners = [len(np.unique(patient[(strata == one) & (positive == value)])) for value in (0, 1)]
        found += min(owners)
    return min(found, len(np.unique(patient)) // 2)
