"""One scoring run: what a model says of each file of a folder, as a row."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from medres import __version__
from medres.cohort.duplicates import Repeat, Repeats
from medres.cohort.pseudonyms import fingerprint, pseudonym, pseudonym_key
from medres.cohort.tasks import answer_columns
from medres.config import Limits
from medres.errors import BY_LIMITS, MAY_PASS, Refused, UsageError
from medres.imaging.isolation import AHEAD, Workers
from medres.imaging.preprocessing import Prepared, file_sha256, prepare
from medres.model.classifier import Classifier, Scores
from medres.provenance import environment, git_commit, now
from medres.records import Prediction, Refusal
from medres.scoring.columns import Cell
from medres.scoring.deidentified import DEIDENTIFIED, HOLDS
from medres.scoring.heatmaps import HeatmapPolicy, HeatmapWriter
from medres.scoring.known import STAMP, stamp
from medres.scoring.record import ForwardRecord, ScoresRecord
from medres.scoring.resuming import same_image
from medres.scoring.same_bytes import Copies, same_bytes
from medres.scoring.stages import Planned, Results, batches, nearly_sorted, overlapped
from medres.scoring.state import Summary
from medres.scoring.studies import Rule, StudyTable
from medres.tables import inert_path

log = logging.getLogger(__name__)

_TRIED_AGAIN = MAY_PASS | {"UNSUPPORTED_TRANSFER_SYNTAX", "NOT_FINITE"}  # another decoder or device may do it now

_WINDOW = 64  # results that are kept back so that their order is nearly that of the paths
_PICTURED = 8  # the same where each holds a picture, which may have a hundred megabytes
_PICTURED_AHEAD = 2  # results that are kept ready per worker then


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
        self.pictures = HeatmapWriter(classifier, out / "heatmaps", heatmaps)
        self.summary = Summary(files=0)
        self.columns = self.columns_of(classifier)

    @staticmethod
    def columns_of(classifier: Classifier) -> list[str]:
        """The columns of a row, internal ones included."""
        answered = [f"predicted_{task.name}" for task in classifier.tasks if task.kind != "binary"]
        scored = [name for label in classifier.labels for name in (f"prob_{label}", f"positive_{label}")]
        evidence = [f"cells_{label}" for label in classifier.labels]
        if len(classifier.members) > 1:
            evidence += [f"folds_{label}" for label in classifier.labels]
        return [
            "path", "sha256", "status", "reason", "SOPInstanceUID", "StudyInstanceUID", "StudyDate", "PatientKey",
            "ViewPosition", "ImageLaterality", *scored, *answered, "model_id", "precision", "decode", "warnings",
            "detail", "pixels_sha256", STAMP, *evidence,
        ]  # fmt: skip

    def record(self, model: Path, files: int) -> ScoresRecord:
        """What `run.json` says of this run."""
        return ScoresRecord(
            medres=__version__,
            created=now(),
            kind="scores",
            input=str(self.folder.resolve()),
            model=str(model.resolve()),
            model_id=self.classifier.model_id,
            labels=self.classifier.labels,
            files=files,
            environment=environment(),
            git_commit=git_commit(),
            pseudonym_key=fingerprint(self.key),
            forward=self.forward(),
            decode=self.classifier.decode,
            limits=self.limits.model_dump(mode="json"),
            limits_mixed=self.limits_mixed,  # until the run has finished
            holds={name: text for name, text in HOLDS.items() if name != DEIDENTIFIED or self.deidentify},
            state="running",
        )

    def studies(self, rule: Rule) -> StudyTable:
        """How the studies of the folder are judged."""
        points = self.classifier.card.operating_points
        thresholds = {label: points[label].threshold for label in self.classifier.labels}
        return StudyTable(rule, thresholds, self.key if self.deidentify else None)

    def forward(self) -> ForwardRecord:
        """What the last digits of a score depend on beside the file and the model."""
        device = self.classifier.device
        if device.type == "cuda":
            name = torch.cuda.get_device_name(device)
        else:
            name = f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
        return ForwardRecord(
            batch=self.classifier.batch,
            threads=torch.get_num_threads(),
            device=name,
            precision=self.classifier.precision,
        )

    def _compute_as(self, before: ForwardRecord) -> None:
        """Compute as an earlier run of this model did, so that its rows and new ones are one run's."""
        device = self.forward().device
        if device != before.device:
            log.warning(
                "earlier rows were computed on %s, new ones are on %s: last digits may differ", before.device, device
            )
            return
        self.classifier.batch = before.batch
        torch.set_num_threads(before.threads)

    def compare(self, before: ScoresRecord | None) -> None:
        """Say no to resuming results of another kind, or with other pseudonyms; note whether limits differ.

        Args:
            before: the record of the results to resume, if there is one.
        """
        if before is None:
            return
        ours = before.model_id == self.classifier.model_id
        if ours:  # of another model no row is kept
            said = before.forward.precision if before.forward else "float32"
            self._refuse_other_kind(said, before.decode or "full")
        same = before.limits == self.limits.model_dump(mode="json") and before.limits_mixed is False
        self.limits_mixed = not same
        if before.pseudonym_key not in (None, fingerprint(self.key)):
            raise UsageError(
                f"the pseudonyms in {self.out} were made with another key: restore that key and give --resume again, "
                "or give --force to score everything anew"
            )
        if ours and before.forward is not None:
            self._compute_as(before.forward)

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
        """Files as the network takes them, or why not: in the order of the paths, or about so.

        Of files that hold the same bytes one is decoded, unless the order has to be kept.
        """
        job = partial(
            prepare, spec=self.classifier.preprocessing, gate=self.classifier.gate, limits=self.limits,
            decode=self.classifier.decode, smaller=self.classifier.smaller, pictured=self.heatmaps.pictured,
        )  # fmt: skip
        if not paths:
            return
        pictured = self.heatmaps.pictured is not None
        copies = Copies() if ordered else same_bytes(self.folder, paths, workers=workers)
        self.stamps |= copies.stamps
        before = f"{self.folder}{os.sep}"

        def stamped(wanted: Sequence[str]) -> Iterator[str]:
            for path in wanted:
                self.stamps[path] = stamp(self.folder / path)  # before it is read
                yield f"{before}{path}"

        with Workers(workers, limits=self.limits, ahead=_PICTURED_AHEAD if pictured else AHEAD) as pool:

            def read(wanted: Sequence[str]) -> Results:
                found = pool.map(job, stamped(wanted), ordered=ordered)
                return ((name.removeprefix(before), result) for name, result in found)

            if ordered:
                yield from read(paths)
            else:
                yield from nearly_sorted(copies.with_copies(paths, read), _PICTURED if pictured else _WINDOW)

    def rows(self, results: Results) -> Iterator[list[dict[str, Cell]]]:
        """The rows of results in their order, a batch at a time; the network computes while the next ones come."""
        plans = (self._planned(path, result) for path, result in results)
        threads = 2 if self.classifier.device.type == "cuda" else 1  # one prepares a batch while another's computes
        with self.pictures:
            for batch, scores in overlapped(self._scores, batches(plans, self.classifier.batch), threads=threads):
                yield self._rows(batch, scores)

    def _planned(self, path: str, result: Prepared | Refusal) -> Planned:
        repeat = self._repeat(path, result)
        if isinstance(result, Prepared) and repeat.identical_to:
            result = replace(result, picture=None)
        return Planned(path, result, repeat)

    def _scores(self, batch: Sequence[Planned]) -> Scores | None:
        images = [plan.image.pixels for plan in batch if plan.image is not None]
        if not images:
            return None
        drawn = self.heatmaps.enabled
        finer = self.heatmaps.finer if drawn else None
        return self.classifier.score_whole_batch(np.stack(images), maps=drawn, finer=finer)

    def _rows(self, batch: Sequence[Planned], scores: Scores | None) -> list[dict[str, Cell]]:
        rows, place = [], 0
        for plan in batch:
            path, result, repeat = plan.path, plan.result, plan.repeat
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

    def refused_row(self, refusal: Refusal) -> dict[str, Cell]:
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

    def _row(self, path: str, item: Prepared) -> dict[str, Cell]:
        return {
            "path": inert_path(path),
            STAMP: self.stamps.pop(path, ""),
            "sha256": item.sha256,
            "SOPInstanceUID": item.sop_instance_uid,
            "StudyInstanceUID": item.study_instance_uid,
            "StudyDate": item.study_date,
            "PatientKey": pseudonym(item.patient_id, self.key),
            "ViewPosition": item.view_position,
            "ImageLaterality": item.laterality,
            "model_id": self.classifier.model_id,
            "precision": self.classifier.precision,
            "decode": item.decode,
            "warnings": " ".join((*item.review, *item.warnings)),
            "pixels_sha256": item.pixels_sha256,
        }

    def _scored_row(self, path: str, item: Prepared, scores: Scores, place: int, *, conflict: bool) -> dict[str, Cell]:
        doubts = self.classifier.expected.doubts(item, item.pixels)
        review = (*(("DUPLICATE_CONFLICT",) if conflict else ()), *item.review, *doubts)
        prediction = self.classifier.prediction(item.sop_instance_uid, scores, place, review=review)
        split = ("BATCH_SPLIT",) if scores.split[place] else ()
        row = self._row(path, item) | {
            "status": prediction.status, "reason": prediction.reason,
            "warnings": " ".join((*item.review, *doubts, *item.warnings, *split)),
        }  # fmt: skip
        for label, score in prediction.scores.items():
            row[f"prob_{label}"] = score.probability
            row[f"positive_{label}"] = int(score.positive)
        if prediction.scores:
            row |= answer_columns(self.classifier.tasks, scores.probabilities[place])
            row |= self._evidence(scores, place, prediction)
        if self.heatmaps.enabled:
            drawn = self.pictures.draw(item, prediction, scores, place)
            self.summary.heatmaps += drawn.written
            self.summary.heatmaps_withheld += drawn.withheld
            self.summary.heatmaps_failed += drawn.failed
        return row

    def _evidence(self, scores: Scores, place: int, prediction: Prediction) -> dict[str, Cell]:
        """What an app shows beside a score: each network's own probability, and the class-activation map's cells.

        Of a called label these are the finer map's, as it is drawn; of others the network's own. The side tells which.
        """
        found: dict[str, Cell] = {}
        for number, label in enumerate(self.classifier.labels):
            if len(scores.members) > 1:
                found[f"folds_{label}"] = [float(value) for value in scores.members[:, place, number]]
            if scores.maps is not None:
                called = prediction.scores[label].positive
                cells = scores.shown(place, number) if called else scores.maps[place, number]
                found[f"cells_{label}"] = cells.astype("<f2").tobytes()
        return found
