"""What every page has: the arguments, the banner, the way from page to page, and errors in one sentence."""

from __future__ import annotations

import argparse
import logging
from html import escape
from pathlib import Path

import streamlit as st
from case_page import show_case
from worklist_page import show_worklist

from medres.errors import MedresError
from medres.review.about import card_facts
from medres.review.cases import Worklist
from medres.review.store import ReviewStore
from medres.review.wording import NOT_DIAGNOSTIC

log = logging.getLogger(__name__)
STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")


def main() -> None:
    """Show the page that the address names."""
    st.set_page_config(page_title=f"medres review · {NOT_DIAGNOSTIC.lower()}", page_icon="🩻", layout="wide")
    st.html(f"<style>{STYLE}</style>")
    masthead = st.container(key="masthead", horizontal=True, vertical_alignment="center")
    with masthead:
        st.html(f'<div class="brand">medres review</div><div class="banner" role="note">{NOT_DIAGNOSTIC}</div>')
    try:
        arguments = _arguments()
        worklist, store = _worklist(arguments.scores, arguments.model), _store(arguments.store)
        with masthead:
            if st.button("About the model", type="tertiary", icon=":material/info:"):
                _about(worklist)
        case = worklist.find(st.query_params.get("case", ""))
        if case is None:
            show_worklist(worklist, store)
        else:
            show_case(worklist, store, case)
    except MedresError as error:
        log.warning("%s", error.code)
        st.error(f"{error}", icon=":material/block:")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="medres app", exit_on_error=False)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--store", required=True)
    return parser.parse_args()


@st.cache_resource(show_spinner="Loading and verifying the model …")
def _worklist(scores: Path, model: Path) -> Worklist:
    return Worklist.open(scores, model)


@st.cache_resource(show_spinner=False)
def _store(url: str) -> ReviewStore:
    return ReviewStore.open(url)


@st.dialog("About the model", width="large")
def _about(worklist: Worklist) -> None:
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in card_facts(worklist.model.card)
    )
    st.html(f'<dl class="facts">{rows}</dl>')
