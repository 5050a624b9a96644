"""Cross-validation: every patient is held out once, and held-out patients choose nothing."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medres.cohort.given_folds import folds_from_column
from medres.cohort.indexing import Progress
from medres.cohort.manifest import Manifest, read_manifest
from medres.cohort.pseudonyms import pseudonym_key
from medres.cohort.splits import choose_repeat, make_folds, read_splits, splits_document, write_splits
from medres.cohort.tasks import Task
from medres.config import Config
from medres.errors import ManifestError, UsageError
from medres.evaluation.grades import answer_columns
from medres.evaluation.report import write_report
from medres.evaluation.summary import read_table, summarise
from medres.model.bundle import CARD_TEXT, card_text
from medres.model.card import ModelCard
from medres.model.classifier import Classifier, Scores
from medres.model.weights import BackboneWeights
from medres.records import Fold
from medres.tables import write_csv, write_json, write_text
from medres.training.cohorts import TrainingCohort, load_cohort
from medres.training.completing import complete
from medres.training.distributed import Processes, joined
from medres.training.fitting import Fitter
from medres.training.gallery import write_gallery
from medres.training.shortcuts import ProbedFold, probe_fold, write_shortcuts
from medres.training.train import announced_weights, run_identity, run_record
from medres.unfinished import resumable_folder

log = logging.getLogger(__name__)
_FINISHED = "fold.json"


@dataclass(frozen=True, slots=True)
class _FoldResult:
    rows: list[dict[str, Any]]  # of oof.csv
    card: ModelCard
    entry: dict[str, Any]  # of run.json
    probed: ProbedFold | None


def cross_validate(
    manifest: Path,
    *,
    labels: Sequence[str | Task],
    config: Config,
    out: Path,
    root: Path | None = None,
    splits: Path | None = None,
    repeat: int | None = None,
    folds_column: str | None = None,
    resume: bool = False,
    force: bool = False,
    allow_burned_in: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Cross-validate a recipe on a cohort.

    Writes `splits.json`, `oof.csv`, `metrics.json`, `shortcuts.csv`, `shortcuts.json`, `run.json`, `refused.csv`,
    `gallery.csv` with its pictures, `report.html` with its `tables/`, and `models/fold-K/` into `out`.

    Args:
        manifest: the cohort.
        labels: names of `label_` columns, or tasks: see `read_manifest`.
        config: the recipe.
        out: the new run folder.
        root: what the manifest's paths are relative to; its own folder by default.
        splits: a split file to use instead of making one.
        repeat: which repeat of a repeated split file to go through.
        folds_column: the manifest's column that gives the folds: see `folds_from_column`.
        resume: go on with what an interrupted run left: finished folds are kept, the fold that was interrupted goes on
            after its last epoch.
        force: replace `out`.
        allow_burned_in: keep pictures of mistakes although pixels may hold a name.
        progress: told (done, total) while images are decoded.

    Returns:
        The content of `metrics.json`.

    Raises:
        UsageError, ManifestError, WeightsError, TrainingError: see `medres.errors`.
    """
    started = time.monotonic()
    pseudonym_key()  # a key that cannot be used is refused now, not after hours
    checked = read_manifest(manifest, labels, root=root)
    given = _given_folds(checked, config, splits, repeat, folds_column)
    weights = announced_weights(config)
    identity = run_identity("crossval", checked, config, weights) | {"splits": given[1]["sha256"] if given else None}
    output = resumable_folder(out, identity=identity, resume=resume, force=force)
    with joined(config.training.device) as processes, processes.folder(output) as folder:
        with processes.first_alone():
            cohort = load_cohort(checked, config, progress=progress)
        if given:
            folds, document = given
            _same_patients(folds, cohort)
        else:
            fraction = config.training.validation_fraction
            folds = make_folds(
                cohort.rows,
                checked.labels,
                folds=config.crossval.folds,
                validation_fraction=fraction,
                seed=config.seed,
            )
            document = splits_document(folds, labels=checked.labels, seed=config.seed, manifest_sha256=checked.sha256)
        write_splits(folder / "splits.json", document)
        write_csv(folder / "refused.csv", cohort.refused_table())
        fitter = Fitter(cohort, config, weights, processes)
        fitting = _Folds(folder, len(folds), cohort, config, weights, document["sha256"], fitter, processes)
        results = [result for result in map(fitting.run, folds) if result]
        metrics: dict[str, Any] = {}
        if processes.first:
            seconds = time.monotonic() - started
            metrics = _conclude(folder, results, cohort, config, weights, document, seconds=seconds)
            table = read_table(folder / "oof.csv")
            write_gallery(folder, table, cohort, limits=config.limits, allow_burned_in=allow_burned_in)
            write_report(folder)
        return processes.decide(metrics)


