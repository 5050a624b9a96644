"""How a page draws: small SVGs that take their colours from the page, so that they suit paper and dark screens."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from medres.report.plots import Palette

PAGE_PALETTE = Palette(*(f"#0d0d0{place}" for place in range(1, 7)))
"""Colours that stand for the variables of the page's style sheet of the same names, which take their place."""

SQUARE = (3.5, 3.2)  # inches, of 72 points
WIDE = (3.5, 2.5)
_VARIABLES = {colour: f"var(--{name})" for name, colour in asdict(PAGE_PALETTE).items()}
_LEFT_OUT = {"metadata", "style"}
_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_STYLE: Any = {  # matplotlib's names for settings are a type of their own
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": PAGE_PALETTE.ink,
    "text.parse_math": False,
    "axes.edgecolor": PAGE_PALETTE.muted,
    "axes.labelcolor": PAGE_PALETTE.ink,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PAGE_PALETTE.rule,
    "grid.linewidth": 0.6,
    "xtick.color": PAGE_PALETTE.muted,
    "ytick.color": PAGE_PALETTE.muted,
    "xtick.labelcolor": PAGE_PALETTE.ink,
    "ytick.labelcolor": PAGE_PALETTE.ink,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
}


@dataclass(slots=True)
class Drawing:
    """An empty plot, and after its `with` block the SVG element that it became."""

    axes: Axes
    svg: Markup


@contextmanager
def drawing(name: str, *, title: str, description: str, size: tuple[float, float] = SQUARE) -> Iterator[Drawing]:
    """A plot in the page's style, without a background.

    Args:
        name: of the picture in its page; what in it needs an id has this before it.
        title: what it is.
        description: what it shows, for those who do not see it.
        size: width and height in inches.
    """
    with mpl.rc_context(_STYLE), mpl.rc_context({"svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained", facecolor="none")
        axes = figure.add_subplot()
        axes.set_facecolor("none")
        started = Drawing(axes, Markup(""))
        yield started
        started.svg = _for_a_page(_drawn(figure), name, title, description)


def hundred_squares(marked: int, *, name: str, title: str, description: str) -> Markup:
    """A hundred squares, four rows of 25: the first `marked` of them filled, the others outlines."""
    root = _opening(name, "0 0 100 16", title, description)
    for place in range(100):
        row, column = divmod(place, 25)
        corner = {"x": f"{column * 4 + 0.6:g}", "y": f"{row * 4 + 0.6:g}"}
        kind = "full" if place < marked else "open"
        ElementTree.SubElement(root, "rect", {"class": kind, **corner, "width": "2.8", "height": "2.8"})
    return _markup(root)


def _drawn(figure: Figure) -> ElementTree.Element:
    """What matplotlib makes of a figure."""
    target = io.StringIO()
    FigureCanvasSVG(figure).print_svg(target, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return ElementTree.fromstring(target.getvalue())


def _for_a_page(drawn: ElementTree.Element, name: str, title: str, description: str) -> Markup:
    """The SVG element of a page: accessible, of no fixed size, its ids its own, its colours those of the page."""
    root = _opening(name, drawn.get("viewBox", ""), title, description)
    root.extend(_element(child, name) for child in drawn if _local(child) not in _LEFT_OUT)
    return _markup(root)


def _opening(name: str, view: str, title: str, description: str) -> ElementTree.Element:
    """An SVG element with the words that stand for it where it cannot be seen."""
    named = {"viewBox": view, "role": "img", "aria-labelledby": f"{name}-title {name}-desc"}
    root = ElementTree.Element("svg", named)
    for tag, end, words in (("title", "title", title), ("desc", "desc", description)):
        ElementTree.SubElement(root, tag, id=f"{name}-{end}").text = words
    return root


def _element(source: ElementTree.Element, name: str) -> ElementTree.Element:
    """An element without namespaces, and all in it but metadata and style sheets."""
    tag = _local(source)
    found = ElementTree.Element(tag, _attributes(source, name))
    found.text = source.text if tag == "text" else "\n" if len(source) else None
    found.tail = "\n"
    found.extend(_element(child, name) for child in source if _local(child) not in _LEFT_OUT)
    return found


def _attributes(source: ElementTree.Element, name: str) -> dict[str, str]:
    found = {}
    for key, value in source.attrib.items():
        if key == "id":
            if _local(source) != "g":  # groups are named by matplotlib, and nothing refers to them
                found["id"] = f"{name}-{value}"
        elif key == f"{_XLINK}href":
            found["xlink:href"] = value.replace("#", f"#{name}-", 1)
        elif key == "style":
            found["style"] = _style(value, name)
        else:
            found[key] = _of_the_page(" ".join(value.split()), name)
    return found


def _style(declarations: str, name: str) -> str:
    """Declarations of an element's style; the font's size is kept, its family is the page's."""
    pairs = [part.partition(":") for part in declarations.split(";") if part.strip()]
    kept = [(key.strip(), value.strip()) for key, _, value in pairs]
    kept = [("font-size", value.split()[0]) if key == "font" else (key, value) for key, value in kept]
    return "; ".join(f"{key}: {_of_the_page(value, name)}" for key, value in kept)


def _of_the_page(value: str, name: str) -> str:
    """A value with the page's colours, and with references to ids as they are in the page."""
    for colour, variable in _VARIABLES.items():
        value = value.replace(colour, variable)
    return value.replace("url(#", f"url(#{name}-")


def _local(element: ElementTree.Element) -> str:
    return element.tag.removeprefix(_SVG)


def _markup(root: ElementTree.Element) -> Markup:
    return Markup(ElementTree.tostring(root, encoding="unicode"))
