"""The typed content of `comparison.json`: what each recipe reached, what decides between them, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import JsonValue

from medres.documents import Document
from medres.evaluation.comparison import PRIMARY, Verdict
from medres.records import Interval

Rule = Literal["two conditions", "added variances"]
"""`two conditions`: of earlier versions, the interval over patients excludes 0 and the difference exceeds what seeds
give. `added variances`: one interval over patients and seeds excludes 0."""

ADDED_VARIANCES: Rule = "added variances"


class SpreadOfSeeds(Document):
    """How far training anew with another seed moves the AUROC of one label."""

    usual: float  # what two runs are taken to differ by before anything is measured
    deviation: float | None  # standard deviation of one run, pooled over recipes; None: not measured
    degrees: int  # of freedom
    noise: float = 0.0  # the part of the deviation that other patients would move, seed or not


class ComparedDifference(Document):
    """One metric of one label: the candidate minus the reference."""

    label: str
    metric: str  # a name of `statistics.metric.METRICS`
    reference: str
    candidate: str
    difference: Interval
    level: float  # confidence of that interval
    p: float | None  # two-sided, of no difference
    p_holm: float | None  # adjusted by Holm's procedure; None where nothing is decided
    seed_bar: float | None  # the difference that another seed alone may give
    excludes_zero: bool | None  # None where nothing is decided
    verdict: Verdict | None  # None where nothing is decided
    patients_error: float | None = None  # standard error over other patients alone
    seeds_error: float | None = None  # standard error over other seeds alone; the interval adds both


class ComparedRun(Document):
    """One run of a recipe."""

    folder: str
    seed: int
    repeat: int | None
    oof_sha256: str


class Cost(Document):
    """What one network of a recipe costs."""

    parameters: int
    gflop: float  # floating-point operations per image, in thousands of millions
    relative_gflop: float  # the reference's are 1
    images_per_second: float | None  # None: not measured
    relative_time: float | None  # the reference's is 1
    machine: str | None
    training_seconds: float | None  # of the whole cross-validation, mean of the runs
    training_device: tuple[str, ...]


class ComparedRecipe(Document):
    """A recipe with its runs, which differ in the seed or the repeat alone."""

    name: str
    architecture: str
    weights: str | None
    side: int  # of the network's input, pixels
    recipe: str | None
    peculiar: Mapping[str, JsonValue]  # settings that are not the same in all recipes
    runs: tuple[ComparedRun, ...]
    cost: Cost


ByRecipe = Mapping[str, Interval]
"""An interval for each recipe, by the recipe's name."""


class Comparison(Document):
    """The content of `comparison.json`."""

    reference: str
    labels: tuple[str, ...]
    splits_sha256: str | None
    images: int
    patients: int
    folds: int
    repeats: tuple[int, ...]
    confidence: float
    tested: int  # differences that were tested
    correction: str | None
    usual_spread: tuple[float, float]
    rule: Rule = "two conditions"  # by which a verdict was given; comparisons of earlier versions do not name it
    seed_spread: Mapping[str, SpreadOfSeeds]  # by label
    values: Mapping[str, Mapping[str, Mapping[str, tuple[float | None, ...]]]]  # label, metric, recipe: of every run
    intervals: Mapping[str, Mapping[str, Mapping[str, tuple[Interval, ...]]]]  # the same with intervals
    means: Mapping[str, Mapping[str, ByRecipe]]  # label, metric, recipe: over its runs
    recipes: Mapping[str, ByRecipe] = {}  # label, recipe: AUROC, over other patients who train and judge; of 3 runs
    comparisons: tuple[ComparedDifference, ...]
    candidates: tuple[ComparedRecipe, ...] = ()

    def deciding(self, label: str | None = None) -> Sequence[ComparedDifference]:
        """The differences on which a verdict is given, of one label or of all."""
        return [one for one in self.comparisons if one.metric == PRIMARY and label in (None, one.label)]

    def undecided(self) -> Sequence[ComparedDifference]:
        """The differences of other metrics, which are shown and decide nothing."""
        return [one for one in self.comparisons if one.metric != PRIMARY]
