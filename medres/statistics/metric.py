"""The one list of metrics: what each is called, what it means and judges, and how it is computed.

Resampling, `metrics.json`, the pages, comparisons, checks and the table of the README ask `METRICS` and keep no list of
their own, so that a new metric is one entry here (and its kernel).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.statistics import agreement, calibration, kernels
from medres.statistics.agreement import OfConfusions
from medres.statistics.arrays import checked
from medres.statistics.intervals import ONE_CLASS
from medres.statistics.kernels import Prepare, PrepareWithin

Judged = Literal["probabilities", "calibration", "decisions", "answers"]
"""What a metric looks at: the order of probabilities, their size, decisions at a threshold, grades or classes."""

Direction = Literal["higher", "lower", "closer"]
"""Which of two values is better; `closer`: the one closer to the perfect value."""

Place = Literal["pooled", "folds", "subgroups", "rules", "comparison", "recalibration", "grades", "classes"]
"""Where a metric is computed and shown.

All images of a label, each fold, parts of the cohort, every rule for a threshold, the comparison of runs, an external
cohort before and after recalibration; and the tasks whose answers are grades or classes.
"""

IntervalMethod = Literal["percentile", "logit", "gaps", "sandwich"]
"""How the bounds are found.

`percentile`: of the resampled values. `logit`: see `intervals.logit_interval`, and none of few patients. `gaps`: see
`intervals.deviation_interval`. `sandwich`: see `calibration.calibration_intervals`.
"""

Base = Callable[[NDArray[np.int64], NDArray[np.float64]], NDArray[np.bool_]]
"""Labels and decisions to the images that a share is a share of."""

Influence = Callable[[NDArray[np.int64], NDArray[np.float64], float], NDArray[np.float64]]
"""Labels, scores and the value to how far each image moves it, to first order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure of performance. Of the three kernels it has the one that fits what it judges."""

    name: str  # its key in metrics.json
    title: str
    meaning: str  # for a page, in a few words
    judges: Judged
    shown: frozenset[Place]
    better: Direction = "higher"
    range: tuple[float, float] = (0.0, 1.0)
    perfect: float = 1.0
    chance: float | None = None  # what guessing gives; None where that depends on the cohort, or means nothing
    interval: IntervalMethod = "percentile"
    prepare: Prepare | None = None  # its kernel; of grades and classes, of each of their labels, whose mean it is
    prepare_within: PrepareWithin | None = None  # its kernel, where images of one fold are compared with each other
    of_confusions: OfConfusions | None = None  # its kernel, where answers are judged
    resampled: Prepare | None = None  # what is resampled for the interval, where that is not the metric itself
    influence: Influence | None = None  # what the difference of two parts of a cohort needs
    share_of: Base | None = None  # the images that it rests on; None: all
    exact: Literal["", "patients", "pairs"] = ""  # what a value that no resample changes is an exact share of
    undefined: str = ONE_CLASS  # why it has no value, where there are images

    def value(self, labels: ArrayLike, scores: ArrayLike) -> float | None:
        """The metric of all images; None where it is undefined.

        Args:
            labels: 0 or 1 per image.
            scores: a probability per image; where decisions are judged, the decision 0 or 1.

        Raises:
            ValueError: see `arrays.checked`; or the metric does not judge labels and scores alone.

        >>> metric("auroc").value([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
        >>> metric("sensitivity").value([1, 1, 0], [1, 0, 0]), metric("sensitivity").value([0, 0], [1, 0])
        (0.5, None)
        """
        if self.prepare is None:
            raise ValueError(f"{self.name} does not follow from labels and scores alone")
        truth, values = checked(labels, scores)
        if not len(truth):
            return None
        kernel = self.prepare(truth, values, np.arange(len(truth)))
        found = float(kernel(np.ones((1, len(truth)), dtype=np.int64))[0])
        return None if np.isnan(found) else found


_EVERYWHERE: frozenset[Place] = frozenset({"pooled", "folds", "subgroups", "comparison"})
_OF_DECISIONS: frozenset[Place] = frozenset({"pooled", "folds", "rules"})
_NO_POSITIVE = f"{ONE_CLASS} (no positive image)"

METRICS: dict[str, Metric] = {
    one.name: one
    for one in (
        # How images are ranked
        Metric(
            name="auroc",
            title="AUROC",
            meaning="chance that a positive image scores above a negative one",
            judges="probabilities",
            chance=0.5,
            shown=_EVERYWHERE,
            interval="logit",
            prepare=kernels.auroc,
            influence=kernels.auroc_influence,
            exact="pairs",
        ),
        Metric(
            name="auroc_within_folds",
            title="AUROC within folds",
            meaning="the same over pairs that one network scored; chance is 0.5, perfect is 1",
            judges="probabilities",
            chance=0.5,
            shown=frozenset({"pooled"}),
            interval="logit",
            prepare_within=kernels.auroc_within,
            exact="pairs",
        ),
        Metric(
            name="average_precision",
            title="Average precision",
            meaning="precision averaged over recall; chance is the prevalence",
            judges="probabilities",
            shown=frozenset({"pooled", "folds", "comparison"}),
            interval="logit",
            prepare=kernels.average_precision,
        ),
        Metric(
            name="partial_auroc",
            title="Partial AUROC",
            meaning="AUROC where at most 10 % of negatives are called; chance is 0.5, perfect 1",
            judges="probabilities",
            chance=0.5,
            shown=frozenset({"pooled", "folds"}),
            interval="logit",
            prepare=kernels.partial_auroc,
        ),
        # Decisions at the frozen thresholds
        Metric(
            name="sensitivity",
            title="Sensitivity",
            meaning="share of positives that were called, at the frozen thresholds",
            judges="decisions",
            shown=_OF_DECISIONS | {"subgroups", "recalibration"},
            prepare=kernels.sensitivity,
            influence=kernels.sensitivity_influence,
            share_of=lambda labels, _: labels == 1,
            exact="patients",
            undefined=_NO_POSITIVE,
        ),
        Metric(
            name="specificity",
            title="Specificity",
            meaning="share of negatives that were not called",
            judges="decisions",
            shown=_OF_DECISIONS | {"subgroups", "recalibration"},
            prepare=kernels.specificity,
            influence=kernels.specificity_influence,
            share_of=lambda labels, _: labels == 0,
            exact="patients",
            undefined=f"{ONE_CLASS} (no negative image)",
        ),
        Metric(
            name="ppv",
            title="PPV",
            meaning="share of positive calls that are right, at this prevalence",
            judges="decisions",
            shown=_OF_DECISIONS,
            prepare=kernels.ppv,
            share_of=lambda _, decisions: decisions > 0,
            exact="patients",
            undefined="undefined: nothing was called positive",
        ),
        Metric(
            name="npv",
            title="NPV",
            meaning="share of negative calls that are right, at this prevalence",
            judges="decisions",
            shown=_OF_DECISIONS,
            prepare=kernels.npv,
            share_of=lambda _, decisions: decisions <= 0,
            exact="patients",
            undefined="undefined: nothing was called negative",
        ),
        Metric(
            name="f1",
            title="F1",
            meaning="harmonic mean of sensitivity and PPV, at this prevalence",
            judges="decisions",
            shown=_OF_DECISIONS,
            prepare=kernels.f1,
            undefined=_NO_POSITIVE,
        ),
        # Whether probabilities keep their word
        Metric(
            name="brier",
            title="Brier score",
            meaning="mean squared error of the probability; 0 is perfect",
            judges="calibration",
            better="lower",
            perfect=0.0,
            shown=frozenset({"pooled", "folds", "comparison", "recalibration"}),
            prepare=kernels.brier,
        ),
        Metric(
            name="expected_calibration_error",
            title="Calibration error",
            meaning="mean gap of probability and truth in ten bins; 0 is perfect",
            judges="calibration",
            better="lower",
            perfect=0.0,
            shown=frozenset({"pooled", "recalibration"}),
            interval="gaps",
            prepare=calibration.expected_calibration_error,
            resampled=calibration.calibration_deviation,
        ),
        Metric(
            name="calibration_slope",
            title="Calibration slope",
            meaning="1 is perfect; below 1 too extreme, above 1 too timid",
            judges="calibration",
            better="closer",
            range=(-np.inf, np.inf),
            shown=frozenset({"pooled", "recalibration"}),
            interval="sandwich",
            prepare=calibration.calibration_slope,
        ),
        Metric(
            name="calibration_intercept",
            title="Calibration intercept",
            meaning="0 is perfect; below 0 too high where one half is predicted",
            judges="calibration",
            better="closer",
            range=(-np.inf, np.inf),
            perfect=0.0,
            shown=frozenset({"pooled", "recalibration"}),
            interval="sandwich",
            prepare=calibration.calibration_intercept,
        ),
        # Grades and classes
        Metric(
            name="quadratic_weighted_kappa",
            title="Quadratic weighted kappa",
            meaning="agreement beyond chance; an error weighs by the square of its grades; 1 is perfect",
            judges="answers",
            range=(-1.0, 1.0),
            chance=0.0,
            shown=frozenset({"grades"}),
            of_confusions=agreement.quadratic_weighted_kappa,
        ),
        Metric(
            name="accuracy",
            title="Accuracy",
            meaning="share of images whose answer is exactly right",
            judges="answers",
            shown=frozenset({"grades", "classes"}),
            of_confusions=agreement.accuracy,
        ),
        Metric(
            name="mean_absolute_error",
            title="Mean absolute error",
            meaning="mean distance from the true grade, in grades",
            judges="answers",
            better="lower",
            range=(0.0, np.inf),
            perfect=0.0,
            shown=frozenset({"grades"}),
            of_confusions=agreement.mean_absolute_error,
        ),
        Metric(
            name="balanced_accuracy",
            title="Balanced accuracy",
            meaning="share that is right within each class, averaged over classes",
            judges="answers",
            shown=frozenset({"classes"}),
            of_confusions=agreement.balanced_accuracy,
        ),
        Metric(
            name="macro_auroc",
            title="Macro AUROC",
            meaning="mean AUROC of the labels that answer it",
            judges="probabilities",
            chance=0.5,
            shown=frozenset({"grades", "classes"}),
            interval="logit",
            prepare=kernels.auroc,
        ),
    )
}
"""Every metric by its name, in the order in which pages show them."""


def metric(name: str) -> Metric:
    """A metric by its name.

    Raises:
        KeyError: there is none of that name.
    """
    return METRICS[name]


def shown_in(place: Place) -> list[Metric]:
    """The metrics that are computed and shown in a place, in the order of `METRICS`."""
    return [one for one in METRICS.values() if place in one.shown]
