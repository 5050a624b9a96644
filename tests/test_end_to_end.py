"""What a user runs, on real radiographs and on the demo's phantoms."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medres import cross_validate, demo, train
from medres.cohort.indexing import write_index
from medres.config import load_config
from medres.imaging.synthesis import synthesise_cohort
from medres.model.classifier import Classifier
from medres.scoring.folder import score_folder
from medres.scoring.heatmaps import HeatmapPolicy
from tests.conftest import SHARED, Medres, needs_shared, show
from tests.support.recipes import fixture_changes, fixture_seed


@needs_shared("chest64/manifest.csv")
def test_a_cross_validation_on_real_chest_radiographs_really_learns(tmp_path: Path, medres: Medres) -> None:
    manifest, run = SHARED / "chest64" / "manifest.csv", tmp_path / "run"
    done = medres(
        "crossval", manifest, "--label", "ap", "--config", "quick", "--out", run,
        "--set", "preprocessing.size=64", "--set", "training.stages=[{epochs: 4}]", "--set", "training.saturation=1",
        "--set", "crossval.folds=2", "--set", "evaluation.shortcuts=false",
        *(f"--set={change}" for change in fixture_changes()),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    pooled = json.loads((run / "metrics.json").read_text())["labels"]["ap"]["pooled"]["auroc"]
    assert pooled["value"] >= 0.95
    assert pooled["low"] < pooled["value"] < pooled["high"]
    patients = pd.read_csv(manifest, dtype=str)["PatientID"].nunique()
    assert (pooled["n"], pooled["n_patients"]) == (1000, patients)
    table = pd.read_csv(run / "oof.csv", dtype=str)
    assert table["SOPInstanceUID"].is_unique
    assert (table.groupby("PatientID")["fold"].nunique() == 1).all()
    for fold in json.loads((run / "splits.json").read_text())["folds"]:
        roles = [set(fold[name]) for name in ("training", "validation", "held_out")]
        assert len(set.union(*roles)) == sum(map(len, roles)) == patients


def test_the_demo_writes_everything_it_promises(demo_run: Path) -> None:
    expected = [
        "manifest.csv",
        "refused.csv",
        "run/report.html",
        "run/oof.csv",
        "model/medres.json",
        "scored/predictions.parquet",
    ]
    assert [name for name in expected if not (demo_run / name).is_file()] == []
    said = (demo_run.parent / "stdout.txt").read_text()
    for words in ("AUROC", "one row each", "heatmaps", "report.html", "predictions.csv", "random start"):
        assert words in said


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's model of its whole cohort, and its scores of other phantoms: one of the demo's four trainings."""
    folder, seed = tmp_path_factory.mktemp("learnt"), demo.SEED + fixture_seed()
    synthesise_cohort(folder / "cohort", patients=demo.PATIENTS, seed=seed)
    synthesise_cohort(folder / "incoming", patients=demo.PATIENTS // 5, seed=seed + 1)
    for name in ("labels", "lesions"):
        (folder / "incoming" / f"{name}.csv").rename(folder / f"incoming-{name}.csv")
    manifest = folder / "manifest.csv"
    write_index(folder / "cohort" / "images", manifest, labels=folder / "cohort" / "labels.csv")
    config = load_config("quick", [*fixture_changes(), f"seed={seed}"])
    train(manifest, labels=[demo.LABEL], config=config, out=folder / "model")
    score_folder(folder / "model", folder / "incoming", out=folder / "scored", heatmaps=HeatmapPolicy(enabled=True))
    return folder


@pytest.mark.sweep
@pytest.mark.timeout(1200)
def test_the_whole_demo_learns_its_phantoms(tmp_path: Path) -> None:
    run = show(tmp_path, patients=demo.PATIENTS) / "run"
    pooled = json.loads((run / "metrics.json").read_text())["labels"]["nodule"]["pooled"]["auroc"]
    assert pooled["value"] >= 0.90
    assert pooled["low"] is not None
    assert pooled["n_patients"] >= 60


def test_the_demo_scores_every_file_of_its_folder(demo_run: Path) -> None:
    table = pd.read_csv(demo_run / "scored" / "predictions.csv", dtype=str, keep_default_na=False)
    files = [
        path.relative_to(demo_run / "incoming").as_posix()
        for path in (demo_run / "incoming").rglob("*")
        if path.is_file()
    ]
    assert sorted(table["path"].str.removeprefix("./")) == sorted(files)
    assert "refused" in set(table["status"])
    assert {"ok", "review"} & set(table["status"])
    pictures = list((demo_run / "scored" / "heatmaps").glob("*.png"))
    assert len(pictures) == (table["positive_nodule"] == "1").sum()


def test_a_model_of_the_demo_s_phantoms_finds_nodules_it_never_saw(learnt: Path) -> None:
    table = pd.read_csv(learnt / "scored" / "predictions.csv", dtype={"SOPInstanceUID": str})
    truth = pd.read_csv(learnt / "incoming-labels.csv", dtype={"SOPInstanceUID": str})
    joined = table.merge(truth, on="SOPInstanceUID").dropna(subset="prob_nodule")
    positive, negative = (joined.loc[joined["label_nodule"] == value, "prob_nodule"] for value in (1, 0))
    assert np.mean(positive.to_numpy()[:, None] > negative.to_numpy()[None]) > 0.8
    pictures = list((learnt / "scored" / "heatmaps").glob("*.png"))
    assert len(pictures) == (table["positive_nodule"] == 1).sum() > 0


def test_its_heatmaps_point_at_lesions_more_often_than_chance(learnt: Path) -> None:
    line = demo.hits(learnt, learnt / "model")
    numbers = [int(number) for number in re.findall(r"(\d+)%", line)]
    assert len(numbers) == 4, line
    _, low, _, chance = numbers
    assert low > chance, line


@pytest.mark.sweep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1002, 1003, 1004])
def test_the_folds_of_other_trainings_point_at_lesions_they_call(tmp_path: Path, seed: int) -> None:
    """The figures that the README gives of seeds on which nothing was chosen: run with -s."""
    synthesise_cohort(tmp_path / "cohort", patients=demo.PATIENTS, seed=seed)
    write_index(tmp_path / "cohort" / "images", tmp_path / "manifest.csv", labels=tmp_path / "cohort" / "labels.csv")
    config = load_config("quick", [f"crossval.folds={demo.FOLDS}", f"seed={seed}"])
    cross_validate(tmp_path / "manifest.csv", labels=[demo.LABEL], config=config, out=tmp_path / "run")
    synthesise_cohort(tmp_path / "incoming", patients=110, seed=seed + 1000)
    (tmp_path / "incoming" / "lesions.csv").rename(tmp_path / "incoming-lesions.csv")
    score_folder(tmp_path / "run", tmp_path / "incoming", out=tmp_path / "scored")
    line = demo.hits(tmp_path, tmp_path / "run")
    print(f"\nseed {seed}: {line}")
    rate, _, _, chance = (int(number) for number in re.findall(r"(\d+)%", line))
    assert rate >= 75
    assert rate >= 3 * chance


def test_the_demo_model_loads_and_knows_itself(demo_run: Path) -> None:
    card = Classifier.load(demo_run / "model").card
    assert card.labels == ("nodule",)
    assert card.provenance.recipe == "quick"
