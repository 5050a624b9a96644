"""The lines of a table of metrics: those that the list of metrics knows, then all others that `metrics.json` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medres.evaluation.results import TaskResults
from medres.evaluation.table import JudgedImages
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
    return _rows([*known, *(name for name in pooled if name not in METRICS)], pooled, shares)


def task_rows(results: TaskResults) -> list[MetricRow]:
    """Every metric of a grade or a class, in the order in which they were written."""
    right = sum(counts[place] for place, counts in enumerate(results.confusion))
    return _rows(list(results.metrics), results.metrics, {"accuracy": f"{right} of {results.n}"})


def _rows(names: Sequence[str], found: Mapping[str, Interval], shares: Mapping[str, str]) -> list[MetricRow]:
    meanings = {name: METRICS[name].meaning if name in METRICS else "" for name in names}
    return [MetricRow(name, metric_title(name), meanings[name], found[name], shares.get(name, "")) for name in names]
