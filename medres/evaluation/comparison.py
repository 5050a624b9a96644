"""Is one recipe better than another?

Differences are paired by patient, held against what another seed alone changes, and corrected where more than one is
asked about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.records import Interval
from medres.statistics.arrays import checked, patient_numbers
from medres.statistics.bootstrap import Sample, bootstraps, replicate
from medres.statistics.intervals import (
    NO_IMAGES,
    ONE_CLASS,
    ROUNDING,
    SAME_VALUE,
    fewest_patients,
    logit_interval,
    no_bounds,
    percentile_interval,
    percentiles,
    too_few,
    undefined_replicates,
)
from medres.statistics.metric import METRICS
from medres.statistics.resampling import Resampling, resamples

PRIMARY = "auroc"
"""The metric that decides. The others are shown with intervals and get no verdict: it was chosen beforehand."""

USUAL_SPREAD = (0.004, 0.017)
"""AUROC by which two runs that differ in the seed alone usually differ, as published."""

DEFAULT_SPREAD = USUAL_SPREAD[1]
"""What counts where no recipe was run with two seeds: the upper end, because nobody knows where in the range a recipe
lies, and a verdict must hold anywhere in it."""

ENOUGH = 4
"""Degrees of freedom from which a measured spread counts alone: three seeds of two recipes."""

PRIOR_DEGREES = 2
"""Degrees of freedom that the usual spread is worth beside a spread measured with fewer: two runs tell little."""

Verdict = Literal["better", "worse", "tie", "undefined"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One recipe: what each of its runs, which differ in the seed alone, says of the same images."""

    name: str
    scores: Sequence[NDArray[np.float64]]  # per run, one probability per image


@dataclass(frozen=True, slots=True)
class SeedSpread:
    """How far training anew, with another seed, moves the AUROC."""

    usual: float  # what two runs are taken to differ by before anything is measured
    deviation: float | None = None  # standard deviation of one run, pooled over recipes; None: not measured
    degrees: int = 0  # of freedom: runs − recipes, over recipes with two runs or more

    def bar(self, first: int, second: int, *, confidence: float) -> float:
        """The difference that seeds alone may give two equally good recipes with these numbers of runs.

        Student's t × s × √(1 ÷ first + 1 ÷ second), for single runs the repeatability limit of ISO 5725-6. A variance
        that was measured with less than ENOUGH is moderated by the usual one (Smyth 2004), so that one pair of seeds
        that happen to agree, or not to, decides nothing. Where nothing was measured, single runs must differ by more
        than `usual`.
        """
        from scipy.stats import t as student

        tail = (1 - confidence) / 2
        weight = 0 if self.degrees >= ENOUGH else PRIOR_DEGREES
        prior = self.usual / float(student.isf(tail, PRIOR_DEGREES) * np.sqrt(2))
        degrees = weight + self.degrees
        variance = (weight * prior**2 + self.degrees * (self.deviation or 0.0) ** 2) / degrees
        return float(student.isf(tail, degrees) * np.sqrt(variance * (1 / first + 1 / second)))


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
    few: str = ""  # why a difference of so few patients has no interval

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

    @property
    def p(self) -> float | None:
        """Two-sided p of no difference: how many replicates lie on the other side of 0 (Davison and Hinkley 1997)."""
        if self.unjudged:
            return None
        drawn = self.replicates[~np.isnan(self.replicates)]
        return float(min(1.0, 2 * (1 + min((drawn <= 0).sum(), (drawn >= 0).sum())) / (1 + len(drawn))))

    def interval(self, confidence: float, note: str = "") -> Interval:
        """The difference with its percentile interval."""
        if self.unjudged:
            return Interval(self.value, None, None, self.unjudged, self.n, self.n_patients)
        low, high = percentiles(self.replicates, confidence)
        method = f"paired patient-clustered bootstrap, percentile, {len(self.replicates)} replicates{note}"
        return Interval(self.value, low, high, method + undefined_replicates(self.replicates), self.n, self.n_patients)


