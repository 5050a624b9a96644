"""What a run's networks reach on the images that they learnt from, beside those that they did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medres.cohort.splits import read_splits
from medres.evaluation.comparison import PRIMARY
from medres.evaluation.depth import DepthRun
from medres.model.classifier import Classifier
from medres.runs.cohort import TrainingCohort
from medres.runs.comparable import ComparableRun, read_comparable
from medres.statistics.metric import metric

Values = list[float | None]
"""Of each fold."""


def fitted(folder: Path, cohort: TrainingCohort, *, device: str) -> DepthRun:
    """Judge every fold of a cross-validation where its network learnt, and where it did not.

    The networks are those that the run saved, and the images those of its own folds; the validation patients, who
    chose thresholds and perhaps the epoch, are in neither.

    Args:
        folder: of the run.
        cohort: its images.
        device: where networks compute.
    """
    run = read_comparable(folder)
    folds, _ = read_splits(folder / "splits.json")
    learnt: dict[str, Values] = {label: [] for label in run.labels}
    unseen: dict[str, Values] = {label: [] for label in run.labels}
    for fold in folds:
        model = Classifier.load(folder / "models" / f"fold-{fold.index}", device=device)
        places = cohort.places(fold.training)
        scores = model.score(np.asarray(cohort.cache.pixels[places])).probabilities
        held_out = run.table[run.table["fold"] == fold.index]
        for column, label in enumerate(run.labels):
            learnt[label].append(_auroc(cohort.targets[places, column], scores[:, column]))
            targets, said = (held_out[f"{name}_{label}"].to_numpy(np.float64) for name in ("label", "prob"))
            unseen[label].append(_auroc(np.where(targets < 0, np.nan, targets), said))
    return _depth_run(run, learnt, unseen)


def _depth_run(run: ComparableRun, learnt: Mapping[str, Values], unseen: Mapping[str, Values]) -> DepthRun:
    return DepthRun(
        name=run.folder.name,
        architecture=str(run.config["network"]["architecture"]),
        seed=run.seed,
        seconds=run.record.seconds,
        oof_sha256=run.oof_sha256,
        training_auroc={label: tuple(values) for label, values in learnt.items()},
        held_out_auroc={label: tuple(values) for label, values in unseen.items()},
    )


def _auroc(targets: NDArray[np.floating], scores: Sequence[float] | NDArray[np.floating]) -> float | None:
    """Of the images whose target is known; None where a class is missing."""
    known = np.isfinite(targets)
    return metric(PRIMARY).value(targets[known].astype(np.int64), np.asarray(scores, np.float64)[known])
