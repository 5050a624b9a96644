"""One image: everything of it lies in one component of the page, which changes from case to case by itself."""

from __future__ import annotations

from contextlib import suppress

import started
import streamlit as st
from components import room
from markup import readable
from pydantic import ValidationError

from medres.errors import MedresError
from medres.review.cases import Case, Worklist
from medres.review.encode import colours
from medres.review.heatmaps import METHODS
from medres.review.room import keep_draft, kept, points
from medres.review.sent import Kept, SaidDraft, SaidVerdict
from medres.review.store import LONGEST_COMMENT, LONGEST_NAME, ReviewStore
from medres.review.wording import OPINIONS, verdict_in_words


def show_case(worklist: Worklist, store: ReviewStore, case: Case) -> None:
    """The page of one image, and of those before and after it: Python hears of a verdict, and of leaving."""
    label = st.session_state.get("label", worklist.labels[0])
    sequence = st.session_state.get("sequence") or [item.key for item in worklist.sorted_by(label)]
    answers: dict[str, Kept] = st.session_state.setdefault("answers", {})
    data = {
        "case": case.key,
        "sequence": sequence if case.key in sequence else [case.key],
        "label": label,
        "labels": list(worklist.labels),
        "points": {name: point.model_dump(mode="json") for name, point in points(worklist.model.card).items()},
        "opinions": [[opinion, verdict_in_words(opinion)] for opinion in OPINIONS],
        "methods": list(METHODS),
        "colours": colours(),
        "reviewer": readable(st.session_state.get("reviewer", "")),
        "longest": {"comment": LONGEST_COMMENT, "reviewer": LONGEST_NAME},
        "answers": {number: answer.model_dump(mode="json") for number, answer in answers.items()},
    }
    told = room(
        data=data,
        key="room",
        on_said_change=lambda: None,
        on_left_change=lambda: None,
        on_drafted_change=lambda: None,
    )
    if told.drafted:
        _keep_draft(worklist, store, told.drafted)
    if told.said:
        _keep(worklist, store, told.said)
        st.rerun()
    if told.left:
        st.session_state["label"] = told.left if told.left in worklist.labels else label
        st.session_state["answers"] = {}
        del st.query_params["case"]
        st.rerun()


def _keep_draft(worklist: Worklist, store: ReviewStore, said: object) -> None:
    """Keep what is begun; a page of ours that has it still says so when it is saved."""
    with suppress(ValidationError, MedresError):
        keep_draft(worklist, store, SaidDraft.model_validate(said))


def _keep(worklist: Worklist, store: ReviewStore, said: list[object]) -> None:
    """Save what the page says and was not answered yet: it says everything again until it is."""
    known: dict[str, Kept] = st.session_state["answers"]
    answers = {}
    for message in said:
        try:
            verdict = SaidVerdict.model_validate(message)
        except ValidationError:
            continue  # no page of ours sends that
        answers[verdict.id] = known.get(verdict.id) or kept(worklist, store, verdict, blinded=started.room().blinded)
        if answers[verdict.id].saved:
            st.session_state["reviewer"] = verdict.reviewer.strip()
    st.session_state["answers"] = answers