@dataclass(frozen=True, slots=True)
class JudgedDifference:
    """A difference with its verdict."""

    difference: ResampledDifference
    interval: Interval  # at the level at which it was judged
    level: float  # that level, e.g. 0.975
    p: float | None
    p_adjusted: float | None  # Holm
    bar: float | None  # the seed spread that the difference must exceed
    excludes_zero: bool
    verdict: Verdict


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
        return ResampledDifference(*names, (None,) * split, (None,) * len(candidate.scores), None, nothing, 0, 0)
    kernels = [prepare(truth, scores, patient) for _, scores in pairs]
    plain = [float(kernel(np.ones((1, n_patients), dtype=np.int64))[0]) for kernel in kernels]
    values = tuple(None if np.isnan(value) else value for value in plain)
    if np.isnan(plain).any():
        return ResampledDifference(*names, values[:split], values[split:], None, nothing, n, n_patients)
    drawn = [
        np.mean([kernel(counts) for kernel in kernels[split:]], axis=0)
        - np.mean([kernel(counts) for kernel in kernels[:split]], axis=0)
        for counts in resamples(n_patients, n, replicates=resampling.replicates, seed=resampling.seed)
    ]
    difference = float(np.mean(plain[split:]) - np.mean(plain[:split]))
    few = too_few(truth, patient) if METRICS[metric].interval == "logit" else ""
    return ResampledDifference(
        *names, values[:split], values[split:], difference, np.concatenate(drawn), n, n_patients, few
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
    if METRICS[metric].interval != "logit":
        return percentile_interval(value, means, n=n, n_patients=n_patients, confidence=confidence, seed=seed, how=how)
    truth = checked(labels, candidate.scores[0])[0]
    if reason := too_few(truth, patient):
        return Interval(value, None, None, reason, n, n_patients)
    fewest = fewest_patients(truth, patient)
    return logit_interval(
        value, means, fewest=fewest, n=n, n_patients=n_patients, confidence=confidence, seed=seed, how=how
    )


def seed_spread(values: Sequence[Sequence[float | None]], *, usual: float = DEFAULT_SPREAD) -> SeedSpread:
    """The standard deviation over seeds, pooled over recipes.

    Not measured where no recipe has two runs, nor where all runs of each agree to the last digit, as at a ceiling.

    Args:
        values: for each recipe the AUROC of each of its runs.
        usual: see `SeedSpread`.

    >>> seed_spread([[0.90, 0.92], [0.95]]).degrees, round(seed_spread([[0.90, 0.92], [0.95]]).deviation, 4)
    (1, 0.0141)
    """
    known = [[value for value in runs if value is not None] for runs in values]
    repeated = [np.asarray(runs) for runs in known if len(runs) > 1]
    degrees = sum(len(runs) - 1 for runs in repeated)
    squares = sum(float(((runs - runs.mean()) ** 2).sum()) for runs in repeated)
    if not degrees or squares == 0:
        return SeedSpread(usual)
    return SeedSpread(usual, float(np.sqrt(squares / degrees)), degrees)


def decide(
    differences: Sequence[ResampledDifference], spreads: Mapping[str, SeedSpread], *, confidence: float = 0.95
) -> list[JudgedDifference]:
    """A verdict on each difference: `tie` unless its interval excludes 0 and it exceeds what seeds alone give.

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
    p = [item.p for item in differences]
    order = sorted((place for place, value in enumerate(p) if value is not None), key=lambda place: p[place] or 0.0)
    found: dict[int, JudgedDifference] = {}
    ended: float | None = None
    adjusted = 0.0
    for step, place in enumerate(order):
        item, left = differences[place], len(order) - step
        level = 1 - (ended or alpha / left)
        interval = item.interval(level, _note(level, len(order)))
        assert item.value is not None and interval.low is not None and interval.high is not None
        excludes = ended is None and not interval.low <= 0 <= interval.high
        if not excludes and ended is None:
            ended = alpha / left
        adjusted = max(adjusted, min(1.0, left * (item.p or 0.0)))
        bar = spreads[item.label].bar(len(item.reference_values), len(item.candidate_values), confidence=confidence)
        real = excludes and abs(item.value) > bar
        verdict: Verdict = ("better" if item.value > 0 else "worse") if real else "tie"
        found[place] = JudgedDifference(item, interval, level, item.p, adjusted, bar, excludes, verdict)
    return [found.get(place) or _untested(item, confidence) for place, item in enumerate(differences)]


def _untested(item: ResampledDifference, confidence: float) -> JudgedDifference:
    verdict: Verdict = "tie" if item.tie else "undefined"
    return JudgedDifference(item, item.interval(confidence), confidence, None, None, None, False, verdict)


def _note(level: float, comparisons: int) -> str:
    if comparisons < 2:
        return ""
    return f", {100 * level:.3g} % interval by Holm's procedure for {comparisons} comparisons"
