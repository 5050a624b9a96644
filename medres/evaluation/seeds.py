"""What training anew, with another seed, changes: measured where a recipe has several runs, else assumed and said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from medres.records import Interval
from medres.statistics.arrays import checked, patient_numbers
from medres.statistics.bootstrap import Sample, replicate
from medres.statistics.intervals import ONE_CLASS, fewest_patients, no_bounds, too_few
from medres.statistics.resampling import Resampling
from medres.statistics.student import sampling_variance, scaled_bounds

USUAL_SPREAD = (0.004, 0.017)
"""AUROC by which two runs that differ in the seed alone usually differ, as published."""

DEFAULT_SPREAD = USUAL_SPREAD[1]
"""What counts where no recipe was run with two seeds: the upper end, because nobody knows where in the range a recipe
lies, and a verdict must hold anywhere in it."""

USUAL_CONFIDENCE = 0.95
"""How many of a hundred pairs of runs are taken to differ by no more than the usual spread."""

ENOUGH = 4
"""Degrees of freedom from which a measured spread counts alone: three seeds of two recipes."""

PRIOR_DEGREES = 2
"""Degrees of freedom that the usual spread is worth beside a spread measured with fewer: two runs tell little."""


@dataclass(frozen=True, slots=True)
class SeedSpread:
    """How far training anew, with another seed, moves the AUROC."""

    usual: float  # what two runs are taken to differ by, in 95 of 100 pairs, before anything is measured
    deviation: float | None = None  # standard deviation of one run, pooled over recipes; None: not measured
    degrees: int = 0  # of freedom: runs − recipes, over recipes with two runs or more
    noise: float = 0.0  # the part of `deviation` that is this sample's: other patients would move it, seed or not

    @property
    def measured(self) -> float:
        """How much of the variance of a run is measured, 0 to 1; the rest is assumed."""
        weight = 0 if self.degrees >= ENOUGH else PRIOR_DEGREES
        return self.degrees / (self.degrees + weight)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance; infinite where it is assumed, and so is taken as known."""
        if not self.degrees:
            return float("inf")
        return self.degrees + (0 if self.degrees >= ENOUGH else PRIOR_DEGREES)

    @property
    def variance(self) -> float:
        """Of one run's AUROC on the same patients.

        A variance that was measured with less than ENOUGH is moderated by the usual one (Smyth 2004), so that one pair
        of seeds that happen to agree, or not to, decides nothing.
        """
        from scipy.stats import norm

        assumed = (self.usual / (float(norm.isf((1 - USUAL_CONFIDENCE) / 2)) * np.sqrt(2))) ** 2
        return float((1 - self.measured) * assumed + self.measured * (self.deviation or 0.0) ** 2)

    def of_difference(self, first: int, second: int) -> float:
        """The variance that seeds alone give the difference of the means of these numbers of runs."""
        return self.variance * (1 / first + 1 / second)

    def noise_of_difference(self, first: int, second: int) -> float:
        """The part of that which resampled patients show, too: it must not be counted twice."""
        return self.measured * self.noise**2 * (1 / first + 1 / second)

    def bar(self, first: int, second: int, *, confidence: float) -> float:
        """The difference that seeds alone may give two equally good recipes with these numbers of runs.

        For single runs the repeatability limit of ISO 5725-6. It is shown; what decides adds the patients to it.
        """
        from scipy.stats import t as student

        return float(student.isf((1 - confidence) / 2, self.freedom) * np.sqrt(self.of_difference(first, second)))


def seed_spread(
    values: Sequence[Sequence[float | None]], *, usual: float = DEFAULT_SPREAD, noises: Sequence[float | None] = ()
) -> SeedSpread:
    """The standard deviation over seeds, pooled over recipes.

    Not measured where no recipe has two runs, nor where all runs of each agree to the last digit, as at a ceiling.

    Args:
        values: for each recipe the AUROC of each of its runs.
        usual: see `SeedSpread`.
        noises: of each recipe the variance of `run_noise`; None where it has one run.

    >>> seed_spread([[0.90, 0.92], [0.95]]).degrees, round(seed_spread([[0.90, 0.92], [0.95]]).deviation, 4)
    (1, 0.0141)
    """
    known = [[value for value in runs if value is not None] for runs in values]
    repeated = [np.asarray(runs) for runs in known if len(runs) > 1]
    degrees = sum(len(runs) - 1 for runs in repeated)
    squares = sum(float(((runs - runs.mean()) ** 2).sum()) for runs in repeated)
    if not degrees or squares == 0:
        return SeedSpread(usual)
    shared = [(len(runs) - 1, noise) for runs, noise in zip(known, noises, strict=True) if noise] if noises else []
    variance = sum(weight * noise for weight, noise in shared) / max(1, sum(weight for weight, _ in shared))
    return SeedSpread(usual, float(np.sqrt(squares / degrees)), degrees, float(np.sqrt(variance)))


