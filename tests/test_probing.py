"""Linear probes: a head on resting features, through the command line and by the numbers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torchvision.models import resnet18

from medres.config import Config, load_config
from medres.errors import TrainingError
from medres.model.classifier import Classifier
from medres.model.network import IMAGENET_MEAN, IMAGENET_STD
from medres.model.weights import BackboneWeights, folded_filters, load_backbone
from medres.tables import read_csv
from medres.training.batches import TrainingData
from medres.training.linear_probe import STRENGTHS, LinearProbe
from medres.training.state import FitPlan
from medres.training.tracking import Tracker
from tests.conftest import TINY, Medres
from tests.support.phantoms import blob

NAN = float("nan")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet18(weights=None).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def config(backbone: Path) -> Config:
    named = f"network.weights_file={json.dumps(str(backbone))}"
    return load_config("quick", ["network.weights=file", named, "training.precision=fp32"])


@pytest.fixture(scope="module")
def weights(config: Config) -> BackboneWeights:
    found = load_backbone(config.network)
    assert found is not None
    return found


def images(count: int = 60) -> np.ndarray:
    found = [blob(seed, bright=seed % 2 == 0, rows=64, columns=64) for seed in range(count)]
    return (np.stack(found) * 16).astype(np.uint16)


PLAN = FitPlan(range(40), range(40, 60), seed=0, title="test")


def targets(*columns: list[float]) -> np.ndarray:
    return np.array(columns, dtype=np.float32).T


def probe(config: Config, weights: BackboneWeights | None, answers: np.ndarray, classes: Any = ()) -> LinearProbe:
    return LinearProbe(TrainingData(images(len(answers)), answers, answers, classes), config, weights)


def test_the_head_is_scikit_learn_s_regression_on_standardised_features(
    config: Config, weights: BackboneWeights
) -> None:
    answers = targets([1.0 - n % 2 for n in range(60)])
    fitter = probe(config, weights, answers)
    training, validation = list(range(40)), list(range(40, 60))
    fitted = fitter.fit(FitPlan(training, validation, seed=0, title="test"))
    features = fitter.features()
    center, spread = features[training].mean(axis=0), features[training].std(axis=0) + 1e-9
    peer = LogisticRegression(C=STRENGTHS[fitted.best_epoch - 1], max_iter=500)
    peer.fit((features[training] - center) / spread, answers[training, 0])
    expected = peer.decision_function((features[validation] - center) / spread)
    with torch.no_grad():
        pixels = torch.from_numpy(images()[validation].astype(np.float32) / 65535)[:, None]
        found = fitted.network(pixels)[:, 0].double().numpy()
    assert np.allclose(found, expected, atol=1e-3)


def test_the_backbone_is_the_one_that_was_given(config: Config, weights: BackboneWeights) -> None:
    fitted = probe(config, weights, targets([1.0 - n % 2 for n in range(60)])).fit(PLAN)
    for name, value in fitted.network.backbone.state_dict().items():
        given = weights.tensors[name]
        expected = folded_filters(given, IMAGENET_MEAN, IMAGENET_STD) if name == "conv1.weight" else given
        assert torch.equal(value, expected), name


def test_unknown_labels_single_classes_and_softmax_classes_are_fitted(config: Config, weights: BackboneWeights) -> None:
    known = [NAN if n % 5 == 0 else 1.0 - n % 2 for n in range(60)]
    never = [0.0] * 60
    kinds = [[float(n % 3 == kind) for n in range(60)] for kind in range(3)]
    fitted = probe(config, weights, targets(known, never, *kinds), (slice(2, 5),)).fit(PLAN)
    assert torch.isfinite(fitted.network.head.weight).all()
    assert not fitted.network.head.weight[1].any()
    assert torch.sigmoid(fitted.network.head.bias[1]) < 0.05


def test_random_features_are_not_probed(config: Config) -> None:
    with pytest.raises(TrainingError, match="random features say little"):
        probe(config, None, targets([0.0, 1.0]))


def test_a_linear_probe_goes_all_the_way(medres: Medres, backbone: Path, small_cohort: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = ("--label", "disc", "--weights", backbone, "--set=training.method=linear-probe", "--tensorboard")
    asked += ("--mlflow", f"sqlite:///{tmp_path / 'mlflow.db'}")
    done = medres("crossval", small_cohort, *asked, "--out", run, *TINY)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("features of 80 images computed once") == 1
    assert re.search(r"training on .*, fp32", done.stderr)
    assert Classifier.load(run).labels == ("disc",)
    history = read_csv(run / "models" / "fold-0" / "history.csv")
    assert len(history) == len(STRENGTHS)
    lines = (run / "models" / "fold-0" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, len(STRENGTHS) + 1))
    assert list((run / "models" / "fold-0" / "tensorboard").glob("events*"))
    card = (run / "models" / "fold-0" / "docs" / "README.md").read_text()
    assert "who also chose regularisation, temperature and thresholds" in card
    assert "fp32" in card
    assert "Inverse regularisation" in (run / "report.html").read_text()
    assert_tracked(f"sqlite:///{tmp_path / 'mlflow.db'}", run / "models" / "fold-0", epochs=len(STRENGTHS))


def assert_tracked(uri: str, fold: Path, *, epochs: int) -> None:
    """MLflow has every epoch of a fold once, and the configuration."""
    from mlflow.tracking import MlflowClient  # after medres, which says first that nothing is sent

    client = MlflowClient(tracking_uri=uri)
    run = client.get_run((fold / "mlflow-run.txt").read_text().strip())
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "quick fold 1/2"
    assert run.data.params["training.method"] == "linear-probe"
    losses = client.get_metric_history(run.info.run_id, "validation_loss")
    assert [metric.step for metric in losses] == list(range(1, epochs + 1))
    rows = read_csv(fold / "history.csv")
    assert [metric.value for metric in losses] == [float(cell) for cell in rows["validation_loss"]]


def test_mlflow_tells_its_makers_nothing(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom medres.config import load_config\n"
        "from medres.training.tracking import Tracker\n"
        f"config = load_config('quick', ['tracking.mlflow=sqlite:///{tmp_path}/mlflow.db'])\n"
        f"tracker = Tracker(Path({str(tmp_path)!r}), config, title='fold 1/2')\n"
        "tracker.write([{'epoch': 1, 'loss': 1.0, 'validation_loss': 2.0, 'validation_auroc': None}])\n"
        "from mlflow.telemetry import utils\n"
        "utils._IS_IN_CI_ENV_OR_TESTING = utils._IS_MLFLOW_TESTING_TELEMETRY = False\n"
        "assert utils.is_telemetry_disabled()\n"
        f"assert Path({str(tmp_path / 'mlflow-run.txt')!r}).is_file()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, env=environment)


def test_a_tracker_sends_each_epoch_once_and_a_server_that_is_gone_costs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history: list[dict[str, Any]] = [
        {"epoch": epoch, "loss": 1 / epoch, "validation_loss": 2 / epoch, "validation_auroc": None}
        for epoch in (1, 2, 3)
    ]
    config = load_config("quick", [f"tracking.mlflow=sqlite:///{tmp_path / 'mlflow.db'}"])
    Tracker(tmp_path, config, title="fold 1/2").write(history[:2])
    Tracker(tmp_path, config, title="fold 1/2").write(history)  # after an interruption
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=config.tracking.mlflow)
    run = (tmp_path / "mlflow-run.txt").read_text().strip()
    kept = client.get_metric_history(run, "loss")
    assert [metric.step for metric in kept] == [1, 2, 3]
    anew = [
        *history[:2],
        history[2] | {"validation_loss": 0.5},
    ]  # the third epoch's state was lost, and on a GPU differs
    Tracker(tmp_path, config, title="fold 1/2").write(anew)
    other = (tmp_path / "mlflow-run.txt").read_text().strip()
    assert client.get_run(run).info.status == "KILLED"
    assert [metric.value for metric in client.get_metric_history(other, "validation_loss")] == [2, 1, 0.5]
    gone = Tracker(tmp_path / "gone", load_config("quick", ["tracking.mlflow=http://127.0.0.1:9"]), title="x")
    gone.write(history)
    gone.close()
    assert "MLflow did not take epoch 3" in caplog.text
    assert len((tmp_path / "gone" / "history.jsonl").read_text().splitlines()) == 3
