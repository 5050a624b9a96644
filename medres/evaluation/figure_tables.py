"""The tables that the report's figures are drawn from: what is written beside the page is what was drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medres.config import Evaluation
from medres.evaluation.bands import decision_band, precision_band, sensitivity_band
from medres.evaluation.intervals import wilson
from medres.evaluation.metrics import calibration_curve, precision_recall_curve, roc_curve
from medres.evaluation.summary import Judged

_MOST_PLACES = 150  # along the x axis of a drawn curve
_DIGITS = 6  # of a drawn curve
_BINS = 40  # of a histogram
_THRESHOLDS = np.arange(1, 100) / 100  # of a decision curve
_LEARNING = ("loss", "validation_loss", "validation_auroc", "learning_rate", "seconds")


def roc_table(images: Judged, evaluation: Evaluation, seed: int) -> pd.DataFrame | None:
    """`false_positive_rate, sensitivity, low, high`: the ROC curve with the interval of the sensitivity at each rate.

    Where the curve climbs without a new false positive, its upper end has the interval. None where a class is missing.
    """
    curve = roc_curve(images.truth, images.probabilities)
    if curve is None:
        return None
    x, y, upper = _thinned(curve.x, curve.y)
    low, high = sensitivity_band(images, x, evaluation, seed)
    table = pd.DataFrame({"false_positive_rate": x, "sensitivity": y, "low": low, "high": high})
    table.loc[~upper, ["low", "high"]] = np.nan
    return table.round(_DIGITS)


def precision_recall_table(images: Judged, evaluation: Evaluation, seed: int) -> pd.DataFrame | None:
    """`recall, precision, low, high`, recall rising; None where a class is missing.

    Where the precision falls at one recall, its upper end has the interval; recall 0 has none.
    """
    curve = precision_recall_curve(images.truth, images.probabilities)
    if curve is None:
        return None
    x, y, upper = _thinned(curve.x[::-1], curve.y[::-1])
    low, high = precision_band(images, x, evaluation, seed)
    table = pd.DataFrame({"recall": x, "precision": y, "low": low, "high": high})
    table.loc[~upper | (x == 0), ["low", "high"]] = np.nan
    return table.round(_DIGITS)


def decision_table(images: Judged, evaluation: Evaluation, seed: int) -> pd.DataFrame | None:
    """`threshold, net_benefit, low, high, treat_all`: net benefit per image, as share of all; None without images.

    Net benefit: true positives less false positives that weigh t / (1 − t), by the number of images; acting on nobody
    has 0. Source: Vickers & Elkin 2006.
    """
    n = len(images.truth)
    if not n:
        return None
    odds = _THRESHOLDS / (1 - _THRESHOLDS)
    value, low, high = decision_band(images, _THRESHOLDS, evaluation, seed)
    prevalence = images.truth.mean()
    return pd.DataFrame(
        {
            "threshold": _THRESHOLDS,
            "net_benefit": value,
            "low": low,
            "high": high,
            "treat_all": prevalence - (1 - prevalence) * odds,
        }
    ).round(_DIGITS)


def calibration_table(images: Judged, confidence: float) -> pd.DataFrame | None:
    """`predicted, observed, low, high, images, positives` of bins of equal mass; None without images."""
    curve = calibration_curve(images.truth, images.probabilities)
    if curve is None:
        return None
    found = [wilson(int(hits), int(n), confidence=confidence) for hits, n in zip(curve.positives, curve.n, strict=True)]
    return pd.DataFrame(
        {
            "predicted": curve.predicted,
            "observed": curve.observed,
            "low": [one.low for one in found],
            "high": [one.high for one in found],
            "images": curve.n,
            "positives": curve.positives,
        }
    )


def score_table(images: Judged) -> pd.DataFrame:
    """`from, to, negative, positive`: images of either class by predicted probability."""
    edges = np.linspace(0, 1, _BINS + 1)
    counts = {
        word: np.histogram(images.probabilities[images.truth == one], edges)[0]
        for one, word in ((0, "negative"), (1, "positive"))
    }
    return pd.DataFrame({"from": edges[:-1], "to": edges[1:], **counts})


def learning_table(histories: Mapping[int, Sequence[Mapping[str, Any]]]) -> pd.DataFrame:
    """`fold, epoch`, losses, validation AUROC, learning rate and seconds, one row per fold and epoch."""
    rows = [
        {"fold": fold, "epoch": entry["epoch"], **{name: entry.get(name) for name in _LEARNING}}
        for fold, history in histories.items()
        for entry in history
        if entry.get("epoch") is not None
    ]
    table = pd.DataFrame(rows, columns=["fold", "epoch", *_LEARNING])
    return table.astype(dict.fromkeys(_LEARNING, np.float64))


def _thinned(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Some points of a curve whose x rises: both ends of its vertical pieces; and which are the upper ends."""
    places, number = np.unique(x, return_inverse=True)
    if len(places) > _MOST_PLACES:
        places = places[np.linspace(0, len(places) - 1, _MOST_PLACES).round().astype(int)]
    ends = np.append(number[1:] != number[:-1], True) | np.append(True, number[1:] != number[:-1])
    kept = ends & np.isin(x, places)
    highest = np.full(number.max() + 1, -np.inf)
    np.maximum.at(highest, number, y)
    return x[kept], y[kept], (y == highest[number])[kept]
