"""Files remade from public fault reports about other readers and viewers: each ends as its index says."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from medres import read_radiograph
from medres.errors import REASONS, WARNINGS
from tests.conftest import SHARED, Medres, needs_shared

pytestmark = needs_shared("field")

FIELD = SHARED / "field"


def index() -> list[dict[str, str]]:
    if not FIELD.exists():
        return []
    with (FIELD / "index.csv").open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


ROWS = index()


def test_index_gives_every_file_its_status_and_code(medres: Medres, tmp_path: Path) -> None:
    medres("index", FIELD, "--gate", "any", "--out", tmp_path / "manifest.csv")
    with (tmp_path / "manifest.csv").open(encoding="utf-8", newline="") as table:
        found = {Path(row["path"]).name: (row["status"], set(row["warnings"].split())) for row in csv.DictReader(table)}
    for row in ROWS:
        status, codes = found[row["file"]]
        assert status == row["expected_status"], row["file"]
        assert set(filter(None, [row["expected_code"]])) == codes & (OF_THE_FIELD | {row["expected_code"]}), row["file"]
    assert len(ROWS) == 15


OF_THE_FIELD = {"LUT_DEPTH", "LOW_CONTRAST", "SHUTTER", "HIGH_BITS", "VOI_LUT_UNUSABLE"} & (REASONS.keys() | WARNINGS)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row["expected_display_u16"]], ids=lambda row: Path(row["file"]).stem
)
def test_render_shows_what_the_standard_says(row: dict[str, str], medres: Medres, tmp_path: Path) -> None:
    done = medres("render", FIELD / row["file"], "--out", tmp_path / "display.npy")
    assert done.returncode == 0, done.stderr
    shown = np.rint(np.load(tmp_path / "display.npy").astype(np.float64) * 65535)
    assert np.abs(shown - np.load(FIELD / row["expected_display_u16"])).max() <= 2


def test_a_table_that_overstates_its_depth_shows_the_phantom_as_its_window_does() -> None:
    by_window, by_table = (
        read_radiograph(FIELD / f"score_{name}.dcm").pixels for name in ("a_original", "c_voilut_16_narrow4095")
    )
    assert np.abs(by_window - by_table).max() <= 0.001


def test_a_shutter_is_on_the_record_and_not_in_the_pixels() -> None:
    radiograph = read_radiograph(FIELD / "F12_shutter.dcm")
    assert radiograph.shutter is not None
    assert (radiograph.shutter.shapes, radiograph.shutter.rectangle) == (("RECTANGULAR",), (21, 96, 17, 96))
    assert radiograph.pixels[:16].max() > 0
