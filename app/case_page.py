"""One image: everything of it lies in one component of the page, which changes from case to case by itself."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import started
import streamlit as st
from components import room
from markup import readable
from pydantic import ValidationError
from worklist_page import read_as, reader_name, reader_number

from medres.errors import MedresError
from medres.review.cases import Case, Worklist
from medres.review.encode import colours
from medres.review.heatmaps import METHODS
from medres.review.room import grades, keep_draft, kept, points
from medres.review.sent import Kept, KeptDraft, SaidDraft, SaidVerdict
from medres.review.store import LONGEST_COMMENT, LONGEST_NAME, ReviewStore
from medres.review.verdicts.vocabulary import CONFIDENCES, HELPFULNESS, SKIP_REASONS
from medres.review.wording import OPINIONS, verdict_in_words


def show_case(worklist: Worklist, store: ReviewStore, case: Case) -> None:
    """The page of one image, and of those before and after it: Python hears of what is said, and of leaving."""
    label = st.session_state.get("label", worklist.labels[0])
    sequence = st.session_state.get("sequence") or [item.key for item in worklist.sorted_by(label)]
    answers: dict[str, Kept] = st.session_state.setdefault("answers", {})
    drafts: dict[str, KeptDraft] = st.session_state.setdefault("drafts", {})
    data = {
        "case": case.key,
        "sequence": sequence if case.key in sequence else [case.key],
        "label": label,
        "labels": list(worklist.labels),
        "points": {name: point.model_dump(mode="json") for name, point in points(worklist.model.card).items()},
        **_vocabulary(worklist),
        "methods": list(METHODS),
        "colours": colours(),
        **_readers(store),
        "answers": {number: answer.model_dump(mode="json") for number, answer in answers.items()},
        "drafts": {number: answer.model_dump(mode="json") for number, answer in drafts.items()},
    }
    told = room(
        data=data,
        key="room",
        on_said_change=lambda: None,
        on_left_change=lambda: None,
        on_drafted_change=lambda: None,
        on_reading_change=lambda: None,
    )
    if told.reading:
        _read(store, told.reading, answers)
    if told.drafted:
        _keep_drafts(worklist, store, told.drafted, drafts)
    if told.said:
        _keep(worklist, store, told.said, answers)
    if told.left:
        st.session_state["label"] = told.left if told.left in worklist.labels else label
        answers.clear()
        st.query_params.pop("case", None)
    if told.reading or told.drafted or told.said or told.left:
        st.rerun()


def _vocabulary(worklist: Worklist) -> dict[str, object]:
    """What can be said of a label."""
    return {
        "opinions": [[opinion, verdict_in_words(opinion)] for opinion in OPINIONS],
        "skip": "Skip",
        "grades": {name: list(grades(worklist.model.card, name)) for name in worklist.labels},
        "reasons": list(SKIP_REASONS),
        "confidences": list(CONFIDENCES.items()),
        "helpfulness": list(HELPFULNESS.items()),
        "longest": {"comment": LONGEST_COMMENT, "reviewer": LONGEST_NAME, "label": LONGEST_NAME},
    }


def _readers(store: ReviewStore) -> dict[str, object]:
    """Who reads, as the address says; who else may; and what became of a name that the page asked for."""
    name = reader_name()
    asked, fault = st.session_state.get("asked", ("", ""))
    number = reader_number() if name else ""
    return {
        "reader": {"number": number, "name": readable(name), "asked": readable(asked), "fault": fault},
        "readers": [readable(listed) for listed in store.listed().values()],
    }


def _read(store: ReviewStore, asked: object, answers: dict[str, Kept]) -> None:
    """From now on somebody reads whom the page names; a name that cannot be is answered with why.

    What was answered to the reader before is answered without the history that they were shown.
    """
    fault = ""
    answers.update({number: answer.model_copy(update={"label": None}) for number, answer in answers.items()})
    try:
        read_as(store, str(asked))
    except MedresError as error:
        fault = f"{error}."
    st.session_state["asked"] = (str(asked), fault)


def _keep_drafts(worklist: Worklist, store: ReviewStore, said: list[object], answers: dict[str, KeptDraft]) -> None:
    """Keep what is begun, and answer it; the page says it again until it hears so."""
    heard = []
    for message in said:
        with suppress(ValidationError):  # no page of ours sends that
            draft = SaidDraft.model_validate(message)
            heard.append(draft.id)
            if draft.id not in answers:
                answers[draft.id] = keep_draft(worklist, store, draft)
    _forget(answers, heard)


def _keep(worklist: Worklist, store: ReviewStore, said: list[object], answers: dict[str, Kept]) -> None:
    """Save what the page says and was not answered yet: it says everything again until it is.

    An answer is kept at once: Streamlit may end a run wherever its session is asked for something.
    """
    heard = []
    for message in said:
        with suppress(ValidationError):  # no page of ours sends that
            verdict = SaidVerdict.model_validate(message)
            heard.append(verdict.id)
            if verdict.id not in answers:
                answers[verdict.id] = kept(worklist, store, verdict, blinded=started.room().blinded)
    _forget(answers, heard)


def _forget(answers: dict[str, Any], heard: list[str]) -> None:
    """The answers that the page has heard: it does not ask for them any more."""
    for number in [number for number in answers if number not in heard]:
        del answers[number]
