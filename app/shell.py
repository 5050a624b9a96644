"""What every page has: the arguments, the banner, the way from page to page, and errors in one sentence."""

from __future__ import annotations

import logging
from pathlib import Path

import started
import streamlit as st
from agreement_page import show_agreement
from case_page import show_case
from markup import filled, joined, notice, show, style
from worklist_page import read_as, reader_name, show_worklist

from medres.errors import MedresError
from medres.review.about import card_facts
from medres.review.cases import Case, Worklist
from medres.review.store import ReviewStore
from medres.review.wording import NOT_DIAGNOSTIC

log = logging.getLogger(__name__)
STYLE = Path(__file__).with_name("style.css")
AGREEMENT = "agreement"  # the page's name in an address


def main() -> None:
    """Show the page that the address names."""
    st.set_page_config(page_title=f"medres review · {NOT_DIAGNOSTIC.lower()}", page_icon="🩻", layout="wide")
    style(STYLE)
    masthead = st.container(key="masthead", horizontal=True, vertical_alignment="center")
    with masthead:
        show(filled('<div class="brand">medres review</div><div class="banner" role="note">{}</div>', NOT_DIAGNOSTIC))
    try:
        store = started.store()
        with st.spinner("Loading and verifying the model …", show_time=False):
            worklist = started.worklist()
        with masthead:
            if st.button("Readers compared", type="tertiary", icon=":material/group:"):
                st.query_params.pop("case", None)
                st.query_params["page"] = AGREEMENT
            if st.button("About the model", type="tertiary", icon=":material/info:"):
                _about(worklist)
        _follow_reader(store)
        case = worklist.find(st.query_params.get("case", ""))
        if case is not None:
            _note_view(store, worklist, case)
            show_case(worklist, store, case)
        elif st.query_params.get("page") == AGREEMENT:
            show_agreement(worklist, store)
        else:
            show_worklist(worklist, store)
    except MedresError as error:
        log.warning("%s", error.code)
        notice("refused", str(error))


def _follow_reader(store: ReviewStore) -> None:
    """Who saved last reads on, in the list and after a reload, which only the address survives."""
    named, current = st.session_state.get("reviewer", ""), reader_name()
    if named and named != current:
        read_as(store, named)
    elif current:
        st.session_state["reviewer"] = current


def _note_view(store: ReviewStore, worklist: Worklist, case: Case) -> None:
    """Once for each time that somebody opens an image."""
    shown = (case.key, reader_name())
    if st.session_state.get("viewed") != shown:
        st.session_state["viewed"] = shown
        told = {"image": case.verdict_key, "model": worklist.model.model_id, "page": "case"}
        store.note("view", shown[1], told)


@st.dialog("About the model", width="large")
def _about(worklist: Worklist) -> None:
    rows = joined(filled("<dt>{}</dt><dd>{}</dd>", name, value) for name, value in card_facts(worklist.model.card))
    show(filled('<dl class="facts">{}</dl>', rows))
