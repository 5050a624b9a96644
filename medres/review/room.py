"""One case as the room's page shows it, and a verdict as it is kept: the words of both are made here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medres.errors import MedresError, Refused
from medres.formatting import level
from medres.review.sent import Box, Kept, Point, SaidDraft, SaidVerdict, ShownCase, ShownLabel, ShownPoint, ShownVerdict
from medres.review.shares import CONFIDENCE, bounded
from medres.review.store import Conflict, ReviewStore, Verdict
from medres.review.verdicts.record import Mark
from medres.review.wording import (
    chosen,
    claim,
    hidden_verdicts,
    networks,
    other_verdicts,
    percentages,
    side,
    statement,
    verdict_in_words,
)

if TYPE_CHECKING:
    from medres.model.card import ModelCard
    from medres.review.cases import Case, Worklist


@dataclass(frozen=True, slots=True)
class Reader:
    """Who looks at a case."""

    name: str = ""  # "": nobody has said it yet
    blinded: bool = True  # others' verdicts are shown beside one's own alone


def shown_case(worklist: Worklist, store: ReviewStore, case: Case, reader: Reader | None = None) -> ShownCase:
    """A case from its stored scores, where its file is still the one that was scored; else why it is not shown.

    Args:
        worklist: that holds the case.
        store: its verdicts.
        case: which.
        reader: who looks; nobody known, who sees no verdict, by default.

    Raises:
        StoreError: the verdicts cannot be read.
    """
    reader = reader or Reader()
    head = ShownCase(key=case.key, heading=heading(case), views=_views(worklist, case))
    try:
        worklist.unchanged(case)
    except Refused as refusal:
        return head.model_copy(update={"fault": not_shown(refusal)})
    folds = worklist.evidence.of(case.sha256).folds
    labels = {label: _label(worklist, store, case, label, reader, folds.get(label, ())) for label in worklist.labels}
    kept = store.draft(reader.name, worklist.model.model_id, case.verdict_key) if reader.name else None
    found = {"review": case.review, "warnings": case.warnings, "labels": labels, "draft": kept.content if kept else ""}
    return head.model_copy(update=found)


def not_shown(refusal: MedresError) -> str:
    """That an image is not shown, and why."""
    return f"This image is not shown. {refusal}"


def heading(case: Case) -> str:
    """What a case is called on the page."""
    number = f" · image {case.image} of {case.images}" if case.images > 1 else ""
    return f"Patient {case.patient_key or 'no PatientID'} · {case.view_position or 'view not stated'}{number}"


def _views(worklist: Worklist, case: Case) -> tuple[tuple[str, str], ...]:
    others = (one for one in worklist.of_patient(case) if one.key != case.key)
    return tuple((one.key, f"{one.view_position or 'view not stated'} · image {one.image}") for one in others)


def _label(
    worklist: Worklist, store: ReviewStore, case: Case, label: str, reader: Reader, folds: Sequence[float] = ()
) -> ShownLabel:
    probability, threshold, positive = case.probabilities[label], worklist.threshold(label), case.positive[label]
    image = (case.verdict_key, worklist.model.model_id, label)
    seen = store.seen_by(reader.name, image, blinded=reader.blinded)
    history = sorted((*seen.own, *seen.others), key=lambda one: one.revision)
    shared = case.verdict_key != case.sop_instance_uid
    others = store.history(case.sop_instance_uid if shared else case.sha256, worklist.model.model_id, label)
    return ShownLabel(
        probability=probability,
        positive=positive,
        shown=percentages(probability, threshold)[0],
        side=side(positive),
        statement=statement(label, probability, threshold, positive=positive),
        folds=tuple(percentages(one, threshold)[0] for one in folds),
        folds_said=networks(len(folds)) if folds else "",
        claim=claim(label, positive=positive),
        revision=history[-1].revision if history else 0,
        history=_history(history),
        others_said=hidden_verdicts(seen.hidden) if seen.hidden else other_verdicts(shared=shared) if others else "",
        others=_history(others),
    )


def _history(verdicts: Sequence[Verdict]) -> tuple[ShownVerdict, ...]:
    return tuple(
        ShownVerdict(
            said=verdict_in_words(one.verdict),
            reviewer=one.reviewer,
            when=f"{one.created_at:%Y-%m-%d %H:%M} UTC" if one.created_at else "",
            comment=one.comment,
        )
        for one in reversed(verdicts)
    )


def points(card: ModelCard) -> Mapping[str, ShownPoint]:
    """What a card says of each label's operating point: for the page's dial, which turns it into predictive values."""
    return {label: _point(card, label) for label in card.labels}


def _point(card: ModelCard, label: str) -> ShownPoint:
    point = card.operating_points[label]
    sensitivity = specificity = None
    if point.sensitivity is not None and point.specificity is not None:
        sensitivity, specificity = bounded(point.sensitivity, point.specificity, point.n)
        known = sensitivity.low is not None
        held = f"{level(CONFIDENCE)} intervals, images taken as independent" if known else "no intervals"
        measured = f"Measured on {point.n} images of {card.metrics_split} ({held})."
    elif card.members > 1:
        measured = f"What share it finds was never measured of the {card.members} networks together."
    else:
        measured = "What share it finds is not known: a class was missing in validation."
    return ShownPoint(
        threshold=point.threshold,
        shown=percentages(1.0, point.threshold)[1],
        chosen=chosen(point.rule),
        sensitivity=sensitivity,
        specificity=specificity,
        measured=measured,
    )


def kept(worklist: Worklist, store: ReviewStore, said: SaidVerdict, *, blinded: bool = True) -> Kept:
    """Save one verdict with all that the page knows of it; what cannot be saved is said, and nothing was."""
    case = worklist.find(said.key)
    if case is None or said.label not in worklist.labels:
        return Kept(id=said.id, saved=False, said="There is no such image in this list; nothing was saved.")
    if not said.reviewer.strip():
        return Kept(id=said.id, saved=False, said="Enter your name. Nothing was saved.")
    reader = Reader(said.reviewer.strip(), blinded)
    verdict = Verdict(
        case.verdict_key, worklist.model.model_id, said.label, said.verdict, said.reviewer, said.comment,
        marks=tuple(map(_mark, said.marks)), seconds_in_view=said.seconds_in_view, heatmap_shown=said.heatmap_shown,
        called=1 if case.positive[said.label] else 0, probability=case.probabilities[said.label],
    )  # fmt: skip
    try:
        store.save(verdict, expected_revision=said.revision)
    except Conflict as conflict:
        text = f"{conflict}. Theirs stands below and your text is still here: read it, then save again if you want."
        return Kept(id=said.id, saved=False, said=text, label=_label(worklist, store, case, said.label, reader))
    except MedresError as error:
        return Kept(id=said.id, saved=False, said=str(error))
    _forget_begun(store, reader.name, verdict)
    words = f"Saved: {verdict_in_words(said.verdict)}."
    return Kept(id=said.id, saved=True, said=words, label=_label(worklist, store, case, said.label, reader))


def _forget_begun(store: ReviewStore, name: str, saved: Verdict) -> None:
    """What was begun of a label is said now; what was begun of the image's others stays."""
    place = (name, saved.model_id, saved.sop_instance_uid)
    found = store.draft(*place)
    if found is None:
        return
    try:
        rest = {label: begun for label, begun in json.loads(found.content).items() if label != saved.label}
    except (ValueError, AttributeError):
        rest = {}
    if rest:
        store.keep_draft(*place, json.dumps(rest))
    else:
        store.drop_draft(*place)


def keep_draft(worklist: Worklist, store: ReviewStore, said: SaidDraft) -> None:
    """Keep what a reader has begun to say; of nobody, whose name is not known yet, nothing is kept.

    Raises:
        StoreError: it is too long, or the store cannot be written.
    """
    case, name = worklist.find(said.key), said.reviewer.strip()
    if case is None or not name:
        return
    if said.content == "{}":
        store.drop_draft(name, worklist.model.model_id, case.verdict_key)
    else:
        store.keep_draft(name, worklist.model.model_id, case.verdict_key, said.content)


def _mark(mark: Point | Box) -> Mark:
    """A mark of the page as the store keeps it: both count from the upper left corner of the first pixel."""
    if isinstance(mark, Point):
        return Mark("point", mark.column, mark.row)
    return Mark("box", mark.left, mark.top, mark.right - mark.left, mark.bottom - mark.top)


def judged(worklist: Worklist, store: ReviewStore, case: Case) -> bool:
    """Whether any verdict of a case was saved."""
    model_id = worklist.model.model_id
    return any(store.history(case.verdict_key, model_id, label) for label in worklist.labels)
