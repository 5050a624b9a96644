"""What a score means: temperatures and operating points, chosen on validation patients only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.optimize import minimize_scalar
from scipy.special import expit

from medres.config import Evaluation

_TEMPERATURES = (
    0.25,
    8.0,
)  # beyond these a small validation split says more about itself than about the model


class OperatingPoint(BaseModel):
    """The threshold above which a label is called positive, and the rule that chose it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float  # calibrated probability
    rule: str
    sensitivity: float | None  # on the validation split that chose it
    specificity: float | None
    n: int


def fit_temperature(labels: NDArray[np.int64], logits: NDArray[np.float64]) -> float:
    """The temperature T that minimises the log loss of sigmoid(logit / T). 1.0 where a class is missing.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks.
    """
    if len(np.unique(labels)) < 2:
        return 1.0
    signs = np.where(labels == 1, 1.0, -1.0)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, -signs * logits / np.exp(log_temperature)).mean())

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def calibrated(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Probabilities of logits."""
    return expit(np.asarray(logits, dtype=np.float64) / temperature)  # type: ignore[no-any-return]  # scipy is untyped


def choose_operating_point(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], evaluation: Evaluation
) -> OperatingPoint:
    """The threshold of the configured rule; halfway between neighbouring scores, so that it is stable.

    Where a class is missing there is nothing to choose from: 0.5, and the rule says so.
    """
    positives, negatives = np.sort(probabilities[labels == 1]), np.sort(probabilities[labels == 0])
    if not len(positives) or not len(negatives):
        return OperatingPoint(
            threshold=0.5,
            rule="0.5: a class is missing in validation",
            sensitivity=None,
            specificity=None,
            n=len(labels),
        )
    scores = np.unique(probabilities)
    thresholds = np.concatenate([[scores[0]], (scores[1:] + scores[:-1]) / 2])
    sensitivity = 1 - np.searchsorted(positives, thresholds, side="left") / len(positives)
    specificity = np.searchsorted(negatives, thresholds, side="left") / len(negatives)
    target = evaluation.operating_target
    if evaluation.operating_point == "sensitivity":  # the highest threshold that still reaches it
        best = int(np.flatnonzero(sensitivity >= target)[-1])
        rule = f"sensitivity ≥ {target:g} on validation patients"
    elif evaluation.operating_point == "specificity":
        reached = np.flatnonzero(specificity >= target)
        best = int(reached[0]) if len(reached) else len(thresholds) - 1
        rule = f"specificity ≥ {target:g} on validation patients"
    else:
        index = sensitivity + specificity
        best = int(np.flatnonzero(index == index.max()).mean())  # the middle of a plateau
        rule = "best Youden index on validation patients"
    return OperatingPoint(
        threshold=float(thresholds[best]),
        rule=rule,
        sensitivity=float(sensitivity[best]),
        specificity=float(specificity[best]),
        n=len(labels),
    )
