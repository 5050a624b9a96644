"""Scores by several models in one folder, one after the other: what a reader sees is never mixed, and never lost."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from medres.scoring.folder import score_folder
from tests.support.models import saved_again
from tests.support.phantoms import blob, write_radiograph

COUNT = 6


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, format3_model: Path) -> dict[str, Path]:
    """A model, one with other weights, and one with another label."""
    home = tmp_path_factory.mktemp("models")
    saved_again(format3_model, home / "A")
    saved_again(format3_model, home / "B", shift=0.2)
    saved_again(format3_model, home / "C", rename=("disc", "nodule"))
    return {name: home / name for name in "ABC"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(COUNT):
        pixels = blob(number, bright=number % 2 == 0)
        write_radiograph(tmp_path / "in" / f"{number}.dcm", pixels, patient=str(number), uid=f"2.25.{number + 1}")
    return tmp_path / "in"


@pytest.fixture
def scored(models: dict[str, Path], folder: Path, tmp_path: Path) -> Path:
    """The folder's scores by the first model."""
    score_folder(models["A"], folder, out=tmp_path / "out", workers=1)
    return tmp_path / "out"


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "predictions.csv", dtype=str, keep_default_na=False).set_index("path")


def said(out: Path) -> str:
    return str(json.loads((out / "run.json").read_text())["model_id"])


def test_the_table_is_of_the_model_that_was_given_last(models: dict[str, Path], folder: Path, scored: Path) -> None:
    first = (scored / "predictions.csv").read_bytes()
    score_folder(models["B"], folder, out=scored, resume=True, workers=1)
    second = table(scored)
    assert set(second["model_id"]) == {said(scored)}
    again = score_folder(models["A"], folder, out=scored, resume=True, workers=1)
    assert again.reused == COUNT
    assert (scored / "predictions.csv").read_bytes() == first
    assert set(table(scored)["model_id"]) == {said(scored)}
    assert score_folder(models["B"], folder, out=scored, resume=True, workers=1).reused == COUNT
    assert table(scored).equals(second)
