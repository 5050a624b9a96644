"""One image: the radiograph, what the model says and where from, and the reviewer's verdict."""

from __future__ import annotations

import streamlit as st
from components import viewer
from markup import Markup, filled, heading, joined, notice, readable, show
from worklist_page import chosen_label, patient

from medres.errors import MedresError
from medres.review.cases import Case, OpenedCase, Worklist
from medres.review.encode import Said, pack
from medres.review.heatmaps import METHODS, OWN, CaseHeatmap
from medres.review.store import LONGEST_COMMENT, LONGEST_NAME, Conflict, ReviewStore, Verdict
from medres.review.wording import (
    OPINIONS,
    claim,
    heatmap_contour,
    heatmap_failed,
    heatmap_scale,
    heatmap_strength,
    heatmap_withheld,
    other_verdicts,
    percentages,
    side,
    statement,
    verdict_in_words,
)

MEAN, SPREAD = "Their mean", "Where they disagree"


def show_case(worklist: Worklist, store: ReviewStore, case: Case) -> None:
    """The page of one image."""
    _navigation(worklist, case)
    if case.review:
        show(filled('<div class="look"><b>A human must look:</b> {}</div>', " ".join(case.review)))
    picture, panel = st.columns([3.6, 1], gap="small")
    with panel:
        label = chosen_label(worklist)
        show(_score(worklist, case, label))
    with picture:
        try:
            with st.spinner("Reading the image …", show_time=False):
                opened = worklist.open_case(case)
        except MedresError as error:
            notice("refused", f"This image is not shown. {error}")
            return
        _viewer(worklist, opened, label)
        if case.warnings:
            show(filled('<div class="notes">Of this file: {}</div>', " ".join(case.warnings)))
    with panel:
        _review(worklist, store, case, label)


def _navigation(worklist: Worklist, case: Case) -> None:
    sequence = st.session_state.get("sequence") or [item.key for item in worklist.sorted_by(worklist.labels[0])]
    place = sequence.index(case.key) if case.key in sequence else None
    before = sequence[place - 1] if place else None
    after = sequence[place + 1] if place is not None and place + 1 < len(sequence) else None
    with st.container(key="navigation", horizontal=True, vertical_alignment="center"):
        if st.button("Worklist", icon=":material/arrow_back:", shortcut="b"):
            del st.query_params["case"]
            st.rerun()
        if st.button("Previous", icon=":material/chevron_left:", shortcut="p", disabled=before is None):
            _go(before)
        if st.button("Next", icon=":material/chevron_right:", shortcut="n", disabled=after is None):
            _go(after)
        view = case.view_position or "view not stated"
        number = f" · image {case.image} of {case.images}" if case.images > 1 else ""
        heading(f"Patient {patient(case)} · {view}{number}")
        if place is not None:
            show(filled('<div class="notes">{} of {}</div>', place + 1, len(sequence)))
    st.session_state["after"] = after
    beside = [place + step for step in (1, 2, -1, -2)] if place is not None else []
    st.session_state["beside"] = [sequence[number] for number in beside if 0 <= number < len(sequence)]


def _go(key: str | None) -> None:
    if key is not None:
        st.query_params["case"] = key
        st.rerun()


def _score(worklist: Worklist, case: Case, label: str) -> Markup:
    probability, threshold, positive = case.probabilities[label], worklist.threshold(label), case.positive[label]
    return filled(
        '<div class="score {}"><div class="label">{}</div><div class="value">{}</div><div class="where">{}</div>'
        '<div class="bar"><i style="width:{}%"></i><b style="left:{}%"></b></div><p>{}</p></div>',
        "above" if positive else "below",
        label,
        percentages(probability, threshold)[0],
        side(positive),
        f"{100 * probability:.2f}",
        f"{100 * threshold:.2f}",
        statement(label, probability, threshold, worklist.rule(label), positive=positive),
    )


