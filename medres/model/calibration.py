"""What a score means: shifts, temperatures and operating points, chosen on validation patients only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medres.cohort.tasks import Task, task_columns
from medres.config import Evaluation
from medres.config.versions import Versioned

Rule = Literal["sensitivity", "specificity", "youden"]
RULES: tuple[Rule, ...] = ("sensitivity", "specificity", "youden")
"""Rules that choose a threshold on validation patients; the configured one is what the model decides by."""

_TEMPERATURES = (
    0.25,
    8.0,
)  # beyond these a small validation split says more about itself than about the model
_LEAST_IMAGES = 10  # of every class: a shift fitted on fewer may be wrong by half again in the odds


class OperatingPoint(Versioned):
    """The threshold above which a label is called positive, and the rule that chose it."""

    threshold: float  # calibrated probability
    rule: str
    sensitivity: float | None  # on the validation split that chose it
    specificity: float | None
    n: int


def at_bound(temperature: float) -> bool:
    """Whether a temperature is an end of its search: the best one may lie beyond, and probabilities are not calibrated.

    >>> at_bound(8.0), at_bound(1.3)
    (True, False)
    """
    low, high = _TEMPERATURES
    return temperature <= low * 1.01 or temperature >= high / 1.01


def fit_temperature(labels: NDArray[np.int64], logits: NDArray[np.float64]) -> float:
    """The temperature T that minimises the log loss of sigmoid(logit / T). 1.0 where a class is missing.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks.
    """
    if len(np.unique(labels)) < 2:
        return 1.0
    signs = np.where(labels == 1, 1.0, -1.0)
    return _best(lambda temperature: float(np.logaddexp(0.0, -signs * logits / temperature).mean()))


def fit_temperatures(
    tasks: Sequence[Task], targets: NDArray[np.float32], logits: NDArray[np.float64]
) -> dict[str, float]:
    """The temperature of every label; the classes of one question share theirs, that of softmax(logits / T).

    Args:
        tasks: what was asked.
        targets: (n, labels): 1, 0, NaN unknown.
        logits: (n, labels).
    """
    found: dict[str, float] = {}
    for task, columns in task_columns(tasks):
        known = ~np.isnan(targets[:, columns])
        if task.kind == "multiclass":
            rows = known.all(axis=1)
            truth, part = targets[rows, columns].argmax(axis=1), logits[rows, columns]
            found |= dict.fromkeys(task.labels, _fit_softmax_temperature(truth, part))
        else:
            for place, label in enumerate(task.labels):
                rows, column = known[:, place], columns.start + place
                found[label] = fit_temperature(targets[rows, column].astype(np.int64), logits[rows, column])
    return found


def _fit_softmax_temperature(truth: NDArray[np.intp], logits: NDArray[np.float64]) -> float:
    if len(np.unique(truth)) < 2:
        return 1.0
    from scipy.special import log_softmax  # costly, and scoring fits nothing

    rows = np.arange(len(truth))
    return _best(lambda temperature: float(-log_softmax(logits / temperature, axis=1)[rows, truth].mean()))


def fit_shifts(tasks: Sequence[Task], targets: NDArray[np.float32], logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """What to add to each label's logits (labels,) so that, calibrated, their mean is the share of positives.

    Fitted together with the temperature (Platt 1999 for a finding or a grade's label; for classes one shift each and a
    common temperature). NaN where validation images of a class are fewer than 10.

    Args:
        tasks: what was asked.
        targets: (n, labels): 1, 0, NaN unknown.
        logits: (n, labels).
    """
    found = np.full(logits.shape[1], np.nan)
    for task, columns in task_columns(tasks):
        if task.kind == "multiclass":
            rows = ~np.isnan(targets[:, columns]).any(axis=1)
            found[columns] = _fit_softmax_shifts(targets[rows, columns].argmax(axis=1), logits[rows, columns])
            continue
        for place in range(logits.shape[1])[columns]:
            rows = ~np.isnan(targets[:, place])
            pair = np.stack([np.zeros(rows.sum()), logits[rows, place]], axis=1)  # sigmoid(z) is softmax(0, z)
            first, second = _fit_softmax_shifts(targets[rows, place].astype(np.intp), pair)
            found[place] = second - first
    return found


def _fit_softmax_shifts(truth: NDArray[np.intp], logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shifts (K,), the first of them 0, that with a temperature minimise the log loss of softmax((logits + s) / T)."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    n, count = logits.shape
    if np.bincount(truth, minlength=count).min() < _LEAST_IMAGES:
        return np.full(count, np.nan)
    asked = np.eye(count)[truth]

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Convex in the slope 1 / T and in the intercepts s / T."""
        logs = log_softmax(values[0] * logits + np.concatenate([[0.0], values[1:]]), axis=1)
        wrong = (np.exp(logs) - asked) / n
        slope = np.array([(wrong * logits).sum()])
        return -float((asked * logs).sum()) / n, np.concatenate([slope, wrong.sum(axis=0)[1:]])

    low, high = _TEMPERATURES
    bounds = [(1 / high, 1 / low), *[(None, None)] * (count - 1)]
    start = np.concatenate([[1.0], np.zeros(count - 1)])
    fitted = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-12, "gtol": 1e-7}).x
    return np.concatenate([[0.0], fitted[1:] / fitted[0]])


