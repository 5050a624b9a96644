"""One image: the radiograph, what the model says and where from, and the reviewer's verdict."""

from __future__ import annotations

from html import escape

import streamlit as st
from components import viewer
from worklist_page import chosen_label, patient

from medres.errors import MedresError
from medres.review.cases import Case, OpenedCase, Worklist
from medres.review.encode import pack
from medres.review.store import LONGEST_COMMENT, LONGEST_NAME, Conflict, ReviewStore, Verdict
from medres.review.wording import (
    OPINIONS,
    claim,
    heatmap_scale,
    heatmap_strength,
    heatmap_withheld,
    other_verdicts,
    percentages,
    side,
    statement,
    verdict_in_words,
)


def show_case(worklist: Worklist, store: ReviewStore, case: Case) -> None:
    """The page of one image."""
    _navigation(worklist, case)
    view = case.view_position or "view not stated"
    number = f" · image {case.image} of {case.images}" if case.images > 1 else ""
    st.title(f"Patient {patient(case)} · {view}{number}".replace("[", "\\["), anchor=False)
    if case.review:
        st.html(f'<div class="look"><b>A human must look:</b> {escape(" ".join(case.review))}</div>')
    picture, panel = st.columns([2.7, 1], gap="medium")
    with panel:
        label = chosen_label(worklist)
        st.html(_score(worklist, case, label))
    with picture:
        try:
            with st.spinner("Reading the image …", show_time=False):
                opened = worklist.open_case(case)
        except MedresError as error:
            st.error(f"This image is not shown. {error}", icon=":material/block:")
            return
        _viewer(opened, label)
        if case.warnings:
            st.html(f'<div class="notes">Of this file: {escape(" ".join(case.warnings))}</div>')
    with panel:
        _review(worklist, store, case, label)


def _navigation(worklist: Worklist, case: Case) -> None:
    sequence = st.session_state.get("sequence") or [item.key for item in worklist.sorted_by(worklist.labels[0])]
    place = sequence.index(case.key) if case.key in sequence else None
    before = sequence[place - 1] if place else None
    after = sequence[place + 1] if place is not None and place + 1 < len(sequence) else None
    with st.container(key="navigation", horizontal=True, vertical_alignment="center"):
        if st.button("Worklist", icon=":material/arrow_back:", shortcut="w"):
            del st.query_params["case"]
            st.rerun()
        if st.button("Previous", icon=":material/chevron_left:", shortcut="p", disabled=before is None):
            _go(before)
        if st.button("Next", icon=":material/chevron_right:", shortcut="n", disabled=after is None):
            _go(after)
        if place is not None:
            st.caption(f"{place + 1} of {len(sequence)}")
    st.session_state["after"] = after


def _go(key: str | None) -> None:
    if key is not None:
        st.query_params["case"] = key
        st.rerun()


def _score(worklist: Worklist, case: Case, label: str) -> str:
    probability, threshold, positive = case.probabilities[label], worklist.threshold(label), case.positive[label]
    sentence = statement(label, probability, threshold, worklist.rule(label), positive=positive)
    return (
        f'<div class="score {"above" if positive else "below"}"><div class="label">{escape(label)}</div>'
        f'<div class="value">{escape(percentages(probability, threshold)[0])}</div>'
        f'<div class="where">{side(positive)}</div>'
        f'<div class="bar"><i style="width:{100 * probability:.2f}%"></i>'
        f'<b style="left:{100 * threshold:.2f}%"></b></div>'
        f"<p>{escape(sentence)}</p></div>"
    )


def _viewer(opened: OpenedCase, label: str) -> None:
    case, grid = opened.case, opened.heatmaps[label]
    words = {
        "id": f"{case.key} {label}",
        "image": case.key,
        "label": label,
        "drawn": case.positive[label],
        "note": heatmap_withheld(label, grid.strength, grid.scale),
        "full": heatmap_scale(grid.scale),
        "strength": f"This image: {heatmap_strength(grid.strength, grid.scale)}.",
        "alt": f"Radiograph of patient {patient(case)}",
    }
    viewer(data=pack(opened.picture, grid, words), key="viewer")


