"""The lines of a table of metrics: those that the list of metrics knows, then all others that `metrics.json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medres.evaluation.performance import WITHIN_FOLDS
from medres.evaluation.results import TaskResults
from medres.evaluation.table import JudgedImages
from medres.records import Interval

MEANINGS = {
    "auroc": ("AUROC", "chance that a positive image scores above a negative one"),
    WITHIN_FOLDS: ("AUROC within folds", "the same over pairs that one network scored; chance is 0.5, perfect is 1"),
    "average_precision": ("Average precision", "precision averaged over recall; chance is the prevalence"),
    "partial_auroc": ("Partial AUROC", "AUROC where at most 10 % of negatives are called; chance is 0.5, perfect 1"),
    "sensitivity": ("Sensitivity", "share of positives that were called, at the frozen thresholds"),
    "specificity": ("Specificity", "share of negatives that were not called"),
    "ppv": ("PPV", "share of positive calls that are right, at this prevalence"),
    "npv": ("NPV", "share of negative calls that are right, at this prevalence"),
    "f1": ("F1", "harmonic mean of sensitivity and PPV, at this prevalence"),
    "brier": ("Brier score", "mean squared error of the probability; 0 is perfect"),
    "expected_calibration_error": ("Calibration error", "mean gap of probability and truth in ten bins; 0 is perfect"),
    "calibration_slope": ("Calibration slope", "1 is perfect; below 1 too extreme, above 1 too timid"),
    "calibration_intercept": ("Calibration intercept", "0 is perfect; below 0 too high where one half is predicted"),
}
_TASK_MEANINGS = {
    "quadratic_weighted_kappa": (
        "Quadratic weighted kappa",
        "agreement beyond chance; an error weighs by the square of its grades; 1 is perfect",
    ),
    "accuracy": ("Accuracy", "share of images whose answer is exactly right"),
    "mean_absolute_error": ("Mean absolute error", "mean distance from the true grade, in grades"),
    "macro_auroc": ("Macro AUROC", "mean AUROC of the labels that answer it"),
    "balanced_accuracy": ("Balanced accuracy", "share that is right within each class, averaged over classes"),
}


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One line of the table of metrics."""

    name: str  # in metrics.json
    title: str
    meaning: str
    result: Interval
    share: str  # "87 of 102", where the metric is a share


@dataclass(frozen=True, slots=True)
class Confusion:
    """Images by truth and decision."""

    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int


def confusion_of(images: JudgedImages) -> Confusion:
    """The calls of one label, counted."""
    truth, positive = images.truth == 1, images.positive == 1
    counts = (truth & positive, truth & ~positive, ~truth & positive, ~truth & ~positive)
    return Confusion(*(int(np.sum(count)) for count in counts))


def metric_title(name: str) -> str:
    """What a metric is called; its bare name where the list of metrics does not know it."""
    return MEANINGS[name][0] if name in MEANINGS else name


def label_rows(pooled: Mapping[str, Interval], confusion: Confusion) -> list[MetricRow]:
    """Every pooled metric of a label, in the order of the list of metrics; unknown ones last.

    Args:
        pooled: the metrics of `metrics.json`, by name.
        confusion: the counts that shares are of.
    """
    hits, misses = confusion.true_positive, confusion.false_negative
    alarms, rejections = confusion.false_positive, confusion.true_negative
    shares = {
        "sensitivity": f"{hits} of {hits + misses}",
        "specificity": f"{rejections} of {rejections + alarms}",
        "ppv": f"{hits} of {hits + alarms}",
        "npv": f"{rejections} of {rejections + misses}",
    }
    return _rows(pooled, MEANINGS, shares)


def task_rows(results: TaskResults) -> list[MetricRow]:
    """Every metric of a grade or a class, in the order in which they were written."""
    right = sum(counts[place] for place, counts in enumerate(results.confusion))
    shares = {"accuracy": f"{right} of {results.n}"}
    titled = {name: _TASK_MEANINGS.get(name, (name, "")) for name in results.metrics}
    return _rows(results.metrics, titled, shares)


def _rows(
    found: Mapping[str, Interval], titled: Mapping[str, tuple[str, str]], shares: Mapping[str, str]
) -> list[MetricRow]:
    known = [name for name in titled if name in found]
    unknown = [name for name in found if name not in titled]
    return [
        MetricRow(name, *titled.get(name, (name, "")), found[name], shares.get(name, "")) for name in (*known, *unknown)
    ]
