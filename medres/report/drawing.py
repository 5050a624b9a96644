"""How the report draws: small SVGs that take their colours from the page, so that they suit paper and dark screens.

Nothing but numbers and words of ours is drawn: names from files stand in the page, where they are escaped.
"""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK, MUTED, RULE, FIRST, SECOND, PAPER = (f"#0d0d0{place}" for place in range(1, 7))
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    FIRST: "--first",
    SECOND: "--second",
    PAPER: "--paper",
}
STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
}
SQUARE = (3.5, 3.2)  # inches, of 72 points
WIDE = (3.5, 2.5)
UNIT_TICKS = (0, 0.2, 0.4, 0.6, 0.8, 1)
DASHED, DOTTED = (0, (4, 3)), (0, (1, 2))


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of that many inches, without a background."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    return figure, axes


def unit_square(axes: Axes, x: str, y: str) -> None:
    """Both axes from 0 to 1, of the same scale."""
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xticks=UNIT_TICKS, yticks=UNIT_TICKS, xlabel=x, ylabel=y)
    axes.set_aspect("equal")


def as_svg(figure: Figure, *, name: str, title: str, description: str) -> str:
    """The figure as an SVG element for a page: accessible, without fixed size, ids of its own."""
    target = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(target, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    text = target.getvalue()
    text = text[text.index("<svg") :]
    view = re.search(r'viewBox="[^"]+"', text)
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", text[text.index(">") + 1 :], flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body).replace("url(#", f"url(#{name}-")
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    body = re.sub(r"\s*\n\s*", "\n", body)
    return opening(name, view[0] if view else "", title, description) + body.strip()


def opening(name: str, view: str, title: str, description: str) -> str:
    """The first tag of an SVG element and the words that stand for it where it cannot be seen."""
    words = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    return f'<svg {view} role="img" aria-labelledby="{name}-title {name}-desc">{words}'


def hundred_squares(marked: int, *, name: str, title: str, description: str) -> str:
    """A hundred squares, four rows of 25: the first `marked` of them filled, the others outlines."""
    squares = []
    for place in range(100):
        row, column = divmod(place, 25)
        kind = "full" if place < marked else "open"
        squares.append(
            f'<rect class="{kind}" x="{column * 4 + 0.6:g}" y="{row * 4 + 0.6:g}" width="2.8" height="2.8"/>'
        )
    return opening(name, 'viewBox="0 0 100 16"', title, description) + "".join(squares) + "</svg>"


def finite(values: Any) -> NDArray[np.float64]:
    """A column of a figure's table as numbers, NaN where a cell is blank."""
    return np.asarray(values, dtype=np.float64)
