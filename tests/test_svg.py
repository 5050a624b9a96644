"""A drawing in a page is one element of its own ids, takes its colours from the page, and draws what it was given."""

from __future__ import annotations

from xml.etree import ElementTree

import pandas as pd
from matplotlib.figure import Figure

from medres.report.plots import PAPER_PALETTE, draw_roc
from medres.report.svg import PAGE_PALETTE, drawing, hundred_squares

TABLE = pd.DataFrame(
    {"false_positive_rate": [0.0, 0.5, 1.0], "sensitivity": [0.0, 0.9, 1.0], "low": [0.0, 0.8, 1.0], "high": 1.0}
)


def test_every_id_is_the_drawings_own_and_every_reference_has_its_target() -> None:
    with drawing("one", title="A <title>", description="what it shows") as drawn:
        draw_roc(drawn.axes, TABLE, palette=PAGE_PALETTE)
    root = ElementTree.fromstring(str(drawn.svg).replace("xlink:href", "href"))
    ids = {element.get("id") for element in root.iter()} - {None}
    assert ids
    assert all(str(one).startswith("one-") for one in ids)
    targets = [str(element.get("href")) for element in root.iter("use")]
    assert {target.removeprefix("#") for target in targets} <= ids
    assert root.findtext("title") == "A <title>"
    assert root.get("width") is None
    assert not list(root.iter("style")) + list(root.iter("metadata"))


def test_colours_are_variables_of_the_page() -> None:
    with drawing("one", title="", description="") as drawn:
        draw_roc(drawn.axes, TABLE, palette=PAGE_PALETTE)
    assert "#0d0d0" not in drawn.svg
    assert "stroke: var(--first)" in drawn.svg


def test_a_notebooks_plot_has_colours_and_the_values_of_its_table() -> None:
    axes = Figure().add_subplot()
    assert draw_roc(axes, TABLE, point=(0.1, 0.7)) is axes
    curve = next(line for line in axes.lines if line.get_color() == PAPER_PALETTE.first)
    assert list(curve.get_ydata()) == TABLE["sensitivity"].tolist()


def test_so_many_of_a_hundred_squares_are_marked() -> None:
    root = ElementTree.fromstring(hundred_squares(37, name="x", title="t", description="d"))
    kinds = [square.get("class") for square in root.iter("rect")]
    assert (kinds.count("full"), kinds.count("open")) == (37, 63)
