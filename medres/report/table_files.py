"""Every figure of a page with the table it was drawn from, which is written beside the page as CSV."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from medres.tables import csv_text

FOLDER = "tables"
"""The folder of a run that holds the tables of its page's figures."""


@dataclass(frozen=True, slots=True)
class TableFile:
    """A table that is written beside the page."""

    name: str  # of the file, e.g. roc-nodule.csv
    text: str

    @property
    def path(self) -> str:
        """From the page."""
        return f"{FOLDER}/{self.name}"

    @property
    def address(self) -> str:
        """The table itself, for a link that works without the folder."""
        return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(self.text.encode()).decode()}"


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure, what it shows, and the table it was drawn from."""

    caption: str
    svg: Markup
    file: TableFile


def table_file(kind: str, table: pd.DataFrame, label: str = "") -> TableFile:
    """A table under the name that its kind and its label, as part of a file name, give."""
    return TableFile(f"{kind}-{label}.csv" if label else f"{kind}.csv", csv_text(table))
