"""The first page: which images are there, what the model says of them, which wait for a reviewer."""

from __future__ import annotations

import started
import streamlit as st
from components import table
from list_routes import columns_fingerprint
from markup import notice

from medres.errors import MedresError
from medres.review.cases import Case, Worklist
from medres.review.store import ReviewStore


def show_worklist(worklist: Worklist, store: ReviewStore) -> None:
    """The cases, as the reader sorts and filters them."""
    st.session_state.pop("seen", None)  # whoever opens a case again reads its history again
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.title("Worklist", anchor=False)
        label = chosen_label(worklist)
        number = _chosen_reader(store)
    data = {"hash": columns_fingerprint(), "label": worklist.labels.index(label), "reader": number}
    opened = table(data=data, key="worklist", on_opened_change=lambda: None).opened
    if opened:
        cases = worklist.cases
        st.session_state["sequence"] = [cases[int(row)].key for row in opened["rows"].split(",")]
        st.query_params["case"] = opened["key"]
        st.rerun()


def chosen_label(worklist: Worklist) -> str:
    """The label that is looked at; asked for where the model has several."""
    kept: str = st.session_state.get("label", worklist.labels[0])
    if len(worklist.labels) > 1:
        # Streamlit forgets a widget's choice with the page, and takes one whose arguments change for another widget.
        st.session_state.setdefault("finding", kept)
        kept = st.selectbox("Finding", options=worklist.labels, key="finding", width=240)
    st.session_state["label"] = kept
    return kept


def reader_name() -> str:
    """Who reads, by a number of the store's list; "" where nobody has said it yet."""
    return started.reader(reader_number())


def reader_number() -> str:
    """The number of who reads: what was chosen on this page, and at its start what the address says.

    A word that the page sent before it heard of the choice brings an older address along, which must not undo it.
    """
    number: str = st.session_state.setdefault("reader", st.query_params.get("reader", ""))
    if number and st.query_params.get("reader") != number:
        st.query_params["reader"] = number
    return number


def read_as(store: ReviewStore, name: str) -> None:
    """From now on this page is this reader's; the address says so by a number, and no name stands in it."""
    listed = store.add_reader(name)
    (number,) = (one for one, known in store.listed().items() if known == listed)
    st.query_params["reader"] = st.session_state["reader"] = str(number)


def patient(case: Case) -> str:
    """What the patient is called on screen."""
    return case.patient_key or "no PatientID"


def _chosen_reader(store: ReviewStore) -> str:
    """The number of the reader; asked for, from the list that the store keeps."""
    listed = store.listed()
    current = reader_name()
    names = list(listed.values())
    chosen = st.selectbox(
        "Reading as",
        options=names,
        index=names.index(current) if current in names else None,
        placeholder="Choose or type your name",
        accept_new_options=True,
        width=260,
    )
    if chosen and chosen != current:
        try:
            read_as(store, chosen)
        except MedresError as error:
            notice("missing", str(error))
        else:
            st.rerun()
    return reader_number() if current else ""
