"""The curves of one label: ROC, precision and recall, calibration, scores, decision curve, each with its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from medres.config import Evaluation
from medres.evaluation.table import JudgedImages
from medres.formatting import level
from medres.records import Interval
from medres.report import figure_tables
from medres.report.plots import (
    Point,
    draw_calibration,
    draw_decision_curve,
    draw_precision_recall,
    draw_roc,
    draw_scores,
)
from medres.report.svg import PAGE_PALETTE, drawing
from medres.report.table_files import Picture, table_file


@dataclass(frozen=True, slots=True)
class CurveSource:
    """What the curves of one label are made of."""

    images: JudgedImages
    pooled: Mapping[str, Interval]  # by metric
    thresholds: Sequence[float]  # frozen: of the folds, or of a saved model
    anchor: str  # before the ids of its pictures
    slug: str  # the label in names of files
    evaluation: Evaluation  # replicates and confidence of the bands
    seed: int  # of the resamples

    def point(self, first: str, second: str) -> Point:
        """Two pooled metrics as a point; None where one is undefined."""
        x, y = (self.pooled[name].value for name in (first, second))
        return None if x is None or y is None else (x, y)


def curves(source: CurveSource) -> list[Picture]:
    """The curves that can be drawn: none without images, neither ROC nor precision where a class is missing."""
    if not len(source.images.truth):
        return []
    confidence = level(source.evaluation.confidence)
    band = f"band: {confidence} interval at each place, patients resampled"
    resampled = (source.images, source.evaluation, source.seed)
    found: list[Picture] = []
    table = figure_tables.roc_table(*resampled)
    if table is not None:
        found.append(_picture(f"ROC curve, pooled; {band}{_beside(source)}", _roc(table, source), "roc", table, source))
    table = figure_tables.precision_recall_table(*resampled)
    if table is not None:
        svg = _precision_recall(table, source)
        found.append(_picture(f"Precision and recall, pooled; {band}", svg, "precision-recall", table, source))
    table = figure_tables.calibration_table(*resampled)
    if table is not None:
        words = f"Calibration: bins of equal mass; bars: {confidence} interval of each share, patients resampled"
        found.append(_picture(words, _calibration(table, source), "calibration", table, source))
    table = figure_tables.score_table(source.images)
    frozen = f"dashed: frozen threshold{'s' if len(source.thresholds) > 1 else ''}"
    words = f"Scores by class; {frozen if source.thresholds else 'thresholds not recorded'}"
    found.append(_picture(words, _scores(table, source), "scores", table, source))
    table = figure_tables.decision_table(*resampled)
    if table is not None:
        words = (
            "Decision curve: is acting on the model worth more than acting on every radiograph, or on none? Whoever "
            "acts from a probability of t on holds a finding to be worth (1 − t) / t false alarms. "
            f"{helped(table)} {band[0].upper()}{band[1:]}"
        )
        found.append(_picture(words, _decision(table, source), "decision", table, source))
    return found


def _beside(source: CurveSource) -> str:
    """Why an operating point need not lie on the curve; "" where one threshold decides."""
    if len(set(source.thresholds)) < 2:
        return ""
    return (
        ". The dot is what the calls reach, each at its own fold's threshold; the curve puts one threshold on the "
        "scores of all networks together. So the dot need not lie on it: it lies above where "
        "networks score at different levels"
    )


def helped(table: pd.DataFrame) -> str:
    """Where a decision curve's model surely helps or harms, in one or two sentences.

    Args:
        table: of `figure_tables.decision_table`.
    """
    at = table["threshold"].to_numpy()
    low, high = (table[[f"over_none_{end}", f"over_all_{end}"]].to_numpy() for end in ("low", "high"))
    if np.isnan(low).all():
        return "Whether the model helps cannot be told: no band can be made."
    helps, harms = np.asarray(low > 0).all(axis=1), np.asarray(high < 0).any(axis=1)
    stretches = [_stretches(at, np.asarray(chosen, dtype=bool)) for chosen in (helps, harms)]
    said = [
        f"{words} {stretch}."
        for words, stretch in zip(
            (
                "Acting on the model is surely worth more than either for t of",
                "Acting on all, or on none, is surely worth more than the model for t of",
            ),
            stretches,
            strict=True,
        )
        if stretch
    ]
    return " ".join(said) or "That the model is worth more than both was found for no t."


def _stretches(at: NDArray[np.float64], chosen: NDArray[np.bool_]) -> str:
    """Neighbouring places that were chosen: "0.05 to 0.30, and 0.50"; "" for none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(int)))
    pairs = [(at[first], at[last - 1]) for first, last in zip(edges[::2], edges[1::2], strict=True)]
    return ", and ".join(f"{one:.2f}" if one == other else f"{one:.2f} to {other:.2f}" for one, other in pairs)


def _picture(caption: str, svg: Markup, kind: str, table: pd.DataFrame, source: CurveSource) -> Picture:
    return Picture(caption, svg, table_file(kind, table, source.slug))


def _roc(table: pd.DataFrame, source: CurveSource) -> Markup:
    at = source.point("specificity", "sensitivity")
    with drawing(
        f"{source.anchor}-roc",
        title="ROC curve",
        description="Sensitivity against 1 − specificity at every threshold, with the interval of the sensitivity "
        "at each 1 − specificity as a band; the dashed diagonal is chance, the dot the operating point.",
    ) as drawn:
        draw_roc(drawn.axes, table, point=at and (1 - at[0], at[1]), palette=PAGE_PALETTE)
    return drawn.svg


def _precision_recall(table: pd.DataFrame, source: CurveSource) -> Markup:
    at, prevalence = source.point("sensitivity", "ppv"), float(source.images.truth.mean())
    with drawing(
        f"{source.anchor}-precision",
        title="Precision-recall curve",
        description="Precision against recall at every threshold, with the interval of the precision at each "
        "recall as a band; the dashed line is the prevalence, the dot the operating point.",
    ) as drawn:
        draw_precision_recall(drawn.axes, table, prevalence=prevalence, point=at, palette=PAGE_PALETTE)
    return drawn.svg


def _calibration(table: pd.DataFrame, source: CurveSource) -> Markup:
    with drawing(
        f"{source.anchor}-calibration",
        title="Calibration curve",
        description="Observed share of positives against mean predicted probability, one dot and interval per bin; "
        "on the dashed diagonal a probability is what it says.",
    ) as drawn:
        draw_calibration(drawn.axes, table, palette=PAGE_PALETTE)
    return drawn.svg


def _scores(table: pd.DataFrame, source: CurveSource) -> Markup:
    with drawing(
        f"{source.anchor}-scores",
        title="Scores of each class",
        description="Histogram of predicted probabilities, positives upwards and negatives downwards; "
        "dashed lines are the frozen thresholds of the folds.",
    ) as drawn:
        draw_scores(drawn.axes, table, thresholds=source.thresholds, palette=PAGE_PALETTE)
    return drawn.svg


def _decision(table: pd.DataFrame, source: CurveSource) -> Markup:
    with drawing(
        f"{source.anchor}-decision",
        title="Decision curve",
        description="Net benefit over threshold probabilities, with its interval as a band, of acting on the "
        "model's probability (solid), on all (dashed) and on none (dotted).",
    ) as drawn:
        draw_decision_curve(drawn.axes, table, palette=PAGE_PALETTE)
    return drawn.svg
