"""What every page has: the arguments, the banner, the way from page to page, and errors in one sentence."""

from __future__ import annotations

import logging
from pathlib import Path

import started
import streamlit as st
from agreement_page import show_agreement
from case_page import show_case
from markup import filled, joined, notice, show, style
from worklist_page import show_worklist

from medres.errors import MedresError
from medres.review.about import card_facts
from medres.review.cases import Worklist
from medres.review.room import heading
from medres.review.wording import NOT_DIAGNOSTIC

log = logging.getLogger(__name__)
_NAMED = 5  # of the images whose files are gone
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
        room = started.room()
        with masthead:
            if st.button("Readers compared", type="tertiary", icon=":material/group:"):
                st.query_params.pop("case", None)
                st.query_params["page"] = AGREEMENT
            if st.button("About the model", type="tertiary", icon=":material/info:"):
                st.session_state["about"] = _place()
        if st.session_state.get("about") == _place():  # a draft runs the page again, and must not close what is read
            _about(room.worklist)
        case = room.worklist.find(st.query_params.get("case", ""))
        if case is not None:
            show_case(room.worklist, room.store, case)
        elif st.query_params.get("page") == AGREEMENT:
            show_agreement(room.worklist, room.store)
        else:
            _absent(room)
            show_worklist(room.worklist, room.store)
    except MedresError as error:
        log.warning("%s", error.code)
        notice("refused", str(error))


def _absent(room: started.Room) -> None:
    """Which images cannot be shown any more, before one of them is opened."""
    if room.absent:
        named = "; ".join(heading(case) for case in room.absent[:_NAMED])
        more = f"; and {len(room.absent) - _NAMED} more" if len(room.absent) > _NAMED else ""
        notice("missing", f"The files of these images are not in the scored folder any more: {named}{more}.")


def _place() -> tuple[str, str]:
    """Where somebody is: the case and the page that the address names."""
    return st.query_params.get("case", ""), st.query_params.get("page", "")


def _close_about() -> None:
    st.session_state["about"] = None


@st.dialog("About the model", width="large", on_dismiss=_close_about)
def _about(worklist: Worklist) -> None:
    rows = joined(filled("<dt>{}</dt><dd>{}</dd>", name, value) for name, value in card_facts(worklist.model.card))
    show(filled('<dl class="facts">{}</dl>', rows))
