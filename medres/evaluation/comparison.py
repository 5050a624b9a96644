"""Is one recipe better than another?

Differences are paired by patient; what other patients and what other seeds would change adds up in their interval,
which is corrected where more than one difference is asked about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.evaluation.seeds import SeedSpread
from medres.records import Interval
from medres.statistics.arrays import checked, patient_numbers
from medres.statistics.bootstrap import Sample, bootstraps, replicate
from medres.statistics.intervals import (
    NO_IMAGES,
    ONE_CLASS,
    ROUNDING,
    SAME_VALUE,
    no_bounds,
    too_few,
    undefined_replicates,
)
from medres.statistics.metric import METRICS
from medres.statistics.resampling import Resampling, resamples
from medres.statistics.student import sampling_variance, scaled_interval

PRIMARY = "auroc"
"""The metric that decides. The others are shown with intervals and get no verdict: it was chosen beforehand."""

Verdict = Literal["better", "worse", "tie", "undefined"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One recipe: what each of its runs, which differ in the seed alone, says of the same images."""

    name: str
    scores: Sequence[NDArray[np.float64]]  # per run, one probability per image


@dataclass(frozen=True, slots=True)
class ResampledDifference:
    """A difference with what resampled patients make of it."""

    label: str
    metric: str
    reference: str
    candidate: str
    reference_values: tuple[float | None, ...]  # per run
    candidate_values: tuple[float | None, ...]
    value: float | None  # mean of the candidate's runs − mean of the reference's
    replicates: NDArray[np.float64]  # the same of resampled patients; NaN where undefined
    n: int  # images
    n_patients: int
    fewest: int  # patients of the rarer class, where both count; else all patients
    few: str = ""  # why a difference of so few patients has no interval

    @property
    def runs(self) -> tuple[int, int]:
        """How many runs the reference and the candidate have."""
        return len(self.reference_values), len(self.candidate_values)

    @property
    def unjudged(self) -> str:
        """Why there is no interval and no test; "" where there are."""
        if self.value is None:
            return ONE_CLASS if self.n else NO_IMAGES
        return self.few or no_bounds(self.replicates, self.n_patients)

    @property
    def tie(self) -> bool:
        """Whether both sides are alike in every resample, as two perfect ones are: nothing speaks for either."""
        return self.value is not None and abs(self.value) <= ROUNDING and self.unjudged == SAME_VALUE

    def error(self, spread: SeedSpread | None = None) -> DifferenceError:
        """How uncertain it is: what other patients, and with a spread what other seeds, would change."""
        patients = sampling_variance(self.replicates, self.fewest)
        if spread is None:
            return DifferenceError(patients, 0.0, self.fewest - 1, np.inf)
        left = max(0.0, patients - spread.noise_of_difference(*self.runs))
        return DifferenceError(left, spread.of_difference(*self.runs), self.fewest - 1, spread.freedom)

    def p(self, spread: SeedSpread | None = None) -> float | None:
        """Two-sided p of no difference."""
        from scipy.stats import t as student

        if self.unjudged or self.value is None:
            return None
        error = self.error(spread)
        return float(2 * student.sf(abs(self.value) / error.deviation, error.degrees))

    def interval(self, confidence: float, spread: SeedSpread | None = None, note: str = "") -> Interval:
        """The difference with its interval: over other patients, and with a spread over other seeds, too."""
        from scipy.stats import t as student

        if self.unjudged or self.value is None:
            return Interval(self.value, None, None, self.unjudged, self.n, self.n_patients)
        error = self.error(spread)
        reach = float(student.isf((1 - confidence) / 2, error.degrees)) * error.deviation
        drawn = f"{len(self.replicates)} replicates"
        method = (
            f"paired patient-clustered bootstrap variance ({drawn}){'' if spread is None else ' + variance of seeds'}, "
            f"Student's t with {error.degrees:.0f} degrees of freedom{note}"
        )
        low, high = self.value - reach, self.value + reach
        return Interval(self.value, low, high, method + undefined_replicates(self.replicates), self.n, self.n_patients)


