"""Training that changes base rates, and probabilities that have them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, softmax

from medres.cohort.tasks import Task
from medres.config import Training
from medres.model.calibration import fit_shifts
from medres.training.base_rates import distorts, known_shifts, restored
from medres.training.batches import sampling_weights
from medres.training.losses import MaskedLoss, balancing_weights
from tests.conftest import TINY, Medres
from tests.support.phantoms import write_cohort

FINDING, VIEW = Task("finding"), Task("view", "multiclass", ("AP", "PA", "LL"))


def best_constant(task: Task, targets: np.ndarray, training: Training) -> np.ndarray:
    """The logits that training gives every image where images tell nothing: those of the lowest expected loss."""
    classes = (slice(0, targets.shape[1]),) if task.kind == "multiclass" else ()
    weights = balancing_weights(targets) if training.balance == "positives" else ()
    loss = MaskedLoss(classes, focusing=training.focusing, positive_weights=weights)
    drawn = sampling_weights(targets) if training.sampler == "balanced" else np.ones(len(targets))
    kinds, place = np.unique(targets, axis=0, return_inverse=True)
    share = np.bincount(place.ravel(), weights=drawn)

    def expected(logits: np.ndarray) -> float:
        each = [float(loss(torch.from_numpy(logits)[None], torch.from_numpy(kind)[None].double())) for kind in kinds]
        return float(np.average(each, weights=share))

    return np.asarray(minimize(expected, np.zeros(targets.shape[1]), method="Nelder-Mead", tol=1e-9).x)


@given(st.floats(0.05, 0.95), st.sampled_from([("positives", "shuffle"), ("none", "balanced"), ("none", "shuffle")]))
def test_known_shifts_give_a_network_that_learned_nothing_else_the_base_rate(
    prevalence: float, settings: tuple[str, str]
) -> None:
    training = Training(balance=settings[0], sampler=settings[1])
    truth = (np.random.default_rng(0).random(500) < prevalence).astype(np.float32)[:, None]
    shifted = best_constant(FINDING, truth, training) + known_shifts([FINDING], truth, training)
    assert expit(shifted) == pytest.approx(truth.mean(), abs=1e-3)


@pytest.mark.parametrize("settings", [{"balance": "positives"}, {"sampler": "balanced"}])
def test_known_shifts_give_classes_their_base_rates(settings: dict[str, str]) -> None:
    training = Training(**settings)
    truth = np.eye(3, dtype=np.float32)[np.random.default_rng(0).choice(3, 500, p=[0.7, 0.2, 0.1])]
    shifted = best_constant(VIEW, truth, training) + known_shifts([VIEW], truth, training)
    np.testing.assert_allclose(softmax(shifted), truth.mean(axis=0), atol=1e-3)


def test_few_validation_images_get_what_is_known_many_what_they_say_and_the_log_says_which(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    rng = np.random.default_rng(0)
    learned = (rng.random((400, 1)) < 0.1).astype(np.float32)
    targets = (rng.random((300, 1)) < 0.1).astype(np.float32)
    logits, training = rng.normal(targets, 1).astype(np.float64), Training(balance="positives")
    many = restored([FINDING], training, learned=learned, targets=targets, logits=logits)
    assert many == pytest.approx(fit_shifts([FINDING], targets, logits))
    assert "fitted on validation images" in caplog.messages[-1]
    few = restored([FINDING], training, learned=learned, targets=targets[:20], logits=logits[:20])
    assert few == pytest.approx(known_shifts([FINDING], learned, training))
    assert "too few validation images of a class" in caplog.messages[-1]
    plain = restored([FINDING], Training(), learned=learned, targets=targets, logits=logits)
    assert not plain.any()


@pytest.mark.parametrize(
    ("settings", "finding", "view"),
    [
        ({}, False, False),
        ({"label_smoothing": 0.1, "uncertain": "ones"}, False, False),
        ({"balance": "positives"}, True, True),
        ({"sampler": "balanced"}, True, True),
        ({"focusing": 2.0}, True, True),
        ({"negative_focusing": 2.0}, True, False),  # classes share a softmax and have no negatives
        ({"negative_margin": 0.05}, True, False),
    ],
)
def test_only_settings_that_change_base_rates_are_undone(
    settings: dict[str, object], finding: bool, view: bool
) -> None:
    training = Training.model_validate(settings)
    assert (distorts(training, FINDING), distorts(training, VIEW)) == (finding, view)


def test_a_network_trained_with_balanced_positives_says_the_base_rate(medres: Medres, tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path / "cohort", patients=16, images=12)
    table = pd.read_csv(manifest, dtype=str)
    patient = table["PatientID"].astype(int)
    table["label_rare"] = (patient % 4 == patient // 4 % 2).astype(int)
    table.to_csv(manifest, index=False)  # says nothing of the images: every probability should be about a quarter
    done = medres(
        "crossval", manifest, "--label", "rare", "--out", tmp_path / "run", *TINY,
        "--set", "training.stages=[{epochs: 2}]", "--set", "training.balance=positives",
        "--set", "training.validation_fraction=0.4", "--set", "evaluation.shortcuts=false",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "fitted on validation images" in done.stderr
    found = pd.read_csv(tmp_path / "run" / "oof.csv")
    assert found["label_rare"].mean() == 0.25
    assert found["prob_rare"].mean() == pytest.approx(0.25, abs=0.1)  # the loss alone would make it a half
