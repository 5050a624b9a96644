from __future__ import annotations

import contextlib
import gc
import json
import math
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medres import Division, cross_validate
from medres.cohort.manifest import read_manifest
from medres.cohort.splits import make_inner_split, read_splits, splits_document, write_splits
from medres.config import Evaluation, Stage, Tracking
from medres.documents import read_document
from medres.errors import TrainingError, UsageError
from medres.evaluation.performance import summarise
from medres.evaluation.results import Metrics
from medres.evaluation.table import read_table
from medres.report.run_page import write_report
from medres.runs.cohort import load_cohort
from medres.runs.records import FlowRecord
from medres.training.batches import Pixels, TrainingData
from medres.training.checkpoints import Checkpoints
from medres.training.device import gives_memory_back
from medres.training.engine import fit_network
from medres.training.optimiser import RunningAverage, warmup_cosine
from medres.training.state import FitPlan
from medres.training.tracking import Tracker
from medres.training.validation import BestWeights, ValidationRecord
from tests.support import recipes
from tests.support.made import made_networks, narrow_networks
from tests.support.phantoms import blob, write_cohort

CONFIG = recipes.quick(
    "preprocessing.size=64", "training.stages=[{epochs: 2, size: 32}, {epochs: 2}]", "training.batch_size=8"
)


def pixels(n: int) -> tuple[np.ndarray, np.ndarray]:
    images = np.stack([blob(seed, bright=seed % 2 == 0, rows=64, columns=64) for seed in range(n)])
    targets = np.array([[1.0 - seed % 2] for seed in range(n)], dtype=np.float32)
    return (images * 16).astype(np.uint16), targets


def _fit(seed: int = 0, **changes: object) -> object:
    images, targets = pixels(48)
    targets[46:] = 1 - targets[46:]  # two validation targets are wrong: no stage is solved before its end
    config = CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update=changes)})
    plan = FitPlan(range(32), range(32, 48), seed=seed + recipes.fixture_seed(), title="test")
    with narrow_networks():
        return fit_network(TrainingData(images, targets, targets), plan, config, weights=None)


def test_the_same_seed_gives_the_same_network_bit_for_bit_and_another_seed_another() -> None:
    first, again, other = _fit(0), _fit(0), _fit(1)
    states = [fitted.network.state_dict() for fitted in (first, again, other)]  # type: ignore[attr-defined]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_a_compiled_network_learns_the_same_and_is_saved_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []
    original = torch.compile

    def traced(network: torch.nn.Module, **_: Any) -> Any:
        compiled.append(network)
        return original(network, backend="eager")  # traced as ever; generating code would take a minute

    monkeypatch.setattr(torch, "compile", traced)
    plain, fast = _fit(0), _fit(0, compile=True)
    assert len(compiled) == 1
    states = [fitted.network.state_dict() for fitted in (plain, fast)]  # type: ignore[attr-defined]
    assert states[0].keys() == states[1].keys()
    assert all(torch.allclose(states[0][name], states[1][name], atol=1e-5) for name in states[0])


def test_the_history_has_every_epoch_with_its_size_and_only_the_last_stage_gives_the_network() -> None:
    fitted = _fit(saturation=1.0, patience=9)
    sizes = [entry["size"] for entry in fitted.history]  # type: ignore[attr-defined]
    assert sizes[:2] == [32, 32]
    assert set(sizes[2:]) == {64}
    assert fitted.best_epoch > 2  # type: ignore[attr-defined]


def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    with pytest.raises(TrainingError, match=r"the loss became .* lower training\.learning_rate"):
        _fit(learning_rate=1e30, stages=(Stage(epochs=4),))


@gives_memory_back
def _failing_fit() -> None:
    with contextlib.suppress(TrainingError):
        _fit(learning_rate=1e30)


def test_a_fit_leaves_no_pixels_behind_also_where_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Pixels]] = []
    begin = Pixels.__init__

    def noted(self: Pixels, *arguments: Any, **options: Any) -> None:
        made.append(weakref.ref(self))
        begin(self, *arguments, **options)

    monkeypatch.setattr(Pixels, "__init__", noted)
    gc.disable()  # it would free them by chance
    try:
        _fit(stages=(Stage(epochs=1, size=32),))
        assert [found() for found in made] == [None]
        _failing_fit()
    finally:
        gc.enable()
    assert [found() for found in made] == [None, None]