@dataclass(frozen=True, slots=True)
class DifferenceError:
    """Two independent variances of a difference, which add up.

    Source: runs are to recipes what readers are to modalities, nested in them: Obuchowski and Rockette 1995; the
    degrees of freedom of the sum: Satterthwaite 1946, in that design Hillis 2007.
    """

    patients: float  # variance over other patients
    seeds: float  # variance over other seeds
    patient_freedom: float
    seed_freedom: float  # infinite where the variance is assumed

    @property
    def deviation(self) -> float:
        """The standard error."""
        return float(np.sqrt(self.patients + self.seeds))

    @property
    def degrees(self) -> float:
        """Degrees of freedom of the sum."""
        parts = self.patients**2 / self.patient_freedom + self.seeds**2 / self.seed_freedom
        return float((self.patients + self.seeds) ** 2 / parts) if parts else np.inf


@dataclass(frozen=True, slots=True)
class JudgedDifference:
    """A difference with its verdict."""

    difference: ResampledDifference
    interval: Interval  # at the level at which it was judged
    level: float  # that level, e.g. 0.975
    p: float | None
    p_adjusted: float | None  # Holm
    bar: float | None  # the difference that seeds alone may give
    excludes_zero: bool
    verdict: Verdict
    error: DifferenceError | None = None


def resample_difference(
    labels: ArrayLike,
    reference: Candidate,
    candidate: Candidate,
    patients: ArrayLike,
    *,
    label: str = "",
    metric: str = PRIMARY,
    resampling: Resampling,
) -> ResampledDifference:
    """The candidate's metric minus the reference's on the same images, and on the same resampled patients.

    With several runs of a recipe, the mean over its runs.

    Args:
        labels: 0 or 1 per image.
        reference: what is compared with.
        candidate: what is compared.
        patients: the patient of each image.
        label: what the result is called.
        metric: a name of `metric.METRICS` that follows from labels and scores.
        resampling: how often, and with which seed.

    Raises:
        ValueError: see `arrays.checked`.
    """
    runs = [*reference.scores, *candidate.scores]
    pairs = [checked(labels, scores) for scores in runs]
    truth, patient = pairs[0][0], patient_numbers(patients)
    n, n_patients, split = len(truth), len(np.unique(patient)), len(reference.scores)
    names = (label, metric, reference.name, candidate.name)
    prepare = METRICS[metric].prepare
    assert prepare
    nothing: NDArray[np.float64] = np.empty(0)
    if not n:
        return ResampledDifference(*names, (None,) * split, (None,) * len(candidate.scores), None, nothing, 0, 0, 0)
    fewest = min(METRICS[metric].fewest(truth, scores, patient) for _, scores in pairs)
    kernels = [prepare(truth, scores, patient) for _, scores in pairs]
    plain = [float(kernel(np.ones((1, n_patients), dtype=np.int64))[0]) for kernel in kernels]
    values = tuple(None if np.isnan(value) else value for value in plain)
    if np.isnan(plain).any():
        return ResampledDifference(*names, values[:split], values[split:], None, nothing, n, n_patients, fewest)
    drawn = [
        np.mean([kernel(counts) for kernel in kernels[split:]], axis=0)
        - np.mean([kernel(counts) for kernel in kernels[:split]], axis=0)
        for counts in resamples(n_patients, n, replicates=resampling.replicates, seed=resampling.seed)
    ]
    difference = float(np.mean(plain[split:]) - np.mean(plain[:split]))
    few = too_few(truth, patient) if METRICS[metric].interval == "logit" else ""
    return ResampledDifference(
        *names, values[:split], values[split:], difference, np.concatenate(drawn), n, n_patients, fewest, few
    )


