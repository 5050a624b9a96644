"""The two parts of the app that run in the browser: the table of cases, and the room of one case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

FOLDER = Path(__file__).parent


def component(name: str) -> Any:
    """The component made of `name`.html, `name`.css and `name`.js beside this file."""
    html, css, js = ((FOLDER / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return st.components.v2.component(f"medres_{name}", html=html, css=css, js=js)


table = component("worklist")
room = component("room")
