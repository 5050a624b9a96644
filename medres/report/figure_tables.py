"""The tables that the report's figures are drawn from: what is written beside the page is what was drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medres.config import Evaluation
from medres.evaluation.table import JudgedImages
from medres.runs.run_files import Histories
from medres.statistics.bootstrap import Sample, bootstraps
from medres.statistics.calibration import calibration_curve, equal_mass_bins
from medres.statistics.curves import (
    Band,
    precision_recall_band,
    precision_recall_curve,
    roc_band,
    roc_curve,
)
from medres.statistics.decisions import decision_curve

_MOST_PLACES = 150  # along the x axis of a drawn curve
_DIGITS = 6  # of a drawn curve
_BINS = 40  # of a histogram
_LEAST_RECALL = 1e-9  # a precision needs a recall above 0
_LEARNING = ("loss", "validation_loss", "validation_auroc", "learning_rate", "seconds")


def roc_table(images: JudgedImages, evaluation: Evaluation, seed: int) -> pd.DataFrame | None:
    """`false_positive_rate, sensitivity, low, high`: the ROC curve with the interval of the sensitivity at each rate.

    Where the curve climbs without a new false positive, its upper end has the interval. None where a class is missing.
    """
    curve = roc_curve(images.truth, images.probabilities)
    if curve is None:
        return None
    x, y, upper = _thinned(curve.x, curve.y)
    band = roc_band(*_of(images), rates=x, **_drawn(evaluation, seed))
    table = _framed("false_positive_rate", "sensitivity", x, y, band)
    table.loc[~upper, ["low", "high"]] = np.nan
    return table.round(_DIGITS)


def precision_recall_table(images: JudgedImages, evaluation: Evaluation, seed: int) -> pd.DataFrame | None:
    """`recall, precision, low, high`, recall rising; None where a class is missing.

    Where the precision falls at one recall, its upper end has the interval; recall 0 has none.
    """
    curve = precision_recall_curve(images.truth, images.probabilities)
    if curve is None:
        return None
    x, y, upper = _thinned(curve.x[::-1], curve.y[::-1])
    band = precision_recall_band(*_of(images), recalls=np.maximum(x, _LEAST_RECALL), **_drawn(evaluation, seed))
    table = _framed("recall", "precision", x, y, band)
    table.loc[~upper | (x == 0), ["low", "high"]] = np.nan
    return table.round(_DIGITS)


def decision_table(images: JudgedImages, evaluation: Evaluation, seed: int) -> pd.DataFrame | None:
    """`threshold, net_benefit, low, high, treat_all`: net benefit per image, as share of all; None without images.

    Also what the model is worth beyond acting on all and on none, with bounds that hold at all thresholds at once. See
    `decisions.decision_curve`; acting on nobody has 0.
    """
    found = decision_curve(*_of(images), **_drawn(evaluation, seed))
    if found is None:
        return None
    table = _framed("threshold", "net_benefit", found.model.x, found.model.y, found.model)
    table = table.assign(treat_all=found.treat_all.y)
    for name, band in (("over_none", found.over_none), ("over_all", found.over_all)):
        table = table.assign(**{name: band.y, f"{name}_low": band.low, f"{name}_high": band.high})
    return table.round(_DIGITS)


def _of(images: JudgedImages) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.str_]]:
    return images.truth, images.probabilities, images.patients


def _drawn(evaluation: Evaluation, seed: int) -> dict[str, Any]:
    return {"replicates": evaluation.replicates, "confidence": evaluation.confidence, "seed": seed}


def _framed(name: str, value: str, x: NDArray[np.float64], y: NDArray[np.float64], band: Band | None) -> pd.DataFrame:
    assert band is not None  # both classes are there
    return pd.DataFrame({name: x, value: y, "low": band.low, "high": band.high})


def calibration_table(images: JudgedImages, evaluation: Evaluation, seed: int) -> pd.DataFrame | None:
    """`predicted, observed, low, high, images, positives` of bins of equal mass; None without images.

    The bins stay as they are while patients are resampled: an observed share is a PPV of the images in its bin. No
    bounds where one patient alone fills a bin.
    """
    curve = calibration_curve(images.truth, images.probabilities)
    if curve is None:
        return None
    place = equal_mass_bins(images.probabilities)
    within = [(place == one).astype(np.int64) for one in range(len(curve.n))]
    samples = [Sample(images.truth, one, images.patients, "ppv") for one in within]
    found = bootstraps(samples, **_drawn(evaluation, seed))
    return pd.DataFrame(
        {
            "predicted": curve.predicted,
            "observed": curve.observed,
            "low": [np.nan if one.low is None else one.low for one in found],
            "high": [np.nan if one.high is None else one.high for one in found],
            "images": curve.n,
            "positives": curve.positives,
        }
    )


def score_table(images: JudgedImages) -> pd.DataFrame:
    """`from, to, negative, positive`: images of either class by predicted probability."""
    edges = np.linspace(0, 1, _BINS + 1)
    counts = {
        word: np.histogram(images.probabilities[images.truth == one], edges)[0]
        for one, word in ((0, "negative"), (1, "positive"))
    }
    return pd.DataFrame({"from": edges[:-1], "to": edges[1:], **counts})


def learning_table(histories: Histories) -> pd.DataFrame:
    """`fold, epoch`, losses, validation AUROC, learning rate and seconds, one row per fold and epoch."""
    rows = [
        {"fold": fold, "epoch": entry.epoch, **{name: getattr(entry, name) for name in _LEARNING}}
        for fold, history in histories.items()
        for entry in history
        if entry.epoch is not None
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