def _best(loss: Callable[[float], float]) -> float:
    from scipy.optimize import minimize_scalar

    low, high = np.log(_TEMPERATURES)
    found = minimize_scalar(lambda logarithm: loss(float(np.exp(logarithm))), bounds=(low, high), method="bounded")
    return float(np.exp(found.x))


def probabilities(
    logits: NDArray[np.float64], tasks: Sequence[Task], temperatures: Mapping[str, float]
) -> NDArray[np.float64]:
    """Calibrated probabilities (n, labels) of logits (n, labels).

    The sigmoid of logit / T; for classes the softmax. "At least this grade" is never likelier than "at least the grade
    below": where two outputs say so, the smaller counts.
    """
    divisors = np.array([temperatures[label] for task in tasks for label in task.labels])
    scaled = np.asarray(logits, dtype=np.float64) / divisors
    found = _sigmoid(scaled)
    for task, columns in task_columns(tasks):
        if task.kind == "multiclass":
            found[:, columns] = _softmax(scaled[:, columns])
        elif task.kind == "ordinal":
            found[:, columns] = np.minimum.accumulate(found[:, columns], axis=1)
    return found


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + e⁻ˣ) of every value (n, labels), as scipy.special.expit gives it to the bit where both use one libm.

    NumPy's own exponential rounds otherwise on some processors, so that the last digit of a probability would depend on
    the machine.

    >>> _sigmoid(np.array([[0.0, -1000.0, np.inf]])).tolist()
    [[0.5, 0.0, 1.0]]
    """
    return np.array([[1 / (1 + _exponential(-value)) for value in row] for row in values.tolist()]).reshape(
        values.shape
    )


def _exponential(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The softmax of each row (n, classes)."""
    shifted = np.exp(values - values.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]  # numpy loses the dtype


def choose_operating_point(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], evaluation: Evaluation
) -> OperatingPoint:
    """The threshold of the configured rule: what the model decides by."""
    return choose_operating_points(labels, probabilities, evaluation)[evaluation.operating_point]


def choose_operating_points(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], evaluation: Evaluation
) -> dict[Rule, OperatingPoint]:
    """The threshold of every rule; halfway between neighbouring scores, so that it is stable.

    Where ties at the top leave no other way to a specificity, it lies just above the highest score, and the rule says
    that nobody was called; likewise a sensitivity that only calling everybody reaches. Where a class is missing there
    is nothing to choose from: 0.5, and the rule says so.
    """
    positives, negatives = np.sort(probabilities[labels == 1]), np.sort(probabilities[labels == 0])
    if not len(positives) or not len(negatives):
        nothing = OperatingPoint(
            threshold=0.5,
            rule="0.5: a class is missing in validation",
            sensitivity=None,
            specificity=None,
            n=len(labels),
        )
        return dict.fromkeys(RULES, nothing)
    scores = np.unique(probabilities)
    thresholds = np.concatenate([[scores[0]], (scores[1:] + scores[:-1]) / 2, [np.nextafter(scores[-1], np.inf)]])
    sensitivity = 1 - np.searchsorted(positives, thresholds, side="left") / len(positives)
    specificity = np.searchsorted(negatives, thresholds, side="left") / len(negatives)
    target = evaluation.operating_target
    sensitive = int(np.flatnonzero(sensitivity >= target)[-1])  # the highest threshold that still reaches it
    specific = int(np.flatnonzero(specificity >= target)[0])
    everybody = ", reached only by calling everybody positive" if sensitive == 0 else ""
    nobody = ", reached only by calling nobody positive" if specific == len(thresholds) - 1 else ""
    index = (sensitivity + specificity)[:-1]
    best = np.flatnonzero(index == index.max())
    chosen: dict[Rule, tuple[int, str]] = {
        "sensitivity": (sensitive, f"sensitivity ≥ {target:g} on validation patients{everybody}"),
        "specificity": (specific, f"specificity ≥ {target:g} on validation patients{nobody}"),
        "youden": (int(best[(len(best) - 1) // 2]), "best Youden index on validation patients"),  # amid a plateau
    }
    return {
        rule: OperatingPoint(
            threshold=float(thresholds[place]),
            rule=words,
            sensitivity=float(sensitivity[place]),
            specificity=float(specificity[place]),
            n=len(labels),
        )
        for rule, (place, words) in chosen.items()
    }
