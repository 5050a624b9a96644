"""What networks say of held-out images whose parts are hidden, and what their features know: `shortcuts.csv`."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medres.config import Evaluation
from medres.documents import write_document
from medres.evaluation.shortcuts.alterations import ALTERATIONS, altered
from medres.evaluation.shortcuts.probes import read_from_features
from medres.evaluation.shortcuts.results import Shortcuts
from medres.evaluation.shortcuts.summary import (
    part_column,
    probability_column,
    read_probed,
    readable_columns,
    score_column,
    summarise_shortcuts,
)
from medres.model.classifier import Classifier
from medres.model.forward import forward_batches
from medres.runs.cohort import TrainingCohort
from medres.tables import write_csv

log = logging.getLogger(__name__)

_BATCH = 64
_MOST_READ = 1000  # held-out images per fold whose features are read, whole patients


@dataclass(frozen=True, slots=True)
class ProbedFold:
    """What one fold's network says of its held-out images."""

    probabilities: dict[str, NDArray[np.float64]]  # by column of `shortcuts.csv`
    read: NDArray[np.intp]  # which of the held-out images have features here
    features: NDArray[np.float32]  # (those, channels)


def probe_fold(
    model: Classifier, cohort: TrainingCohort, places: Sequence[int], *, title: str, seed: int
) -> ProbedFold:
    """Score held-out images again in every alteration, and compute features of some of them unaltered.

    Args:
        model: the fold's own.
        cohort: its images.
        places: of the held-out images.
        title: what the log line calls the fold.
        seed: chooses the patients whose features are read, where there are very many.
    """
    started = time.monotonic()
    parts = [np.asarray(places[start : start + _BATCH]) for start in range(0, len(places), _BATCH)]
    found: dict[str, NDArray[np.float64]] = {}
    for one in ALTERATIONS:
        scores = [model.score(altered(np.asarray(cohort.cache.pixels[part]), one)).probabilities for part in parts]
        every = np.concatenate(scores)
        found |= {probability_column(label, one): every[:, column] for column, label in enumerate(model.labels)}
    read = _whole_patients([cohort.rows[place].patient_id for place in places], seed)
    chosen = np.asarray(places)[read]
    features = [
        batch.features.cpu().numpy()
        for batch in forward_batches(
            model.members[0].network, cohort.cache.pixels, chosen.tolist(), device=model.device, batch=_BATCH
        )
    ]
    seconds = time.monotonic() - started
    log.info("%s · %d held-out images probed for shortcuts in %.1f s", title, len(places), seconds)
    return ProbedFold(found, read, np.concatenate(features))


def write_shortcuts(
    folder: Path,
    table: pd.DataFrame,
    folds: Sequence[ProbedFold],
    *,
    labels: Sequence[str],
    evaluation: Evaluation,
    seed: int,
) -> Shortcuts:
    """Write `shortcuts.csv` and `shortcuts.json`; warn of what they show.

    Args:
        folder: of the run.
        table: `oof.csv` as `table.read_table` gives it, the folds' images one fold after the other.
        folds: in the same order.
        labels: which labels.
        evaluation: columns asked for, replicates and confidence of the intervals.
        seed: of resamples and of the division of patients.
    """
    started = time.monotonic()
    names = ["path", "PatientID", "SOPInstanceUID", "fold"]
    probed = pd.DataFrame({name: table[name] for name in names})
    for column in folds[0].probabilities:
        probed[column] = np.concatenate([fold.probabilities[column] for fold in folds])
    for column, (groups, values) in readable_columns(table, evaluation.subgroups).items():
        patients = table["PatientID"].to_numpy(dtype=object).astype(str)
        scores = np.full((len(table), len(values)), np.nan)
        part = np.full(len(table), "", dtype=object)
        for fold, rows in zip(folds, _rows(folds), strict=True):
            usable = np.isin(groups[rows], values)
            if len(set(groups[rows][usable])) < 2:
                continue
            asked = rows[usable]
            known, found, parts = read_from_features(fold.features[usable], groups[asked], patients[asked], seed=seed)
            for place, value in enumerate(known):
                scores[asked, values.index(value)] = found[:, place]
            part[asked] = [str(number) for number in parts]
        probed[part_column(column)] = part
        for place, value in enumerate(values):
            probed[score_column(column, value)] = scores[:, place]
    write_csv(folder / "shortcuts.csv", probed)
    content = summarise_shortcuts(
        table, read_probed(folder / "shortcuts.csv"), labels=labels, evaluation=evaluation, seed=seed
    )
    write_document(folder / "shortcuts.json", content)
    for label, figures in content.labels.items():
        if figures.verdict.suspect:
            log.warning("label %s may rest on a shortcut: %s", label, " ".join(figures.verdict.sentences))
    log.info("shortcut probes judged in %.1f s", time.monotonic() - started)
    return content


def _rows(folds: Sequence[ProbedFold]) -> list[NDArray[np.intp]]:
    """The rows of the table that each fold's features are of."""
    sizes = [len(next(iter(fold.probabilities.values()))) for fold in folds]
    starts = np.cumsum([0, *sizes[:-1]])
    return [start + fold.read for start, fold in zip(starts, folds, strict=True)]


def _whole_patients(patients: Sequence[str], seed: int) -> NDArray[np.intp]:
    """Places of the images of as many patients, drawn at random, as have at most _MOST_READ images."""
    names = np.asarray(patients, dtype=object).astype(str)
    owners, owner, sizes = np.unique(names, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(owners))
    kept = np.cumsum(sizes[order]) <= _MOST_READ
    kept[0] = True
    return np.flatnonzero(np.isin(owner, order[kept]))
