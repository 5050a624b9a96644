"""The report's pictures: small SVGs that take their colours from the page, so that they suit paper and dark screens.

Nothing but numbers and words of ours is drawn: names from files stand in the page, where they are escaped.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from medres.evaluation.intervals import wilson
from medres.evaluation.metrics import calibration_curve, precision_recall_curve, roc_curve

INK, MUTED, RULE, FIRST, SECOND, PAPER = (f"#0d0d0{place}" for place in range(1, 7))
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    FIRST: "--first",
    SECOND: "--second",
    PAPER: "--paper",
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
}
_MOST_POINTS = 400  # of a drawn curve
_SQUARE = (3.5, 3.2)  # inches, of 72 points
_WIDE = (3.5, 2.5)
_UNIT_TICKS = (0, 0.2, 0.4, 0.6, 0.8, 1)


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One line of a forest plot; `value` None draws the name alone."""

    name: str  # our own words, e.g. "fold 3"
    value: float | None
    low: float | None
    high: float | None
    emphasis: bool = False


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    return figure, axes


def _svg(figure: Figure, *, name: str, title: str, description: str) -> str:
    """The figure as an SVG element for a page: accessible, without fixed size, ids of its own."""
    target = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(target, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    text = target.getvalue()
    text = text[text.index("<svg") :]
    view = re.search(r'viewBox="[^"]+"', text)
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", text[text.index(">") + 1 :], flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body).replace("url(#", f"url(#{name}-")
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    body = re.sub(r"\s*\n\s*", "\n", body)
    opening = f'<svg {view[0] if view else ""} role="img" aria-labelledby="{name}-title {name}-desc">'
    words = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    return opening + words + body.strip()


STYLE, new_figure, as_svg = _STYLE, _figure, _svg  # for pictures that other modules draw


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(x) <= _MOST_POINTS:
        return x, y
    places = np.unique(np.linspace(0, len(x) - 1, _MOST_POINTS).round().astype(int))
    return x[places], y[places]


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xticks=_UNIT_TICKS, yticks=_UNIT_TICKS, xlabel=x, ylabel=y)
    axes.set_aspect("equal")


def roc_figure(
    labels: NDArray[np.int64], scores: NDArray[np.float64], *, point: tuple[float, float] | None, name: str
) -> str | None:
    """The ROC curve; None where a class is missing.

    Args:
        labels: 0 or 1 per image.
        scores: probability per image.
        point: sensitivity and specificity at the frozen operating point.
        name: prefix of ids in the page.
    """
    curve = roc_curve(labels, scores)
    if curve is None:
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(*_SQUARE)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        x, y = _thinned(curve.x, curve.y)
        axes.fill_between(x, y, color=FIRST, alpha=0.08, linewidth=0)
        axes.plot(x, y, color=FIRST, linewidth=1.8)
        if point:
            axes.plot(1 - point[1], point[0], "o", color=SECOND, markersize=6, markeredgecolor=PAPER)
            axes.annotate(
                "operating point", (1 - point[1], point[0]), (9, -11), textcoords="offset points", color=SECOND
            )
        _unit_square(axes, "1 − specificity", "Sensitivity")
        return _svg(
            figure,
            name=name,
            title="ROC curve",
            description="Sensitivity against 1 − specificity at every threshold; the dashed diagonal is chance.",
        )


def precision_recall_figure(
    labels: NDArray[np.int64], scores: NDArray[np.float64], *, point: tuple[float, float] | None, name: str
) -> str | None:
    """The precision-recall curve; `point` is (sensitivity, PPV). None where a class is missing."""
    curve = precision_recall_curve(labels, scores)
    if curve is None:
        return None
    prevalence = float(labels.mean())
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(*_SQUARE)
        axes.axhline(prevalence, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        axes.annotate("prevalence", (0.02, prevalence), (0, 3), textcoords="offset points", color=MUTED)
        axes.step(*_thinned(curve.x, curve.y), where="post", color=FIRST, linewidth=1.8)
        if point:
            axes.plot(*point, "o", color=SECOND, markersize=6, markeredgecolor=PAPER)
        _unit_square(axes, "Recall (sensitivity)", "Precision (PPV)")
        return _svg(
            figure,
            name=name,
            title="Precision-recall curve",
            description="Precision against recall at every threshold; the dashed line is the prevalence, "
            "the dot the operating point.",
        )


def calibration_figure(labels: NDArray[np.int64], probabilities: NDArray[np.float64], *, name: str) -> str | None:
    """Observed share of positives against mean probability in bins of equal mass, with Wilson intervals and counts."""
    curve = calibration_curve(labels, probabilities)
    if curve is None:
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(*_SQUARE)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        for predicted, hits, n in zip(curve.predicted, curve.positives, curve.n, strict=True):
            found = wilson(int(hits), int(n))
            axes.plot([predicted, predicted], [found.low or 0, found.high or 0], color=FIRST, linewidth=1.1, alpha=0.6)
        axes.plot(curve.predicted, curve.observed, "o-", color=FIRST, linewidth=1.2, markersize=4)
        few, many = int(curve.n.min()), int(curve.n.max())
        sizes = f"{few}" if few == many else f"{few} to {many}"
        words = f"{len(curve.n)} bins of\n{sizes} images"
        axes.annotate(words, (0.03, 0.97), xycoords="axes fraction", va="top", color=MUTED)
        _unit_square(axes, "Predicted probability (mean of bin)", "Observed share of positives")
        return _svg(
            figure,
            name=name,
            title="Calibration curve",
            description="Observed share of positives against mean predicted probability, one dot per bin; "
            "on the dashed diagonal a probability is what it says.",
        )


def score_figure(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], *, thresholds: Sequence[float], name: str
) -> str:
    """Histogram of the scores of each class, with the folds' frozen thresholds."""
    edges = np.linspace(0, 1, 41)
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(*_SQUARE)
        for one, colour, word, sign in ((0, FIRST, "negative", -1), (1, SECOND, "positive", 1)):
            counts = np.histogram(probabilities[labels == one], edges)[0]
            axes.stairs(sign * counts, edges, fill=True, color=colour, alpha=0.75)
            axes.annotate(
                f"{word}, n = {int(counts.sum())}", (0.98, 0.97 if sign > 0 else 0.03), xycoords="axes fraction",
                color=colour, ha="right", va="top" if sign > 0 else "bottom",
            )  # fmt: skip
        axes.axhline(0, color=MUTED, linewidth=0.7)
        for threshold in sorted(set(thresholds)):
            axes.axvline(threshold, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        reach = max(1.0, float(np.abs(axes.get_ylim()).max())) * 1.12
        axes.set(xlim=(0, 1), xticks=_UNIT_TICKS, ylim=(-reach, reach), xlabel="Predicted probability", ylabel="Images")
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
        return _svg(
            figure,
            name=name,
            title="Scores of each class",
            description="Histogram of predicted probabilities, positives upwards and negatives downwards; "
            "dashed lines are the frozen thresholds of the folds.",
        )


def forest_figure(rows: Sequence[ForestRow], *, name: str) -> str | None:
    """AUROC of folds and pooled, with intervals; None where no row has a value."""
    values = [bound for row in rows for bound in (row.value, row.low, row.high) if bound is not None]
    if not values:
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(4.4, 0.75 + 0.24 * len(rows))
        for place, row in enumerate(rows):
            colour = SECOND if row.emphasis else FIRST
            if row.value is None:
                axes.annotate("undefined", (0.01, place), xycoords=("axes fraction", "data"), color=MUTED, va="center")
                continue
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [place, place], color=colour, linewidth=1.6)
            axes.plot(row.value, place, "D" if row.emphasis else "s", color=colour, markersize=5)
        margin = max(0.02, 0.08 * (max(values) - min(values)))
        axes.set(xlim=(min(values) - margin, min(1 + margin / 2, max(values) + margin)), xlabel="AUROC")
        axes.set(ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)), yticklabels=[row.name for row in rows])
        if min(values) - margin < 0.5:
            axes.axvline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        axes.grid(visible=False, axis="y")
        return _svg(
            figure,
            name=name,
            title="AUROC of each fold",
            description="One line per fold with its interval, and the pooled value as a diamond.",
        )


