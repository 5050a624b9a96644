"""The report's curves, each drawn from the table that is written beside it as CSV: see `figure_tables`."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from medres.report.drawing import (
    DASHED,
    DOTTED,
    FIRST,
    INK,
    MUTED,
    PAPER,
    SECOND,
    SQUARE,
    STYLE,
    UNIT_TICKS,
    WIDE,
    as_svg,
    finite,
    new_figure,
    unit_square,
)

Point = tuple[float, float] | None


def roc_figure(table: pd.DataFrame, *, point: Point, name: str) -> str:
    """The ROC curve with its pointwise band.

    Args:
        table: of `figure_tables.roc_table`.
        point: 1 − specificity and sensitivity at the frozen operating point.
        name: prefix of ids in the page.
    """
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(*SQUARE)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=DASHED)
        _band(axes, "false_positive_rate", table)
        axes.plot(finite(table["false_positive_rate"]), finite(table["sensitivity"]), color=FIRST, linewidth=1.8)
        if point:
            axes.plot(*point, "o", color=SECOND, markersize=6, markeredgecolor=PAPER, clip_on=False)
            axes.annotate("operating point", point, (9, -11), textcoords="offset points", color=SECOND)
        unit_square(axes, "1 − specificity", "Sensitivity")
        return as_svg(
            figure,
            name=name,
            title="ROC curve",
            description="Sensitivity against 1 − specificity at every threshold, with the interval of the sensitivity "
            "at each 1 − specificity as a band; the dashed diagonal is chance, the dot the operating point.",
        )


def precision_recall_figure(table: pd.DataFrame, *, point: Point, prevalence: float, name: str) -> str:
    """The precision-recall curve with its pointwise band; `point` is (sensitivity, PPV)."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(*SQUARE)
        axes.axhline(prevalence, color=MUTED, linewidth=0.8, linestyle=DASHED)
        below = prevalence > 0.9
        axes.annotate(
            "prevalence", (0.02, prevalence), (0, -3 if below else 3), textcoords="offset points", color=MUTED,
            va="top" if below else "bottom",
        )  # fmt: skip
        _band(axes, "recall", table)
        axes.step(finite(table["recall"]), finite(table["precision"]), where="pre", color=FIRST, linewidth=1.8)
        if point:
            axes.plot(*point, "o", color=SECOND, markersize=6, markeredgecolor=PAPER, clip_on=False)
        unit_square(axes, "Recall (sensitivity)", "Precision (PPV)")
        return as_svg(
            figure,
            name=name,
            title="Precision-recall curve",
            description="Precision against recall at every threshold, with the interval of the precision at each "
            "recall as a band; the dashed line is the prevalence, the dot the operating point.",
        )


def calibration_figure(table: pd.DataFrame, *, name: str) -> str:
    """Observed share of positives against mean probability, bin by bin, with intervals and counts."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(*SQUARE)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=DASHED)
        predicted, observed = finite(table["predicted"]), finite(table["observed"])
        axes.vlines(predicted, finite(table["low"]), finite(table["high"]), color=FIRST, linewidth=1.1, alpha=0.6)
        axes.plot(predicted, observed, "o-", color=FIRST, linewidth=1.2, markersize=4)
        few, many = int(table["images"].min()), int(table["images"].max())
        sizes = f"{few}" if few == many else f"{few} to {many}"
        words = f"{len(table)} bins of\n{sizes} images"
        axes.annotate(words, (0.03, 0.97), xycoords="axes fraction", va="top", color=MUTED)
        unit_square(axes, "Predicted probability (mean of bin)", "Observed share of positives")
        return as_svg(
            figure,
            name=name,
            title="Calibration curve",
            description="Observed share of positives against mean predicted probability, one dot and interval per bin; "
            "on the dashed diagonal a probability is what it says.",
        )


def decision_figure(table: pd.DataFrame, *, name: str) -> str:
    """Net benefit of acting on the model, on everybody and on nobody, over threshold probabilities."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(*SQUARE)
        x, model, everybody = (finite(table[column]) for column in ("threshold", "net_benefit", "treat_all"))
        _band(axes, "threshold", table)
        axes.plot(x, model, color=FIRST, linewidth=1.8, label="model")
        axes.plot(x, everybody, color=SECOND, linewidth=1.2, linestyle=DASHED, label="act on all")
        axes.axhline(0, color=INK, linewidth=1.2, linestyle=DOTTED, label="act on none")
        top = float(np.nanmax([*finite(table["high"]), *model, *everybody, 0.01]))
        axes.set(xlim=(0, 1), xticks=UNIT_TICKS, ylim=(-0.3 * top, 1.12 * top))
        axes.set(xlabel="Threshold probability", ylabel="Net benefit (per radiograph)")
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.legend(loc="upper right", handlelength=2.2)
        return as_svg(
            figure,
            name=name,
            title="Decision curve",
            description="Net benefit over threshold probabilities, with its interval as a band, of acting on the "
            "model's probability (solid), on all (dashed) and on none (dotted). The highest line does best.",
        )


