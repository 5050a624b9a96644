"""Score a folder: one row per file, whatever the files are, and one per file that was scored and is gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from medres.cohort.indexing import Listing, Progress, list_files
from medres.config import Limits
from medres.model.accuracy import need_check
from medres.model.classifier import Classifier
from medres.records import Decoding, Precision
from medres.scoring.deidentified import DEIDENTIFIED, write_deidentified
from medres.scoring.heatmaps import HeatmapPolicy
from medres.scoring.known import MOST_GONE, SCORED, Unchanged, refuse_many_gone, refuse_other_folder, unchanged
from medres.scoring.ledger import Ledger, shown_columns
from medres.scoring.resuming import Kept, kept_rows, with_what_they_share
from medres.scoring.run import ScoringRun
from medres.scoring.stages import PART_ROWS
from medres.scoring.state import RunState, Summary
from medres.tables import inert_path, refuse_inside

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
    progress: Progress | None = None,
    trust: Sequence[Path] = (),
    deidentify: bool = False,
    verify: bool = False,
    most_gone: float = MOST_GONE,
    metrics: Path | None = None,
    precision: Precision = "float32",
    decode: Decoding | None = None,
) -> Summary:
    """Score every file below a folder with a saved model.

    Writes `predictions.csv`, `predictions.parquet`, `run.json`, `state.json`, the parts they come from, and with
    `heatmaps` a picture for every label at or above its operating point. Each file has exactly one row, sorted by path;
    one that was scored before and is away keeps its scores in a row `gone`. With `force` what lies there stays until
    the new results are whole.

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
        progress: told (done, total).
        trust: public keys, one of which must have signed the model.
        deidentify: also write `predictions.deidentified.csv` and `.parquet`: see `scoring.deidentified`. Where an
            earlier run wrote them they are written again.
        verify: with `resume`, hash every file instead of trusting size, modification time and inode.
        most_gone: with `resume`, the share of the known files that may be away.
        metrics: a textfile for Prometheus.
        precision: of the network; another than float32 needs a recorded check.
        decode: all pixels or a smaller copy; as the model was trained by default, else it needs a recorded check.

    Raises:
        UsageError: a missing folder, `out` inside `folder`, a missing model, or results to resume that are of another
            folder, in another precision, otherwise decoded, or whose pseudonyms were made with another key.
        UncheckedError: no passed check says that the model scores alike in this precision, so decoded, here.
        GoneError: more files are away than may be; nothing was written.
        OutputExists: results lie there already.
        ModelError: the model is not what it was.
    """
    began = time.monotonic()
    listing = list_files(folder, may_be_empty=True)
    refuse_inside(out, [folder])
    classifier = Classifier.load(model, device=device, trust=trust, precision=precision, decode=decode)
    need_check(model, classifier)
    with Ledger(out, ScoringRun.columns_of(classifier), resume=resume, force=force) as ledger:
        run = ScoringRun(classifier, folder, ledger.home, heatmaps or HeatmapPolicy(), limits or Limits())
        run.deidentify = deidentify or (resume and (out / DEIDENTIFIED).is_file())
        held = _known(run, ledger, listing, verify=verify, most_gone=most_gone, workers=workers) if resume else None
        state = RunState(out, model_id=classifier.model_id, metrics=metrics, began=began)
        try:
            summary = _scored(run, ledger, listing, held, state, model=model, workers=workers, progress=progress)
        except BaseException as error:
            state.fail(error)
            raise
        state.end(summary)
        return summary


def _known(
    run: ScoringRun, ledger: Ledger, listing: Listing, *, verify: bool, most_gone: float, workers: int | None
) -> Unchanged:
    """Which files did not change since the run that is resumed; nothing is written.

    Raises:
        UsageError: the results are of another folder, or were made with another pseudonym key.
        GoneError: too many files are away.
    """
    before = ledger.record()
    run.compare(before)
    known = ledger.latest(model_id=run.classifier.model_id)
    refuse_other_folder(before.input if before else None, known, run.folder, len(listing.files))
    held = unchanged(known, run.folder, listing.files, verify=verify, workers=workers)
    scored = known.where("status", SCORED.__contains__).sum()
    refuse_many_gone(int(scored), len(held.gone), most=most_gone, folder=run.folder, empty=not listing.files)
    return held


def _scored(
    run: ScoringRun,
    ledger: Ledger,
    listing: Listing,
    held: Unchanged | None,
    state: RunState,
    *,
    model: Path,
    workers: int | None,
    progress: Progress | None,
) -> Summary:
    """Make the rows that are missing, and the tables."""
    refused = [run.refused_row(refusal) for refusal in listing.refused]
    record = run.record(model, len(listing.files) + len(refused))
    ledger.announce(record)
    kept = kept_rows(held, holds=run.holds) if held else Kept.none(listing.files)
    if held:
        ledger.renew(held, kept.places())
    ledger.append(refused)
    reused, done, total = len(kept), 0, len(listing.files)
    state.begin(total + len(refused), reused)
    state.add(refused)
    prepare = partial(run.prepared, workers=workers)
    for rows in run.rows(with_what_they_share(kept, prepare, forget=run.repeats.forget)):
        ledger.append(rows)
        state.add(rows)
        done += len(rows)
        if progress:
            progress(min(len(kept) + done, total), total)
    named = [inert_path(path) for path in (*listing.files, *(refusal.path for refusal in listing.refused))]
    table = ledger.finish(named, model_id=run.classifier.model_id)
    if run.deidentify:
        write_deidentified(ledger.home, table, shown_columns(run.columns), run.key)
    summary = run.summary
    summary.statuses.update(table.counts("status"))
    summary.reasons.update(table.counts("reason"))
    summary.files = len(table) - summary.statuses["gone"]
    summary.reused = reused
    summary.seconds = state.elapsed
    ledger.announce(record.finished(summary))
    ledger.whole()
    return summary