def learning_figures(histories: Mapping[int, Sequence[Mapping[str, Any]]]) -> list[tuple[str, str]]:
    """Losses, and validation AUROC, over epochs, one line per fold: (caption, SVG), none without any history.

    A linear probe has candidates instead of epochs: regularisations, the strongest first.
    """
    drawn = [history for history in histories.values() if history]
    if not drawn:
        return []
    lines = "one line per fold" if len(drawn) > 1 else "one fold"
    probed = all("strength" in entry for history in drawn for entry in history)
    steps = "Inverse regularisation, by its number" if probed else "Epoch"
    over = "over regularisations" if probed else "over epochs"
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(*_WIDE)
        for history in drawn:
            _line(axes, history, "loss", MUTED)
            _line(axes, history, "validation_loss", FIRST)
        axes.set(ylabel="Log loss")
        for word, colour, place in (("training", MUTED, 0.97), ("validation", FIRST, 0.87)):
            axes.annotate(word, (0.97, place), xycoords="axes fraction", ha="right", va="top", color=colour)
        _steps(axes, steps)
        description = "Training and validation loss over epochs, one line per fold."
        losses = _svg(figure, name="learning-loss", title="Loss over epochs", description=description)
        figure, axes = _figure(*_WIDE)
        for history in drawn:
            _line(axes, history, "validation_auroc", FIRST)
        axes.set(ylabel="Validation AUROC")
        _steps(axes, steps)
        description = "AUROC of the inner validation patients over epochs, one line per fold."
        values = _svg(figure, name="learning-auroc", title="Validation AUROC over epochs", description=description)
    return [
        (f"Loss {over}; {lines}", losses),
        (f"AUROC of the inner validation patients {over}; {lines}", values),
    ]


def _steps(axes: Axes, label: str) -> None:
    axes.set(xlabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _line(axes: Axes, history: Sequence[Mapping[str, Any]], key: str, colour: str) -> None:
    points = [
        (float(entry["epoch"]), float(entry[key]))
        for entry in history
        if entry.get("epoch") is not None and entry.get(key) is not None
    ]
    if points:
        epochs, values = zip(*points, strict=True)
        axes.plot(epochs, values, color=colour, linewidth=1.2, alpha=0.75, marker="." if len(points) == 1 else "")