@pytest.mark.parametrize(("free", "resident"), [(100, False), (10**9, True)])
def test_where_the_images_of_a_training_on_a_gpu_lie_is_said(
    free: int, resident: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**10))
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 1.0)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, dtype, device: empty(*shape, dtype=dtype))
    with caplog.at_level("INFO"):
        found = Pixels(np.zeros((3, 8, 8), np.uint16), torch.device("cuda"))
    assert (found.resident is not None) == resident
    assert ("lie in the GPU's memory" if resident else "stay in main memory") in caplog.text


def test_tensorboard_has_every_epoch_once_also_after_an_interruption(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    changes = {
        "training": CONFIG.training.model_copy(update={"stages": (Stage(epochs=3, size=32),), "saturation": 1.0})
    }
    config = CONFIG.model_copy(update=changes | {"tracking": Tracking(tensorboard=True)})
    images, targets = pixels(48)
    kept = Checkpoints(tmp_path / "checkpoints", share=1)
    for _ in range(2):
        plan, tracker = FitPlan(range(32), range(32, 48), seed=0, title="t"), Tracker(tmp_path, config, title="t")
        data = TrainingData(images, targets, targets)
        with narrow_networks():
            fit_network(data, plan, config, weights=None, checkpoints=kept, tracker=tracker)
        kept.newest.unlink()  # the third epoch is done again
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = events.Scalars("loss")
    assert [event.step for event in found] == [1, 2, 3]
    written = [json.loads(line)["loss"] for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [event.value for event in found] == pytest.approx(written)
    files = list((tmp_path / "tensorboard").iterdir())
    assert len(files) == 4  # one an epoch, none with an epoch that was there


def test_a_gpu_that_is_not_there_is_said() -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    with pytest.raises(UsageError, match="no GPU was found: choose auto or cpu"):
        _fit(device="cuda")


def test_a_running_average_is_what_is_judged_and_kept() -> None:
    plain, averaged = _fit(saturation=1.0, ema_decay=0.0), _fit(saturation=1.0, ema_decay=0.999)
    losses = [[entry["loss"] for entry in fitted.history] for fitted in (plain, averaged)]  # type: ignore[attr-defined]
    shared = min(map(len, losses))  # which epoch is the last may differ: it is chosen by other weights
    assert shared >= 2
    assert losses[0][:shared] == losses[1][:shared]  # the average does not disturb the training
    states = [fitted.network.state_dict() for fitted in (plain, averaged)]  # type: ignore[attr-defined]
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert all(torch.isfinite(value).all() for value in states[1].values())


def test_the_average_forgets_its_start() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    average = RunningAverage(network, 0.9)
    torch.nn.init.constant_(network.weight, 5.0)
    average.update()  # the first is taken over as it is
    expected = 5.0
    for step, value in enumerate([1.0, 2.0, 3.0], start=1):
        torch.nn.init.constant_(network.weight, value)
        average.update()
        kept = min(0.9, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * value
    assert average.module.weight.item() == pytest.approx(expected)


def test_no_step_is_longer_than_the_clipped_gradient() -> None:
    norms = []
    original = torch.nn.utils.clip_grad_norm_

    def clip(parameters: Any, norm: float) -> torch.Tensor:
        kept = list(parameters)
        found = original(kept, norm)
        norms.append(float(torch.linalg.vector_norm(torch.stack([value.grad.norm() for value in kept]))))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", clip)
        _fit(clip_norm=0.01)
    assert norms
    assert max(norms) <= 0.01 * 1.001


def test_uncertain_targets_train_as_the_recipe_says_and_are_judged_as_unknown(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path, patients=12, images=1)
    lines = manifest.read_text().splitlines()
    lines[1:4] = [line.rsplit(",", 1)[0] + ",-1" for line in lines[1:3]] + [lines[3].rsplit(",", 1)[0] + ","]
    manifest.write_text("\n".join(lines) + "\n")
    checked = read_manifest(manifest, ["disc"])
    for policy, value in (("ignore", math.nan), ("ones", 1.0), ("zeros", 0.0), ("soft", 0.5)):
        config = CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"uncertain": policy})})
        cohort = load_cohort(checked, config)
        unsure = "only uncertain labels" + ("" if policy == "ignore" else ", learnt from")
        assert cohort.flow() == FlowRecord(rows=12, used=9, refused={unsure: 2, "no known label": 1})
        np.testing.assert_array_equal(cohort.learned[:3, 0], np.array([value, value, math.nan], dtype=np.float32))
        assert np.isnan(cohort.targets[:3]).all()
        split = make_inner_split(cohort.rows, checked.labels, validation_fraction=0.4, seed=0)
        assert sorted(cohort.places((*split.training, *split.validation))) == list(range(3, 12))
        assert {0, 1}.isdisjoint(cohort.places(split.validation, learning=True))
        learnt = cohort.places(split.training, learning=True)
        assert [place for place in learnt if place < 3] == ([] if policy == "ignore" else [0, 1])


