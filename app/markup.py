"""The one door to the page for texts that come from data: names, tags, labels, paths, errors, whatever was read.

Streamlit renders most texts as Markdown, with links, images, LaTeX, directives and names of emoji, and some of it acts
on text that was escaped. So no such text is Markdown here: it becomes HTML, escaped, or it goes to a component of ours,
which sets it as text. Only literals reach calls that render Markdown; `tests/app/test_markup.py` reads every call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import streamlit as st
from markupsafe import Markup, escape

# Control characters except tab and line feed, and what turns the direction of writing around.
_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff]")


def filled(template: str, *values: object) -> Markup:
    """HTML whose places are filled with values, each of them escaped unless it was made here.

    >>> filled("<b>{}</b>", "<i>")
    Markup('<b>&lt;i&gt;</b>')
    """
    return Markup(template).format(
        *(value if isinstance(value, Markup) else escape(readable(str(value))) for value in values)
    )


def readable(text: str) -> str:
    """A text without the characters that are not seen and change what is; our components set it as text."""
    return _UNSHOWN.sub("�", text)


def joined(parts: Iterable[Markup]) -> Markup:
    """Parts of a page, one after the other."""
    return Markup("").join(parts)


def show(content: Markup, place=st) -> None:
    """Show what `filled` made, here or at a place that was kept free.

    Raises:
        TypeError: it was not made here.
    """
    if not isinstance(content, Markup):
        raise TypeError("only what `filled` made is shown")
    place.html(str(content))


def heading(text: str) -> None:
    """The title of a page, with a text that comes from data."""
    show(filled('<h1 class="title">{}</h1>', text))


def notice(kind: Literal["done", "missing", "refused"], text: str) -> None:
    """Say what happened, in a box of its own."""
    show(filled('<div class="notice {}" role="alert">{}</div>', kind, text))


def style(path: Path) -> None:
    """Use a style sheet of ours."""
    st.html(path)
