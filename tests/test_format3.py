"""What the first version with format 3 wrote is opened for ever: with its old names, scores and figures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medres import Classifier, read_radiograph
from medres.evaluation.table import read_table
from medres.model.classifier import read_card
from medres.tables import read_csv, read_json, sha256_file, write_csv, write_json
from tests.conftest import Medres
from tests.support.format3 import FIXTURE, MODELS, linked_copy
from tests.support.phantoms import write_cohort

MODEL_ID = "resnet18-54e338a925c6"
ENSEMBLE_ID = "resnet18-ensemble2-10c36b07a612"
SPECIFICATION = "8711391efc5235ab5dc91fa35db11e928f3914ec32c386f170c79d0958326deb"


def without_tensors(run: Path, copy: Path) -> Path:
    return Path(shutil.copytree(run, copy, ignore=shutil.ignore_patterns("*.safetensors")))


def test_the_committed_files_are_small_and_name_no_folder_of_a_machine() -> None:
    files = [path for path in FIXTURE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000
    absolute = re.compile(r"""(^|[\s"=:])(/\w|[A-Z]:\\)""")
    assert not [path for path in files if absolute.search(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("name", MODELS)
def test_the_tensors_drawn_again_are_those_that_were_saved(name: str, format3_model: Path) -> None:
    home = format3_model.parent / name
    card = json.loads((home / "medres.json").read_text(encoding="utf-8"))
    assert sha256_file(home / "models" / "model.safetensors") == card["weights_sha256"]
    assert sha256_file(home / "models" / "outliers.safetensors") == card["outliers"]["sha256"]


def test_the_models_load_with_their_old_names(format3_model: Path, format3_run: Path) -> None:
    model, ensemble = Classifier.load(format3_model), Classifier.load(format3_run)
    assert (model.model_id, ensemble.model_id) == (MODEL_ID, ENSEMBLE_ID)
    assert (model.card.format, ensemble.card.members) == (3, 2)
    assert model.card.preprocessing_sha256 == SPECIFICATION


def test_folds_give_the_logits_that_they_gave(
    format3_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDRES_FIXTURE_SEED", raising=False)  # the images that they were asked about then
    images = write_cohort(tmp_path / "cohort", patients=40).parent
    table = read_table(format3_run / "oof.csv")
    for fold, rows in table.groupby("fold"):
        model = Classifier.load(format3_run / "models" / f"fold-{fold}")
        for _, row in rows.iloc[:4].iterrows():
            prediction = model.predict(read_radiograph(images / row["path"]))
            assert prediction.scores["disc"].probability == pytest.approx(row["prob_disc"], abs=1e-3)


def test_the_run_s_figures_follow_from_its_table(format3_run: Path) -> None:
    table, found = read_table(format3_run / "oof.csv"), read_json(format3_run / "metrics.json")["labels"]["disc"]
    truth = table["label_disc"].to_numpy(dtype=int)
    assert found["pooled"]["auroc"]["value"] == pytest.approx(roc_auc_score(truth, table["prob_disc"]), abs=1e-12)
    positive = table["positive_disc"].to_numpy(dtype=int)
    assert found["pooled"]["sensitivity"]["value"] == pytest.approx(positive[truth == 1].mean(), abs=1e-12)
    for fold in found["folds"]:
        part = table[table["fold"] == fold["fold"]]
        assert fold["auroc"] == pytest.approx(roc_auc_score(part["label_disc"], part["prob_disc"]), abs=1e-12)
    assert {entry["model_id"] for entry in read_json(format3_run / "run.json")["folds"]} == {
        read_card(folder).model_id for folder in (format3_run / "models").iterdir()
    }


def test_a_heatmap_is_in_native_pixels(format3_model: Path, small_cohort: Path) -> None:
    radiograph = read_radiograph(small_cohort.parent / "images" / "0000.dcm")
    explained = Classifier.load(format3_model).explain(radiograph, label="disc")
    assert explained.heatmap.shape == radiograph.pixels.shape
    assert explained.strength > 0
    assert np.isfinite(explained.heatmap).all()


def test_inspect_shows_it_in_words_and_as_json(format3_model: Path, format3_run: Path, medres: Medres) -> None:
    words, card = medres("inspect", format3_model), medres("inspect", format3_run, "--json")
    assert (words.returncode, card.returncode) == (0, 0), words.stderr + card.stderr
    assert MODEL_ID in words.stdout
    assert "Attachments" not in words.stdout
    assert json.loads(card.stdout)["model_id"] == ENSEMBLE_ID


def test_score_writes_its_name_into_every_row(
    format3_model: Path, small_cohort: Path, medres: Medres, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        shutil.copy(small_cohort.parent / "images" / f"{number:04d}.dcm", images)
    done = medres("score", format3_model, images, "--out", tmp_path / "scored")
    assert done.returncode == 0, done.stderr
    rows = read_csv(tmp_path / "scored" / "predictions.csv")
    assert rows["model_id"].tolist() == [MODEL_ID] * 3
    assert set(rows["status"]) <= {"ok", "review"}


def test_report_rebuilds_the_page_of_the_run(format3_run: Path, medres: Medres, tmp_path: Path) -> None:
    run = without_tensors(format3_run, tmp_path / "run")
    done = medres("report", run)
    assert done.returncode == 0, done.stderr
    auroc = read_json(run / "metrics.json")["labels"]["disc"]["pooled"]["auroc"]["value"]
    assert f"{auroc:.3f}" in (run / "report.html").read_text(encoding="utf-8")


def test_compare_takes_it_beside_a_run_of_another_seed(format3_run: Path, medres: Medres, tmp_path: Path) -> None:
    first, second = (without_tensors(format3_run, tmp_path / name) for name in ("first", "second"))
    record = read_json(second / "run.json")
    write_json(second / "run.json", record | {"seed": 1, "config": record["config"] | {"seed": 1}})
    table = read_csv(second / "oof.csv")
    table["prob_disc"] = table["prob_disc"].astype(float) * 0.5 + 0.25 * table["label_disc"].astype(float)
    write_csv(second / "oof.csv", table)
    done = medres("compare", first, second, "--out", tmp_path / "compared", "--no-timing")
    assert done.returncode == 0, done.stderr
    [candidate] = read_json(tmp_path / "compared" / "comparison.json")["candidates"]
    assert [run["seed"] for run in candidate["runs"]] == [0, 1]


def test_evaluate_takes_the_run_as_an_ensemble(
    format3_run: Path, small_cohort: Path, medres: Medres, tmp_path: Path
) -> None:
    run = linked_copy(format3_run, tmp_path / "run")
    done = medres("evaluate", run, small_cohort, "--out", tmp_path / "out", "--allow-overlap")
    assert done.returncode == 0, done.stderr
    assert read_json(tmp_path / "out" / "run.json")["model_id"] == ENSEMBLE_ID
