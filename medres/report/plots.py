"""Curves drawn on matplotlib's Axes: Axes in, Axes out, from the tables that `figure_tables` makes.

A figure of a page and a plot of a notebook are drawn by the same function. Nothing but numbers and words of ours is
drawn: names from files stand in the page, where they are escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of a plot, as matplotlib takes them."""

    ink: str = "#1a1d21"
    muted: str = "#62686f"
    rule: str = "#dcdcd4"
    first: str = "#0a4d8c"
    second: str = "#bb5217"
    paper: str = "#ffffff"


PAPER_PALETTE = Palette()
"""For a plot outside of a page: the colours that a page has on paper. A page has variables instead: see `svg`."""

Point = tuple[float, float] | None
"""x and y of an operating point; None where it is undefined."""

UNIT_TICKS = (0, 0.2, 0.4, 0.6, 0.8, 1)
DASHED, DOTTED = (0, (4, 3)), (0, (1, 2))


def draw_roc(axes: Axes, table: pd.DataFrame, *, point: Point = None, palette: Palette = PAPER_PALETTE) -> Axes:
    """The ROC curve with its pointwise band.

    Args:
        axes: drawn on, and returned.
        table: of `figure_tables.roc_table`.
        point: 1 − specificity and sensitivity at the frozen operating point.
        palette: colours.
    """
    axes.plot([0, 1], [0, 1], color=palette.muted, linewidth=0.8, linestyle=DASHED)
    _band(axes, "false_positive_rate", table, palette)
    axes.plot(finite(table["false_positive_rate"]), finite(table["sensitivity"]), color=palette.first, linewidth=1.8)
    if point:
        axes.plot(*point, "o", color=palette.second, markersize=6, markeredgecolor=palette.paper, clip_on=False)
        axes.annotate("operating point", point, (9, -11), textcoords="offset points", color=palette.second)
    _unit_square(axes, "1 − specificity", "Sensitivity")
    return axes


def draw_precision_recall(
    axes: Axes, table: pd.DataFrame, *, prevalence: float, point: Point = None, palette: Palette = PAPER_PALETTE
) -> Axes:
    """The precision-recall curve with its pointwise band.

    Args:
        axes: drawn on, and returned.
        table: of `figure_tables.precision_recall_table`.
        prevalence: share of positive images: the precision of chance.
        point: sensitivity and PPV at the frozen operating point.
        palette: colours.
    """
    axes.axhline(prevalence, color=palette.muted, linewidth=0.8, linestyle=DASHED)
    below = prevalence > 0.9
    axes.annotate(
        "prevalence", (0.02, prevalence), (0, -3 if below else 3), textcoords="offset points", color=palette.muted,
        va="top" if below else "bottom",
    )  # fmt: skip
    _band(axes, "recall", table, palette)
    axes.step(finite(table["recall"]), finite(table["precision"]), where="pre", color=palette.first, linewidth=1.8)
    if point:
        axes.plot(*point, "o", color=palette.second, markersize=6, markeredgecolor=palette.paper, clip_on=False)
    _unit_square(axes, "Recall (sensitivity)", "Precision (PPV)")
    return axes


def draw_calibration(axes: Axes, table: pd.DataFrame, *, palette: Palette = PAPER_PALETTE) -> Axes:
    """Observed share of positives against mean probability, bin by bin, with intervals and counts.

    Args:
        axes: drawn on, and returned.
        table: of `figure_tables.calibration_table`.
        palette: colours.
    """
    axes.plot([0, 1], [0, 1], color=palette.muted, linewidth=0.8, linestyle=DASHED)
    predicted, observed = finite(table["predicted"]), finite(table["observed"])
    axes.vlines(predicted, finite(table["low"]), finite(table["high"]), color=palette.first, linewidth=1.1, alpha=0.6)
    axes.plot(predicted, observed, "o-", color=palette.first, linewidth=1.2, markersize=4)
    few, many = int(table["images"].min()), int(table["images"].max())
    sizes = f"{few}" if few == many else f"{few} to {many}"
    words = f"{len(table)} bins of\n{sizes} images"
    axes.annotate(words, (0.03, 0.97), xycoords="axes fraction", va="top", color=palette.muted)
    _unit_square(axes, "Predicted probability (mean of bin)", "Observed share of positives")
    return axes


