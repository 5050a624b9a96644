"""The lines of a table of metrics: those that the list of metrics knows, then all others that `metrics.json` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medres.evaluation.results import TaskResults
from medres.evaluation.table import JudgedImages
from medres.formatting import bounds, estimate, figure, signed
from medres.records import Interval
from medres.statistics.metric import METRICS


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One line of the table of metrics."""

    name: str  # in metrics.json
    title: str
    meaning: str
    result: Interval
    share: str  # "87 of 102", where the metric is a share
    reference: str = ""  # what would be reached without an image


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
    return METRICS[name].title if name in METRICS else name


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
    known = [name for name in METRICS if name in pooled]
    positives, n = hits + misses, hits + misses + alarms + rejections
    references = _label_references(positives / n if n else None)
    return _rows([*known, *(name for name in pooled if name not in METRICS)], pooled, shares, references)


def task_rows(results: TaskResults) -> list[MetricRow]:
    """Every metric of a grade or a class, in the order in which they were written."""
    right = sum(counts[place] for place, counts in enumerate(results.confusion))
    names = list(results.metrics)
    return _rows(names, results.metrics, {"accuracy": f"{right} of {results.n}"}, _task_references(results))


def _task_references(results: TaskResults) -> dict[str, str]:
    """What each metric of a grade or a class would be without an image; {} where it is not recorded."""
    found = {name: f"chance gives {one.chance:g}" for name, one in METRICS.items() if one.chance is not None}
    found["balanced_accuracy"] = f"chance gives {figure(1 / len(results.values))}"
    words = {"accuracy": "the commonest answer", "mean_absolute_error": "the grade in the middle"}
    for name, reference in results.references.items():
        found[name] = f"always giving {words[name]} reaches {estimate(reference)}; {_gained(results.gains[name])}"
    return found


def _gained(gain: Interval) -> str:
    """How much better a model is than a reference, said to be better only where the interval excludes 0."""
    if gain.value is None or gain.low is None or gain.high is None:
        return f"whether this is better cannot be told: {gain.method}"
    size = f"by {signed(gain.value)} ({bounds(gain)})"
    if gain.low > 0:
        return f"this is better {size}"
    return f"this is worse {size}" if gain.high < 0 else f"that this is better was not found: {size}"


def _label_references(prevalence: float | None) -> dict[str, str]:
    """What each metric of a label would be if scores and calls were given by lot."""
    found = {name: f"chance gives {one.chance:g}" for name, one in METRICS.items() if one.chance is not None}
    if prevalence is not None:
        found |= dict.fromkeys(("average_precision", "ppv"), f"calls by lot give {figure(prevalence)}")
        found["npv"] = f"calls by lot give {figure(1 - prevalence)}"
        found["brier"] = f"always saying the prevalence gives {figure(prevalence * (1 - prevalence))}"
    return found


def _rows(
    names: Sequence[str], found: Mapping[str, Interval], shares: Mapping[str, str], references: Mapping[str, str]
) -> list[MetricRow]:
    meanings = {name: METRICS[name].meaning if name in METRICS else "" for name in names}
    return [
        MetricRow(name, metric_title(name), meanings[name], found[name], shares.get(name, ""), references.get(name, ""))
        for name in names
    ]