def _viewer(worklist: Worklist, opened: OpenedCase, label: str) -> None:
    case = opened.case
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kept: str = st.session_state.get("heatmap", OWN)
        st.session_state.setdefault("method", kept)
        method = st.selectbox("Heatmap", options=list(METHODS), key="method", width=240)
        st.session_state["heatmap"] = method
        found = opened.heatmaps[label]
        if method != OWN and found.grid is not None:
            with st.spinner("Computing the heatmap …", show_time=False):
                found = worklist.explain_otherwise(case, label, method)
        part = MEAN
        if found.spread is not None:
            part = st.segmented_control("Of the networks", [MEAN, SPREAD], default=MEAN, required=True, key="part")
    grid = found.spread if part == SPREAD else found.grid
    viewer(data=pack(grid, _words(case, label, method, part, found)), key="viewer")


def _words(case: Case, label: str, method: str, part: str, found: CaseHeatmap) -> dict[str, Said]:
    grid = found.spread if part == SPREAD else found.grid
    comes = f"Where the score of “{label}” comes from"
    words: dict[str, Said] = {
        "id": f"{case.key} {method} {part} {label}",
        "asked": f"{case.key} {label}",  # what is shown on request once is shown in every way
        "image": case.key,
        "beside": st.session_state.get("beside", []),
        "label": label,
        "drawn": not found.kept_back,
        "title": f"Where the networks disagree about “{label}”" if part == SPREAD else comes,
        "state": found.licence.partition(":")[0],
        "licence": f"{found.licence[:1].upper()}{found.licence[1:]}.",
        "alt": readable(f"Radiograph of patient {patient(case)}"),
    }
    if grid is None:
        return {**words, "note": heatmap_failed(label, found.kept_back), "full": "", "strength": "", "contoured": ""}
    return {
        **words,
        "note": heatmap_withheld(label, grid.strength, grid.scale, grid.unit),
        "full": heatmap_scale(grid.scale, grid.unit),
        "strength": f"This image: {heatmap_strength(grid.strength, grid.scale, grid.unit)}.",
        "contoured": heatmap_contour(grid.scale, grid.contour, grid.unit),
    }


def _review(worklist: Worklist, store: ReviewStore, case: Case, label: str) -> None:
    seen = _seen(worklist, store, case, label)
    latest = seen[-1] if seen else None
    saved = st.session_state.setdefault("saved", 0)  # a saved form starts anew; one in conflict keeps its text
    form = f"{case.key} {label} {saved}"
    with st.form(key=f"verdict {form}", border=True):
        show(filled('<div class="claim">{}</div>', claim(label, positive=case.positive[label])))
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
            notice("missing", "Choose agree, disagree or unsure. Nothing was saved.")
        elif not (reviewer or "").strip():
            notice("missing", "Enter your name. Nothing was saved.")
        else:
            verdict = Verdict(
                case.verdict_key, worklist.model.model_id, label, opinion, str(reviewer), str(comment or "")
            )
            _save(store, verdict, latest, _place(case, label), st.session_state["after"] if moves else None)
    if told := st.session_state.pop("told", None):
        notice("done", told)
    if conflict := st.session_state.pop("conflict", None):
        notice("missing", conflict)
    if seen:
        show(_history(seen))
    shared = case.verdict_key != case.sop_instance_uid
    if other := store.history(case.sop_instance_uid if shared else case.sha256, worklist.model.model_id, label):
        show(filled('<div class="notes">{}</div>', other_verdicts(shared=shared)))
        show(_history(other))


def _save(store: ReviewStore, verdict: Verdict, latest: Verdict | None, place: str, after: str | None) -> None:
    try:
        store.save(verdict, expected_revision=latest.revision if latest else 0)
    except Conflict as conflict:
        st.session_state["conflict"] = (
            f"{conflict}. Theirs stands below and your text is still here: read it, then save again if you want."
        )
        after = None
    except MedresError as error:
        notice("refused", str(error))
        return
    else:
        st.session_state["reviewer"] = verdict.reviewer
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


def _history(verdicts: tuple[Verdict, ...]) -> Markup:
    return filled('<ul class="history">{}</ul>', joined(map(_entry, reversed(verdicts))))


def _entry(verdict: Verdict) -> Markup:
    when = f"{verdict.created_at:%Y-%m-%d %H:%M} UTC" if verdict.created_at else ""
    comment = filled("<div>{}</div>", verdict.comment) if verdict.comment else ""
    said = verdict_in_words(verdict.verdict)
    return filled('<li><b>{}</b> <span class="who">{}, {}</span>{}</li>', said, verdict.reviewer, when, comment)
