"""Score a folder: one row per file, whatever the files are."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medres import __version__
from medres.cohort.duplicates import Repeat, Repeats
from medres.cohort.indexing import Progress, list_files
from medres.cohort.pseudonyms import fingerprint, pseudonym, pseudonym_key
from medres.cohort.tasks import answer_columns
from medres.config import Limits
from medres.errors import BY_LIMITS, MAY_PASS, Refused, UsageError
from medres.imaging.isolation import Workers
from medres.imaging.preprocessing import Prepared, file_sha256, prepare
from medres.model.classifier import Classifier, Scores
from medres.provenance import environment, git_commit, now
from medres.records import Refusal
from medres.scoring.heatmaps import HeatmapPolicy, HeatmapWriter
from medres.scoring.ledger import Ledger
from medres.scoring.resuming import Results, kept_rows, same_image, with_what_they_share
from medres.tables import inert_path, named_path, refuse_inside

log = logging.getLogger(__name__)

_TRIED_AGAIN = MAY_PASS | {"UNSUPPORTED_TRANSFER_SYNTAX"}  # another decoder may read the file now

PART_ROWS = 128
"""Rows per part of the ledger, and images per call of the network's batch loop."""


@dataclass(slots=True)
class Summary:
    """What a scoring run did."""

    files: int
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    reused: int = 0
    heatmaps: int = 0
    heatmaps_withheld: int = 0
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every file was scored."""
        return not self.statuses["refused"]

    def lines(self) -> list[str]:
        """A short account, one line each."""
        counted = ", ".join(f"{self.statuses[name]} {name}" for name in ("ok", "review", "refused", "duplicate"))
        found = [f"{self.files} files, one row each: {counted} ({self.seconds:.0f} s)"]
        if self.reused:
            found.append(f"{self.reused} rows of unchanged files were kept")
        if self.reasons:
            found.append("reasons: " + ", ".join(f"{count} {code}" for code, count in sorted(self.reasons.items())))
        if self.heatmaps or self.heatmaps_withheld:
            withheld = (
                f", {self.heatmaps_withheld} withheld: the pixels may hold a name" if self.heatmaps_withheld else ""
            )
            found.append(f"{self.heatmaps} heatmaps written{withheld}")
        return found


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
) -> Summary:
    """Score every file below a folder with a saved model.

    Writes `predictions.csv`, `predictions.parquet`, `run.json`, the parts they come from, and with `heatmaps` a
    picture for every label at or above its operating point. Each file has exactly one row, sorted by path.

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

    Raises:
        UsageError: a missing or empty folder, `out` inside `folder`, a missing model, or results to resume whose
            pseudonyms were made with another key.
        OutputExists: results lie there already.
        ModelError: the model is not what it was.
    """
    started = time.monotonic()
    listing = list_files(folder)
    refuse_inside(out, [folder])
    classifier = Classifier.load(model, device=device)
    run = _Run(classifier, folder, out, heatmaps or HeatmapPolicy(), limits or Limits())
    with Ledger(out, run.columns, resume=resume, force=force) as ledger:
        run.compare(ledger.record())
        record = run.record(model, len(listing.files) + len(listing.refused))
        ledger.announce(record)
        holds = partial(run.holds, tried_again=_TRIED_AGAIN | (BY_LIMITS if run.limits_mixed else frozenset()))
        kept = kept_rows(ledger.rows(), listing.files, holds=holds) if resume else {}
        total, done = len(listing.files), 0
        if listing.refused:
            ledger.append([run.refused_row(refusal) for refusal in listing.refused])
        prepare = partial(run.prepared, workers=workers)
        for part in _parts(with_what_they_share(listing.files, kept, prepare, forget=run.repeats.forget)):
            ledger.append(run.rows(part))
            done += len(part)
            if progress:
                progress(min(len(kept) + done, total), total)
        refused = [refusal.path for refusal in listing.refused]
        rows = ledger.finish([inert_path(path) for path in (*listing.files, *refused)])
        ledger.announce(record | {"limits_mixed": False})
    summary = run.summary
    summary.files = len(rows)
    summary.statuses.update(row["status"] for row in rows)
    summary.reasons.update(row["reason"] for row in rows if row["reason"])
    summary.reused = len(kept)
    summary.seconds = time.monotonic() - started
    return summary


def _parts(
    results: Iterable[tuple[str, Prepared | Refusal]],
) -> Iterator[list[tuple[str, Prepared | Refusal]]]:
    part: list[tuple[str, Prepared | Refusal]] = []
    for result in results:
        part.append(result)
        if len(part) == PART_ROWS:
            yield part
            part = []
    if part:
        yield part


class _Run:
    """One scoring run: the model, the folder, and which images were seen."""

    def __init__(
        self, classifier: Classifier, folder: Path, out: Path, heatmaps: HeatmapPolicy, limits: Limits
    ) -> None:
        self.classifier, self.folder, self.out, self.heatmaps, self.limits = (
            classifier,
            folder,
            out,
            heatmaps,
            limits,
        )
        self.limits_mixed = False  # rows to resume may be refused by other limits
        self.key = pseudonym_key()
        self.repeats = Repeats()
        self.pictures = HeatmapWriter(classifier, folder, out / "heatmaps", heatmaps, limits)
        self.summary = Summary(files=0)
        answered = [f"predicted_{task.name}" for task in classifier.tasks if task.kind != "binary"]
        scored = [name for label in classifier.labels for name in (f"prob_{label}", f"positive_{label}")]
        self.columns = [
            "path", "sha256", "status", "reason", "SOPInstanceUID", "StudyInstanceUID", "PatientKey", "ViewPosition",
            *scored, *answered, "model_id", "warnings", "detail", "pixels_sha256",
        ]  # fmt: skip

    def record(self, model: Path, files: int) -> dict[str, Any]:
        return {
            "medres": __version__,
            "created": now(),
            "kind": "scores",
            "input": str(self.folder.resolve()),
            "model": str(model.resolve()),
            "model_id": self.classifier.model_id,
            "labels": list(self.classifier.labels),
            "files": files,
            "environment": environment(),
            "git_commit": git_commit(),
            "pseudonym_key": fingerprint(self.key),
            "limits": self.limits.model_dump(mode="json"),
            "limits_mixed": self.limits_mixed,  # until the run has finished
        }

    def compare(self, before: Mapping[str, Any]) -> None:
        """Say no to resuming results in which a patient would get a second pseudonym; note whether limits differ.

        Args:
            before: the record of the results to resume.
        """
        same = before.get("limits") == self.limits.model_dump(mode="json") and before.get("limits_mixed") is False
        self.limits_mixed = bool(before) and not same
        if before.get("pseudonym_key", fingerprint(self.key)) != fingerprint(self.key):
            raise UsageError(
                f"the pseudonyms in {self.out} were made with another key: restore that key and give --resume again, "
                "or give --force to score everything anew"
            )

    def holds(self, row: dict[str, str], tried_again: Set[str]) -> bool:
        """Whether a row of an earlier run still holds: same model, same bytes, and its heatmaps, if any are wanted."""
        if row["model_id"] != self.classifier.model_id or row["reason"] in tried_again:
            return False
        positive = [label for label in self.classifier.labels if row[f"positive_{label}"] in {"1", "1.0"}]
        if self.heatmaps.enabled and not self.pictures.are_there(row["sha256"], positive, row["warnings"].split()):
            return False
        return bool(row["sha256"]) and self._sha256(named_path(row["path"])) == row["sha256"]

    def prepared(self, paths: Sequence[str], ordered: bool, *, workers: int | None) -> Results:
        job = partial(prepare, spec=self.classifier.preprocessing, gate=self.classifier.gate, limits=self.limits)
        names = {os.fspath(self.folder / path): path for path in paths}
        with Workers(workers, limits=self.limits) as pool:
            for part in _parts((names[place], result) for place, result in pool.map(job, names, ordered=ordered)):
                yield from sorted(part, key=lambda item: item[0])

    def rows(self, part: Sequence[tuple[str, Prepared | Refusal]]) -> list[dict[str, Any]]:
        """The rows of one part, in order; the usable images are scored together."""
        plans = [(path, result, self._repeat(path, result)) for path, result in part]
        usable = [result for _, result, repeat in plans if isinstance(result, Prepared) and not repeat.identical_to]
        scores = None
        if usable:
            scores = self.classifier.score(np.stack([item.pixels for item in usable]), maps=self.heatmaps.enabled)
        rows, place = [], 0
        for path, result, repeat in plans:
            if isinstance(result, Refusal):
                rows.append(self.refused_row(replace(result, path=path)))
            elif repeat.identical_to:
                rows.append(self._row(path, result) | {
                    "status": "duplicate", "reason": "DUPLICATE_IDENTICAL",
                    "detail": same_image(repeat.identical_to),
                })  # fmt: skip
            else:
                assert scores is not None
                rows.append(self._scored_row(path, result, scores, place, conflict=repeat.conflict))
                place += 1
        return rows

    def _repeat(self, path: str, result: Prepared | Refusal) -> Repeat:
        if isinstance(result, Refusal):
            return Repeat()
        return self.repeats.compare(
            inert_path(path),
            sop_instance_uid=result.sop_instance_uid,
            sha256=result.sha256,
            pixels_sha256=result.pixels_sha256,
        )

    def refused_row(self, refusal: Refusal) -> dict[str, Any]:
        final = refusal.code == "DECODER_TIMEOUT"  # of these bytes, which its process did not live to name
        return {
            "path": inert_path(refusal.path),
            "sha256": refusal.sha256 or (self._sha256(refusal.path) if final else ""),
            "status": "refused",
            "reason": refusal.code,
            "model_id": self.classifier.model_id,
            "detail": refusal.detail,
        }

    def _sha256(self, path: str) -> str:
        try:
            return file_sha256(os.fspath(self.folder / path))
        except Refused:
            return ""

    def _row(self, path: str, item: Prepared) -> dict[str, Any]:
        return {
            "path": inert_path(path),
            "sha256": item.sha256,
            "SOPInstanceUID": item.sop_instance_uid,
            "StudyInstanceUID": item.study_instance_uid,
            "PatientKey": pseudonym(item.patient_id, self.key),
            "ViewPosition": item.view_position,
            "model_id": self.classifier.model_id,
            "warnings": " ".join((*item.review, *item.warnings)),
            "pixels_sha256": item.pixels_sha256,
        }

    def _scored_row(self, path: str, item: Prepared, scores: Scores, place: int, *, conflict: bool) -> dict[str, Any]:
        review = (*(("DUPLICATE_CONFLICT",) if conflict else ()), *item.review)
        prediction = self.classifier.prediction(item.sop_instance_uid, scores, place, review=review)
        row = self._row(path, item) | {"status": prediction.status, "reason": prediction.reason}
        for label, score in prediction.scores.items():
            row[f"prob_{label}"] = score.probability
            row[f"positive_{label}"] = int(score.positive)
        if prediction.scores:
            row |= answer_columns(self.classifier.tasks, scores.probabilities[place])
        if self.heatmaps.enabled:
            drawn = self.pictures.draw(path, item, prediction, scores, place)
            self.summary.heatmaps += drawn.written
            self.summary.heatmaps_withheld += drawn.withheld
        return row