def score_figure(table: pd.DataFrame, *, thresholds: Sequence[float], name: str) -> str:
    """Histogram of the scores of each class, with the folds' frozen thresholds."""
    edges = [*table["from"], table["to"].iloc[-1]]
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(*SQUARE)
        for column, colour, sign in (("negative", FIRST, -1), ("positive", SECOND, 1)):
            axes.stairs(sign * finite(table[column]), edges, fill=True, color=colour, alpha=0.75)
            axes.annotate(
                f"{column}, n = {int(table[column].sum())}", (0.98, 0.97 if sign > 0 else 0.03),
                xycoords="axes fraction", color=colour, ha="right", va="top" if sign > 0 else "bottom",
            )  # fmt: skip
        axes.axhline(0, color=MUTED, linewidth=0.7)
        for threshold in sorted(set(thresholds)):
            axes.axvline(threshold, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        reach = max(1.0, float(np.abs(axes.get_ylim()).max())) * 1.12
        axes.set(xlim=(0, 1), xticks=UNIT_TICKS, ylim=(-reach, reach), xlabel="Predicted probability", ylabel="Images")
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
        return as_svg(
            figure,
            name=name,
            title="Scores of each class",
            description="Histogram of predicted probabilities, positives upwards and negatives downwards; "
            "dashed lines are the frozen thresholds of the folds.",
        )


def loss_figure(table: pd.DataFrame, *, steps: str, name: str) -> str:
    """Training and validation loss over epochs, one line per fold.

    Args:
        table: of `figure_tables.learning_table`.
        steps: what is counted, e.g. epochs.
        name: prefix of ids in the page.
    """
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(*WIDE)
        _lines(axes, table, "loss", MUTED, dashed=True)
        _lines(axes, table, "validation_loss", FIRST)
        axes.plot([], [], color=MUTED, linewidth=1.2, linestyle=DASHED, label="training")
        axes.plot([], [], color=FIRST, linewidth=1.2, label="validation")
        axes.legend(loc="upper right", handlelength=2.2)
        axes.set(ylabel="Log loss")
        _steps(axes, steps)
        description = "Training loss (dashed) and validation loss (solid), one line per fold."
        return as_svg(figure, name=name, title="Loss while learning", description=description)


def validation_figure(table: pd.DataFrame, *, steps: str, name: str) -> str:
    """AUROC of the inner validation patients over epochs, one line per fold."""
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(*WIDE)
        _lines(axes, table, "validation_auroc", FIRST)
        axes.set(ylabel="Validation AUROC")
        _steps(axes, steps)
        description = "AUROC of the inner validation patients, one line per fold."
        return as_svg(figure, name=name, title="Validation AUROC while learning", description=description)


def _band(axes: Axes, column: str, table: pd.DataFrame) -> None:
    known = table[table["low"].notna()]
    x, low, high = (finite(known[name]) for name in (column, "low", "high"))
    axes.fill_between(x, low, high, color=FIRST, alpha=0.18, linewidth=0)


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
