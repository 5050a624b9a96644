"""Score a folder: one row per file, whatever the files are, and one per file that was scored and is gone."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from medres.cohort.listing import Listing, list_files, list_named
from medres.config import Limits
from medres.errors import UsageError
from medres.model.classifier import Classifier
from medres.scoring.deidentified import DEIDENTIFIED, write_deidentified
from medres.scoring.heatmaps import HeatmapPolicy
from medres.scoring.known import MOST_GONE, SCORED, refuse_many_gone, refuse_other_folder, unchanged
from medres.scoring.ledger import Ledger, shown_columns
from medres.scoring.listed import Listed, with_unlisted
from medres.scoring.resuming import Kept, kept_rows, with_what_they_share
from medres.scoring.run import ScoringRun
from medres.scoring.stages import PART_ROWS, Results
from medres.scoring.state import RunState, Summary
from medres.scoring.studies import Rule, StudyTable, chosen_rule, write_studies
from medres.tables import inert_path, refuse_inside
from medres.terminal import Told

log = logging.getLogger(__name__)

__all__ = ["PART_ROWS", "Summary", "score_folder"]


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
) -> Summary:
    """Score every file below a folder, or those of a list, with a saved model.

    Writes `predictions.csv`, `predictions.parquet`, `run.json`, `state.json`, the parts they come from, where rows keep
    more than tables show `evidence.parquet`, and with `heatmaps` a picture for every label at or above its operating
    point. Each file has exactly one row, sorted by path; one that was scored before and is away keeps its scores in a
    row `gone`. With `force` what lies there stays until the new results are whole.

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
        most_gone: with `resume`, the share of the known files that may be away.
        metrics: a textfile for Prometheus.
        names: the files to look at, relative to the folder or absolute in it; with `resume`, the rows of all others
            stay as they are. Every file without.
        studies: also write `studies.csv` and `.parquet`, by this rule: see `scoring.studies`. Where an earlier run
            wrote them they are written again.

    Raises:
        UsageError: a missing folder, `out` inside `folder`, a missing model, or results to resume that are of another
            folder or whose pseudonyms were made with another key; `names` of which none is there, or with results of
            another model.
        GoneError: more files are away than may be; nothing was written.
        OutputExists: results lie there already.
        ModelError: the model is not what it was.
    """
    began = time.monotonic()
    listing = list_files(folder, may_be_empty=True) if names is None else list_named(folder, names)
    refuse_inside(out, [folder])
    classifier = Classifier.load(model, device=device, trust=trust)
    with Ledger(out, ScoringRun.columns_of(classifier), resume=resume, force=force) as ledger:
        run = ScoringRun(classifier, folder, ledger.home, heatmaps or HeatmapPolicy(), limits or Limits())
        run.deidentify = deidentify or (resume and (out / DEIDENTIFIED).is_file())
        known, rule = Listed(None, listing), studies
        if resume:
            before = ledger.record()
            rule = chosen_rule(studies, before.studies if before else None)
            known = _known(run, ledger, listing, verify, most_gone, workers, listed=names is not None)
        wanted = run.studies(rule) if rule else None
        state = RunState(out, model_id=classifier.model_id, metrics=metrics, began=began)
        try:
            summary = _scored(
                run, ledger, known, state, model=model, studies=wanted, workers=workers, progress=progress
            )
        except BaseException as error:
            state.fail(error)
            raise
        state.end(summary)
        return summary


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
    elif before and before.model_id != model_id:
        raise UsageError(
            f"the results are of model {before.model_id}, and this is {model_id}: with a list, one table would hold "
            "rows of both. Give the model that scored them, --resume without a list, or another --out"
        )
    elif ledger.home != ledger.folder:
        raise UsageError(
            f"a run with --force in {ledger.folder} was ended before it was whole; with a list, what it did not reach "
            "would be lost from the old table. Give --resume without a list first"
        )
    else:
        table = ledger.home / "predictions.parquet"
        found = with_unlisted(known, run.folder, listing, table=table, verify=verify, workers=workers)
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
    left, done, total = len(known.left.intersection(kept)), 0, len(listing.files)
    reused = len(kept) - left
    state.begin(total + len(refused), len(kept))
    state.add(refused)
    if progress:
        progress(len(kept), total, len(refused))

    def prepare(paths: Sequence[str], ordered: bool) -> Results:
        there = [path for path in paths if path not in known.left or os.path.lexists(run.folder / path)]
        return run.prepared(there, ordered, workers=workers)

    for rows in run.rows(with_what_they_share(kept, prepare, forget=run.repeats.forget)):
        ledger.append(rows)
        state.add(rows)
        done += len(rows)
        if progress:
            progress(min(len(kept) + done, total), total, state.statuses["refused"])
    named = [inert_path(path) for path in (*listing.files, *(refusal.path for refusal in listing.refused))]
    table = ledger.finish(named, model_id=run.classifier.model_id)
    if run.deidentify:
        write_deidentified(ledger.home, table, shown_columns(run.columns), run.key)
    if studies:
        write_studies(ledger.home, studies)
    summary = run.summary
    summary.statuses.update(table.counts("status"))
    summary.reasons.update(table.counts("reason"))
    summary.files = len(table) - summary.statuses["gone"]
    summary.reused, summary.unlisted = reused, len(known.left)
    summary.seconds = state.elapsed
    ledger.announce(record.finished(summary, ledger.holds()))
    ledger.whole()
    return summary
