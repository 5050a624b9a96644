"""One case as the room's page shows it, and a verdict as it is kept: the words of both are made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medres.errors import MedresError, Refused
from medres.formatting import level
from medres.review.sent import Kept, SaidVerdict, ShownCase, ShownLabel, ShownPoint, ShownVerdict
from medres.review.shares import CONFIDENCE, bounded
from medres.review.store import Conflict, ReviewStore, Verdict
from medres.review.wording import (
    chosen,
    claim,
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


def shown_case(worklist: Worklist, store: ReviewStore, case: Case) -> ShownCase:
    """A case from its stored scores, where its file is still the one that was scored; else why it is not shown.

    Raises:
        StoreError: the verdicts cannot be read.
    """
    head = ShownCase(key=case.key, heading=heading(case), views=_views(worklist, case))
    try:
        worklist.unchanged(case)
    except Refused as refusal:
        return head.model_copy(update={"fault": not_shown(refusal)})
    folds = worklist.evidence.of(case.sha256).folds
    labels = {label: _label(worklist, store, case, label, folds.get(label, ())) for label in worklist.labels}
    return head.model_copy(update={"review": case.review, "warnings": case.warnings, "labels": labels})


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


def _label(worklist: Worklist, store: ReviewStore, case: Case, label: str, folds: Sequence[float] = ()) -> ShownLabel:
    probability, threshold, positive = case.probabilities[label], worklist.threshold(label), case.positive[label]
    history = store.history(case.verdict_key, worklist.model.model_id, label)
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
        others_said=other_verdicts(shared=shared) if others else "",
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


def kept(worklist: Worklist, store: ReviewStore, said: SaidVerdict) -> Kept:
    """Save one verdict; what cannot be saved is said, and nothing was.

    Whatever else a page says of it (seconds, marks, whether a heatmap was shown) is for a richer store to keep.
    """
    case = worklist.find(said.key)
    if case is None or said.label not in worklist.labels:
        return Kept(id=said.id, saved=False, said="There is no such image in this list; nothing was saved.")
    if not said.reviewer.strip():
        return Kept(id=said.id, saved=False, said="Enter your name. Nothing was saved.")
    verdict = Verdict(case.verdict_key, worklist.model.model_id, said.label, said.verdict, said.reviewer, said.comment)
    try:
        store.save(verdict, expected_revision=said.revision)
    except Conflict as conflict:
        text = f"{conflict}. Theirs stands below and your text is still here: read it, then save again if you want."
        return Kept(id=said.id, saved=False, said=text, label=_label(worklist, store, case, said.label))
    except MedresError as error:
        return Kept(id=said.id, saved=False, said=str(error))
    words = f"Saved: {verdict_in_words(said.verdict)}."
    return Kept(id=said.id, saved=True, said=words, label=_label(worklist, store, case, said.label))


def judged(worklist: Worklist, store: ReviewStore, case: Case) -> bool:
    """Whether any verdict of a case was saved."""
    model_id = worklist.model.model_id
    return any(store.history(case.verdict_key, model_id, label) for label in worklist.labels)
