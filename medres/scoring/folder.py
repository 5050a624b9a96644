"""Score a folder: one row per file, whatever the files are, and one per file that was scored and is gone."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from medres.cohort.listing import Listing, list_files, list_named
from medres.config import Limits
from medres.errors import UsageError
from medres.model.accuracy import need_check
from medres.model.classifier import Classifier
from medres.records import Decoding, Precision
from medres.scoring.columns import places_in, row_numbers, text_array
from medres.scoring.deidentified import DEIDENTIFIED, write_deidentified
from medres.scoring.failures import failures_told
from medres.scoring.heatmaps import HeatmapPolicy
from medres.scoring.known import (
    MOST_GONE,
    SCORED,
    hashes_of_files,
    refuse_many_gone,
    refuse_other_folder,
    unchanged,
)
from medres.scoring.ledger import Ledger, shown_columns
from medres.scoring.listed import Listed, with_unlisted
from medres.scoring.resuming import Kept, kept_rows, with_what_they_share
from medres.scoring.run import ScoringRun
from medres.scoring.shown import Shown
from medres.scoring.stages import Results
from medres.scoring.state import RunState, Summary
from medres.scoring.studies import Rule, StudyTable, chosen_rule, write_studies
from medres.tables import inert_path, refuse_inside
from medres.terminal import Told

log = logging.getLogger(__name__)

__all__ = ["Summary", "score_folder"]


def score_folder(
    model: Path,
    folder: Path,
    *,
    out: Path,
    resume: bool = False,
    force: bool = False,
    heatmaps: HeatmapPolicy | None = None,
    limits: Limits | None = None,
    workers: int | None = None,
    device: str = "auto",
    progress: Told | None = None,
    trust: Sequence[Path] = (),
    deidentify: bool = False,
    verify: bool = False,
    most_gone: float = MOST_GONE,
    metrics: Path | None = None,
    names: Sequence[str] | None = None,
    studies: Rule | None = None,
    precision: Precision = "float32",
    decode: Decoding | None = None,
) -> Summary:
    """Score every file below a folder, or those of a list, with a saved model.

    Writes `predictions.csv`, `predictions.parquet`, `run.json`, `state.json`, the parts they come from, where rows keep
    more than tables show `evidence.parquet`, and with `heatmaps` a picture for every label at or above its operating
    point whose heatmaps have not failed. Each file has exactly one row, sorted by path; one that was scored before and
    is away keeps its scores in a row `gone`. With `force` what lies there stays until the new results are whole.

    Args:
        model: a model folder, or a cross-validation run whose folds score as an ensemble.
        folder: what to score; never written to.
        out: where results go.
        resume: keep rows of unchanged files scored by the same model.
        force: replace results that lie there.
        heatmaps: whether and which.
        limits: budgets for one file; the defaults of `config.Limits` without.
        workers: decoding processes; as many as there are processors by default.
        device: where the network computes: `auto`, `cpu`, `cuda` or `cuda:1`.
        progress: told (done, total, refused).
        trust: public keys, one of which must have signed the model.
        deidentify: also write `predictions.deidentified.csv` and `.parquet`: see `scoring.deidentified`. Where an
            earlier run wrote them they are written again.
        verify: with `resume`, hash every file instead of trusting size, modification time and inode.
        most_gone: with `resume` and `force`, the share of the scored files that may be away.
        metrics: a textfile for Prometheus.
        names: the files to look at, relative to the folder or absolute in it; with `resume`, the rows of all others
            stay as they are. Every file without.
        studies: also write `studies.csv` and `.parquet`, by this rule: see `scoring.studies`. Where an earlier run
            wrote them they are written again.
        precision: of the network; another than float32 needs a recorded check.
        decode: all pixels or a smaller copy; as the model was trained by default, else it needs a recorded check.

    Raises:
        UsageError: a missing folder, `out` or `metrics` inside `folder`, a missing model, or results to resume that are
            of another folder, in another precision, otherwise decoded, or whose pseudonyms were made with another key;
            `names` of which none is there, or with results of another model.
        UncheckedError: no passed check says that the model scores alike in this precision, so decoded, here.
        GoneError: more files are away than may be; nothing was written.
        OutputExists: results lie there already.
        ModelError: the model is not what it was.
    """
    if force and names is not None and Shown(out).there:
        raise UsageError(
            f"--force replaces the tables in {out}, and a list names only some of their files: give --resume with the "
            "list, or --force without one"
        )
    refuse_inside(out, [folder])
    if metrics is not None:
        refuse_inside(metrics, [folder], option="--metrics")
    state = RunState(out, metrics=metrics)
    goes_on = resume or force
    with failures_told(state, in_folder=goes_on):
        listing = list_files(folder, may_be_empty=True) if names is None else list_named(folder, names)
        classifier = Classifier.load(model, device=device, trust=trust, precision=precision, decode=decode)
        state.model_id = classifier.model_id
        need_check(model, classifier)
    with (
        failures_told(state, in_folder=goes_on),
        Ledger(out, ScoringRun.columns_of(classifier), resume=resume, force=force) as ledger,
    ):
        run = ScoringRun(classifier, folder, ledger.home, heatmaps or HeatmapPolicy(), limits or Limits())
        run.deidentify = deidentify or (resume and (out / DEIDENTIFIED).is_file())
        known, rule = Listed(None, listing), studies
        ledger.most_gone = most_gone
        if names is None:
            _refuse_lost(ledger, run, listing, workers)
        if resume:
            before = ledger.record()
            rule = chosen_rule(studies, before.studies if before else None)
            known = _known(run, ledger, listing, verify, most_gone, workers, listed=names is not None)
        wanted = run.studies(rule) if rule else None
        try:
            summary = _scored(
                run, ledger, known, state, model=model, studies=wanted, workers=workers, progress=progress
            )
        except BaseException as error:
            state.fail(error)
            raise
        state.end(summary)
        return summary


def _refuse_lost(ledger: Ledger, run: ScoringRun, listing: Listing, workers: int | None) -> None:
    """Stop before anything is written where tables that are replaced hold the scores of too many files that are away.

    Raises:
        GoneError: more than may be.
    """
    if not ledger.replaces(run.classifier.model_id):
        return
    shown, names = ledger.shown, text_array(map(inert_path, listing.files))

    def hashes() -> Any:
        paths = shown.column("path")
        new = np.flatnonzero(places_in(names, paths) < 0).tolist()
        there = shown.column("sha256").take(row_numbers(np.flatnonzero(places_in(paths, names) >= 0)))
        found = text_array(hashes_of_files(run.folder, [listing.files[place] for place in new], workers))
        return pa.concat_arrays([there, found])

    shown.refuse_lost(names, hashes=hashes, most=ledger.most_gone)


def _known(
    run: ScoringRun,
    ledger: Ledger,
    listing: Listing,
    verify: bool,
    most_gone: float,
    workers: int | None,
    *,
    listed: bool,
) -> Listed:
    """Which files did not change since the run that is resumed; nothing is written.

    Raises:
        UsageError: the results are of another folder, or were made with another pseudonym key; or a list names only
            some of the files, and they are another model's, or a run with `force` is not whole yet.
        GoneError: too many files are away.
    """
    before = ledger.record()
    run.compare(before)
    model_id = run.classifier.model_id
    known = ledger.latest(model_id=model_id)
    refuse_other_folder(before.input if before else None, known, run.folder, len(listing.files))
    if not listed:
        found = Listed(unchanged(known, run.folder, listing.files, verify=verify, workers=workers), listing)
    elif ledger.home != ledger.folder:
        raise UsageError(
            f"a run with --force in {ledger.folder} was ended before it was whole; with a list, what it did not reach "
            "would be lost from the old table. Give --resume without a list first"
        )
    else:
        named, recorded = text_array(map(inert_path, listing.files)), before.model_id if before else None
        ledger.shown.refuse_list(known.text("path"), named, model_id=model_id, recorded=recorded)
        found = with_unlisted(known, run.folder, listing, shown=ledger.shown, verify=verify, workers=workers)
    assert found.held is not None
    scored = int(known.where("status", SCORED.__contains__).sum())
    refuse_many_gone(scored, len(found.held.gone), most=most_gone, folder=run.folder, empty=not found.listing.files)
    return found


def _scored(
    run: ScoringRun,
    ledger: Ledger,
    known: Listed,
    state: RunState,
    *,
    model: Path,
    studies: StudyTable | None,
    workers: int | None,
    progress: Told | None,
) -> Summary:
    """Make the rows that are missing, and the tables."""
    listing, held = known.listing, known.held
    refused = [run.refused_row(refusal) for refusal in listing.refused]
    record = run.record(model, len(listing.files) + len(refused))
    if studies:
        holds = {**record.holds, **studies.holds}
        record = record.model_copy(update={"studies": studies.rule, "holds": holds})
    ledger.announce(record)
    kept = Kept.none(listing.files)
    if held:
        kept = kept_rows(held, holds=lambda row: known.leaves(row["path"]) or run.holds(row))
        ledger.renew(held, kept.places())
    ledger.append(refused)
    done, total = 0, len(listing.files)
    state.begin(total + len(refused), len(kept))
    state.add(refused)
    if progress:
        progress(len(kept), total, len(refused))

    def prepare(paths: Sequence[str], ordered: bool) -> Results:
        there = [path for path in paths if path not in known.left or os.path.lexists(run.folder / path)]
        return run.prepared(there, ordered, workers=workers)

    def remember(row: Mapping[str, str]) -> None:
        facts = {name: row[name] for name in ("sha256", "pixels_sha256")}
        run.repeats.compare(row["path"], sop_instance_uid=row["SOPInstanceUID"], **facts)

    results = with_what_they_share(kept, prepare, forget=run.repeats.forget, remember=remember)
    for rows in run.rows(results):
        ledger.append(rows)
        state.add(rows)
        done += len(rows)
        if progress:
            progress(min(len(kept) + done, total), total, state.statuses["refused"])
    named = [inert_path(path) for path in (*listing.files, *(refusal.path for refusal in listing.refused))]
    run.pictures.remove_others()
    table = ledger.finish(named, model_id=run.classifier.model_id)
    if run.deidentify:
        write_deidentified(ledger.home, table, shown_columns(run.columns), run.key)
    if studies:
        write_studies(ledger.home, studies)
    summary = run.summary
    summary.statuses.update(table.counts("status"))
    summary.reasons.update(table.counts("reason"))
    summary.files = len(table) - summary.statuses["gone"]
    summary.reused = len(kept) - len(known.left.intersection(kept))
    summary.unlisted = len(known.left)
    summary.seconds = state.elapsed
    ledger.announce(record.finished(summary, ledger.holds()))
    ledger.whole()
    return summary
