"""One fold of a cross-validation: its model is fitted and saved, then judged by its held-out patients."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medres.cohort.splits import REPEAT_SEEDS
from medres.cohort.tasks import answer_columns
from medres.config import Config
from medres.model.card import ModelCard
from medres.model.classifier import Classifier, Scores
from medres.model.weights import BackboneWeights
from medres.records import Fold
from medres.runs.cohort import TrainingCohort
from medres.runs.fitting import Fitter
from medres.runs.shortcuts import ProbedFold, probe_fold
from medres.runs.validation_choices import complete
from medres.tables import write_json
from medres.training.distributed import Processes

log = logging.getLogger(__name__)
_FINISHED = "fold.json"


@dataclass(frozen=True, slots=True)
class FoldResult:
    """What a fold's model says of its held-out patients."""

    rows: list[dict[str, Any]]  # of oof.csv
    card: ModelCard
    entry: dict[str, Any]  # of run.json
    probed: ProbedFold | None


@dataclass(frozen=True, slots=True)
class Folds:
    """What the folds of one run share."""

    folder: Path
    count: int
    cohort: TrainingCohort
    config: Config
    weights: BackboneWeights | None
    splits_sha256: str
    fitter: Fitter
    processes: Processes

    def home(self, fold: Fold) -> Path:
        """The folder of a fold's model."""
        return self.folder / "models" / f"fold-{fold.index}"

    def title(self, fold: Fold) -> str:
        """What log lines call a fold."""
        return f"fold {fold.index + 1}/{self.count}"

    def unfinished(self, folds: Sequence[Fold]) -> list[Fold]:
        """Those that an earlier run, which was interrupted, did not finish."""
        left = []
        for fold in folds:
            if self.processes.decide((self.home(fold) / _FINISHED).is_file()):
                log.info("%s was finished before the interruption", self.title(fold))
            else:
                left.append(fold)
        return left

    def judge(self, fold: Fold) -> FoldResult:
        """What a fold's saved model says of its held-out patients."""
        home = self.home(fold)
        held_out = self.cohort.places(fold.held_out)
        classifier = Classifier.load(home, device=self.config.training.device)
        rows = held_out_rows(classifier, self.cohort, held_out, fold=fold.index)
        entry = json.loads((home / _FINISHED).read_text(encoding="utf-8")) | {"held_out_images": len(held_out)}
        probed = None
        if self.config.evaluation.shortcuts:
            seed = self.config.seed
            probed = probe_fold(classifier, self.cohort, held_out, title=self.title(fold), seed=seed)
        return FoldResult(rows, classifier.card, entry, probed)

    def fit(self, fold: Fold) -> None:
        """Fit and save one fold's model; what `run.json` says of it is written last."""
        started = time.monotonic()
        home, title = self.home(fold), self.title(fold)
        cohort, config = self.cohort, self.config
        training = cohort.places(fold.training, learning=True)
        validation, held_out = cohort.places(fold.validation), cohort.places(fold.held_out)
        seed = config.seed + REPEAT_SEEDS * fold.repeat + fold.index
        fitted = self.fitter.fit(home, training, validation, seed=seed, title=title)
        if not self.processes.first:
            return
        card = complete(
            home,
            fitted,
            cohort,
            training=training,
            validation=validation,
            config=config,
            weights=self.weights,
            splits_sha256=self.splits_sha256,
            fold=fold.index,
            seed=seed,
        )
        seconds = time.monotonic() - started
        log.info("%s done in %.0f s", title, seconds)
        entry = {
            "fold": fold.index,
            "name": fold.name,
            "model_id": card.model_id,
            "training_patients": cohort.patients(training),
            "validation_patients": cohort.patients(validation),
            "held_out_patients": cohort.patients(held_out),
            "training_images": len(training),
            "validation_images": len(validation),
            "epochs": len(fitted.history),
            "best_epoch": fitted.best_epoch,
            "temperature": card.temperatures,
            "threshold": {label: card.operating_points[label].threshold for label in card.labels},
            "thresholds": {  # of every rule
                label: {rule: point.threshold for rule, point in points.items()}
                for label, points in card.points_by_rule.items()
            },
            "seconds": round(seconds, 1),
        }
        write_json(home / _FINISHED, entry)
        self.fitter.forget(home)


def held_out_rows(
    model: Classifier, cohort: TrainingCohort, places: Sequence[int], *, fold: int | None, scores: Scores | None = None
) -> list[dict[str, Any]]:
    """Rows of an evaluation table: identifiers, targets, and what the saved model says at its frozen threshold."""
    scores = scores or model.score(np.asarray(cohort.cache.pixels[list(places)]))
    rows = []
    for number, place in enumerate(places):
        identifiers = cohort.oof_columns(place)
        row: dict[str, Any] = {name: identifiers[name] for name in ("path", "PatientID", "SOPInstanceUID")}
        row["fold"] = 0 if fold is None else fold
        for column, label in enumerate(model.labels):
            target = -1 if label in cohort.rows[place].uncertain else cohort.rows[place].targets[label]
            probability = float(scores.probabilities[number, column])
            row[f"label_{label}"] = "" if target is None else target  # a number: as a text, -1 would be made inert
            row[f"logit_{label}"] = float(scores.logits[number, column])
            row[f"prob_{label}"] = probability
            row[f"positive_{label}"] = int(probability >= model.card.operating_points[label].threshold)
            for rule, point in model.card.points_by_rule[label].items():
                row[f"positive_{label}_at_{rule}"] = int(probability >= point.threshold)
        row |= answer_columns(model.tasks, scores.probabilities[number])
        rows.append({**row, **{name: value for name, value in identifiers.items() if name not in row}})
    return rows