@pytest.mark.slow
def test_a_fold_learns_from_who_is_uncertain_alone_and_nobody_is_judged_by_them(tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path / "cohort", patients=18, images=1)
    table = pd.read_csv(manifest, dtype=str)
    table["label_spot"] = ["1", "0", "0", "1"] * 4 + ["", "0"]
    table.loc[[16, 17], "label_disc"] = "-1"  # patient 16 has nothing else, 17 has another label
    table.to_csv(manifest, index=False)
    config = recipes.made("training.uncertain=ones", *(option.removeprefix("--set=") for option in recipes.TOKEN))
    with made_networks():
        cross_validate(manifest, labels=["disc", "spot"], config=config, out=tmp_path / "run")
    oof = pd.read_csv(tmp_path / "run" / "oof.csv", dtype=str, keep_default_na=False).set_index("PatientID")
    assert sorted(oof.index) == [f"{patient:04d}" for patient in (*range(16), 17)]
    assert oof.loc["0017", ["label_disc", "label_spot"]].tolist() == ["-1", "0"]
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["labels"]
    assert {label: (content["n"], content["uncertain"]) for label, content in found.items()} == {
        "disc": (16, 1), "spot": (17, 0)
    }  # fmt: skip
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["flow"] == {"rows": 18, "used": 17, "refused": {"only uncertain labels, learnt from": 1}}
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "learned from where their patients are in a training part, not judged: <code>only uncertain labels" in page
    assert "not used: <code>only uncertain labels" not in page
    for number, fold in enumerate(json.loads((tmp_path / "run" / "splits.json").read_text())["folds"]):
        assert "0016" in fold["training"]
        assert run["folds"][number]["training_images"] == len(fold["training"])
    old = [replace(fold, training=fold.training[:-1]) for fold in read_splits(tmp_path / "run" / "splits.json")[0]]
    document = splits_document(old, labels=["disc", "spot"], seed=0, manifest_sha256="")  # as made without patient 16
    write_splits(tmp_path / "old.json", document)
    with made_networks():
        cross_validate(
            manifest,
            labels=["disc", "spot"],
            config=config,
            out=tmp_path / "again",
            division=Division(splits=tmp_path / "old.json"),
        )
    again = json.loads((tmp_path / "again" / "run.json").read_text())
    for fold, without in zip(run["folds"], again["folds"], strict=True):
        assert without["training_images"] == fold["training_images"] - 1


@given(st.integers(2, 5000), st.floats(0, 0.9))
def test_the_learning_rate_rises_to_one_then_falls_to_zero(steps: int, warmup: float) -> None:
    factor = warmup_cosine(steps, warmup)
    values = [factor(step) for step in range(steps + 1)]
    assert all(0 <= value <= 1 for value in values)
    top = int(np.argmax(values))
    assert all(np.diff(values[: top + 1]) >= 0)
    assert all(np.diff(values[top:]) <= 1e-12)
    assert values[-1] == pytest.approx(0, abs=1e-9)


