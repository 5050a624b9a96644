"""Explain a folder: `heatmaps.csv` with at least one row for every file, whatever the files are."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medres import __version__
from medres.cohort.listing import Listing, list_files
from medres.config import Limits
from medres.documents import Document, read_document, write_document
from medres.errors import OutputExists, Refused, UsageError
from medres.files import make_folder, refuse_links
from medres.model.classifier import Classifier
from medres.processors import usable_processors
from medres.provenance import now
from medres.records import Refusal
from medres.scoring.explaining.explainer import Asked, Explained, Explainer
from medres.scoring.explaining.table import COLUMNS, MapFiles, Row
from medres.scoring.known import hashes_of_files
from medres.scoring.rows import read_rows, write_rows
from medres.tables import MARKER, inert_path, named_path, output_folder, refuse_existing, refuse_inside
from medres.terminal import Told
from medres.unfinished import lock, unlock

log = logging.getLogger(__name__)

TABLE = "heatmaps.csv"
_EVERY = 256  # files between two writings of the table: an interrupted run loses no more
_KEPT = {"ok", "review"}  # rows of these hold as long as the file's bytes do


class ExplainedRecord(Document):
    """What `run.json` says of an explained folder."""

    medres: str = ""
    created: str = ""
    kind: Literal["heatmaps"] = "heatmaps"
    input: str = ""
    model: str = ""
    model_id: str = ""
    labels: tuple[str, ...] = ()  # that were asked for; none: those that were called
    method: str = ""
    layer: str | None = None
    stride: int | None = None
    contour: float = 0.0
    formats: tuple[str, ...] = ()
    show_anyway: bool = False
    allow_burned_in: bool = False
    licences: Mapping[str, str] = {}
    limits: Mapping[str, int | float] = {}
    holds: Mapping[str, str] = {}
    state: Literal["running", "finished"] = "running"

    def same(self, other: ExplainedRecord) -> list[str]:
        """In what two runs differ, so that their rows cannot stand in one table."""
        free = {"medres", "created", "model", "holds", "state"}
        return [
            name for name in type(self).model_fields if name not in free and getattr(self, name) != getattr(other, name)
        ]


@dataclass(slots=True)
class ExplainSummary:
    """What a run of `medres explain` did."""

    statuses: Counter[str] = field(default_factory=Counter)  # of files
    reasons: Counter[str] = field(default_factory=Counter)
    maps: int = 0
    below: int = 0  # labels that were asked for and are below their operating point
    failed: int = 0  # called labels whose heatmaps have failed
    unpictured: int = 0  # maps without a picture, because the pixels may hold a name
    kept: int = 0  # files of an earlier run

    def count(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Count the rows of one file."""
        self.statuses[str(rows[0]["status"])] += 1
        if rows[0].get("reason"):
            self.reasons[str(rows[0]["reason"])] += 1
        for row in rows:
            shown, positive = (str(row.get(name, "")) == "1" for name in ("shown", "positive"))
            self.maps += shown
            self.below += bool(row.get("label")) and not shown and not positive
            self.failed += bool(row.get("label")) and not shown and positive
            self.unpictured += str(row.get("detail", "")).startswith("no picture")

    @property
    def complete(self) -> bool:
        """Whether every file was explained, and every called label has its map."""
        return not (self.statuses["refused"] or self.failed or self.unpictured)

    def lines(self) -> list[str]:
        """A short account, one line each."""
        files = sum(self.statuses.values())
        counted = ", ".join(f"{self.statuses[name]} {name}" for name in ("ok", "review", "refused", "duplicate"))
        found = [f"{files} files: {counted}", f"{self.maps} heatmaps"]
        if self.below:
            found.append(f"{self.below} not shown: below the operating point (--show-anyway draws them, marked)")
        if self.failed:
            found.append(f"{self.failed} of called labels not shown: their heatmaps have failed (see licence_reasons)")
        if self.unpictured:
            found.append(f"{self.unpictured} without a picture: the pixels may hold a name (--allow-burned-in)")
        if self.kept:
            found.append(f"the rows of {self.kept} unchanged files were kept")
        if self.reasons:
            found.append("reasons: " + ", ".join(f"{count} {code}" for code, count in sorted(self.reasons.items())))
        return found


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read."""

    limits: Limits = field(default_factory=Limits)
    workers: int | None = None  # processes; as many as there are processors by default
    told: Told | None = None  # (done, total, refused)


def explain_folder(
    model: Path, target: Path, *, out: Path, asked: Asked, reading: Reading, device: str = "auto",
    resume: bool = False, force: bool = False,
) -> ExplainSummary:  # fmt: skip
    """Explain every file below a folder, or one file, with a saved model.

    Writes `heatmaps.csv`, sorted by path, `run.json`, and pictures and arrays in `heatmaps/`.

    Args:
        model: a model folder, or a cross-validation run whose folds answer as an ensemble.
        target: what to explain; never written to.
        out: where results go.
        asked: which maps, and in which form.
        reading: how files are read.
        device: where the network computes.
        resume: keep the rows of unchanged files of an interrupted or earlier run with the same options.
        force: replace what lies there, when the new is whole.

    Raises:
        UsageError: a missing folder or model, a label or method that the model does not have, or results to resume
            that were made otherwise.
        OutputExists: results lie there already.
        ModelError: the model is not what it was.
    """
    folder = target if target.is_dir() else target.parent
    if target.is_dir():
        refuse_inside(out, [folder])
    if not resume:
        refuse_existing(out, force=force)
    listing = list_files(target) if target.is_dir() else Listing((target.name,), ())
    explainer = Explainer(Classifier.load(model, device=device), asked)
    with _place(out, resume=resume, force=force) as place:
        return _explained(explainer, model, folder, listing, place, reading)


@contextmanager
def _place(out: Path, *, resume: bool, force: bool) -> Iterator[Path]:
    """The folder to write in, held by this process."""
    if force:
        with output_folder(out, force=True) as building:
            yield building
        return
    refuse_links(out)
    if resume and out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise OutputExists(f"{out} was not written by medres (it holds no {MARKER}); --resume will not go on with it")
    make_folder(out)
    lock(out)
    try:
        yield out
    finally:
        unlock(out)


def _explained(
    explainer: Explainer, model: Path, folder: Path, listing: Listing, out: Path, reading: Reading
) -> ExplainSummary:
    record = _record(explainer, model, folder, reading.limits)
    table = _kept(out, record, folder, listing.files, reading.workers)
    write_document(out / MARKER, record)
    summary = ExplainSummary(kept=len(table))
    for rows in table.values():
        summary.count(rows)
        explainer.remember(str(rows[0]["path"]), str(rows[0]["SOPInstanceUID"]), str(rows[0]["sha256"]))
    files = MapFiles(explainer.classifier, explainer.asked, out)
    for refusal in listing.refused:
        table[inert_path(refusal.path)] = files.rows(Explained(refusal.path, refusal))
        summary.count(table[inert_path(refusal.path)])
    left = [path for path in listing.files if inert_path(path) not in table]
    written = done = 0
    try:
        with ThreadPoolExecutor(usable_processors()) as threads:
            for batch in explainer.explained(folder, left, limits=reading.limits, workers=reading.workers):
                for one, rows in zip(batch, threads.map(files.rows, batch), strict=True):
                    table[inert_path(one.path)] = rows
                    summary.count(rows)
                    _log(one)
                done += len(batch)
                if reading.told:
                    reading.told(len(listing.files) - len(left) + done, len(listing.files), summary.statuses["refused"])
                if done - written >= _EVERY:
                    _write(out, table)
                    written = done
    finally:
        _write(out, table)
    write_document(out / MARKER, record.model_copy(update={"state": "finished"}))
    return summary


def _log(one: Explained) -> None:
    if isinstance(one.result, Refusal):
        log.info("%s is refused: %s (%s)", inert_path(one.path), one.result.code, one.result.detail)


def _write(out: Path, table: Mapping[str, Sequence[Row]]) -> None:
    write_rows(out / TABLE, COLUMNS, (row for path in sorted(table, key=named_path) for row in table[path]))


def _record(explainer: Explainer, model: Path, folder: Path, limits: Limits) -> ExplainedRecord:
    asked, classifier = explainer.asked, explainer.classifier
    return ExplainedRecord(
        medres=__version__, created=now(), kind="heatmaps", input=str(folder.resolve()), model=str(model.resolve()),
        model_id=classifier.model_id, labels=asked.labels, method=asked.drawing.method, layer=asked.drawing.layer,
        stride=asked.stride, contour=asked.drawing.contour, formats=asked.formats, show_anyway=asked.show_anyway,
        allow_burned_in=asked.allow_burned_in,
        licences={label: classifier.licence(label).state for label in classifier.labels},
        limits=limits.model_dump(mode="json"), state="running",
        holds={TABLE: "paths, hashes, SOPInstanceUID, probabilities and where heatmaps are strong: identifies images"},
    )  # fmt: skip


def _kept(
    out: Path, record: ExplainedRecord, folder: Path, files: Sequence[str], workers: int | None
) -> dict[str, list[Row]]:
    """The rows of an earlier run whose files hold the same bytes, and whose pictures and arrays are there; by path.

    Raises:
        UsageError: they were made otherwise, or the table is damaged.
    """
    if not (out / MARKER).is_file() or not (out / TABLE).is_file():
        return {}
    before = read_document(out / MARKER, ExplainedRecord)
    if different := record.same(before):
        raise UsageError(
            f"the results in {out} were made with another {', '.join(different)}: give --resume with what they were "
            "made with, another --out, or --force"
        )
    found: dict[str, list[Row]] = {}
    for row in read_rows(out / TABLE):
        if row["status"] in _KEPT:
            found.setdefault(row["path"], []).append(dict(row))
    there = [path for path in files if inert_path(path) in found]
    kept = {}
    for path, sha256 in zip(there, hashes_of_files(folder, there, workers), strict=True):
        rows = found[inert_path(path)]
        whole = all((out / str(row[name])).is_file() for row in rows for name in ("png", "npy") if row[name])
        if whole and all(row["sha256"] == sha256 for row in rows):
            kept[inert_path(path)] = rows
    return kept


def explain_file(model: Path, path: Path, *, asked: Asked, limits: Limits, device: str) -> tuple[Explainer, Explained]:
    """One file with the maps of its labels; nothing is written.

    Raises:
        Refused: the file is.
        UsageError, ModelError: as `explain_folder`.
    """
    explainer = Explainer(Classifier.load(model, device=device), asked)
    [[found]] = explainer.explained(path.parent, [path.name], limits=limits, workers=1)
    if isinstance(found.result, Refusal):
        raise Refused(found.result.code, found.result.detail, path=path)
    if found.prediction is not None and found.prediction.status == "refused":
        raise Refused(found.prediction.reason, "the network's output is not a finite number", path=path)
    return explainer, found
