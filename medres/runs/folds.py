"""One fold of a cross-validation: its model is fitted and saved, then judged by its held-out patients."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medres.cohort.splits import REPEAT_SEEDS
from medres.cohort.tasks import answer_columns
from medres.evaluation.table import as_read
from medres.model.card import ModelCard
from medres.model.classifier import Classifier, Scores
from medres.records import Fold
from medres.runs.cohort import TrainingCohort
from medres.runs.fitting import NetworkFitter, RunSetup
from medres.runs.mistakes import MistakeMap, maps_of_mistakes
from medres.runs.records import FOLD, FoldRecord, read_fold_record, write_fold_record
from medres.runs.shortcuts import ProbedFold, probe_fold
from medres.runs.validation_choices import finish_model
from medres.training.state import FitPlan

log = logging.getLogger(__name__)

Row = dict[str, str | int | float]
"""One row of `oof.csv`, by column."""


@dataclass(frozen=True, slots=True)
class FoldResult:
    """What a fold's model says of its held-out patients."""

    rows: list[Row]
    card: ModelCard
    record: FoldRecord
    probed: ProbedFold | None
    maps: tuple[MistakeMap, ...]  # of the mistakes that a gallery may show
    places: tuple[int, ...]  # of its held-out images in the cohort, one per row


@dataclass(frozen=True, slots=True)
class Folds:
    """The folds of one run, which share its folder, its division of patients and what fits their networks."""

    folder: Path
    count: int
    splits_sha256: str
    fitter: NetworkFitter

    @property
    def setup(self) -> RunSetup:
        """Cohort, configuration and starting weights of the run."""
        return self.fitter.setup

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
            if self.setup.processes.decide((self.home(fold) / FOLD).is_file()):
                log.info("%s was finished before the interruption", self.title(fold))
            else:
                left.append(fold)
        return left

    def score(self, fold: Fold) -> FoldResult:
        """What a fold's saved model says of its held-out patients; the model is loaded here and nowhere else."""
        home, cohort, evaluation = self.home(fold), self.setup.cohort, self.setup.config.evaluation
        held_out = cohort.places(fold.held_out)
        classifier = Classifier.load(home, device=self.setup.config.training.device)
        rows = held_out_rows(classifier, cohort, held_out, fold=fold.index)
        record = read_fold_record(home).model_copy(update={"held_out_images": len(held_out)})
        maps = maps_of_mistakes(classifier, cohort, as_read(pd.DataFrame(rows)), held_out)
        probed = None
        if evaluation.shortcuts:
            seed = self.setup.config.seed
            probed = probe_fold(classifier, cohort, held_out, title=self.title(fold), seed=seed)
        return FoldResult(rows, classifier.card, record, probed, maps, tuple(held_out))

    def fit(self, fold: Fold) -> None:
        """Fit and save one fold's model; what `run.json` says of it is written last."""
        started = time.monotonic()
        home, cohort = self.home(fold), self.setup.cohort
        plan = FitPlan(
            cohort.places(fold.training, learning=True),
            cohort.places(fold.validation),
            seed=self.setup.config.seed + REPEAT_SEEDS * fold.repeat + fold.index,
            title=self.title(fold),
        )
        fitted = self.fitter.fit(home, plan)
        if not self.setup.processes.first:
            return
        card = finish_model(home, fitted, plan, self.setup, splits_sha256=self.splits_sha256, fold=fold.index)
        seconds = time.monotonic() - started
        log.info("%s done in %.0f s", plan.title, seconds)
        record = FoldRecord(
            fold=fold.index,
            name=fold.name,
            model_id=card.model_id,
            training_patients=cohort.patients(plan.training),
            validation_patients=cohort.patients(plan.validation),
            held_out_patients=cohort.patients(cohort.places(fold.held_out)),
            training_images=len(plan.training),
            validation_images=len(plan.validation),
            epochs=len(fitted.history),
            best_epoch=fitted.best_epoch,
            temperature=card.temperatures,
            threshold={label: card.operating_points[label].threshold for label in card.labels},
            thresholds={
                label: {rule: point.threshold for rule, point in points.items()}
                for label, points in card.points_by_rule.items()
            },
            seconds=round(seconds, 1),
        )
        write_fold_record(home, record)
        self.fitter.forget(home)


def held_out_rows(
    model: Classifier, cohort: TrainingCohort, places: Sequence[int], *, fold: int | None, scores: Scores | None = None
) -> list[Row]:
    """Rows of an evaluation table: identifiers, targets, and what the saved model says at its frozen threshold."""
    scores = scores or model.score(np.asarray(cohort.cache.pixels[list(places)]))
    rows = []
    for number, place in enumerate(places):
        identifiers = cohort.oof_columns(place)
        row: Row = {name: identifiers[name] for name in ("path", "PatientID", "SOPInstanceUID")}
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
