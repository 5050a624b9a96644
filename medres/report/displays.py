"""What a plot of a notebook drew, as values: scikit-learn's Display habits. Bounds are NaN where there are none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from medres.records import Interval
from medres.report.plots import Point

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RocDisplay:
    """A ROC curve."""

    false_positive_rate: Numbers  # (points,)
    sensitivity: Numbers
    low: Numbers  # of the sensitivity's pointwise interval
    high: Numbers
    auroc: Interval
    operating_point: Point  # false positive rate and sensitivity of the frozen decisions
    ax: Axes


@dataclass(frozen=True, slots=True)
class PrecisionRecallDisplay:
    """A precision-recall curve."""

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
    """A calibration curve, one value per bin of equal mass."""

    predicted: Numbers  # mean probability (bins,)
    observed: Numbers  # share of positives
    low: Numbers  # of the observed share's interval
    high: Numbers
    images: NDArray[np.int64]
    calibration_error: Interval
    ax: Axes


@dataclass(frozen=True, slots=True)
class DecisionCurveDisplay:
    """A decision curve; net benefit is a share of all images. Acting on nobody has 0."""

    threshold: Numbers  # probability from which one would act (points,)
    net_benefit: Numbers  # of acting on the model
    low: Numbers
    high: Numbers
    treat_all: Numbers  # net benefit of acting on everybody
    ax: Axes


@dataclass(frozen=True, slots=True)
class ScoreDisplay:
    """A histogram of the scores of either class."""

    edges: Numbers  # of the bins (bins + 1,)
    negative: NDArray[np.int64]  # images (bins,)
    positive: NDArray[np.int64]
    thresholds: tuple[float, ...]  # the frozen ones
    ax: Axes