def run_noise(
    labels: ArrayLike, runs: Sequence[ArrayLike], patients: ArrayLike, *, resampling: Resampling
) -> float | None:
    """The variance over other patients that a run does not share with other seeds of its recipe; None of one run.

    Two seeds on one sample differ by it even where both are equally good at large, and resampled patients show it, too.

    Args:
        labels: 0 or 1 per image.
        runs: probabilities of each run, one per image.
        patients: the patient of each image.
        resampling: how often, and with which seed.
    """
    if len(runs) < 2:
        return None
    samples = [Sample(labels, scores, patients) for scores in runs]
    drawn = replicate(samples, replicates=resampling.replicates, seed=resampling.seed)[1]
    apart = (drawn - drawn.mean(axis=0))[:, ~np.isnan(drawn).any(axis=0)]
    return float(apart.var(axis=1).sum() / (len(samples) - 1)) if apart.size else None


FEWEST_RUNS = 3
"""Runs of a recipe below which it is not said what the recipe reaches: two tell too little of how they spread."""


def recipe_interval(
    labels: ArrayLike, runs: Sequence[ArrayLike], patients: ArrayLike, *, folds: int, resampling: Resampling
) -> Interval:
    """The mean AUROC of a recipe's runs, with where it may lie if other patients had trained and judged the networks.

    The variance is that of other patients as judges (their resamples), times folds ÷ (folds − 1), plus that of one run
    beside another. The factor is Nadeau and Bengio's (2003): each network learned from folds − 1 times as many patients
    as judge it, and other ones would have made another network; Bouckaert and Frank (2004) use it for repeats. The form
    was chosen by simulation (`tests/test_student.py`): where resampled patients alone hold what the recipe
    reaches in 86 to 93 of 100 cohorts, this holds it in 94 to 98, of repeats that divide the patients anew. Seeds on
    one division spread less.

    Args:
        labels: 0 or 1 per image.
        runs: probabilities of each run, one per image.
        patients: the patient of each image.
        folds: of each run.
        resampling: how often, how sure, and with which seed.
    """
    from scipy.stats import t as student

    truth, patient = checked(labels, runs[0])[0], patient_numbers(patients)
    n, n_patients = len(truth), len(np.unique(patient))
    samples = [Sample(labels, scores, patients) for scores in runs]
    values, drawn = replicate(samples, replicates=resampling.replicates, seed=resampling.seed)
    if np.isnan(values).any():
        return Interval(None, None, None, ONE_CLASS, n, n_patients)
    value, means = float(values.mean()), drawn.mean(axis=0)
    few = "" if len(runs) >= FEWEST_RUNS and folds > 1 else f"no interval: fewer than {FEWEST_RUNS} runs, or one fold"
    reason = few or too_few(truth, patient) or no_bounds(means, n_patients)
    if reason:
        return Interval(value, None, None, reason, n, n_patients)
    fewest = fewest_patients(truth, patient)
    error = float(np.sqrt(sampling_variance(means, fewest) * folds / (folds - 1) + values.var(ddof=1)))
    quantile = float(student.isf((1 - resampling.confidence) / 2, fewest - 1))
    low, high = scaled_bounds(value, error, "logit", quantile)
    method = (
        f"patient-clustered bootstrap variance × {folds}/{folds - 1} + variance between {len(runs)} runs, logit scale, "
        f"Student's t with {fewest - 1} degrees of freedom, {len(means)} replicates, seed {resampling.seed}"
    )
    return Interval(value, low, high, method, n, n_patients)
