"""The curves of a label, drawn on anybody's axes: matplotlib Axes in, Axes out.

A line takes the next colour of the axes' cycle unless a Palette says another one, and its band takes the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import ColorType
from numpy.typing import NDArray

from medres.records import Interval
from medres.report.drawing import DASHED, DOTTED, UNIT_TICKS, finite, unit_square

Numbers = NDArray[np.float64]
Point = tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of a plot, in any way that matplotlib takes them; None: the next of the axes' cycle."""

    first: str | None = None
    second: str | None = None
    ink: str = "black"
    muted: str = "grey"
    paper: str = "white"


PLAIN = Palette()


@dataclass(frozen=True, slots=True)
class RocDisplay:
    """A ROC curve as it was drawn; bounds are NaN where there are none."""

    false_positive_rate: Numbers  # (points,)
    sensitivity: Numbers
    low: Numbers  # of the sensitivity's pointwise interval
    high: Numbers
    auroc: Interval
    operating_point: Point  # false positive rate and sensitivity of the frozen decisions
    ax: Axes


@dataclass(frozen=True, slots=True)
class PrecisionRecallDisplay:
    """A precision-recall curve as it was drawn; bounds are NaN where there are none."""

    recall: Numbers  # (points,)
    precision: Numbers
    low: Numbers  # of the precision's pointwise interval
    high: Numbers
    average_precision: Interval
    operating_point: Point  # recall and precision of the frozen decisions
    prevalence: float
    ax: Axes


@dataclass(frozen=True, slots=True)
class CalibrationDisplay:
    """A calibration curve as it was drawn, one value per bin of equal mass; bounds are NaN where there are none."""

    predicted: Numbers  # mean probability (bins,)
    observed: Numbers  # share of positives
    low: Numbers  # of the observed share's interval
    high: Numbers
    images: NDArray[np.int64]
    calibration_error: Interval
    ax: Axes


@dataclass(frozen=True, slots=True)
class DecisionCurveDisplay:
    """A decision curve as it was drawn; net benefit is a share of all images. Acting on nobody has 0."""

    threshold: Numbers  # probability from which one would act (points,)
    net_benefit: Numbers  # of acting on the model
    low: Numbers
    high: Numbers
    treat_all: Numbers  # net benefit of acting on everybody
    ax: Axes


@dataclass(frozen=True, slots=True)
class ScoreDisplay:
    """A histogram of the scores of either class as it was drawn."""

    edges: Numbers  # of the bins (bins + 1,)
    negative: NDArray[np.int64]  # images (bins,)
    positive: NDArray[np.int64]
    thresholds: tuple[float, ...]  # the frozen ones
    ax: Axes


def draw_roc(axes: Axes, table: pd.DataFrame, *, point: Point, name: str = "", palette: Palette = PLAIN) -> Axes:
    """The ROC curve with its pointwise band.

    Args:
        axes: where.
        table: of `figure_tables.roc_table`.
        point: 1 − specificity and sensitivity at the frozen operating point.
        name: what a legend calls it.
        palette: its colours.
    """
    axes.plot([0, 1], [0, 1], color=palette.muted, linewidth=0.8, linestyle=DASHED)
    x, y = finite(table["false_positive_rate"]), finite(table["sensitivity"])
    (line,) = axes.plot(x, y, color=palette.first, linewidth=1.8, label=name or None)
    _band(axes, "false_positive_rate", table, line.get_color())
    if point:
        colour = palette.second or line.get_color()
        axes.plot(*point, "o", color=colour, markersize=6, markeredgecolor=palette.paper, clip_on=False)
        if palette.second:  # one curve has these axes to itself
            axes.annotate("operating point", point, (9, -11), textcoords="offset points", color=colour)
    unit_square(axes, "1 − specificity", "Sensitivity")
    return axes


def draw_precision_recall(
    axes: Axes, table: pd.DataFrame, *, point: Point, prevalence: float, name: str = "", palette: Palette = PLAIN
) -> Axes:
    """The precision-recall curve with its pointwise band.

    Args:
        axes: where.
        table: of `figure_tables.precision_recall_table`.
        point: sensitivity and PPV at the frozen operating point.
        prevalence: share of positives: the precision of chance.
        name: what a legend calls it.
        palette: its colours.
    """
    axes.axhline(prevalence, color=palette.muted, linewidth=0.8, linestyle=DASHED)
    below = prevalence > 0.9
    axes.annotate(
        "prevalence", (0.02, prevalence), (0, -3 if below else 3), textcoords="offset points", color=palette.muted,
        va="top" if below else "bottom",
    )  # fmt: skip
    x, y = finite(table["recall"]), finite(table["precision"])
    (line,) = axes.step(x, y, where="pre", color=palette.first, linewidth=1.8, label=name or None)
    _band(axes, "recall", table, line.get_color())
    if point:
        colour = palette.second or line.get_color()
        axes.plot(*point, "o", color=colour, markersize=6, markeredgecolor=palette.paper, clip_on=False)
    unit_square(axes, "Recall (sensitivity)", "Precision (PPV)")
    return axes


