"""Public datasets, described by YAML files of `data_manifests/`: where their labels lie and what they mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from medres.config.reading import read_yaml, validated
from medres.errors import ConfigError, ManifestError
from medres.tables import read_csv

if TYPE_CHECKING:
    import pandas as pd


class LabelColumn(BaseModel):
    """How one column of a dataset's table becomes a label."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str = Field(description="Column of the dataset's table.")
    positive: str = Field(description="Regular expression of values that mean present.")
    negative: str = Field(
        default="", description="Regular expression of values that mean absent; empty: every other value."
    )
    uncertain: str = Field(default="", description="Regular expression of values that mean uncertain (−1).")


class DatasetSource(BaseModel):
    """One public dataset: its table, how a row names an image, and its labels. Never pixels, never names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="The dataset's name.")
    homepage: str = Field(description="Where it is described and asked for.")
    licence: str = Field(description="The terms of use, in words.")
    citation: str = Field(description="What to cite.")
    table: str = Field(description="The table of labels, relative to the indexed folder; `..` is allowed.")
    key: str = Field(description="Column of the table that names an image, study or patient.")
    joins: Literal["SOPInstanceUID", "StudyInstanceUID", "PatientID"] = Field(
        description="What `key` is in the DICOM header."
    )
    combine: Literal["any", "last"] = Field(
        default="any",
        description="Rows with one key: `any` positive makes it positive, or the last row counts.",
    )
    labels: dict[str, LabelColumn] = Field(min_length=1, description="Labels by name.")


def sources_folder() -> Path:
    """Where the YAML files lie: in the installed package, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_data_manifests"
    return installed if installed.is_dir() else package.parent / "data_manifests"


def read_source(name: str) -> DatasetSource:
    """A dataset's description, by name or by file.

    Raises:
        ConfigError: there is none, or it is not valid.
    """
    known = {path.stem: path for path in sorted(sources_folder().glob("*.yaml"))}
    path = known.get(name, Path(name))
    if not path.is_file():
        raise ConfigError(f"no dataset or file named {name!r}; known datasets: {', '.join(known) or 'none'}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    return validated(DatasetSource, read_yaml(text, str(path)), str(path))


def source_labels(source: DatasetSource, folder: Path) -> pd.DataFrame:
    """The dataset's labels as a table that `cohort.indexing.join_labels` takes: the key and `label_` columns.

    Raises:
        ManifestError: the dataset's table is missing, or lacks a column.
    """
    import pandas as pd

    path = folder / source.table
    table = read_csv(path)
    wanted = [source.key, *(label.column for label in source.labels.values())]
    missing = [column for column in wanted if column not in table]
    if missing:
        raise ManifestError(f"{path} has no column {', '.join(missing)}; is it the table of {source.name}?")
    result = pd.DataFrame({source.joins: table[source.key]})
    for name, label in source.labels.items():
        result[f"label_{name}"] = [_value(label, cell) for cell in table[label.column]]
    grouped = result.groupby(source.joins, sort=False)
    return (grouped.agg(_any_positive) if source.combine == "any" else grouped.last()).reset_index()


def _value(label: LabelColumn, cell: str) -> str:
    for pattern, value in ((label.positive, "1"), (label.uncertain, "-1"), (label.negative, "0")):
        if pattern and re.fullmatch(pattern, cell.strip()):
            return value
    return "" if label.negative else "0"


def _any_positive(values: pd.Series[str]) -> str:
    return next((value for value in ("1", "-1", "0") if (values == value).any()), "")
