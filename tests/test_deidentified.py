"""The table that may leave a site joins neither a manifest nor a file, and every row is still there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.cohort.pseudonyms import pseudonym
from medres.scoring.deidentified import DEIDENTIFIED, HOLDS, keyed_path, keyed_uid
from medres.scoring.folder import score_folder
from medres.tables import read_csv, read_json
from tests.conftest import Medres
from tests.support.phantoms import blob, write_radiograph

KEY = b"0123456789abcdef"


@pytest.fixture
def images(small_cohort: Path, tmp_path: Path) -> Path:
    """Four radiographs, one of them twice, and a file that is none; the names are those of a ward's list."""
    folder = tmp_path / "Doe Jane"
    (folder / "ward").mkdir(parents=True)
    for number in range(3):
        shutil.copy(small_cohort.parent / "images" / f"{number:04d}.dcm", folder / f"Doe {number}.dcm")
    shutil.copy(folder / "Doe 0.dcm", folder / "ward" / "again.dcm")
    write_radiograph(folder / "=x.dcm", blob(5, bright=True), patient="canary-7", uid="2.25.77", StudyDate="19671013")
    (folder / "notes.txt").write_text("sort by patient")
    return folder


def test_nothing_in_it_joins_a_manifest_or_a_file(format3_model: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "scored"
    score_folder(format3_model, images, out=out, workers=1, deidentify=True)
    first, second = read_csv(out / "predictions.csv"), read_csv(out / DEIDENTIFIED)
    assert len(first) == len(second) == 6
    names = ("path", "sha256", "SOPInstanceUID", "StudyInstanceUID", "detail")
    known = {cell for name in names for cell in first[name]} - {""}
    known |= {path.name for path in images.rglob("*")} | {"2.25.77", "canary-7", "Doe", "19671013"}
    text = (out / DEIDENTIFIED).read_text(encoding="utf-8")
    assert not [cell for cell in known if cell in text]
    assert second["path"].is_monotonic_increasing
    assert second["path"].is_unique
    assert set(first.columns) - set(second.columns) == {"sha256", "detail", "StudyDate"}


def test_what_it_says_of_an_image_is_what_the_first_table_says(
    format3_model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDRES_PSEUDONYM_KEY", KEY.decode())
    out = tmp_path / "scored"
    score_folder(format3_model, images, out=out, workers=1, deidentify=True)
    first, second = read_csv(out / "predictions.csv"), read_csv(out / DEIDENTIFIED).set_index("path")
    kept = ("status", "reason", "PatientKey", "ViewPosition", "prob_disc", "positive_disc", "model_id", "warnings")
    for _, row in first.iterrows():
        other = second.loc[keyed_path(row["path"].removeprefix("./"), KEY)]
        assert [row[name] for name in kept] == [other[name] for name in kept]
        assert other["SOPInstanceUID"] == keyed_uid(row["SOPInstanceUID"], KEY)
    parquet = pd.read_parquet(out / DEIDENTIFIED.replace(".csv", ".parquet"))
    assert parquet["path"].tolist() == list(second.index)
    assert parquet["prob_disc"].dtype == float


def test_it_is_written_again_with_the_first_one_and_both_say_what_they_hold(
    format3_model: Path, images: Path, medres: Medres, tmp_path: Path
) -> None:
    out = tmp_path / "scored"
    command = ("score", format3_model, images, "--out", out, "--workers", 1)
    done = medres(*command, "--deidentify")
    assert done.returncode == 3, done.stderr
    assert HOLDS["predictions.csv"] in done.stdout
    assert read_json(out / "run.json")["holds"] == HOLDS
    (images / "Doe 1.dcm").unlink()
    assert medres(*command, "--resume").returncode == 3
    assert len(read_csv(out / DEIDENTIFIED)) == len(read_csv(out / "predictions.csv")) == 6
    assert sum(read_csv(out / DEIDENTIFIED)["status"] == "gone") == 1
    assert medres(*command, "--force").returncode == 3
    assert not list(out.glob("predictions.deidentified.*"))
    assert set(read_json(out / "run.json")["holds"]) == {"predictions.csv"}


@given(st.text(), st.text(), st.binary(min_size=16, max_size=64))
def test_keyed_names_are_equal_for_equals_and_valid(one: str, other: str, key: bytes) -> None:
    for make in (keyed_uid, keyed_path):
        assert (make(one, key) == make(other, key)) == (one == other)
    if one:
        uid = keyed_uid(one, key)
        assert len(uid) <= 64
        assert uid.removeprefix("2.25.").isdecimal()
        assert not uid.startswith("2.25.0") or uid == "2.25.0"
        assert pseudonym(one, key) not in {keyed_path(one, key)[:12], uid}
