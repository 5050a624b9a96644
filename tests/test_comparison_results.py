"""A comparison that was written is read as typed records and written back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from medres import compare
from medres.documents import read_document, write_document
from medres.errors import UsageError
from medres.evaluation.comparison_results import Comparison
from medres.tables import read_json, write_json
from tests.test_comparison import run_of, tables


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The comparison of a good run with two seeds of a bad recipe."""
    folder = tmp_path_factory.mktemp("compared")
    good, bad, again = tables(2)
    runs = [
        run_of(folder / "good", good),
        run_of(folder / "bad", bad, architecture="resnet50"),
        run_of(folder / "again", again, architecture="resnet50", seed=1),
    ]
    compare(runs, out=folder / "out", timing=False)
    return folder / "out" / "comparison.json"


def test_a_comparison_is_read_and_written_back_byte_for_byte(compared: Path, tmp_path: Path) -> None:
    found = read_document(compared, Comparison)
    write_document(tmp_path / "again.json", found)
    assert (tmp_path / "again.json").read_bytes() == compared.read_bytes()
    assert [one.metric for one in found.deciding("effusion")] == ["auroc"]
    assert {one.verdict for one in found.undecided()} == {None}
    assert [len(one.runs) for one in found.candidates] == [1, 2]


def test_a_field_of_a_newer_version_is_refused_by_name(compared: Path, tmp_path: Path) -> None:
    content = read_json(compared)
    content["comparisons"][0]["novelty"] = 1
    write_json(tmp_path / "newer.json", content)
    with pytest.raises(UsageError, match=r"novelty is not known"):
        read_document(tmp_path / "newer.json", Comparison)
