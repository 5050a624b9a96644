"""From the out-of-fold table to every figure of performance: `metrics.json` is this function of `oof.csv`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medres.cohort.tasks import Task
from medres.config import Evaluation
from medres.evaluation.operating import points_of_rules
from medres.evaluation.patients import of_patients, patient_results
from medres.evaluation.results import FoldResults, LabelResults, Metrics
from medres.evaluation.subgroups import divided
from medres.evaluation.table import JudgedImages, decisions_by_rule, judged_images
from medres.evaluation.tasks import summarise_task
from medres.records import Interval
from medres.statistics.arrays import patient_numbers
from medres.statistics.bootstrap import Sample, bootstrap, bootstraps
from medres.statistics.calibration import calibration_intervals
from medres.statistics.metric import Metric, Place, shown_in
from medres.statistics.paired import PairedFigures, disjoint_pairs
from medres.statistics.resampling import Kernel
from medres.statistics.sample_size import patients_needed


def summarise(table: pd.DataFrame, *, labels: Sequence[str | Task], evaluation: Evaluation, seed: int) -> Metrics:
    """Every pooled and per-fold figure of an out-of-fold table, as the content of `metrics.json`.

    Args:
        table: one row per image, as `read_table` gives it: `path, PatientID, SOPInstanceUID, fold, label_<L>,
            logit_<L>, prob_<L>, positive_<L>`, and maybe `positive_<L>_at_<RULE>`. Blank labels are unknown, -1
            uncertain: both are left out and counted.
        labels: which labels, or tasks with theirs.
        evaluation: replicates and confidence of the intervals.
        seed: of the resamples.

    Raises:
        ManifestError: see `table.judged_images`.
    """
    tasks = [Task(item) if isinstance(item, str) else item for item in labels]
    return Metrics(
        labels={label: _label(table, label, evaluation, seed) for task in tasks for label in task.labels},
        tasks={
            task.name: summarise_task(table, task, evaluation=evaluation, seed=seed)
            for task in tasks
            if task.kind != "binary"
        },
    )


def _label(table: pd.DataFrame, label: str, evaluation: Evaluation, seed: int) -> LabelResults:
    images = judged_images(table, label)
    folds = tuple(_fold(images, number, evaluation, seed) for number in sorted(set(map(int, table["fold"]))))
    parts = divided(table, images, evaluation=evaluation, seed=seed)
    n = len(images.truth)
    figures = pooled(images, evaluation, seed)
    found = LabelResults(
        pooled=figures,
        folds=folds,
        undefined_folds=sum(fold.auroc is None for fold in folds),
        n=n,
        n_patients=len(np.unique(images.patients)),
        n_positive=int(images.truth.sum()),
        prevalence=float(images.truth.mean()) if n else None,
        uncertain=images.uncertain,
        unknown=images.unknown,
        subgroups=parts.subgroups,
        intersections=parts.intersections,
        needed=patients_needed(images.truth, images.probabilities, figures["auroc"].value),
    )
    if found.n_patients < n:
        of_all = pooled(of_patients(images, evaluation.patient_rule), evaluation, seed, place="patients")
        found = found.model_copy(update={"patients": patient_results(images, of_all, evaluation)})
    by_rule = decisions_by_rule(table, label, images)
    if not by_rule:
        return found
    points = points_of_rules(images.truth, by_rule, images.patients, evaluation=evaluation, seed=seed)
    return found.model_copy(update={"operating_points": points})


def pooled(images: JudgedImages, evaluation: Evaluation, seed: int, *, place: Place = "pooled") -> dict[str, Interval]:
    """Every metric of a place over all images; those within folds come last, and only where there are folds."""
    shown = shown_in(place)
    resampled = [one.name for one in shown if one.prepare and one.interval != "sandwich"]
    samples = [Sample(images.truth, images.scores(name), images.patients, name) for name in resampled]
    intervals = bootstraps(samples, replicates=evaluation.replicates, confidence=evaluation.confidence, seed=seed)
    found = dict(zip(resampled, intervals, strict=True))
    found |= calibration_intervals(
        images.truth, images.probabilities, images.patients, confidence=evaluation.confidence
    )
    within = [one for one in shown if one.prepare_within] if len(np.unique(images.folds)) > 1 else []
    return {one.name: found[one.name] for one in shown if one.prepare} | {
        one.name: _within_folds(one, images, evaluation, seed) for one in within
    }


def pooled_values(images: JudgedImages) -> dict[str, float | None]:
    """The values of every pooled metric, without intervals; None where undefined."""
    found: dict[str, float | None] = {}
    for one in shown_in("pooled"):
        if one.prepare_within:
            kernel, patients = _kernel_of_folds(one, images), len(np.unique(images.patients))
            value = float(kernel(np.ones((1, patients), dtype=np.int64))[0])
            found[one.name] = None if np.isnan(value) else value
        else:
            found[one.name] = one.value(images.truth, images.scores(one.name))
    return found


def _kernel_of_folds(judged: Metric, images: JudgedImages) -> Kernel:
    assert judged.prepare_within
    return judged.prepare_within(images.truth, images.probabilities, patient_numbers(images.patients), images.folds)


def _within_folds(judged: Metric, images: JudgedImages, evaluation: Evaluation, seed: int) -> Interval:
    """A metric of pairs of images that one network scored: the pooled AUROC compares scores of several networks."""
    patient = patient_numbers(images.patients)
    figures = PairedFigures(
        {judged.name: _kernel_of_folds(judged, images)},
        n=len(patient),
        n_patients=len(np.unique(patient)),
        pairs={judged.name: disjoint_pairs(images.truth, patient, images.folds)},
        evaluation=evaluation,
        seed=seed,
    )
    return figures.one(judged.name, "; pairs within a fold")


def interval(images: JudgedImages, name: str, evaluation: Evaluation, seed: int) -> Interval:
    """One metric with its bootstrap interval."""
    return bootstrap(
        images.truth,
        images.scores(name),
        images.patients,
        statistic=name,
        replicates=evaluation.replicates,
        confidence=evaluation.confidence,
        seed=seed,
    )


def _fold(images: JudgedImages, number: int, evaluation: Evaluation, seed: int) -> FoldResults:
    part = images.part(images.folds == number)
    found = pooled(part, evaluation, seed, place="folds")
    auroc = found["auroc"]
    return FoldResults(
        fold=number,
        n=len(part.truth),
        n_patients=len(np.unique(part.patients)),
        n_positive=int(part.truth.sum()),
        figures={name: one.value for name, one in found.items()},
        auroc_low=auroc.low,
        auroc_high=auroc.high,
        auroc_method=auroc.method,
        intervals=found,
    )
