"""A model that travels computes what it did, and tells nothing of the patients and the site it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medres.cohort.profile import CATEGORIES, Count
from medres.errors import OutputExists, UsageError
from medres.model.bundle import card_text
from medres.model.card import CARD_FILE, identify
from medres.model.classifier import Classifier, read_card
from medres.model.exporting import TRAVELLING_TAGS, export_model
from medres.model.inspection import inspect_folder
from medres.tables import read_json, write_json
from tests.conftest import Medres
from tests.support.format3 import linked_copy

CANARY = "Canary General Hospital"


@pytest.fixture
def model(format3_model: Path, tmp_path: Path) -> Path:
    """A model whose card names its site wherever a card can."""
    folder = linked_copy(format3_model, tmp_path / "model")
    card = read_json(folder / CARD_FILE)
    many = Count(images=40, patients=40).model_dump()
    card["provenance"]["config"]["elsewhere"] = {"paths": [f"C:\\{CANARY}\\x.yaml"]}
    for tag in ("InstitutionName", "StationName", "ManufacturerModelName"):
        card["cohort_profile"]["categories"][tag] = {CANARY: many}
    card["provenance"]["recipe"] = card["provenance"]["config"]["name"] = f"chest of {CANARY}"
    card["provenance"]["backbone"]["name"] = f"/data/{CANARY}/start.pt"
    card["provenance"]["config"]["network"]["weights_file"] = f"/data/{CANARY}/start.pt"
    card["provenance"]["config"]["tracking"]["mlflow"] = f"http://{CANARY}"
    (folder / CARD_FILE).unlink()
    write_json(folder / CARD_FILE, card | {"model_id": identify(card)})
    assert CANARY in (folder / CARD_FILE).read_text(encoding="utf-8")
    return folder


def test_what_travels_computes_the_same_and_names_no_patient_and_no_site(model: Path, tmp_path: Path) -> None:
    card, out = export_model(model, tmp_path / "out"), tmp_path / "out"
    files = [path for path in out.rglob("*") if path.is_file()]
    assert not [path.name for path in files if CANARY.encode() in path.read_bytes()]
    patients = {patient for fold in read_json(model / "splits.json")["folds"] for patient in fold["training"]}
    texts = "".join(path.read_text(encoding="utf-8") for path in files if path.suffix != ".safetensors")
    assert patients
    assert not [patient for patient in patients if f'"{patient}"' in texts]
    before, after = Classifier.load(model, device="cpu"), Classifier.load(out, device="cpu")
    pixels = np.random.default_rng(0).integers(0, 65535, (2, 64, 64)).astype(np.uint16)
    np.testing.assert_array_equal(before.score(pixels).logits, after.score(pixels).logits)
    np.testing.assert_array_equal(before.score(pixels).distances, after.score(pixels).distances)
    assert after.card == card
    assert card.exported_from == before.model_id != card.model_id
    assert {one.state for one in inspect_folder(out, card)} == {"covered"}


def test_the_card_says_which_of_the_two_it_is(format3_model: Path, small_model: Path, tmp_path: Path) -> None:
    travelling = export_model(format3_model, tmp_path / "out")
    for text in (card_text(travelling), (tmp_path / "out" / "docs" / "README.md").read_text(encoding="utf-8")):
        assert f"Made to travel by `medres export` from {travelling.exported_from}" in text
    for text in (card_text(read_card(small_model)), (small_model / "docs" / "README.md").read_text(encoding="utf-8")):
        assert "In-house: `splits.json` beside it holds PatientIDs" in text
    assert read_card(format3_model).whereabouts == ""


def test_a_tag_travels_only_if_somebody_said_so() -> None:
    assert set(TRAVELLING_TAGS) < set(CATEGORIES)
    assert not {"InstitutionName", "StationName", "ManufacturerModelName"} & set(TRAVELLING_TAGS)


def test_the_folds_of_a_run_travel_as_an_ensemble(format3_run: Path, medres: Medres, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = medres("export", format3_run, "--out", out)
    assert done.returncode == 0, done.stderr
    ensemble = Classifier.load(out, device="cpu")
    assert ensemble.card.members == 2
    assert ensemble.model_id in done.stdout
    assert len(ensemble.model_id.rpartition("-")[2]) == 32
    names = {path.name for path in out.rglob("*") if path.is_file()}
    assert not names & {"splits.json", "oof.csv", "run.json", "fold.json", "refused.csv", "history.csv"}
    assert medres("inspect", out).returncode == 0


def test_nothing_is_exported_twice_over_something_or_into_the_model(format3_model: Path, tmp_path: Path) -> None:
    export_model(format3_model, tmp_path / "out")
    with pytest.raises(OutputExists):
        export_model(format3_model, tmp_path / "out")
    with pytest.raises(UsageError, match="lies inside the input folder"):
        export_model(format3_model, format3_model / "out")
    with pytest.raises(UsageError, match="made to travel already"):
        export_model(tmp_path / "out", tmp_path / "again")


def test_a_configuration_without_a_site_travels_as_it_is(format3_model: Path, tmp_path: Path) -> None:
    before = read_card(format3_model).provenance
    after = export_model(format3_model, tmp_path / "out").provenance
    assert after.config == before.config
    assert after.backbone == before.backbone
    assert json.dumps(after.packages) == json.dumps(before.packages)
