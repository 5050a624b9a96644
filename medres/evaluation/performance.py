"""From the out-of-fold table to every figure of performance: `metrics.json` is this function of `oof.csv`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from medres.cohort.tasks import Task
from medres.config import Evaluation
from medres.evaluation.operating import points_of_rules
from medres.evaluation.shortcuts.probes import auroc_within
from medres.evaluation.subgroups import divided
from medres.evaluation.table import JudgedImages, decisions_by_rule, judged_images
from medres.evaluation.tasks import summarise_task
from medres.records import Interval
from medres.statistics.intervals import Sample, bootstrap, bootstraps, calibration_intervals
from medres.statistics.metrics import OF_DECISIONS, statistic
from medres.statistics.paired import PairedFigures, disjoint_pairs
from medres.statistics.resampling import Kernel, patient_numbers

_OF_PROBABILITIES = ("auroc", "average_precision", "partial_auroc")
_OF_CALIBRATION = ("brier", "expected_calibration_error")
METRICS = (
    *_OF_PROBABILITIES,
    *OF_DECISIONS,
    *_OF_CALIBRATION,
    "calibration_slope",
    "calibration_intercept",
)
"""Names of the pooled metrics, in the order they are shown."""

WITHIN_FOLDS = "auroc_within_folds"
"""The pooled AUROC compares scores of different networks, too; this one only images that the same network scored."""

_IN_FOLDS = (*_OF_PROBABILITIES, *OF_DECISIONS, "brier")


def summarise(
    table: pd.DataFrame, *, labels: Sequence[str | Task], evaluation: Evaluation, seed: int
) -> dict[str, Any]:
    """Every pooled and per-fold figure of an out-of-fold table, as the content of `metrics.json`.

    Args:
        table: one row per image, as `read_table` gives it: `path, PatientID, SOPInstanceUID, fold, label_<L>,
            logit_<L>, prob_<L>, positive_<L>`, and maybe `positive_<L>_at_<RULE>`. Blank labels are unknown, -1
            uncertain: both are left out and counted.
        labels: which labels, or tasks with theirs.
        evaluation: replicates and confidence of the intervals.
        seed: of the resamples.

    Returns:
        `{"labels": {L: {"pooled": {METRIC: {"value", "low", "high", "method", "n", "n_patients"}; WITHIN_FOLDS too
        where there are folds}, "folds": [...], "undefined_folds", "n", "n_patients", "n_positive", "prevalence",
        "uncertain", "unknown", "subgroups", "intersections": see `subgroups.divided`, "operating_points": see
        `operating.points_of_rules`, where the table has decisions by rule}}, "tasks": {T: see
        `grades.summarise_task`, for grades and classes}}`; JSON values only, None where undefined.

    Raises:
        ManifestError: see `judged`.
    """
    tasks = [Task(item) if isinstance(item, str) else item for item in labels]
    return {
        "labels": {label: _label(table, label, evaluation, seed) for task in tasks for label in task.labels},
        "tasks": {
            task.name: summarise_task(table, task, evaluation=evaluation, seed=seed)
            for task in tasks
            if task.kind != "binary"
        },
    }


def _label(table: pd.DataFrame, label: str, evaluation: Evaluation, seed: int) -> dict[str, Any]:
    images = judged_images(table, label)
    folds = [_fold(images, number, evaluation, seed) for number in sorted(set(map(int, table["fold"])))]
    n = len(images.truth)
    content = {
        "pooled": {
            name: asdict(found)
            for name, found in (pooled(images, evaluation, seed) | _within_folds(images, evaluation, seed)).items()
        },
        "folds": folds,
        "undefined_folds": sum(fold["auroc"] is None for fold in folds),
        "n": n,
        "n_patients": len(np.unique(images.patients)),
        "n_positive": int(images.truth.sum()),
        "prevalence": float(images.truth.mean()) if n else None,
        "uncertain": images.uncertain,
        "unknown": images.unknown,
        **divided(table, images, evaluation=evaluation, seed=seed),
    }
    by_rule = decisions_by_rule(table, label, images)
    if by_rule:
        content["operating_points"] = points_of_rules(
            images.truth, by_rule, images.patients, evaluation=evaluation, seed=seed
        )
    json.dumps(content, allow_nan=False)  # what is returned can be written
    return content


def pooled(images: JudgedImages, evaluation: Evaluation, seed: int) -> dict[str, Interval]:
    """All of `METRICS` over all images."""
    names = [name for name in METRICS if not name.startswith("calibration_")]
    samples = [Sample(images.truth, images.scores(name), images.patients, name) for name in names]
    intervals = bootstraps(samples, replicates=evaluation.replicates, confidence=evaluation.confidence, seed=seed)
    found = dict(zip(names, intervals, strict=True))
    found |= calibration_intervals(
        images.truth, images.probabilities, images.patients, confidence=evaluation.confidence
    )
    return {name: found[name] for name in METRICS}


def auroc_within_folds(images: JudgedImages) -> float | None:
    """WITHIN_FOLDS without its interval; None where no fold has both classes."""
    patients = len(np.unique(images.patients))
    value = float(_kernel_of_folds(images)(np.ones((1, patients), dtype=np.int64))[0])
    return None if np.isnan(value) else value


def _kernel_of_folds(images: JudgedImages) -> Kernel:
    return auroc_within(images.truth, images.probabilities, patient_numbers(images.patients), images.folds)


def _within_folds(images: JudgedImages, evaluation: Evaluation, seed: int) -> dict[str, Interval]:
    """WITHIN_FOLDS with its interval; {} where there is one fold."""
    if len(np.unique(images.folds)) < 2:
        return {}
    patient = patient_numbers(images.patients)
    figures = PairedFigures(
        {WITHIN_FOLDS: _kernel_of_folds(images)},
        n=len(patient),
        n_patients=len(np.unique(patient)),
        pairs={WITHIN_FOLDS: disjoint_pairs(images.truth, patient, images.folds)},
        evaluation=evaluation,
        seed=seed,
    )
    return {WITHIN_FOLDS: figures.one(WITHIN_FOLDS, "; pairs within a fold")}


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


def _fold(images: JudgedImages, number: int, evaluation: Evaluation, seed: int) -> dict[str, Any]:
    """One fold's figures, None where it has no such image; the AUROC with `auroc_low`, `auroc_high`, `auroc_method`."""
    part = images.part(images.folds == number)
    auroc = interval(part, "auroc", evaluation, seed)
    return {
        "fold": number,
        "n": len(part.truth),
        "n_patients": len(np.unique(part.patients)),
        "n_positive": int(part.truth.sum()),
        **{name: statistic(name, part.truth, part.scores(name)) for name in _IN_FOLDS},
        "auroc_low": auroc.low,
        "auroc_high": auroc.high,
        "auroc_method": auroc.method,
    }
