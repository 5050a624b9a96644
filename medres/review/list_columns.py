"""The worklist as columns for the browser: shipped once, and verdicts as what changed since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from medres.review.cases import Case, Unscored, Worklist
from medres.review.store import ReviewStore
from medres.review.verdicts.blinding import has_judged, is_of
from medres.review.verdicts.record import Verdict
from medres.review.wording import call, day, laterality, percentages


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """What the model says of one label, by row."""

    label: str
    point: str  # the operating point, as it is shown
    threshold: float
    probability: tuple[float, ...]
    shown: tuple[str, ...]  # the probability, as it is shown
    positive: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reason:
    """Files without a score that have one reason in common."""

    status: str  # refused, duplicate or gone
    reason: str
    rows: tuple[int, ...]  # of predictions.csv
    folder: int  # the place of the folder among `folders`


@dataclass(frozen=True, slots=True)
class ListColumns:
    """A worklist; most tuples have one item for each case, in the order of the tables."""

    folders: tuple[str, ...]  # the names of the scored folders
    folder: tuple[int, ...]  # a place among `folders`
    key: tuple[str, ...]
    patient: tuple[str, ...]  # what the patient is called on screen
    image: tuple[str, ...]  # "image 2 of 3"; "" of a patient with one
    date: tuple[str, ...]  # of the study, 2026-11-27; "" where it is not known
    view: tuple[str, ...]
    side: tuple[str, ...]  # laterality in words; "" where it is not stated
    study: tuple[int, ...]  # a number; images of one study have the same
    review: tuple[str, ...]  # why a human must look; "" where none must
    labels: tuple[LabelColumns, ...]
    calls: tuple[str, str]  # what a call below and above the operating point is called
    unscored: tuple[Reason, ...]

    def packed(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")).encode()


def list_columns(worklist: Worklist, readable: Callable[[str], str] = str) -> ListColumns:
    """The columns of a worklist; an image without StudyInstanceUID is a study of its own.

    Args:
        worklist: the cases.
        readable: puts something in place of characters that are not seen.
    """
    cases = worklist.cases
    studies = [case.study_instance_uid or f"{number}" for number, case in enumerate(cases)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(studies))}
    return ListColumns(
        folders=tuple(readable(folder.name) for folder in worklist.folders),
        folder=tuple(case.folder for case in cases),
        key=tuple(case.key for case in cases),
        patient=tuple(readable(case.patient_key) or "no PatientID" for case in cases),
        image=tuple(f"image {case.image} of {case.images}" if case.images > 1 else "" for case in cases),
        date=tuple(day(case.study_date) for case in cases),
        view=tuple(readable(case.view_position) for case in cases),
        side=tuple(laterality(case.laterality) for case in cases),
        study=tuple(numbers[name] for name in studies),
        review=tuple(" ".join(case.review) for case in cases),
        labels=tuple(_label(worklist, cases, label) for label in worklist.labels),
        calls=(call(positive=False), call(positive=True)),
        unscored=_grouped(worklist.unscored),
    )


def _label(worklist: Worklist, cases: Sequence[Case], label: str) -> LabelColumns:
    threshold = worklist.threshold(label)
    return LabelColumns(
        label=label,
        point=percentages(1.0, threshold)[1],
        threshold=threshold,
        probability=tuple(case.probabilities[label] for case in cases),
        shown=tuple(percentages(case.probabilities[label], threshold)[0] for case in cases),
        positive=tuple(int(case.positive[label]) for case in cases),
    )


def _grouped(unscored: Sequence[Unscored]) -> tuple[Reason, ...]:
    """Files by status and reason, the most frequent first; duplicates are one group, for each names its own twin."""
    groups: dict[tuple[str, str, int], list[int]] = {}
    for item in unscored:
        reason = "The same image as another row, which is listed." if item.status == "duplicate" else item.reason
        groups.setdefault((item.status, reason, item.folder), []).append(item.row)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return tuple(Reason(status, reason, tuple(rows), folder) for (status, reason, folder), rows in ordered)


def fingerprint(content: bytes) -> str:
    """By what a browser knows that it has these columns already."""
    return hashlib.sha256(content).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Cell:
    """What was said of one label of one case, as one reader may see it."""

    row: int
    label: int
    mine: str  # the reader's own latest verdict; "" where there is none
    others: tuple[tuple[str, str], ...]  # (name, verdict) of others, once there is one of one's own
    hidden: int  # others whose verdict is not shown yet


@dataclass(frozen=True, slots=True)
class Update:
    """The cells that changed since a place in the store."""

    last: int
    cells: tuple[Cell, ...]

    def packed(self, readable: Callable[[str], str] = str) -> bytes:
        """As JSON; `readable` puts something in place of characters that are not seen."""
        cells = [
            replace(cell, others=tuple((readable(name), said) for name, said in cell.others)) for cell in self.cells
        ]
        content = {"last": self.last, "cells": [asdict(cell) for cell in cells]}
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def update(worklist: Worklist, store: ReviewStore, reader: str, *, since: int = 0, blinded: bool = True) -> Update:
    """What changed for a reader since a place; all that was said from the place 0.

    A restored store may lie behind the place: then everything is told anew.

    Args:
        worklist: the cases.
        store: the verdicts.
        reader: who looks; "": nobody yet.
        since: the `last` of the update before.
        blinded: others' verdicts are told only beside one's own.
    """
    found = store.changes(worklist.model.model_id, since)
    if found.last < since:
        found = store.changes(worklist.model.model_id)
    if not found.verdicts:
        return Update(found.last, ())
    rows = {case.verdict_key: number for number, case in enumerate(worklist.cases)}
    labels = {label: number for number, label in enumerate(worklist.labels)}
    changed = dict.fromkeys((one.sop_instance_uid, one.label) for one in found.verdicts)
    latest = store.latest_of_each(worklist.model.model_id)
    cells = [
        _cell((rows[image], labels[label]), latest[image, label], reader, blinded=blinded)
        for image, label in changed
        if image in rows and label in labels
    ]
    return Update(found.last, tuple(cells))


def _cell(place: tuple[int, int], verdicts: Sequence[Verdict], reader: str, *, blinded: bool) -> Cell:
    mine = [one for one in verdicts if is_of(reader, one)]
    others = [one for one in verdicts if one not in mine]
    own = mine[-1].verdict if mine else ""
    if blinded and not has_judged(mine):
        return Cell(*place, own, (), len(others))
    return Cell(*place, own, tuple((one.reviewer, one.verdict) for one in others), 0)
