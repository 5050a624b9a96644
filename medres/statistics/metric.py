"""The one list of metrics: what each is called, what it means and judges, and how it is computed.

Resampling, `metrics.json`, the pages, comparisons, checks and the table of the README ask `METRICS` and keep no list of
their own, so that a new metric is one entry here (and its kernel).
"""

from __future__ import annotations

import numpy as np

from medres.statistics import agreement, calibration, kernels
from medres.statistics.intervals import ONE_CLASS
from medres.statistics.metric_record import Direction, IntervalMethod, Judged, Metric, Place

__all__ = ["METRICS", "Direction", "IntervalMethod", "Judged", "Metric", "Place", "metric", "shown_in"]

_EVERYWHERE: frozenset[Place] = frozenset({"pooled", "folds", "subgroups", "comparison", "patients"})
_OF_DECISIONS: frozenset[Place] = frozenset({"pooled", "folds", "rules", "patients"})
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
            rests_on="rarest",
            prepare=kernels.auroc,
            influence=kernels.auroc_influence,
            exact="pairs",
        ),
        Metric(
            name="auroc_within_folds",
            title="AUROC within folds",
            meaning="the same over pairs that one network scored; perfect is 1",
            judges="probabilities",
            chance=0.5,
            shown=frozenset({"pooled"}),
            interval="logit",
            rests_on="rarest",
            prepare_within=kernels.auroc_within,
            exact="pairs",
        ),
        Metric(
            name="average_precision",
            title="Average precision",
            meaning="precision averaged over recall",
            judges="probabilities",
            shown=frozenset({"pooled", "folds", "comparison"}),
            interval="logit",
            rests_on="rarest",
            prepare=kernels.average_precision,
        ),
        Metric(
            name="partial_auroc",
            title="Partial AUROC",
            meaning="AUROC where at most 10 % of negatives are called; perfect is 1",
            judges="probabilities",
            chance=0.5,
            shown=frozenset({"pooled", "folds"}),
            interval="logit",
            rests_on="rarest",
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
            rests_on="rarest",
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
            shown=frozenset({"pooled", "folds", "comparison", "recalibration", "patients"}),
            prepare=kernels.brier,
        ),
        Metric(
            name="expected_calibration_error",
            title="Calibration error",
            meaning="mean gap of probability and truth in ten bins of equal mass (ties to the right); 0 is perfect",
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
            shown=frozenset({"pooled", "folds", "recalibration", "patients"}),
            interval="sandwich",
            prepare=calibration.calibration_slope,
        ),
        Metric(
            name="calibration_intercept",
            title="Calibration intercept",
            meaning="of the line with that slope; 0 is perfect; below 0 too high where one half is predicted",
            judges="calibration",
            better="closer",
            range=(-np.inf, np.inf),
            perfect=0.0,
            shown=frozenset({"pooled", "recalibration"}),
            interval="sandwich",
            prepare=calibration.calibration_intercept,
        ),
        Metric(
            name="calibration_in_the_large",
            title="Intercept at slope 1",
            meaning="0 is perfect; below 0 probabilities are too high on the whole",
            judges="calibration",
            better="closer",
            range=(-np.inf, np.inf),
            perfect=0.0,
            shown=frozenset({"pooled", "folds", "recalibration", "patients"}),
            interval="sandwich",
            prepare=calibration.calibration_in_the_large,
        ),
        Metric(
            name="observed_expected",
            title="Observed ÷ expected",
            meaning="positives there are, of those that the probabilities add up to; 1 is perfect",
            judges="calibration",
            better="closer",
            range=(0.0, np.inf),
            scale="log",
            rests_on="rarest",
            shown=frozenset({"pooled", "folds", "subgroups", "recalibration", "patients"}),
            prepare=calibration.observed_to_expected,
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
            scale="fisher",
            rests_on="rarest",
            of_confusions=agreement.quadratic_weighted_kappa,
        ),
        Metric(
            name="accuracy",
            title="Accuracy",
            meaning="share of images whose answer is exactly right",
            judges="answers",
            shown=frozenset({"grades", "classes"}),
            of_confusions=agreement.accuracy,
            exact="patients",
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
            scale="log",
            of_confusions=agreement.mean_absolute_error,
        ),
        Metric(
            name="balanced_accuracy",
            title="Balanced accuracy",
            meaning="share that is right within each class, averaged over classes",
            judges="answers",
            shown=frozenset({"classes"}),
            rests_on="rarest",
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
            rests_on="rarest",
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
