"""One scoring run: what a model says of each file of a folder, as a row."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medres import __version__
from medres.cohort.duplicates import Repeat, Repeats
from medres.cohort.pseudonyms import fingerprint, pseudonym, pseudonym_key
from medres.cohort.tasks import answer_columns
from medres.config import Limits
from medres.errors import BY_LIMITS, MAY_PASS, Refused, UsageError
from medres.imaging.isolation import Workers
from medres.imaging.preprocessing import Prepared, file_sha256, prepare
from medres.model.classifier import Classifier, Scores
from medres.provenance import environment, git_commit, now
from medres.records import Refusal
from medres.scoring.deidentified import DEIDENTIFIED, HOLDS
from medres.scoring.heatmaps import HeatmapPolicy, HeatmapWriter
from medres.scoring.known import STAMP, stamp
from medres.scoring.resuming import Results, same_image
from medres.scoring.state import Summary
from medres.tables import inert_path

log = logging.getLogger(__name__)

_TRIED_AGAIN = MAY_PASS | {"UNSUPPORTED_TRANSFER_SYNTAX", "NOT_FINITE"}  # another decoder or device may do it now

PART_ROWS = 128
"""Rows per part of the ledger, and images per call of the network's batch loop."""


def parts(results: Iterable[tuple[str, Prepared | Refusal]]) -> Iterator[list[tuple[str, Prepared | Refusal]]]:
    """Results in lists of PART_ROWS, the last one shorter."""
    part: list[tuple[str, Prepared | Refusal]] = []
    for result in results:
        part.append(result)
        if len(part) == PART_ROWS:
            yield part
            part = []
    if part:
        yield part


class ScoringRun:
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
        self.deidentify = False
        self.stamps: dict[str, str] = {}  # of the files that are being read
        self.key = pseudonym_key()
        self.repeats = Repeats()
        self.pictures = HeatmapWriter(classifier, folder, out / "heatmaps", heatmaps, limits)
        self.summary = Summary(files=0)
        self.columns = self.columns_of(classifier)

    @staticmethod
    def columns_of(classifier: Classifier) -> list[str]:
        """The columns of a row, internal ones included."""
        answered = [f"predicted_{task.name}" for task in classifier.tasks if task.kind != "binary"]
        scored = [name for label in classifier.labels for name in (f"prob_{label}", f"positive_{label}")]
        return [
            "path", "sha256", "status", "reason", "SOPInstanceUID", "StudyInstanceUID", "PatientKey", "ViewPosition",
            *scored, *answered, "model_id", "precision", "decode", "warnings", "detail", "pixels_sha256", STAMP,
        ]  # fmt: skip

    def record(self, model: Path, files: int) -> dict[str, Any]:
        """What `run.json` says of this run."""
        return {
            "medres": __version__,
            "created": now(),
            "kind": "scores",
            "input": str(self.folder.resolve()),
            "model": str(model.resolve()),
            "model_id": self.classifier.model_id,
            "precision": self.classifier.precision,
            "decode": self.classifier.decode,
            "labels": list(self.classifier.labels),
            "files": files,
            "environment": environment(),
            "git_commit": git_commit(),
            "pseudonym_key": fingerprint(self.key),
            "limits": self.limits.model_dump(mode="json"),
            "limits_mixed": self.limits_mixed,  # until the run has finished
            "holds": {name: text for name, text in HOLDS.items() if name != DEIDENTIFIED or self.deidentify},
        }

    def compare(self, before: Mapping[str, Any]) -> None:
        """Say no to resuming results of another kind, or with other pseudonyms; note whether limits differ.

        Args:
            before: the record of the results to resume.
        """
        same = before.get("limits") == self.limits.model_dump(mode="json") and before.get("limits_mixed") is False
        self.limits_mixed = bool(before) and not same
        self._refuse_other_kind(before.get("precision", "float32"), before.get("decode", "full"))
        if before.get("pseudonym_key", fingerprint(self.key)) != fingerprint(self.key):
            raise UsageError(
                f"the pseudonyms in {self.out} were made with another key: restore that key and give --resume again, "
                "or give --force to score everything anew"
            )

    def _refuse_other_kind(self, precision: str, decode: str) -> None:
        """Say no to a table whose rows would be of two kinds: whoever reads it would have to tell them apart."""
        if (precision, decode) != (self.classifier.precision, self.classifier.decode):
            raise UsageError(
                f"the results in {self.out} were scored with --precision {precision} --decode {decode}: give --resume "
                "with these again, or another --out, or --force to score everything anew"
            )

    def holds(self, row: Mapping[str, str]) -> bool:
        """Whether a row of an earlier run still holds: it is not tried again, and has the heatmaps that are wanted."""
        tried_again: AbstractSet[str] = _TRIED_AGAIN | (BY_LIMITS if self.limits_mixed else frozenset())
        if row["reason"] in tried_again:
            return False
        positive = [label for label in self.classifier.labels if row[f"positive_{label}"] in {"1", "1.0"}]
        return not self.heatmaps.enabled or self.pictures.are_there(row["sha256"], positive, row["warnings"].split())

    def prepared(self, paths: Sequence[str], ordered: bool, *, workers: int | None) -> Results:
        """Files as the network takes them, or why not: in the order of the paths, or about so."""
        job = partial(
            prepare, spec=self.classifier.preprocessing, gate=self.classifier.gate, limits=self.limits,
            decode=self.classifier.decode,
        )  # fmt: skip
        names = {os.fspath(self.folder / path): path for path in paths}
        if not names:
            return
        self.stamps |= {path: stamp(self.folder / path) for path in paths}  # before they are read
        with Workers(workers, limits=self.limits) as pool:
            for part in parts((names[place], result) for place, result in pool.map(job, names, ordered=ordered)):
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
        """The row of a file that is refused."""
        log.info("%s is refused: %s (%s)", inert_path(refusal.path), refusal.code, refusal.detail)
        final = refusal.code == "DECODER_TIMEOUT"  # of these bytes, which its process did not live to name
        return {
            "path": inert_path(refusal.path),
            STAMP: self.stamps.pop(refusal.path, ""),
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
            STAMP: self.stamps.get(path, ""),
            "sha256": item.sha256,
            "SOPInstanceUID": item.sop_instance_uid,
            "StudyInstanceUID": item.study_instance_uid,
            "PatientKey": pseudonym(item.patient_id, self.key),
            "ViewPosition": item.view_position,
            "model_id": self.classifier.model_id,
            "precision": self.classifier.precision,
            "decode": item.decode,
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