def _conclude(
    folder: Path,
    results: Sequence[_FoldResult],
    cohort: TrainingCohort,
    config: Config,
    weights: BackboneWeights | None,
    document: dict[str, Any],
    *,
    seconds: float,
) -> dict[str, Any]:
    """Tables and figures of all folds; returns the content of `metrics.json`."""
    write_csv(folder / "oof.csv", pd.DataFrame([row for result in results for row in result.rows]))
    table = read_table(folder / "oof.csv")
    metrics = summarise(table, labels=cohort.manifest.tasks, evaluation=config.evaluation, seed=config.seed)
    write_json(folder / "metrics.json", metrics)
    if probed := [result.probed for result in results if result.probed]:
        labels = cohort.manifest.labels
        write_shortcuts(folder, table, probed, labels=labels, evaluation=config.evaluation, seed=config.seed)
    device = results[0].card.provenance.device
    held_out = {str(row["path"]) for result in results for row in result.rows}
    record = run_record(cohort, config, weights, splits=document, device=device, seconds=seconds)
    record["flow"] = cohort.flow(judged=len(held_out))
    record["network"]["parameters"] = results[0].card.parameters
    write_json(folder / "run.json", {**record, "folds": [result.entry for result in results]})
    for result in results:
        _write_card(folder, result, metrics)
    return metrics


def _given_folds(
    manifest: Manifest, config: Config, splits: Path | None, repeat: int | None, column: str | None
) -> tuple[tuple[Fold, ...], dict[str, Any]] | None:
    """Folds and split document that were asked for by file or column; None where they are to be made."""
    if splits and column:
        raise UsageError("folds come from --splits or from --folds-column, not from both")
    if repeat is not None and not splits:
        raise UsageError("--repeat chooses among the repeats of a split file: give --splits")
    if column:
        fraction = config.training.validation_fraction
        folds, method = folds_from_column(manifest, column, validation_fraction=fraction, seed=config.seed)
        document = splits_document(
            folds, labels=manifest.labels, seed=config.seed, manifest_sha256=manifest.sha256, method=method
        )
        return folds, document
    if not splits:
        return None
    whole, document = read_splits(splits)
    folds = choose_repeat(whole, repeat)
    if len(folds) == len(whole):
        return folds, document
    facts: dict[str, Any] = {name: document[name] for name in ("labels", "seed", "manifest_sha256")}
    method = f"{document['method']}; repeat {folds[0].repeat} of split file {document['sha256'][:12]}"
    return folds, splits_document(folds, **facts, method=method)


def _write_card(folder: Path, result: _FoldResult, metrics: dict[str, Any]) -> None:
    """Write a fold's model card again, now that its held-out patients were scored."""
    number = result.entry["fold"]
    labels = metrics["labels"].items()
    found = {label: fold for label, content in labels for fold in content["folds"] if fold["fold"] == number}
    write_text(folder / "models" / f"fold-{number}" / CARD_TEXT, card_text(result.card, held_out=found))


def _same_patients(folds: Sequence[Fold], cohort: TrainingCohort) -> None:
    known = {name for fold in folds for name in (*fold.training, *fold.validation, *fold.held_out)}
    unknown = {row.patient_id for row in cohort.rows} - known
    if unknown:
        raise ManifestError(f"{len(unknown)} patients of the manifest are in no fold of the split file; make a new one")


@dataclass(frozen=True, slots=True)
class _Folds:
    """What the folds of one run share."""

    folder: Path
    count: int
    cohort: TrainingCohort
    config: Config
    weights: BackboneWeights | None
    splits_sha256: str
    fitter: Fitter
    processes: Processes

    def run(self, fold: Fold) -> _FoldResult | None:
        """One fold's model, fitted unless that was done before, and what it says of held-out patients.

        None in all but the first process: they only help to fit.
        """
        home = self.folder / "models" / f"fold-{fold.index}"
        held_out = self.cohort.places(fold.held_out)
        if self.processes.decide((home / _FINISHED).is_file()):
            log.info("fold %d/%d was finished before the interruption", fold.index + 1, self.count)
        else:
            self._fit(home, fold)
        if not self.processes.first:
            return None
        classifier = Classifier.load(home)
        rows = held_out_rows(classifier, self.cohort, held_out, fold=fold.index)
        entry = json.loads((home / _FINISHED).read_text(encoding="utf-8")) | {"held_out_images": len(held_out)}
        probed = None
        if self.config.evaluation.shortcuts:
            title = f"fold {fold.index + 1}/{self.count}"
            probed = probe_fold(classifier, self.cohort, held_out, title=title, seed=self.config.seed)
        return _FoldResult(rows, classifier.card, entry, probed)

    def _fit(self, home: Path, fold: Fold) -> None:
        """Fit and save one fold's model; what `run.json` says of it is written last."""
        started = time.monotonic()
        cohort, config = self.cohort, self.config
        training = cohort.places(fold.training, learning=True)
        validation = cohort.places(fold.validation)
        seed = config.seed + fold.index
        title = f"fold {fold.index + 1}/{self.count}"
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
        log.info("fold %d/%d done in %.0f s", fold.index + 1, self.count, seconds)
        entry = {
            "fold": fold.index,
            "name": fold.name,
            "model_id": card.model_id,
            "training_patients": len(fold.training),
            "validation_patients": len(fold.validation),
            "held_out_patients": len(fold.held_out),
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
            target = cohort.rows[place].targets[label]
            probability = float(scores.probabilities[number, column])
            row[f"label_{label}"] = "" if target is None else str(target)
            row[f"logit_{label}"] = float(scores.logits[number, column])
            row[f"prob_{label}"] = probability
            row[f"positive_{label}"] = int(probability >= model.card.operating_points[label].threshold)
            for rule, point in model.card.points_by_rule[label].items():
                row[f"positive_{label}_at_{rule}"] = int(probability >= point.threshold)
        row |= answer_columns(model.tasks, scores.probabilities[number])
        rows.append({**row, **{name: value for name, value in identifiers.items() if name not in row}})
    return rows
