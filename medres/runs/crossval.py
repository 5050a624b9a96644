"""Cross-validation: every patient is held out once, and held-out patients choose nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medres.cohort.given_folds import folds_from_column
from medres.cohort.indexing import Progress
from medres.cohort.manifest import Manifest, read_manifest
from medres.cohort.pseudonyms import pseudonym_key
from medres.cohort.splits import (
    SplitFile,
    SplitsParent,
    choose_repeat,
    known_rows,
    make_folds,
    read_splits,
    splits_document,
    write_splits,
)
from medres.cohort.tasks import Task
from medres.config import Config
from medres.errors import ManifestError, UsageError
from medres.evaluation.performance import summarise
from medres.evaluation.table import read_table
from medres.model.bundle import CARD_TEXT, card_text
from medres.model.weights import BackboneWeights
from medres.records import Fold
from medres.runs.cohort import TrainingCohort, begin_or_resume
from medres.runs.fitting import Fitter
from medres.runs.folds import FoldResult, Folds
from medres.runs.mistakes import write_gallery
from medres.runs.parallel_folds import fit_folds
from medres.runs.shortcuts import write_shortcuts
from medres.runs.train import announced_weights, run_identity, run_record
from medres.tables import write_csv, write_json, write_text
from medres.training.distributed import joined
from medres.unfinished import resumable_folder

log = logging.getLogger(__name__)


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
    `gallery.csv` with its pictures, and `models/fold-K/` into `out`.

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
            from its newest checkpoint.
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
    identity = run_identity("crossval", checked, config, weights) | {"splits": given[1].sha256 if given else None}
    output = resumable_folder(out, identity=identity, resume=resume, force=force)
    with joined(config.training.device) as processes, processes.folder(output) as folder:
        cohort = begin_or_resume(folder, checked, config, processes=processes, progress=progress)
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
        _no_empty_part(folds, cohort)
        write_splits(folder / "splits.json", document)
        fitter = Fitter(cohort, config, weights, processes)
        fitting = Folds(folder, len(folds), cohort, config, weights, document.sha256, fitter, processes)
        at_once = fit_folds(fitting, folds)
        metrics: dict[str, Any] = {}
        if processes.first:
            results = [fitting.judge(fold) for fold in folds]
            seconds = time.monotonic() - started
            metrics = _conclude(folder, results, cohort, config, weights, document, seconds=seconds, at_once=at_once)
            table = read_table(folder / "oof.csv")
            write_gallery(
                folder,
                table,
                cohort,
                limits=config.limits,
                allow_burned_in=allow_burned_in,
                device=config.training.device,
            )
        return processes.decide(metrics)


def _conclude(
    folder: Path,
    results: Sequence[FoldResult],
    cohort: TrainingCohort,
    config: Config,
    weights: BackboneWeights | None,
    document: SplitFile,
    *,
    seconds: float,
    at_once: dict[str, Any],
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
    record["folds_at_once"] = at_once
    record["network"]["parameters"] = results[0].card.parameters
    write_json(folder / "run.json", {**record, "folds": [result.entry for result in results]})
    for result in results:
        _write_card(folder, result, metrics)
    return metrics


def _given_folds(
    manifest: Manifest, config: Config, splits: Path | None, repeat: int | None, column: str | None
) -> tuple[tuple[Fold, ...], SplitFile] | None:
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
    method = f"{document.method}; repeat {folds[0].repeat} of split file {document.sha256[:12]}"
    return folds, splits_document(
        folds,
        labels=document.labels,
        seed=document.seed,
        manifest_sha256=document.manifest_sha256,
        method=method,
        parent=SplitsParent(sha256=document.sha256, repeat=folds[0].repeat),
    )


def _write_card(folder: Path, result: FoldResult, metrics: dict[str, Any]) -> None:
    """Write a fold's model card again, now that its held-out patients were scored."""
    number = result.entry["fold"]
    labels = metrics["labels"].items()
    found = {label: fold for label, content in labels for fold in content["folds"] if fold["fold"] == number}
    write_text(folder / "models" / f"fold-{number}" / CARD_TEXT, card_text(result.card, held_out=found))


def _no_empty_part(folds: Sequence[Fold], cohort: TrainingCohort) -> None:
    """Make sure now, not after hours, that every fold can be learnt from and judged.

    Raises:
        ManifestError: none of the images of a part is usable and has a known label.
    """
    for fold in folds:
        parts = {"training": fold.training, "validation": fold.validation, "held-out": fold.held_out}
        for name, patients in parts.items():
            if not cohort.places(patients, learning=name == "training"):
                called = f" ({fold.name})" if fold.name else ""
                raise ManifestError(
                    f"fold {fold.index + 1}{called}: none of its {len(patients)} {name} patients has a usable image "
                    f"with a known label, and {len(cohort.cache.refusals)} files of the cohort were refused: see why "
                    "with `medres check`, or make other folds"
                )


def _same_patients(folds: Sequence[Fold], cohort: TrainingCohort) -> None:
    """Make sure that everybody with a known label is in a fold; say who else could have been learnt from.

    Raises:
        ManifestError: patients are missing.
    """
    named = {name for fold in folds for name in (*fold.training, *fold.validation, *fold.held_out)}
    missing = {row.patient_id for row in known_rows(cohort.rows, cohort.manifest.labels)} - named
    if missing:
        raise ManifestError(f"{len(missing)} patients with a known label are in no fold; make a new split file")
    learnable = cohort.places([row.patient_id for row in cohort.rows], learning=True)
    if left := {cohort.rows[place].patient_id for place in learnable} - named:
        log.warning("%d patients who have uncertain labels alone are in no fold: not learnt from", len(left))
