"""One file, one tensor, one probability: whichever way it goes through medres."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import monai.bundle
import numpy as np
import pandas as pd
import pytest
import torch

from medres import Classifier, read_radiograph
from medres.cohort.cache import cached_pixels
from medres.cohort.manifest import read_manifest
from medres.config import GATES, Limits
from medres.errors import Refused
from medres.imaging.isolation import read_isolated
from medres.imaging.preprocessing import as_float, prepare, preprocess
from medres.model.network import RadiographNetwork
from medres.review.recomputing import Recomputation
from medres.training.batches import BatchLoader, Pixels
from medres.training.transforms import LoadRadiographd
from tests.conftest import TINY, Medres


@pytest.fixture(scope="module")
def scores(small_model: Path, small_cohort: Path, tmp_path_factory: pytest.TempPathFactory, medres: Medres) -> Path:
    out = tmp_path_factory.mktemp("scored") / "scored"
    done = medres("score", small_model, small_cohort.parent / "images", "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def scored(scores: Path) -> pd.DataFrame:
    return pd.read_csv(scores / "predictions.csv", dtype={"SOPInstanceUID": str}).set_index("path")


def test_the_tensor_of_a_file_is_the_same_bit_for_bit_on_every_path(small_model: Path, small_cohort: Path) -> None:
    spec = Classifier.load(small_model).preprocessing
    manifest = read_manifest(small_cohort, ["disc"])
    cache = cached_pixels(manifest.rows, spec, gate=GATES["any"], limits=Limits())
    places, targets = [0, 17, 79], np.zeros((80, 1), np.float32)
    trained = BatchLoader(Pixels(cache.pixels, torch.device("cpu")), targets, [places], size=spec.size)
    [batch] = trained
    training = dict(zip(places, trained.as_batch(batch)[0].numpy(), strict=True))
    loader = LoadRadiographd(["image"], specification=spec)
    for place in places:
        path = os.fspath(manifest.rows[place].path)
        interactive = as_float(preprocess(read_radiograph(path), spec).pixels)
        isolated = as_float(preprocess(read_isolated(path), spec).pixels)
        worker = as_float(prepare(path, spec=spec, gate=GATES["any"], limits=Limits()).pixels)
        dataset = training[place][0]
        bundle = np.asarray(loader({"image": path})["image"])[0]
        for other in (isolated, worker, dataset, bundle):
            assert other.dtype == interactive.dtype == np.float32
            np.testing.assert_array_equal(other, interactive)


def test_the_probability_of_a_file_is_the_same_in_predict_score_and_explain(
    small_model: Path, small_cohort: Path, scored: pd.DataFrame
) -> None:
    model = Classifier.load(small_model)
    for name in scored.index[::13]:
        radiograph = read_radiograph(small_cohort.parent / "images" / name)
        prediction = model.predict(radiograph)
        assert prediction.sop_instance_uid == scored.loc[name, "SOPInstanceUID"]
        assert prediction.status == scored.loc[name, "status"]
        assert prediction.scores["disc"].probability == pytest.approx(scored.loc[name, "prob_disc"], abs=1e-6)
        with_maps = model.score(preprocess(radiograph, model.preprocessing).pixels[None], maps=True)
        assert with_maps.probabilities[0, 0] == pytest.approx(scored.loc[name, "prob_disc"], abs=1e-6)
        explained = model.explain(radiograph, label="disc")
        assert explained.heatmap.shape == radiograph.pixels.shape
        assert explained.heatmap.min() >= 0


def test_the_probability_of_a_file_is_the_same_in_the_app(small_model: Path, small_cohort: Path, scores: Path) -> None:
    again = Recomputation.open(scores, small_model)
    worklist = again.worklist
    table = pd.read_csv(scores / "predictions.csv", dtype={"SOPInstanceUID": str}).set_index("SOPInstanceUID")
    assert len(worklist.cases) == len(table)
    for case in worklist.cases[::20]:
        assert case.probabilities["disc"] == pytest.approx(table.loc[case.sop_instance_uid, "prob_disc"], abs=1e-12)
        again.open_case(case)  # reads, scores and explains the file again, and refuses where it is not reproduced
        radiograph = read_isolated(small_cohort.parent / "images" / case.path)
        shown = again.model.predict(radiograph).scores["disc"].probability
        assert shown == pytest.approx(case.probabilities["disc"], abs=1e-6)
    first = worklist.cases[0]
    forged = dataclasses.replace(first, probabilities={"disc": first.probabilities["disc"] - 0.1})
    with pytest.raises(Refused, match="NOT_REPRODUCED"):
        Recomputation(worklist, again.model).open_case(forged)


def test_out_of_fold_probabilities_are_those_of_the_saved_fold_models(small_run: Path, small_cohort: Path) -> None:
    table = pd.read_csv(small_run / "oof.csv", dtype={"PatientID": str})
    for fold in table["fold"].unique():
        model = Classifier.load(small_run / "models" / f"fold-{fold}")
        for _, row in table[table["fold"] == fold].iloc[::17].iterrows():
            score = model.predict(read_radiograph(small_cohort.parent / row["path"])).scores["disc"]
            assert score.probability == pytest.approx(row["prob_disc"], abs=1e-6)
            assert int(score.positive) == row["positive_disc"]


def test_monai_runs_the_saved_bundle_to_the_same_probabilities(
    small_model: Path, small_cohort: Path, scored: pd.DataFrame, tmp_path: Path
) -> None:
    output = tmp_path / "bundle.csv"
    command = [
        sys.executable, "-m", "monai.bundle", "run",
        "--config_file", str(small_model / "configs" / "inference.json"),
        "--bundle_root", str(small_model),
        "--input", str(small_cohort.parent / "images"),
        "--output", str(output),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    bundle = pd.read_csv(output)
    assert len(bundle) == len(scored)
    expected = scored.loc[[Path(path).name for path in bundle["path"]], "prob_disc"].to_numpy()
    np.testing.assert_allclose(bundle["prob_disc"], expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:parsing config_file")  # MONAI warns of any configuration that it runs
def test_monai_runs_the_saved_bundle_in_float32(
    small_model: Path, small_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, maps = set(), RadiographNetwork.feature_maps

    def spied(network: RadiographNetwork, images: torch.Tensor) -> torch.Tensor:
        seen.add((torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision))
        return maps(network, images)

    monkeypatch.setattr(RadiographNetwork, "feature_maps", spied)
    config = str(small_model / "configs" / "inference.json")
    output = str(tmp_path / "out.csv")
    one = tmp_path / "one"
    one.mkdir()
    (one / "a.dcm").write_bytes((small_cohort.parent / "images" / "0003.dcm").read_bytes())
    monai.bundle.run(config_file=config, bundle_root=str(small_model), input=str(one), output=output)
    assert seen == {("ieee", "ieee")}


def test_monai_runs_the_saved_recipe_to_the_same_network(medres: Medres, small_cohort: Path, tmp_path: Path) -> None:
    trained, one = tmp_path / "model", "--set=training.stages=[{epochs: 1}]"
    done = medres("train", small_cohort, "--label", "disc", "--out", trained, *TINY, one)
    assert done.returncode == 0, done.stderr[-3000:]
    command = [
        sys.executable, "-m", "monai.bundle", "run",
        "--config_file", str(trained / "configs" / "train.json"),
        "--manifest", str(small_cohort),
        "--output", str(tmp_path / "again"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    cards = [json.loads((folder / "medres.json").read_text()) for folder in (trained, tmp_path / "again")]
    for fact in ("weights_sha256", "tasks", "temperatures", "operating_points"):
        assert cards[0][fact] == cards[1][fact], fact


def test_the_bundle_says_what_monai_asks_for(small_model: Path) -> None:
    metadata = json.loads((small_model / "configs" / "metadata.json").read_text())
    for field in ("version", "monai_version", "pytorch_version", "numpy_version", "task", "network_data_format"):
        assert metadata[field]
