"""Cross-validation: every patient is held out once, and held-out patients choose nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from medres.cohort.boxes import Boxes, read_boxes
from medres.cohort.manifest import Manifest
from medres.cohort.pseudonyms import pseudonym_key
from medres.cohort.splits import SplitFile, refuse_few_patients, write_splits
from medres.config import Config
from medres.documents import write_document
from medres.errors import UsageError
from medres.evaluation.performance import summarise
from medres.evaluation.results import Metrics
from medres.evaluation.table import as_read
from medres.model.bundle import held_out_text
from medres.model.inspection import HELD_OUT
from medres.runs.cohort import begin_or_resume
from medres.runs.division import NO_DIVISION, Division, divide
from medres.runs.fitting import NetworkFitter, RunSetup
from medres.runs.folds import FoldResult, Folds
from medres.runs.heatmaps.checks import measure_run
from medres.runs.heatmaps.measuring import refuse_boxes_outside
from medres.runs.mistakes import write_gallery
from medres.runs.options import DEFAULT, RunOptions
from medres.runs.parallel_folds import fit_folds
from medres.runs.recording import cohort_record, network_record
from medres.runs.records import FoldsAtOnce, RunRecord, SplitsRecord, write_run_record
from medres.runs.shortcuts import write_shortcuts
from medres.runs.train import announced_weights, run_identity
from medres.tables import write_csv, write_text
from medres.training.distributed import joined
from medres.unfinished import resumable_folder

log = logging.getLogger(__name__)


def cross_validate(
    manifest: Manifest,
    *,
    config: Config,
    out: Path,
    division: Division = NO_DIVISION,
    options: RunOptions = DEFAULT,
) -> Metrics:
    """Cross-validate a recipe on a cohort.

    Writes `splits.json`, `oof.csv`, `metrics.json`, `shortcuts.csv`, `shortcuts.json`, `heatmaps.json`, `run.json`,
    `refused.csv`, `gallery.csv` with its pictures, and `models/fold-K/` into `out`. The manifest and every image are
    read once; only radiographs that the gallery shows, or that have boxes, are read a second time.

    Args:
        manifest: the cohort, with what is asked of it.
        config: the recipe.
        out: the new run folder.
        division: who is held out when, where the recipe does not say it.
        options: what becomes of an output that is there already, and where readers saw findings. An interrupted run
            that is resumed keeps its finished folds; the fold that was interrupted goes on from its newest checkpoint.

    Returns:
        What is written as `metrics.json`.

    Raises:
        UsageError, ManifestError, WeightsError, TrainingError: see `medres.errors`.
    """
    started = time.monotonic()
    pseudonym_key()  # a key that cannot be used is refused now, not after hours
    boxes = _boxes(manifest, config, options)
    given = division.given(manifest, config)
    if given is None:
        refuse_few_patients(manifest.rows, manifest.labels, config.crossval.folds)
    weights = announced_weights(config)
    identity = {
        **run_identity("crossval", manifest, config, weights),
        "splits": given[1].sha256 if given else None,
        "boxes": boxes.sha256 if boxes else None,
    }
    output = resumable_folder(out, identity=identity, resume=options.resume, force=options.force)
    with joined(config.training.device) as processes, processes.folder(output) as folder:
        cohort = begin_or_resume(folder, manifest, config, processes=processes, progress=options.progress)
        if boxes:
            refuse_boxes_outside(boxes, cohort)
        folds, document = divide(cohort, config, given)
        write_splits(folder / "splits.json", document)
        setup = RunSetup(cohort, config, weights, processes)
        run = Folds(folder, len(folds), document.sha256, NetworkFitter(setup))
        at_once = fit_folds(run, folds)
        metrics = Metrics(labels={})
        if processes.first:
            results = [run.score(fold) for fold in folds]
            record = _record(setup, results, document, at_once, seconds=time.monotonic() - started)
            metrics = _conclude(folder, results, setup, record, allow_burned_in=options.allow_burned_in)
            if config.evaluation.heatmaps.measured:
                _measure_heatmaps(folder, results, setup, metrics, boxes)
        return processes.decide(metrics)


def _boxes(manifest: Manifest, config: Config, options: RunOptions) -> Boxes | None:
    """Where readers saw findings; refused before anything is decoded where it does not fit."""
    if options.boxes is None:
        return None
    if not config.evaluation.heatmaps.measured:
        raise UsageError("boxes measure heatmaps, and evaluation.heatmaps.measured is false: leave one of them out")
    return read_boxes(options.boxes, manifest)


def _measure_heatmaps(
    folder: Path, results: Sequence[FoldResult], setup: RunSetup, metrics: Metrics, boxes: Boxes | None
) -> None:
    """Write `heatmaps.json`, and attach the licence of heatmaps to the run."""
    table = as_read(pd.DataFrame([row for result in results for row in result.rows]))
    places = {result.record.fold: result.places for result in results}
    folds = [result.record for result in results]
    measure_run(folder, setup.cohort, table, metrics, places, folds, config=setup.config, boxes=boxes)


def _record(
    setup: RunSetup,
    results: Sequence[FoldResult],
    document: SplitFile,
    at_once: FoldsAtOnce,
    *,
    seconds: float,
) -> RunRecord:
    """What `run.json` says."""
    first = results[0].card
    network = network_record(setup.config, setup.weights).model_copy(update={"parameters": first.parameters})
    record = cohort_record(setup.cohort, setup.config, network, device=first.provenance.device, seconds=seconds)
    held_out = {str(row["path"]) for result in results for row in result.rows}
    return record.model_copy(
        update={
            "splits": SplitsRecord.of(document),
            "flow": setup.cohort.flow(judged=len(held_out)),
            "folds_at_once": at_once,
            "folds": tuple(result.record for result in results),
        }
    )


def _conclude(
    folder: Path, results: Sequence[FoldResult], setup: RunSetup, record: RunRecord, *, allow_burned_in: bool
) -> Metrics:
    """Write tables, figures and pictures of all folds; returns the content of `metrics.json`."""
    cohort, config = setup.cohort, setup.config
    rows = pd.DataFrame([row for result in results for row in result.rows])
    write_csv(folder / "oof.csv", rows)
    table = as_read(rows)
    metrics = summarise(table, labels=cohort.manifest.tasks, evaluation=config.evaluation, seed=config.seed)
    write_document(folder / "metrics.json", metrics)
    if probed := [result.probed for result in results if result.probed]:
        labels = cohort.manifest.labels
        write_shortcuts(folder, table, probed, labels=labels, evaluation=config.evaluation, seed=config.seed)
    write_run_record(folder, record)
    for result in results:
        _write_held_out(folder, result, metrics)
    maps = [one for result in results for one in result.maps]
    write_gallery(folder, table, cohort, maps, config=config, allow_burned_in=allow_burned_in)
    return metrics


def _write_held_out(folder: Path, result: FoldResult, metrics: Metrics) -> None:
    """Write beside a fold's model what its held-out patients said of it."""
    number = result.record.fold
    found = {
        label: fold.model_dump()
        for label, results in metrics.labels.items()
        for fold in results.folds
        if fold.fold == number
    }
    write_text(folder / "models" / f"fold-{number}" / HELD_OUT, held_out_text(result.card.model_id, found))