def _review(worklist: Worklist, store: ReviewStore, case: Case, label: str) -> None:
    seen = _seen(worklist, store, case, label)
    latest = seen[-1] if seen else None
    saved = st.session_state.setdefault("saved", 0)  # a saved form starts anew; one in conflict keeps its text
    form = f"{case.key} {label} {saved}"
    with st.form(f"verdict {form}", border=True):
        st.html(f'<div class="claim">{escape(claim(label, positive=case.positive[label]))}</div>')
        opinion = st.segmented_control(
            "Your verdict",
            list(OPINIONS),
            format_func=verdict_in_words,
            key=f"opinion {form}",
            width="stretch",
        )
        comment = st.text_area("Comment", max_chars=LONGEST_COMMENT, height=90, key=f"comment {form}")
        reviewer = st.text_input(
            "Your name",
            value=st.session_state.get("reviewer", ""),
            max_chars=LONGEST_NAME,
            key=f"reviewer {form}",
        )
        with st.container(horizontal=True):
            saves = st.form_submit_button("Save", type="primary", icon=":material/check:")
            moves = st.form_submit_button("Save and next", disabled=st.session_state.get("after") is None)
    if saves or moves:
        if opinion is None:
            st.warning("Choose agree, disagree or unsure. Nothing was saved.")
        elif not (reviewer or "").strip():
            st.warning("Enter your name. Nothing was saved.")
        else:
            st.session_state["reviewer"] = reviewer
            verdict = Verdict(
                case.verdict_key, worklist.model.model_id, label, opinion, str(reviewer), str(comment or "")
            )
            _save(store, verdict, latest, _place(case, label), st.session_state["after"] if moves else None)
    if told := st.session_state.pop("told", None):
        st.success(told, icon=":material/check:")
    if notice := st.session_state.pop("conflict", None):
        st.warning(notice)
    if seen:
        st.html(_history(seen))
    shared = case.verdict_key != case.sop_instance_uid
    if other := store.history(case.sop_instance_uid if shared else case.sha256, worklist.model.model_id, label):
        st.caption(other_verdicts(shared=shared))
        st.html(_history(other))


def _save(store: ReviewStore, verdict: Verdict, latest: Verdict | None, place: str, after: str | None) -> None:
    try:
        store.save(verdict, expected_revision=latest.revision if latest else 0)
    except Conflict as conflict:
        st.session_state["conflict"] = (
            f"{conflict}. Theirs stands below and your text is still here: read it, then save again if you want."
        )
        after = None
    except MedresError as error:
        st.error(f"{error}")
        return
    else:
        st.session_state["saved"] += 1
        st.session_state["told"] = f"Saved: {verdict_in_words(verdict.verdict)}."
    st.session_state.pop(place, None)
    _go(after)
    st.rerun()


def _place(case: Case, label: str) -> str:
    return f"history {case.key} {label}"


def _seen(worklist: Worklist, store: ReviewStore, case: Case, label: str) -> tuple[Verdict, ...]:
    """The history as the reviewer sees it: read when the page is opened, not again while it is being filled in."""
    place = _place(case, label)
    if st.session_state.get("seen") != place:
        st.session_state["seen"] = place
        st.session_state.pop(place, None)
    if place not in st.session_state:
        st.session_state[place] = store.history(case.verdict_key, worklist.model.model_id, label)
    found: tuple[Verdict, ...] = st.session_state[place]
    return found


def _history(verdicts: tuple[Verdict, ...]) -> str:
    return f'<ul class="history">{"".join(map(_entry, reversed(verdicts)))}</ul>'


def _entry(verdict: Verdict) -> str:
    when = f"{verdict.created_at:%Y-%m-%d %H:%M} UTC" if verdict.created_at else ""
    return (
        f"<li><b>{verdict_in_words(verdict.verdict)}</b> "
        f'<span class="who">{escape(verdict.reviewer)}, {when}</span>'
        + (f"<div>{escape(verdict.comment)}</div>" if verdict.comment else "")
        + "</li>"
    )
