"""How good grades and classes are: agreement, accuracy and confusion, with patient-clustered intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medres.cohort.tasks import Task, true_answers
from medres.config import Evaluation
from medres.evaluation.results import TaskResults
from medres.records import Interval
from medres.statistics.agreement import confusion_kernel
from medres.statistics.arrays import patient_numbers
from medres.statistics.bootstrap import Sample, replicate
from medres.statistics.intervals import NO_IMAGES, exact_interval, fewest_patients, no_bounds, too_few
from medres.statistics.metric import Metric, shown_in
from medres.statistics.resampling import resamples
from medres.statistics.student import difference_interval, logit_interval, scaled_interval

_AGAINST_CONSTANT = ("accuracy", "mean_absolute_error")
_NO_IMAGE_OF_A_VALUE = "undefined: a value has no image"


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


def summarise_task(table: pd.DataFrame, task: Task, *, evaluation: Evaluation, seed: int) -> TaskResults:
    """Every figure of a grade or a class over an out-of-fold table.

    Args:
        table: with `PatientID`, and `label_<L>` and `prob_<L>` of every label of the task.
        task: ordinal or multiclass, with its values.
        evaluation: replicates and confidence of the intervals.
        seed: of the resamples.
    """
    pairs, known = _pairs(table, task)
    patients = patient_numbers(table["PatientID"].to_numpy(dtype=object)[known].astype(str))
    shown = shown_in("grades" if task.kind == "ordinal" else "classes")
    answered = [one for one in shown if one.of_confusions]
    found, references, gains = _of_answers(answered, pairs, patients, len(task.values), evaluation, seed)
    for one in shown:
        if one.prepare:
            found[one.name] = _mean_over_labels(one, table[known], task, patients, evaluation, seed)
    assert task.kind != "binary"
    return TaskResults(
        kind=task.kind,
        values=tuple(task.values),
        labels=tuple(task.labels),
        n=int(known.sum()),
        n_patients=len(np.unique(patients)),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion(table, task)),
        metrics=found,
        references=references,
        gains=gains,
    )


def _of_answers(
    metrics: Sequence[Metric],
    pairs: NDArray[np.intp],
    patients: NDArray[np.intp],
    size: int,
    evaluation: Evaluation,
    seed: int,
) -> tuple[dict[str, Interval], dict[str, Interval], dict[str, Interval]]:
    """All metrics of answers from the same resampled patients, so that they can be compared.

    Also what the one answer that does best without an image reaches, and by how much the model does better: of accuracy
    the commonest value, of the mean error the grade in the middle. Kappa and balanced accuracy have a chance that no
    cohort changes, and need no such reference.
    """
    if not len(pairs):
        return {one.name: Interval(None, None, None, NO_IMAGES, 0, 0) for one in metrics}, {}, {}
    count, (truth, answers) = int(patients.max()) + 1, np.divmod(pairs, size)
    constant = {one.name: _best_constant(one, truth, size) for one in metrics if one.name in _AGAINST_CONSTANT}
    kernels = {
        one.name: confusion_kernel(truth, answers, patients, size, one.of_confusions)
        for one in metrics
        if one.of_confusions
    }
    for one in metrics:
        if one.name in constant and one.of_confusions:
            same = np.full_like(truth, constant[one.name])
            kernels[f"constant {one.name}"] = confusion_kernel(truth, same, patients, size, one.of_confusions)
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in kernels}
    for counts in resamples(count, len(pairs), replicates=evaluation.replicates, seed=seed):
        for name, kernel in kernels.items():
            drawn[name].append(kernel(counts))
    once = np.ones((1, count), dtype=np.int64)
    values = {name: float(kernel(once)[0]) for name, kernel in kernels.items()}
    whole = {name: np.concatenate(parts) for name, parts in drawn.items()}
    rarest = min(len(np.unique(patients[truth == one])) for one in np.unique(truth))

    def made(one: Metric, name: str) -> Interval:
        counts = (len(pairs), count, rarest if one.rests_on == "rarest" else count)
        return _interval(one, values[name], whole[name], counts, evaluation, seed)

    found, references, gains = ({one.name: made(one, one.name) for one in metrics}, {}, {})
    for one in metrics:
        if one.name in constant:
            name, sign = f"constant {one.name}", 1 if one.better == "higher" else -1
            references[one.name] = made(one, name)
            gains[one.name] = difference_interval(
                sign * (values[one.name] - values[name]),
                sign * (whole[one.name] - whole[name]),
                fewest=count,
                n=len(pairs),
                n_patients=count,
                confidence=evaluation.confidence,
                seed=seed,
            )
    return found, references, gains


def _best_constant(judged: Metric, truth: NDArray[np.intp], size: int) -> int:
    """The one value that does best as the answer to every image."""
    if judged.name == "accuracy":
        return int(np.bincount(truth, minlength=size).argmax())
    return int(np.argmin([np.abs(truth - value).sum() for value in range(size)]))


def _mean_over_labels(
    judged: Metric, table: pd.DataFrame, task: Task, patients: NDArray[np.intp], evaluation: Evaluation, seed: int
) -> Interval:
    """The mean of a metric over the task's labels: each class against the rest, or each "at least this grade".

    As sure as the label of the fewest patients lets it be.
    """
    if not len(table):
        return Interval(None, None, None, NO_IMAGES, 0, 0)
    samples = [
        Sample(
            table[f"label_{label}"].astype(np.float64), table[f"prob_{label}"].astype(np.float64), patients, judged.name
        )
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
    judged: Metric,
    value: float,
    drawn: NDArray[np.float64],
    counts: tuple[int, int, int],
    evaluation: Evaluation,
    seed: int,
) -> Interval:
    n, n_patients, fewest = counts
    confidence = evaluation.confidence
    if np.isnan(value):
        return Interval(None, None, None, _NO_IMAGE_OF_A_VALUE, n, n_patients)
    if judged.exact and value in (0.0, 1.0) and n_patients > 1 and no_bounds(drawn, n_patients):
        of = "patients (every resample gives the same value)"
        return exact_interval(value, n_patients, of, n=n, n_patients=n_patients, confidence=confidence)
    return scaled_interval(
        value, drawn, judged.scale, fewest=fewest, n=n, n_patients=n_patients, confidence=confidence, seed=seed
    )