def mean_of_runs(
    labels: ArrayLike,
    candidate: Candidate,
    patients: ArrayLike,
    *,
    metric: str = PRIMARY,
    resampling: Resampling,
) -> Interval:
    """The mean of a metric over a recipe's runs, with the interval that other patients would give it.

    All runs are resampled with the same patients: more runs, or more repeats of the folds, add no patients, and the
    interval does not shrink with their number.

    Raises:
        ValueError: see `arrays.checked`.
    """
    samples = [Sample(labels, scores, patients, metric) for scores in candidate.scores]
    how_often, confidence, seed = resampling.replicates, resampling.confidence, resampling.seed
    alone = bootstraps(samples, replicates=how_often, confidence=confidence, seed=seed)
    if len(alone) == 1 or any(one.value is None for one in alone):
        return next((one for one in alone if one.value is None), alone[0])
    values, drawn = replicate(samples, replicates=how_often, seed=seed)
    value, patient = float(values.mean()), patient_numbers(patients)
    n, n_patients, how = alone[0].n, alone[0].n_patients, f"; mean of {len(alone)} runs"
    means = drawn.mean(axis=0)
    truth = checked(labels, candidate.scores[0])[0]
    if reason := too_few(truth, patient) if METRICS[metric].interval == "logit" else "":
        return Interval(value, None, None, reason, n, n_patients)
    fewest = min(METRICS[metric].fewest(truth, np.asarray(scores), patient) for scores in candidate.scores)
    return scaled_interval(
        value,
        means,
        METRICS[metric].scale,
        fewest=fewest,
        n=n,
        n_patients=n_patients,
        confidence=confidence,
        seed=seed,
        how=how,
    )


def decide(
    differences: Sequence[ResampledDifference], spreads: Mapping[str, SeedSpread], *, confidence: float = 0.95
) -> list[JudgedDifference]:
    """A verdict on each difference: `tie` unless its interval over other patients and other seeds excludes 0.

    Holm's procedure keeps the chance of any false verdict below 1 − confidence: the smallest p is judged by the
    interval at 1 − (1 − confidence) ÷ m, the next at ÷ (m − 1), and so on; the first interval that holds 0 ends it, and
    its level is that of all that follow. So the interval that is shown is the one that decided. What has no interval is
    not tested and not counted: it is `undefined`, or a tie where both sides are alike in every resample.

    Args:
        differences: all that are judged together.
        spreads: the seed spread of each label.
        confidence: of the family of verdicts.
    """
    alpha = 1 - confidence
    p = [item.p(spreads[item.label]) for item in differences]
    order = sorted((place for place, value in enumerate(p) if value is not None), key=lambda place: p[place] or 0.0)
    found: dict[int, JudgedDifference] = {}
    ended: float | None = None
    adjusted = 0.0
    for step, place in enumerate(order):
        item, left, spread = differences[place], len(order) - step, spreads[differences[place].label]
        level = 1 - (ended or alpha / left)
        interval = item.interval(level, spread, _note(level, len(order)))
        assert item.value is not None and interval.low is not None and interval.high is not None
        excludes = ended is None and not interval.low <= 0 <= interval.high
        if not excludes and ended is None:
            ended = alpha / left
        adjusted = max(adjusted, min(1.0, left * (p[place] or 0.0)))
        verdict: Verdict = ("better" if item.value > 0 else "worse") if excludes else "tie"
        bar = spread.bar(*item.runs, confidence=confidence)
        found[place] = JudgedDifference(
            item, interval, level, p[place], adjusted, bar, excludes, verdict, item.error(spread)
        )
    return [found.get(place) or _untested(item, confidence) for place, item in enumerate(differences)]


def _untested(item: ResampledDifference, confidence: float) -> JudgedDifference:
    verdict: Verdict = "tie" if item.tie else "undefined"
    return JudgedDifference(item, item.interval(confidence), confidence, None, None, None, False, verdict)


def _note(level: float, comparisons: int) -> str:
    if comparisons < 2:
        return ""
    return f", {100 * level:.3g} % interval by Holm's procedure for {comparisons} comparisons"