def draw_calibration(axes: Axes, table: pd.DataFrame, *, name: str = "", palette: Palette = PLAIN) -> Axes:
    """Observed share of positives against mean probability, bin by bin, with intervals and counts.

    Args:
        axes: where.
        table: of `figure_tables.calibration_table`.
        name: what a legend calls it.
        palette: its colours.
    """
    axes.plot([0, 1], [0, 1], color=palette.muted, linewidth=0.8, linestyle=DASHED)
    x, y = finite(table["predicted"]), finite(table["observed"])
    (line,) = axes.plot(x, y, "o-", color=palette.first, linewidth=1.2, markersize=4, label=name or None)
    axes.vlines(x, finite(table["low"]), finite(table["high"]), color=line.get_color(), linewidth=1.1, alpha=0.6)
    few, many = int(table["images"].min()), int(table["images"].max())
    sizes = f"{few}" if few == many else f"{few} to {many}"
    if not name:  # one curve has these axes to itself
        words = f"{len(table)} bins of\n{sizes} images"
        axes.annotate(words, (0.03, 0.97), xycoords="axes fraction", va="top", color=palette.muted)
    unit_square(axes, "Predicted probability (mean of bin)", "Observed share of positives")
    return axes


def draw_decision_curve(axes: Axes, table: pd.DataFrame, *, name: str = "model", palette: Palette = PLAIN) -> Axes:
    """Net benefit of acting on the model, on everybody and on nobody, over threshold probabilities.

    Args:
        axes: where.
        table: of `figure_tables.decision_table`.
        name: what the legend calls the model.
        palette: its colours.
    """
    x, model, everybody = (finite(table[column]) for column in ("threshold", "net_benefit", "treat_all"))
    (line,) = axes.plot(x, model, color=palette.first, linewidth=1.8, label=name)
    _band(axes, "threshold", table, line.get_color())
    axes.plot(x, everybody, color=palette.second, linewidth=1.2, linestyle=DASHED, label="act on all")
    axes.axhline(0, color=palette.ink, linewidth=1.2, linestyle=DOTTED, label="act on none")
    top = float(np.nanmax([*finite(table["high"]), *model, *everybody, 0.01]))
    axes.set(xlim=(0, 1), xticks=UNIT_TICKS, ylim=(-0.3 * top, 1.12 * top))
    axes.set(xlabel="Threshold probability", ylabel="Net benefit (per radiograph)")
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.legend(loc="upper right", handlelength=2.2)
    return axes


def draw_scores(axes: Axes, table: pd.DataFrame, *, thresholds: Sequence[float], palette: Palette = PLAIN) -> Axes:
    """Histogram of the scores, positives upwards and negatives downwards, with the folds' frozen thresholds.

    Args:
        axes: where.
        table: of `figure_tables.score_table`.
        thresholds: the frozen ones.
        palette: its colours.
    """
    edges = [*table["from"], table["to"].iloc[-1]]
    colours = (("negative", palette.first or "C0", -1), ("positive", palette.second or "C1", 1))
    for column, colour, sign in colours:
        axes.stairs(sign * finite(table[column]), edges, fill=True, color=colour, alpha=0.75)
        axes.annotate(
            f"{column}, n = {int(table[column].sum())}", (0.98, 0.97 if sign > 0 else 0.03),
            xycoords="axes fraction", color=colour, ha="right", va="top" if sign > 0 else "bottom",
        )  # fmt: skip
    axes.axhline(0, color=palette.muted, linewidth=0.7)
    for threshold in sorted(set(thresholds)):
        axes.axvline(threshold, color=palette.ink, linewidth=0.8, linestyle=(0, (2, 2)))
    reach = max(1.0, float(np.abs(axes.get_ylim()).max())) * 1.12
    axes.set(xlim=(0, 1), xticks=UNIT_TICKS, ylim=(-reach, reach), xlabel="Predicted probability", ylabel="Images")
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    return axes


def _band(axes: Axes, column: str, table: pd.DataFrame, colour: ColorType) -> None:
    known = table[table["low"].notna()]
    x, low, high = (finite(known[name]) for name in (column, "low", "high"))
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