def draw_decision_curve(axes: Axes, table: pd.DataFrame, *, palette: Palette = PAPER_PALETTE) -> Axes:
    """Net benefit of acting on the model, on everybody and on nobody, over threshold probabilities.

    Args:
        axes: drawn on, and returned.
        table: of `figure_tables.decision_table`.
        palette: colours.
    """
    x, model, everybody = (finite(table[column]) for column in ("threshold", "net_benefit", "treat_all"))
    _band(axes, "threshold", table, palette)
    axes.plot(x, model, color=palette.first, linewidth=1.8, label="model")
    axes.plot(x, everybody, color=palette.second, linewidth=1.2, linestyle=DASHED, label="act on all")
    axes.axhline(0, color=palette.ink, linewidth=1.2, linestyle=DOTTED, label="act on none")
    top = float(np.nanmax([*finite(table["high"]), *model, *everybody, 0.01]))
    axes.set(xlim=(0, 1), xticks=UNIT_TICKS, ylim=(-0.3 * top, 1.12 * top))
    axes.set(xlabel="Threshold probability", ylabel="Net benefit (per radiograph)")
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.legend(loc="upper right", handlelength=2.2)
    return axes


def draw_scores(
    axes: Axes, table: pd.DataFrame, *, thresholds: Sequence[float] = (), palette: Palette = PAPER_PALETTE
) -> Axes:
    """Histogram of the scores of each class, positives upwards and negatives downwards.

    Args:
        axes: drawn on, and returned.
        table: of `figure_tables.score_table`.
        thresholds: the frozen thresholds of the folds, drawn as lines.
        palette: colours.
    """
    edges = [*table["from"], table["to"].iloc[-1]]
    for column, colour, sign in (("negative", palette.first, -1), ("positive", palette.second, 1)):
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


def draw_loss(axes: Axes, table: pd.DataFrame, *, steps: str = "Epoch", palette: Palette = PAPER_PALETTE) -> Axes:
    """Training and validation loss over epochs, one line per fold.

    Args:
        axes: drawn on, and returned.
        table: of `figure_tables.learning_table`.
        steps: what is counted, e.g. epochs.
        palette: colours.
    """
    _lines(axes, table, "loss", palette.muted, dashed=True)
    _lines(axes, table, "validation_loss", palette.first)
    axes.plot([], [], color=palette.muted, linewidth=1.2, linestyle=DASHED, label="training")
    axes.plot([], [], color=palette.first, linewidth=1.2, label="validation")
    axes.legend(loc="upper right", handlelength=2.2)
    axes.set(ylabel="Log loss")
    _steps(axes, steps)
    return axes


def draw_validation_auroc(
    axes: Axes, table: pd.DataFrame, *, steps: str = "Epoch", palette: Palette = PAPER_PALETTE
) -> Axes:
    """AUROC of the inner validation patients over epochs, one line per fold; arguments as of `draw_loss`."""
    _lines(axes, table, "validation_auroc", palette.first)
    axes.set(ylabel="Validation AUROC")
    _steps(axes, steps)
    return axes


def finite(values: Any) -> NDArray[np.float64]:
    """A column of a figure's table as numbers, NaN where a cell is blank."""
    return np.asarray(values, dtype=np.float64)


def _unit_square(axes: Axes, x: str, y: str) -> None:
    """Both axes from 0 to 1, of the same scale."""
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xticks=UNIT_TICKS, yticks=UNIT_TICKS, xlabel=x, ylabel=y)
    axes.set_aspect("equal")


def _band(axes: Axes, column: str, table: pd.DataFrame, palette: Palette) -> None:
    known = table[table["low"].notna()]
    x, low, high = (finite(known[name]) for name in (column, "low", "high"))
    axes.fill_between(x, low, high, color=palette.first, alpha=0.18, linewidth=0)


def _steps(axes: Axes, label: str) -> None:
    axes.set(xlabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _lines(axes: Axes, table: pd.DataFrame, column: str, colour: str, *, dashed: bool = False) -> None:
    for _, part in table.groupby("fold"):
        drawn = part[["epoch", column]].astype(float).dropna()
        axes.plot(
            drawn["epoch"], drawn[column], color=colour, linewidth=1.2, alpha=0.8,
            linestyle=DASHED if dashed else "-", marker="." if len(drawn) == 1 else "",
        )  # fmt: skip
