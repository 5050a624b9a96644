"""The first page: which images are there, what the model says of them, which wait for a reviewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st
from components import table
from markup import Markup, filled, joined, readable, show

from medres.review.cases import Case, Worklist
from medres.review.store import ReviewStore, Verdict
from medres.review.wording import call, percentages, verdict_in_words

NOT_REVIEWED, LOOK, ALL = "Not reviewed", "Needs a look", "All"
EMPTY = {
    NOT_REVIEWED: "Every image has a verdict. Choose “All” to see them.",
    LOOK: "No image asks for a closer look.",
    ALL: "No image of this folder could be scored.",
}


def show_worklist(worklist: Worklist, store: ReviewStore) -> None:
    """The cases of one label, highest probability first."""
    st.session_state.pop("seen", None)  # whoever opens a case again reads its history again
    st.title("Worklist", anchor=False)
    summary = st.empty()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        label = chosen_label(worklist)
        shown = st.segmented_control("Show", [NOT_REVIEWED, LOOK, ALL], default=ALL, required=True, key="shown")
    verdicts = store.latest(worklist.model.model_id)
    cases = worklist.sorted_by(label)
    show(_summary(cases, label, verdicts), summary)
    chosen = [case for case in cases if _wanted(case, shown or ALL, (case.verdict_key, label) in verdicts)]
    rows = [_row(worklist, case, label, verdicts.get((case.verdict_key, label))) for case in chosen]
    point = percentages(1.0, worklist.threshold(label))[1]
    data = {"rows": rows, "label": label, "point": point, "empty": EMPTY[shown or ALL]}
    opened = table(data=data, key="worklist", on_opened_change=lambda: None).opened
    if opened:
        st.session_state["sequence"] = [case.key for case in chosen]
        st.query_params["case"] = opened
        st.rerun()
    _unscored(worklist)


def chosen_label(worklist: Worklist) -> str:
    """The label that is looked at; asked for where the model has several."""
    kept: str = st.session_state.get("label", worklist.labels[0])
    if len(worklist.labels) > 1:
        # Streamlit forgets a widget's choice with the page, and takes one whose arguments change for another widget.
        st.session_state.setdefault("finding", kept)
        kept = st.selectbox("Finding", options=worklist.labels, key="finding", width=240)
    st.session_state["label"] = kept
    return kept


def patient(case: Case) -> str:
    """What the patient is called on screen."""
    return case.patient_key or "no PatientID"


def _wanted(case: Case, shown: str, reviewed: bool) -> bool:
    return {NOT_REVIEWED: not reviewed, LOOK: case.status == "review", ALL: True}[shown]


def _summary(cases: Sequence[Case], label: str, verdicts: Mapping[tuple[str, str], Verdict]) -> Markup:
    above = sum(case.positive[label] for case in cases)
    look = sum(case.status == "review" for case in cases)
    done = sum((case.verdict_key, label) in verdicts for case in cases)
    return filled(
        '<div class="summary"><b>{}</b> images · <b>{}</b> at or above the operating point for {}'
        " · <b>{}</b> need a look · <b>{}</b> reviewed</div>",
        len(cases),
        above,
        label,
        look,
        done,
    )


def _row(worklist: Worklist, case: Case, label: str, verdict: Verdict | None) -> dict[str, Any]:
    probability, threshold = case.probabilities[label], worklist.threshold(label)
    return {
        "key": case.key,
        "patient": readable(patient(case)),
        "image": f"image {case.image} of {case.images}" if case.images > 1 else "",
        "view": readable(case.view_position or "–"),
        "probability": probability,
        "threshold": threshold,
        "shown": percentages(probability, threshold)[0],
        "positive": case.positive[label],
        "call": call(positive=case.positive[label]),
        "review": list(case.review),
        "verdict": verdict_in_words(verdict.verdict) if verdict else "–",
        "by": readable(verdict.reviewer) if verdict else "",
    }


def _unscored(worklist: Worklist) -> None:
    if not worklist.unscored:
        return
    refused = sum(item.status == "refused" for item in worklist.unscored)
    rows = joined(
        filled("<dt>Row {}, {}</dt><dd>{}</dd>", item.row, item.status, item.reason) for item in worklist.unscored
    )
    show(
        filled(
            '<details class="unscored"><summary>Files not in this list: {} refused, {} duplicate</summary>'
            "<p>Files are named by their row in predictions.csv, because a file's name may name a patient.</p>"
            '<dl class="facts">{}</dl></details>',
            refused,
            len(worklist.unscored) - refused,
            rows,
        )
    )
