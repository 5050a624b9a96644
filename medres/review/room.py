"""One case as the room's page shows it, and a verdict as it is kept: the words of both are made here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from pydantic import JsonValue

from medres.errors import MedresError, Refused
from medres.formatting import level
from medres.review.sent import (
    Box,
    Kept,
    KeptDraft,
    Point,
    SaidDraft,
    SaidVerdict,
    ShownCase,
    ShownLabel,
    ShownPoint,
    ShownVerdict,
)
from medres.review.shares import CONFIDENCE, bounded
from medres.review.store import Conflict, ReviewStore, Verdict
from medres.review.verdicts.record import Mark
from medres.review.verdicts.vocabulary import details
from medres.review.verdicts.vocabulary import said as said_in_words
from medres.review.wording import (
    chosen,
    claim,
    hidden_verdicts,
    networks,
    other_verdicts,
    percentages,
    side,
    statement,
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
    labels = {label: _label(worklist, store, case, label, reader) for label in worklist.labels}
    kept = store.draft(reader.name, worklist.model.model_id, case.verdict_key) if reader.name else None
    draft = kept.content if kept else ""
    found = {"review": case.review, "warnings": case.warnings, "labels": labels}
    return head.model_copy(update={**found, "draft": draft, "draft_version": version(draft)})


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


def _label(worklist: Worklist, store: ReviewStore, case: Case, label: str, reader: Reader) -> ShownLabel:
    probability, threshold, positive = case.probabilities[label], worklist.threshold(label), case.positive[label]
    folds = worklist.evidence.of(case.sha256).folds.get(label, ())
    image = (case.verdict_key, worklist.model.model_id, label)
    shared = case.verdict_key != case.sop_instance_uid
    other_name = case.sop_instance_uid if shared else case.sha256
    seen = store.seen_by(reader.name, image, blinded=reader.blinded, other_name=other_name)
    history = sorted((*seen.own, *seen.others), key=lambda one: one.revision)
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
        hidden=hidden_verdicts(seen.hidden) if seen.hidden else "",
        others_said=other_verdicts(shared=shared) if seen.elsewhere else "",
        others=_history(seen.elsewhere),
    )


def _history(verdicts: Sequence[Verdict]) -> tuple[ShownVerdict, ...]:
    return tuple(
        ShownVerdict(
            said=said_in_words(one),
            details=details(one),
            reviewer=one.reviewer,
            when=f"{one.created_at:%Y-%m-%d %H:%M} UTC" if one.created_at else "",
            comment=one.comment,
        )
        for one in reversed(verdicts)
    )


def points(card: ModelCard) -> Mapping[str, ShownPoint]:
    """What a card says of each label's operating point: for the page's dial, which turns it into predictive values."""
    return {label: _point(card, label) for label in card.labels}


def grades(card: ModelCard, label: str) -> tuple[str, ...]:
    """The grades, lowest first, of the finding that a label is one step of; () of a label without."""
    found = (task.values for task in card.tasks if task.kind == "ordinal" and label in task.labels)
    return next(found, ())


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
    if said.verdict == "own" and said.grade not in grades(worklist.model.card, said.label):
        return Kept(id=said.id, saved=False, said=f"“{said.label}” has no grade {said.grade!r}; nothing was saved.")
    verdict = Verdict(
        case.verdict_key, worklist.model.model_id, said.label, said.verdict, said.reviewer, said.comment,
        confidence=said.confidence, grade=said.grade, corrected_label=said.corrected_label, heatmap=said.heatmap,
        skip_reason=said.skip_reason, marks=tuple(map(_mark, said.marks)),
        seconds_in_view=said.seconds_in_view, heatmap_shown=said.heatmap_shown,
        called=1 if case.positive[said.label] else 0, probability=case.probabilities[said.label],
    )  # fmt: skip
    try:
        saved = store.save(verdict, expected_revision=said.revision)
    except Conflict as conflict:
        text = f"{conflict}. It stands below, and what you say here is kept: read both, then save again if you want."
        return Kept(id=said.id, saved=False, said=text, label=_label(worklist, store, case, said.label, reader))
    except MedresError as error:
        return Kept(id=said.id, saved=False, said=str(error))
    _forget_begun(store, reader.name, verdict)
    return Kept(
        id=said.id,
        saved=True,
        said=f"Saved: {said_in_words(saved)}.",
        label=_label(worklist, store, case, said.label, reader),
    )


def _forget_begun(store: ReviewStore, name: str, saved: Verdict) -> None:
    """What was begun of a label is said now; what was begun of the image's others stays."""
    place = (name, saved.model_id, saved.sop_instance_uid)
    found = store.draft(*place)
    if found is None:
        return
    rest = {label: begun for label, begun in _by_label(found.content).items() if label != saved.label}
    if rest:
        store.keep_draft(*place, json.dumps(rest))
    else:
        store.drop_draft(*place)


def keep_draft(worklist: Worklist, store: ReviewStore, said: SaidDraft) -> KeptDraft:
    """Keep what a reader has begun to say; what another page of theirs has begun since is not written over, but told.

    Of nobody, whose name is not known yet, nothing is kept.
    """
    case, name = worklist.find(said.key), said.reviewer.strip()
    if case is None or not name:
        return KeptDraft(id=said.id, kept=False, said="Enter your name: what you begin is not kept.")
    place = (name, worklist.model.model_id, case.verdict_key)
    try:
        found = store.draft(*place)
        known = version(found.content) if found else ""
        other = _begun_elsewhere(found.content, said.content) if found and known != said.seen else ""
        if other:
            return KeptDraft(id=said.id, kept=False, other=other, version=known)
        if said.content == "{}":
            store.drop_draft(*place)
        else:
            store.keep_draft(*place, said.content)
    except MedresError as error:
        return KeptDraft(id=said.id, kept=False, said=f"What you begin is not kept: {error}.", version=said.seen)
    return KeptDraft(id=said.id, kept=True, version="" if said.content == "{}" else version(said.content))


def version(content: str) -> str:
    """By what a page knows what is kept of a case; "" where nothing is."""
    return sha256(content.encode()).hexdigest()[:16] if content else ""


def _begun_elsewhere(stored: str, here: str) -> str:
    """What of a stored draft another one would write over, as JSON by label; "" where that is nothing."""
    theirs, ours = _by_label(stored), _by_label(here)
    other = {label: begun for label, begun in theirs.items() if begun != ours.get(label)}
    return json.dumps(other) if other else ""


def _by_label(content: str) -> dict[str, JsonValue]:
    """A draft as the page made it; {} of what no page of ours sends."""
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _mark(mark: Point | Box) -> Mark:
    """A mark of the page as the store keeps it: both count from the upper left corner of the first pixel."""
    if isinstance(mark, Point):
        return Mark("point", mark.column, mark.row)
    return Mark("box", mark.left, mark.top, mark.right - mark.left, mark.bottom - mark.top)


def judged(worklist: Worklist, store: ReviewStore, case: Case) -> bool:
    """Whether any verdict of a case was saved."""
    model_id = worklist.model.model_id
    return any(store.history(case.verdict_key, model_id, label) for label in worklist.labels)