def test_the_best_epoch_is_the_highest_auroc_then_the_lowest_loss_of_the_last_stage() -> None:
    network = torch.nn.Linear(1, 1)
    best = BestWeights(patience=2, saturation=0.99)
    assert not best.judge(network, epoch=1, value=0.95, loss=0.1, last_stage=False)
    best.next_stage()
    assert not best.judge(network, epoch=2, value=0.7, loss=0.6, last_stage=True)
    assert not best.judge(network, epoch=3, value=0.8, loss=0.5, last_stage=True)
    assert not best.judge(network, epoch=4, value=0.8, loss=0.4, last_stage=True)
    assert best.judge(network, epoch=5, value=0.7, loss=0.1, last_stage=True)
    assert best.epoch == 4
    assert best.judge(network, epoch=6, value=0.99, loss=0.9, last_stage=True)
    assert best.epoch == 6


def test_ranking_right_by_luck_does_not_end_a_stage() -> None:
    network = torch.nn.Linear(1, 1)
    best = BestWeights(patience=5, saturation=0.99)
    assert not best.judge(network, epoch=1, value=1.0, loss=1.5, last_stage=True, chance=math.log(2))
    assert best.judge(network, epoch=2, value=1.0, loss=0.2, last_stage=True, chance=math.log(2))


def test_the_chance_loss_is_the_entropy_of_the_prevalence() -> None:
    record = ValidationRecord()
    record.targets = [torch.tensor([[1, 0], [0, 0], [0, 0], [math.nan, 1]], dtype=torch.float64)]
    entropy = [-sum(p * math.log(p) for p in (share, 1 - share)) for share in (1 / 3, 1 / 4)]
    assert record.chance_loss() == pytest.approx((3 * entropy[0] + 4 * entropy[1]) / 7)


def test_the_last_epoch_is_kept_where_validation_patients_are_to_choose_nothing() -> None:
    network = torch.nn.Linear(1, 1)
    best = BestWeights(patience=1, saturation=0.99, last=True)
    for epoch, value in enumerate((0.999, 0.7, None, 0.6), start=1):
        torch.nn.init.constant_(network.weight, epoch)
        assert not best.judge(network, epoch=epoch, value=value, loss=0.01, last_stage=True, chance=1.0)
    assert best.epoch == 4
    assert best.state is not None
    assert best.state["weight"].item() == 4


def test_metrics_are_recomputed_exactly_from_the_out_of_fold_table(small_run: Path) -> None:
    record = json.loads((small_run / "run.json").read_text())
    evaluation = Evaluation.model_validate(record["config"]["evaluation"])
    again = summarise(read_table(small_run / "oof.csv"), labels=["disc"], evaluation=evaluation, seed=record["seed"])
    assert again == read_document(small_run / "metrics.json", Metrics)


def test_a_network_that_knows_the_disc_errs_on_wrong_labels_alone_and_every_image_is_held_out_once(
    small_run: Path, small_cohort: Path
) -> None:
    metrics = json.loads((small_run / "metrics.json").read_text())["labels"]["disc"]["pooled"]["auroc"]
    assert metrics["value"] > 0.75
    table = pd.read_csv(small_run / "oof.csv", dtype={"PatientID": str, "SOPInstanceUID": str})
    manifest = pd.read_csv(small_cohort, dtype=str)
    assert sorted(table["SOPInstanceUID"]) == sorted(manifest["SOPInstanceUID"])
    assert (table.groupby("PatientID")["fold"].nunique() == 1).all()


def test_a_run_says_everywhere_that_it_started_from_random_weights(small_run: Path) -> None:
    assert "random start" in json.loads((small_run / "run.json").read_text())["network"]["weights"]
    assert "random start" in (small_run / "report.html").read_text()
    assert "random start" in (small_run / "models" / "fold-0" / "docs" / "README.md").read_text()


def test_an_external_validation_keeps_thresholds_and_sees_what_score_sees(
    small_model: Path, small_cohort: Path, tmp_path: Path, medres: object
) -> None:
    asked = ("evaluate", small_model, small_cohort, "--out", tmp_path / "external")
    done = medres(*asked, "--allow-overlap")  # type: ignore[operator]
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "external" / "oof.csv", dtype={"PatientID": str})
    threshold = json.loads((small_model / "medres.json").read_text())["operating_points"]["disc"]["threshold"]
    assert ((table["prob_disc"] >= threshold).astype(int) == table["positive_disc"]).all()
    assert len(table) == len(pd.read_csv(small_cohort))
    assert (tmp_path / "external" / "report.html").is_file()
