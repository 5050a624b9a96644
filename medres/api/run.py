"""A finished run as an object: opened, read as typed values, plotted on the caller's axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medres.config import Evaluation
from medres.errors import UsageError
from medres.evaluation.table import JudgedImages
from medres.runs.run import OpenRun

if TYPE_CHECKING:  # matplotlib is imported when something is plotted
    from matplotlib.axes import Axes

    from medres.report.displays import (
        CalibrationDisplay,
        DecisionCurveDisplay,
        PrecisionRecallDisplay,
        RocDisplay,
        ScoreDisplay,
    )
    from medres.report.plots import Palette


class Run(OpenRun):
    """A finished cross-validation, or a model that was judged on another cohort.

    ::

        run = Run.open("runs/knee")
        run.metrics["osteoarthritis"].auroc  # Interval(value, low, high, method, n, n_patients)
        run.predictions["prob_osteoarthritis"].hist()  # oof.csv as a DataFrame
        run.images("osteoarthritis").truth.mean()

    Plots are drawn as scikit-learn draws its displays: on the axes that are given, or on a new figure. What was drawn
    can be read from the object that comes back.

    ::

        run = Run.open("runs/knee")
        figure, (left, right) = plt.subplots(1, 2)
        display = run.plot_roc("osteoarthritis", ax=left)
        display.sensitivity.max(), display.auroc
        run.plot_calibration("osteoarthritis", ax=right)
    """

    def plot_roc(self, label: str, ax: Axes | None = None, *, name: str = "", color: str | None = None) -> RocDisplay:
        """Draw a label's ROC curve, with the interval of the sensitivity at each rate and the operating point.

        Args:
            label: which.
            ax: where; a new figure without.
            name: what a legend calls the curve.
            color: of the curve; that of the report without.

        Raises:
            UsageError: the run has no such label, or a class is missing.
        """
        from medres.report.displays import RocDisplay
        from medres.report.figure_tables import roc_table
        from medres.report.plots import draw_roc

        table, pooled = self._table(label, roc_table), self.metrics[label].pooled
        specificity, sensitivity = pooled["specificity"].value, pooled["sensitivity"].value
        point = None if specificity is None or sensitivity is None else (1 - specificity, sensitivity)
        with _curve(ax, name, color) as (ax, palette):
            draw_roc(ax, table, point=point, palette=palette)
        return RocDisplay(
            false_positive_rate=_column(table, "false_positive_rate"),
            sensitivity=_column(table, "sensitivity"),
            low=_column(table, "low"),
            high=_column(table, "high"),
            auroc=pooled["auroc"],
            operating_point=point,
            ax=ax,
        )

    def plot_precision_recall(
        self, label: str, ax: Axes | None = None, *, name: str = "", color: str | None = None
    ) -> PrecisionRecallDisplay:
        """Draw a label's precision-recall curve. Arguments and errors as for `plot_roc`."""
        from medres.report.displays import PrecisionRecallDisplay
        from medres.report.figure_tables import precision_recall_table
        from medres.report.plots import draw_precision_recall

        table, pooled = self._table(label, precision_recall_table), self.metrics[label].pooled
        recall, precision = pooled["sensitivity"].value, pooled["ppv"].value
        point = None if recall is None or precision is None else (recall, precision)
        prevalence = float(self.images(label).truth.mean())
        with _curve(ax, name, color) as (ax, palette):
            draw_precision_recall(ax, table, point=point, prevalence=prevalence, palette=palette)
        return PrecisionRecallDisplay(
            recall=_column(table, "recall"),
            precision=_column(table, "precision"),
            low=_column(table, "low"),
            high=_column(table, "high"),
            average_precision=pooled["average_precision"],
            operating_point=point,
            prevalence=prevalence,
            ax=ax,
        )

    def plot_calibration(
        self, label: str, ax: Axes | None = None, *, name: str = "", color: str | None = None
    ) -> CalibrationDisplay:
        """Draw the observed share of positives against the predicted probability. Arguments as for `plot_roc`."""
        from medres.report.displays import CalibrationDisplay
        from medres.report.figure_tables import calibration_table
        from medres.report.plots import draw_calibration

        table = self._table(label, calibration_table)
        with _curve(ax, name, color) as (ax, palette):
            draw_calibration(ax, table, palette=palette)
        return CalibrationDisplay(
            predicted=_column(table, "predicted"),
            observed=_column(table, "observed"),
            low=_column(table, "low"),
            high=_column(table, "high"),
            images=table["images"].to_numpy(),
            calibration_error=self.metrics[label].pooled["expected_calibration_error"],
            ax=ax,
        )

    def plot_decision_curve(
        self, label: str, ax: Axes | None = None, *, name: str = "model", color: str | None = None
    ) -> DecisionCurveDisplay:
        """Draw the net benefit of acting on a label's probability. Arguments as for `plot_roc`."""
        from medres.report.displays import DecisionCurveDisplay
        from medres.report.figure_tables import decision_table
        from medres.report.plots import draw_decision_curve

        table = self._table(label, decision_table)
        with _curve(ax, name, color) as (ax, palette):
            draw_decision_curve(ax, table, palette=palette)
        ax.legend(loc="upper right")
        return DecisionCurveDisplay(
            threshold=_column(table, "threshold"),
            net_benefit=_column(table, "net_benefit"),
            low=_column(table, "low"),
            high=_column(table, "high"),
            treat_all=_column(table, "treat_all"),
            ax=ax,
        )

    def plot_scores(self, label: str, ax: Axes | None = None) -> ScoreDisplay:
        """Draw a histogram of a label's scores, positives upwards, negatives downwards. Arguments as for `plot_roc`."""
        from medres.report.displays import ScoreDisplay
        from medres.report.figure_tables import score_table
        from medres.report.plots import draw_scores

        table, thresholds = score_table(self.images(label)), self.record.thresholds(label)
        ax = draw_scores(_axes(ax), table, thresholds=thresholds)
        edges = np.append(_column(table, "from"), _column(table, "to")[-1])
        return ScoreDisplay(edges, table["negative"].to_numpy(), table["positive"].to_numpy(), tuple(thresholds), ax)

    def _table(self, label: str, make: Callable[[JudgedImages, Evaluation, int], pd.DataFrame | None]) -> pd.DataFrame:
        """The table of a curve, with intervals as the run's own figures have them."""
        evaluation, seed = self.record.evaluation or Evaluation(), self.record.seed or 0
        table = make(self.images(label), evaluation, seed)
        if table is None:
            raise UsageError(f"label {label!r} of {self.folder}: one of its classes has no image, so there is no curve")
        return table


def _axes(ax: Axes | None) -> Axes:
    """The axes that were given, or those of a new figure."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots()[1]


@contextmanager
def _curve(ax: Axes | None, name: str, color: str | None) -> Iterator[tuple[Axes, Palette]]:
    """Axes to draw a curve on and its colours; of what was drawn, the curve then has a name for a legend."""
    from medres.report.plots import PAPER_PALETTE, Palette

    axes = _axes(ax)
    before = len(axes.get_lines())
    yield axes, Palette(first=color, second=color) if color else PAPER_PALETTE
    if name:
        longest = max(axes.get_lines()[before:], key=lambda line: np.size(line.get_xdata()))
        longest.set_label(name)


def _column(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    return table[name].to_numpy(dtype=np.float64)
