"""What a report says of one label: plain values, tables and pictures for the page to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from medres.evaluation import figures
from medres.evaluation.figures import ForestRow
from medres.evaluation.subgroups import Subgroup, recorded_subgroups
from medres.evaluation.summary import METRICS, Judged
from medres.records import Interval

_MEANINGS = {
    "auroc": ("AUROC", "chance that a positive image scores above a negative one"),
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
_MOST_MISTAKES = 5


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One line of the table of metrics."""

    key: str
    title: str
    meaning: str
    result: Interval
    share: str  # "87 of 102", where the metric is a share


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image the model was most wrong about."""

    path: str
    fold: int
    probability: float
    kind: str  # missed, or false alarm


@dataclass(frozen=True, slots=True)
class Confusion:
    """Images by truth and decision."""

    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int


@dataclass(frozen=True, slots=True)
class LabelSection:
    """All that a report shows of one label."""

    name: str
    anchor: str
    content: Mapping[str, Any]  # of metrics.json
    rows: Sequence[MetricRow]
    confusion: Confusion
    pictures: Sequence[tuple[str, Markup]]  # caption, SVG
    forest: Markup | None
    spread: tuple[float, float] | None  # lowest and highest AUROC of the folds
    thresholds: Sequence[float]
    mean_probability: float | None
    subgroups: Sequence[tuple[str, Sequence[Subgroup]]]
    mistakes: Sequence[Mistake]

    def metric(self, key: str) -> MetricRow:
        """One line of `rows`."""
        return next(row for row in self.rows if row.key == key)


@dataclass(frozen=True, slots=True)
class TaskSection:
    """All that a report shows of a grade or a class."""

    name: str
    anchor: str
    content: Mapping[str, Any]  # of metrics.json
    rows: Sequence[MetricRow]

    @property
    def ordinal(self) -> bool:
        """Whether its values are grades."""
        return bool(self.content["kind"] == "ordinal")

    @property
    def noun(self) -> str:
        """What one of its values is called."""
        return "grade" if self.ordinal else "class"


def task_section(name: str, place: int, content: Mapping[str, Any]) -> TaskSection:
    """Gather what a report shows of a grade or a class.

    Args:
        name: the task's.
        place: its number in the report, for anchors.
        content: its part of `metrics.json`.
    """
    right = sum(counts[at] for at, counts in enumerate(content["confusion"]))
    rows = [
        MetricRow(
            key, *_TASK_MEANINGS[key], _interval(recorded), f"{right} of {content['n']}" if key == "accuracy" else ""
        )
        for key, recorded in content["metrics"].items()
    ]
    return TaskSection(name, f"task-{place}", content, rows)


def label_section(
    label: str,
    place: int,
    *,
    table: pd.DataFrame,
    images: Judged,
    content: Mapping[str, Any],
    run: Mapping[str, Any],
) -> LabelSection:
    """Gather what a report shows of one label.

    Args:
        label: its name.
        place: its number in the report, for anchors and ids.
        table: `oof.csv`.
        images: its judged images.
        content: its part of `metrics.json`.
        run: `run.json`.
    """
    confusion = _confusion(images)
    rows = [_row(name, content["pooled"][name], confusion) for name in METRICS if name in content["pooled"]]
    values = {row.key: row.result.value for row in rows}
    thresholds = _thresholds(run, label)
    aurocs = [fold["auroc"] for fold in content["folds"] if fold["auroc"] is not None]
    return LabelSection(
        name=label,
        anchor=f"label-{place}",
        content=content,
        rows=rows,
        confusion=confusion,
        pictures=_pictures(images, values, thresholds, f"l{place}"),
        forest=_forest(content, f"l{place}-forest") if len(content["folds"]) > 1 else None,
        spread=(min(aurocs), max(aurocs)) if len(aurocs) > 1 else None,
        thresholds=thresholds,
        mean_probability=float(images.probabilities.mean()) if len(images.truth) else None,
        subgroups=recorded_subgroups(content),
        mistakes=_mistakes(table, images),
    )


def _confusion(images: Judged) -> Confusion:
    truth, positive = images.truth == 1, images.positive == 1
    counts = (truth & positive, truth & ~positive, ~truth & positive, ~truth & ~positive)
    return Confusion(*(int(count.sum()) for count in counts))


def _row(name: str, recorded: Mapping[str, Any], confusion: Confusion) -> MetricRow:
    hits, misses = confusion.true_positive, confusion.false_negative
    alarms, rejections = confusion.false_positive, confusion.true_negative
    shares = {
        "sensitivity": (hits, hits + misses),
        "specificity": (rejections, rejections + alarms),
        "ppv": (hits, hits + alarms),
        "npv": (rejections, rejections + misses),
    }
    share = "{} of {}".format(*shares[name]) if name in shares else ""
    return MetricRow(name, *_MEANINGS[name], _interval(recorded), share)


def _interval(recorded: Mapping[str, Any]) -> Interval:
    keys = ("value", "low", "high", "method", "n", "n_patients")
    return Interval(*(recorded.get(key) for key in keys))  # type: ignore[arg-type]  # as summarise wrote them


def _thresholds(run: Mapping[str, Any], label: str) -> list[float]:
    found = [(fold.get("threshold") or {}).get(label) for fold in run.get("folds") or []]
    return [float(value) for value in found if value is not None]


def _pictures(
    images: Judged, values: Mapping[str, float | None], thresholds: Sequence[float], name: str
) -> list[tuple[str, Markup]]:
    def point(first: str, second: str) -> tuple[float, float] | None:
        pair = (values.get(first), values.get(second))
        return None if pair[0] is None or pair[1] is None else (pair[0], pair[1])

    truth, probabilities = images.truth, images.probabilities
    if not len(truth):
        return []
    frozen = "dashed: frozen thresholds" if thresholds else "thresholds not recorded"
    drawn = (
        (
            "ROC curve, pooled",
            figures.roc_figure(truth, probabilities, point=point("sensitivity", "specificity"), name=f"{name}-roc"),
        ),
        (
            "Precision and recall",
            figures.precision_recall_figure(
                truth, probabilities, point=point("sensitivity", "ppv"), name=f"{name}-precision"
            ),
        ),
        (
            "Calibration: bins of equal mass, Wilson intervals (images taken as independent)",
            figures.calibration_figure(truth, probabilities, name=f"{name}-calibration"),
        ),
        (
            f"Scores by class; {frozen}",
            figures.score_figure(truth, probabilities, thresholds=thresholds, name=f"{name}-scores"),
        ),
    )
    return [(caption, Markup(svg)) for caption, svg in drawn if svg]


def _forest(content: Mapping[str, Any], name: str) -> Markup | None:
    rows = [
        ForestRow(f"fold {fold['fold']}", fold["auroc"], fold.get("auroc_low"), fold.get("auroc_high"))
        for fold in content["folds"]
    ]
    pooled = content["pooled"]["auroc"]
    rows.append(ForestRow("pooled", pooled["value"], pooled["low"], pooled["high"], emphasis=True))
    svg = figures.forest_figure(rows, name=name)
    return Markup(svg) if svg else None


def _mistakes(table: pd.DataFrame, images: Judged) -> list[Mistake]:
    """The false positives with the highest and the false negatives with the lowest probability."""
    wrong = images.positive != images.truth
    surprise = np.where(images.truth == 1, 1 - images.probabilities, images.probabilities)
    chosen = []
    for one, word in ((1, "missed"), (0, "false alarm")):
        places = np.flatnonzero(wrong & (images.truth == one))
        worst = places[np.argsort(-surprise[places], kind="stable")][:_MOST_MISTAKES]
        chosen += [
            Mistake(
                str(table["path"].iloc[images.rows[at]]), int(images.folds[at]), float(images.probabilities[at]), word
            )
            for at in worst
        ]
    return chosen
