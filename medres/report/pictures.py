"""Every figure of a report with its table: drawn here, and written as CSV by whoever writes the page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from medres.config import Evaluation
from medres.evaluation.table import JudgedImages
from medres.report import figure_tables, figures
from medres.report.drawing import hundred_squares
from medres.report.plain import Calls
from medres.runs.run_files import Histories
from medres.tables import csv_text

FOLDER = "tables"
"""The folder of a run that holds the tables of its report's figures."""


@dataclass(frozen=True, slots=True)
class TableFile:
    """A table that is written beside the page."""

    name: str  # of the file, e.g. roc-nodule.csv
    text: str

    @property
    def path(self) -> str:
        """From the page."""
        return f"{FOLDER}/{self.name}"

    @property
    def address(self) -> str:
        """The table itself, for a link that works without the folder."""
        return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(self.text.encode()).decode()}"


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure, what it shows, and the table it was drawn from."""

    caption: str
    svg: Markup
    file: TableFile


def table_file(kind: str, table: pd.DataFrame, label: str = "") -> TableFile:
    """A table under the name that its kind and its label give."""
    return TableFile(f"{kind}-{label}.csv" if label else f"{kind}.csv", csv_text(table))


def label_pictures(
    images: JudgedImages,
    values: Mapping[str, float | None],
    thresholds: Sequence[float],
    *,
    name: str,
    slug: str,
    evaluation: Evaluation,
    seed: int,
) -> list[Picture]:
    """The figures of one label that can be drawn: ROC, precision-recall, calibration, decision curve, scores.

    Args:
        images: its judged images.
        values: pooled metrics by name.
        thresholds: the folds' frozen ones.
        name: prefix of ids in the page.
        slug: the label in file names.
        evaluation: replicates and confidence of the bands.
        seed: of the resamples.
    """

    def point(first: str, second: str) -> figures.Point:
        pair = (values.get(first), values.get(second))
        return None if pair[0] is None or pair[1] is None else (pair[0], pair[1])

    if not len(images.truth):
        return []
    level = f"{evaluation.confidence:.0%}".replace("%", " %")
    band = f"band: {level} interval at each place, patients resampled"
    found: list[Picture] = []
    table = figure_tables.roc_table(images, evaluation, seed)
    if table is not None:
        at = point("specificity", "sensitivity")
        svg = figures.roc_figure(table, point=at and (1 - at[0], at[1]), name=f"{name}-roc")
        found.append(_picture(f"ROC curve, pooled; {band}", svg, "roc", table, slug))
    table = figure_tables.precision_recall_table(images, evaluation, seed)
    if table is not None:
        svg = figures.precision_recall_figure(
            table, point=point("sensitivity", "ppv"), prevalence=float(images.truth.mean()), name=f"{name}-precision"
        )
        found.append(_picture(f"Precision and recall, pooled; {band}", svg, "precision-recall", table, slug))
    table = figure_tables.calibration_table(images, evaluation, seed)
    if table is not None:
        svg = figures.calibration_figure(table, name=f"{name}-calibration")
        words = f"Calibration: bins of equal mass; bars: {level} interval of each share, patients resampled"
        found.append(_picture(words, svg, "calibration", table, slug))
    table = figure_tables.score_table(images)
    frozen = (
        f"dashed: frozen threshold{'s' if len(thresholds) > 1 else ''}" if thresholds else "thresholds not recorded"
    )
    svg = figures.score_figure(table, thresholds=thresholds, name=f"{name}-scores")
    found.append(_picture(f"Scores by class; {frozen}", svg, "scores", table, slug))
    table = figure_tables.decision_table(images, evaluation, seed)
    if table is not None:
        words = (
            "Decision curve: is acting on the model worth more than acting on every radiograph, or on none? Whoever "
            "acts from a probability of t on holds a finding to be worth (1 − t) / t false alarms. Where the solid "
            f"line lies highest, the model helps those who act from there on; {band}"
        )
        found.append(_picture(words, figures.decision_figure(table, name=f"{name}-decision"), "decision", table, slug))
    return found


def learning_pictures(histories: Histories) -> list[Picture]:
    """Losses, and validation AUROC, over epochs, one line per fold; none without any history.

    A linear probe has candidates instead of epochs: regularisations, the strongest first.
    """
    drawn = {fold: history for fold, history in histories.items() if history}
    table = figure_tables.learning_table(drawn)
    if not len(table):
        return []
    lines = "one line per fold" if len(drawn) > 1 else "one fold"
    probed = all("strength" in entry for history in drawn.values() for entry in history)
    steps = "Inverse regularisation, by its number" if probed else "Epoch"
    over = "over regularisations" if probed else "over epochs"
    losses = figures.loss_figure(table, steps=steps, name="learning-loss")
    values = figures.validation_figure(table, steps=steps, name="learning-auroc")
    return [
        _picture(f"Loss {over}; {lines}", losses, "learning", table),
        _picture(f"AUROC of the inner validation patients {over}; {lines}", values, "learning", table),
    ]


def call_squares(said: Calls, *, name: str) -> dict[str, Markup]:
    """A hundred squares for each of: positives found, negatives called, calls that are right."""
    words = {
        "found": ("Positives found", said.found),
        "alarms": ("False alarms", said.alarms),
        "right": ("Calls that are right", said.right),
    }
    return {
        kind: Markup(
            hundred_squares(
                share.squares, name=f"{name}-{kind}", title=title, description=f"{share.squares} of 100 squares filled."
            )
        )
        for kind, (title, share) in words.items()
        if share is not None
    }


def _picture(caption: str, svg: str, kind: str, table: pd.DataFrame, slug: str = "") -> Picture:
    return Picture(caption, Markup(svg), table_file(kind, table, slug))
