"""How good grades and classes are: agreement, accuracy and confusion, with patient-clustered intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medres.cohort.tasks import Task, true_answers
from medres.config import Evaluation
from medres.records import Interval
from medres.statistics.bounds import fewest_patients, logit_interval, percentile_interval, too_few
from medres.statistics.intervals import NO_IMAGES, Sample, replicate
from medres.statistics.resampling import divide, patient_numbers, resamples

Confusions = NDArray[np.float64]
"""(replicates, true, predicted): weighted counts of images."""

Statistic = Callable[[Confusions], NDArray[np.float64]]
"""One value per replicate; NaN where undefined."""


def accuracy(confusions: Confusions) -> NDArray[np.float64]:
    """The share of images whose answer is right."""
    return divide(np.trace(confusions, axis1=1, axis2=2), confusions.sum(axis=(1, 2)))


def balanced_accuracy(confusions: Confusions) -> NDArray[np.float64]:
    """The mean over values of the share of its images that were recognised; NaN where a value has no image."""
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    found: NDArray[np.float64] = divide(hits, confusions.sum(axis=2)).mean(axis=1)
    return found


def quadratic_weighted_kappa(confusions: Confusions) -> NDArray[np.float64]:
    """Cohen's kappa with weights (i − j)²: 1 is perfect, 0 is chance (Cohen 1968).

    >>> quadratic_weighted_kappa(np.array([[[2.0, 0], [0, 2]], [[1, 1], [1, 1]]])).tolist()
    [1.0, 0.0]
    """
    grades = np.arange(confusions.shape[1])
    weights = (grades[:, None] - grades[None, :]) ** 2
    total = confusions.sum(axis=(1, 2))
    by_chance = confusions.sum(axis=2)[:, :, None] * confusions.sum(axis=1)[:, None, :]
    expected = divide((weights * by_chance).sum(axis=(1, 2)), total)
    return 1 - divide((weights * confusions).sum(axis=(1, 2)), expected)


def mean_absolute_error(confusions: Confusions) -> NDArray[np.float64]:
    """The mean distance of predicted and true grade, in grades."""
    grades = np.arange(confusions.shape[1])
    distance = np.abs(grades[:, None] - grades[None, :])
    return divide((distance * confusions).sum(axis=(1, 2)), confusions.sum(axis=(1, 2)))


_NO_IMAGE_OF_A_VALUE = "undefined: a value has no image"
_OF_ORDINAL = {
    "quadratic_weighted_kappa": quadratic_weighted_kappa,
    "accuracy": accuracy,
    "mean_absolute_error": mean_absolute_error,
}
_OF_CLASSES = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}


def confusion(table: pd.DataFrame, task: Task) -> NDArray[np.intp]:
    """Images whose answer is known, by true (rows) and predicted (columns) value."""
    pairs, _ = _pairs(table, task)
    return np.bincount(pairs, minlength=len(task.values) ** 2).reshape(len(task.values), -1)


def _pairs(table: pd.DataFrame, task: Task) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """true × number of values + predicted, of the images whose answer is known; and which images those are."""
    targets, likely = (
        table[[f"{kind}_{label}" for label in task.labels]].to_numpy(dtype=np.float64) for kind in ("label", "prob")
    )
    truth = true_answers(task, targets)
    known = truth >= 0
    return truth[known] * len(task.values) + task.answers(likely[known]), known


def summarise_task(table: pd.DataFrame, task: Task, *, evaluation: Evaluation, seed: int) -> dict[str, Any]:
    """Every figure of a grade or a class over an out-of-fold table, as JSON values.

    Args:
        table: with `PatientID`, and `label_<L>` and `prob_<L>` of every label of the task.
        task: ordinal or multiclass, with its values.
        evaluation: replicates and confidence of the intervals.
        seed: of the resamples.

    Returns:
        `{"kind", "values", "labels", "n", "n_patients", "confusion": rows true, columns predicted, "metrics": {METRIC:
        {"value", "low", "high", "method", "n", "n_patients"}}}`.
    """
    pairs, known = _pairs(table, task)
    patients = patient_numbers(table["PatientID"].to_numpy(dtype=object)[known].astype(str))
    statistics: Mapping[str, Statistic] = _OF_ORDINAL if task.kind == "ordinal" else _OF_CLASSES
    found = _of_confusions(statistics, pairs, patients, len(task.values), evaluation, seed)
    found["macro_auroc"] = _macro_auroc(table[known], task, patients, evaluation, seed)
    return {
        "kind": task.kind,
        "values": list(task.values),
        "labels": list(task.labels),
        "n": int(known.sum()),
        "n_patients": len(np.unique(patients)),
        "confusion": confusion(table, task).tolist(),
        "metrics": {name: asdict(interval) for name, interval in found.items()},
    }


def _of_confusions(
    statistics: Mapping[str, Statistic],
    pairs: NDArray[np.intp],
    patients: NDArray[np.intp],
    size: int,
    evaluation: Evaluation,
    seed: int,
) -> dict[str, Interval]:
    """One matrix of resampled patients for all statistics: what they say can be compared."""
    if not len(pairs):
        return {name: Interval(None, None, None, NO_IMAGES, 0, 0) for name in statistics}
    count = int(patients.max()) + 1
    per_patient = np.zeros((count, size * size))
    np.add.at(per_patient, (patients, pairs), 1)
    whole = per_patient.sum(axis=0).reshape(1, size, size)
    drawn = [
        (counts @ per_patient).reshape(-1, size, size)
        for counts in resamples(count, len(pairs), replicates=evaluation.replicates, seed=seed)
    ]
    return {
        name: _interval(
            float(statistic(whole)[0]),
            np.concatenate([statistic(confusions) for confusions in drawn]),
            (len(pairs), count),
            evaluation,
            seed,
        )
        for name, statistic in statistics.items()
    }


def _macro_auroc(
    table: pd.DataFrame, task: Task, patients: NDArray[np.intp], evaluation: Evaluation, seed: int
) -> Interval:
    """The mean AUROC of the task's labels: each class against the rest, or each "at least this grade".

    As sure as the label of the fewest patients lets it be.
    """
    if not len(table):
        return Interval(None, None, None, NO_IMAGES, 0, 0)
    samples = [
        Sample(table[f"label_{label}"].astype(np.float64), table[f"prob_{label}"].astype(np.float64), patients)
        for label in task.labels
    ]
    values, drawn = replicate(samples, replicates=evaluation.replicates, seed=seed)
    value, n, n_patients = float(values.mean()), len(table), int(patients.max()) + 1
    if np.isnan(value):
        return Interval(None, None, None, _NO_IMAGE_OF_A_VALUE, n, n_patients)
    truths = [np.asarray(sample.labels, dtype=np.int64) for sample in samples]
    few = next(filter(None, (too_few(truth, patients) for truth in truths)), "")
    if few:
        return Interval(value, None, None, few, n, n_patients)
    return logit_interval(
        value,
        drawn.mean(axis=0),
        fewest=min(fewest_patients(truth, patients) for truth in truths),
        n=n,
        n_patients=n_patients,
        confidence=evaluation.confidence,
        seed=seed,
    )


def _interval(
    value: float, drawn: NDArray[np.float64], counts: tuple[int, int], evaluation: Evaluation, seed: int
) -> Interval:
    n, n_patients = counts
    if np.isnan(value):
        return Interval(None, None, None, _NO_IMAGE_OF_A_VALUE, n, n_patients)
    return percentile_interval(value, drawn, n=n, n_patients=n_patients, confidence=evaluation.confidence, seed=seed)
