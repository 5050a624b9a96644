from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medres.errors import TrainingError
from medres.model.forward import in_parts
from medres.training import engine, interruption
from medres.training.augmentation import BatchAugmentation
from medres.training.batches import TrainingData
from medres.training.checkpoints import Checkpoints
from medres.training.device import Compute, EvaluationInferer
from medres.training.engine import fit_network
from medres.training.interruption import Interruption
from medres.training.state import FitPlan, FittedNetwork
from tests.support.made import narrow_networks
from tests.support.phantoms import blob
from tests.support.recipes import fixture_seed, quick


@pytest.fixture(autouse=True)
def signals_arrive() -> Iterator[None]:
    """A test run that was started in the background ignores Ctrl-C; these tests do not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="module")
def narrow() -> Iterator[None]:
    with narrow_networks():
        yield


STATE = {"network": {"w": torch.arange(5.0)}, "epoch": 3, "history": [{"loss": 0.5, "auroc": None}]}


class InterruptedTrainingError(Exception):
    """What a test ends a training with."""


class Killed(Checkpoints):
    """Checkpoints of a training that ends right after (or right before) writing its nth state."""

    def __init__(self, folder: Path, at: int, *, before: bool = False) -> None:
        super().__init__(folder, share=1)  # every epoch's state
        self.left, self.before = at, before

    def save(self, state: dict[str, Any]) -> None:
        self.left -= 1
        if self.left == 0 and self.before:
            raise InterruptedTrainingError
        super().save(state)
        if self.left == 0:
            raise InterruptedTrainingError


def trained(checkpoints: Checkpoints | None) -> FittedNetwork:
    """Three stages, with everything that has a state: dropout, noise, a running average."""
    config = quick(
        "preprocessing.size=64", "training.stages=[{epochs: 1, size: 32}, {epochs: 1, size: 48}, {epochs: 2}]",
        "training.batch_size=8", "training.saturation=1", "training.patience=9", "training.ema_decay=0.9",
        "network.dropout=0.3", "augmentation.noise=0.02",
    )  # fmt: skip
    images = np.stack([blob(seed, bright=seed % 2 == 0, rows=64, columns=64) for seed in range(40)])
    targets = np.array([[1.0 - seed % 2] for seed in range(40)], dtype=np.float32)
    targets[38:] = 1 - targets[38:]  # two validation targets are wrong: no stage is solved before its end
    data = TrainingData((images * 16).astype(np.uint16), targets, targets)
    plan = FitPlan(range(26), range(26, 40), seed=4 + fixture_seed(), title="test")
    return fit_network(data, plan, config, weights=None, checkpoints=checkpoints)


@pytest.fixture(scope="module")
def uninterrupted() -> FittedNetwork:
    return trained(None)


def assert_same(one: FittedNetwork, other: FittedNetwork) -> None:
    for name, value in other.network.state_dict().items():
        assert torch.equal(one.network.state_dict()[name], value), name
    keys = ("epoch", "size", "loss", "validation_loss", "validation_auroc", "learning_rate")
    assert [[entry[key] for key in keys] for entry in one.history] == [
        [entry[key] for key in keys] for entry in other.history
    ]
    assert one.best_epoch == other.best_epoch


@pytest.mark.parametrize(("epoch", "before"), [(1, False), (3, True), (3, False), (4, False)])
def test_an_interrupted_training_becomes_bit_for_bit_what_it_would_have_become(
    uninterrupted: FittedNetwork, tmp_path: Path, epoch: int, before: bool
) -> None:
    with pytest.raises(InterruptedTrainingError):
        trained(Killed(tmp_path, epoch, before=before))
    assert_same(trained(Checkpoints(tmp_path)), uninterrupted)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_step_that_was_being_done(
    uninterrupted: FittedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: signal.Signals
) -> None:
    drawn, change = 0, BatchAugmentation.__call__

    def signalled(self: BatchAugmentation, images: torch.Tensor) -> torch.Tensor:
        nonlocal drawn
        drawn += 1
        if drawn in (2, 6, 7, 9):  # within an epoch of three steps; a stage's last, first; an epoch's last
            signal.raise_signal(kind)
        return change(self, images)

    monkeypatch.setattr(BatchAugmentation, "__call__", signalled)
    handler = signal.getsignal(kind)
    steps = []
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            trained(Checkpoints(tmp_path))
        assert signal.getsignal(kind) is handler
        saved = Checkpoints(tmp_path).load()
        assert saved is not None
        steps.append((len(saved["history"]), saved["stage_step"]))
    assert steps == [(0, 2), (2, 0), (2, 1), (3, 0)]
    assert_same(trained(Checkpoints(tmp_path)), uninterrupted)
    assert drawn == 12  # no step was done twice


def test_a_signal_that_nobody_looked_for_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        assert interruption.asked
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(("after", "kept"), [(0.5, True), (1.5, False)])
def test_another_signal_ends_a_training_at_once_unless_it_is_the_same_that_came_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: float, kept: bool
) -> None:
    now = time.monotonic()
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(interruption, "time", clock)

    def signalled(self: BatchAugmentation, images: torch.Tensor) -> torch.Tensor:
        nonlocal now
        signal.raise_signal(signal.SIGINT)
        now += after
        signal.raise_signal(signal.SIGTERM)
        return images

    monkeypatch.setattr(BatchAugmentation, "__call__", signalled)
    with pytest.raises(KeyboardInterrupt):
        trained(Checkpoints(tmp_path))
    assert (Checkpoints(tmp_path).load() is not None) == kept


def test_a_training_that_is_interrupted_again_and_again_still_ends_the_same(
    uninterrupted: FittedNetwork, tmp_path: Path
) -> None:
    for _ in range(3):
        with pytest.raises(InterruptedTrainingError):
            trained(Killed(tmp_path, 1))
    assert_same(trained(Checkpoints(tmp_path)), uninterrupted)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "new")
    assert kept.load() is None
    kept.save(STATE)
    found = kept.load()
    assert found is not None
    assert torch.equal(found["network"]["w"], STATE["network"]["w"])  # type: ignore[index]
    assert (found["epoch"], found["history"]) == (3, STATE["history"])
    kept.remove()
    assert kept.load() is None


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(
    tmp_path_factory: pytest.TempPathFactory, place: int, change: int
) -> None:
    kept = Checkpoints(tmp_path_factory.mktemp("checkpoints"))
    kept.save({**STATE, "epoch": 1})
    kept.save({**STATE, "epoch": 2})
    data = bytearray(kept.newest.read_bytes())
    data[place % len(data)] ^= change
    kept.newest.write_bytes(data)
    found = kept.load()
    assert found is not None
    assert found["epoch"] == 1


@pytest.mark.parametrize(("share", "wait", "due"), [(0.05, 9.4, False), (0.05, 9.6, True), (1, 0, True)])
def test_states_are_written_in_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, wait: float, due: bool
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    kept = Checkpoints(tmp_path, share=share)
    assert kept.due

    def slow(_: int) -> None:
        nonlocal now
        now += 0.5

    monkeypatch.setattr(os, "fsync", slow)
    kept.save(STATE)
    now += wait
    assert kept.due == due


def test_a_training_keeps_its_first_epoch_and_then_only_what_there_is_time_for(
    uninterrupted: FittedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, save = [], Checkpoints.save

    def noted(self: Checkpoints, state: dict[str, Any]) -> None:
        saved.append(len(state["history"]))
        save(self, state)

    monkeypatch.setattr(Checkpoints, "save", noted)
    assert_same(trained(Checkpoints(tmp_path / "few", share=1e-9)), uninterrupted)
    assert saved == [1, 2, 4]  # the ends of its three stages
    saved.clear()
    assert_same(trained(Checkpoints(tmp_path / "all", share=1)), uninterrupted)
    assert saved == [1, 2, 3, 4]


def test_a_signal_keeps_a_step_for_which_there_would_be_no_time(
    uninterrupted: FittedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, change = 0, BatchAugmentation.__call__

    def signalled(self: BatchAugmentation, images: torch.Tensor) -> torch.Tensor:
        nonlocal drawn
        drawn += 1
        if drawn == 11:  # the second of the three steps of the last epoch, whose predecessor was not kept
            signal.raise_signal(signal.SIGTERM)
        return change(self, images)

    monkeypatch.setattr(BatchAugmentation, "__call__", signalled)
    kept = Checkpoints(tmp_path, share=1e-9)
    with pytest.raises(KeyboardInterrupt):
        trained(kept)
    saved = kept.load()
    assert saved is not None
    assert (len(saved["history"]), saved["stage_step"]) == (3, 2)
    assert_same(trained(kept), uninterrupted)
    assert drawn == 12


def test_a_training_goes_on_in_its_precision_alone_and_says_where_it_ran(
    uninterrupted: FittedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InterruptedTrainingError):
        trained(Killed(tmp_path, 3))
    cpu, here = torch.device("cpu"), uninterrupted.device
    other = "fp32" if here.endswith("bf16") else "bf16"
    with monkeypatch.context() as patch:
        patch.setattr(engine, "choose_compute", lambda _: Compute(cpu, other))  # type: ignore[arg-type]
        with pytest.raises(TrainingError, match=f"would go on in {other}: go on there, or start anew"):
            trained(Checkpoints(tmp_path))
    before = torch.get_num_threads()
    torch.set_num_threads(before % 2 + 1)
    try:
        fitted = trained(Checkpoints(tmp_path))
        assert fitted.device == f"{here}, then {Compute(cpu, here.rsplit(', ')[-1])}"  # type: ignore[arg-type]
    finally:
        torch.set_num_threads(before)
    assert "last digits will differ" in caplog.text
    assert trained(Checkpoints(tmp_path)).device == f"{fitted.device}, then {here}"


@given(st.integers(1, 9), st.integers(1, 30))
def test_a_batch_that_does_not_fit_is_done_in_parts_that_do(most: int, count: int) -> None:
    def small(images: torch.Tensor) -> torch.Tensor:
        if len(images) > most:
            raise torch.OutOfMemoryError
        return 2 * images

    images = torch.arange(count)
    parts = in_parts(small, images)
    assert torch.equal(torch.cat(parts), 2 * images)
    assert len(parts) == 1 or max(map(len, parts)) * 2 > most // 2
    assert torch.equal(EvaluationInferer()(images, small), 2 * images)


def test_an_image_that_does_not_fit_alone_is_an_error() -> None:
    def never(images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        in_parts(never, torch.zeros(5))


def test_damage_is_said_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(STATE)
    kept.save(STATE)
    for path in (kept.newest, kept.previous):
        path.write_bytes(path.read_bytes()[:-10])
    for _ in range(2):
        with caplog.at_level(logging.WARNING), pytest.raises(TrainingError, match="--force"):
            kept.load()
    assert caplog.text.count("is damaged") == 4


def test_a_damaged_state_never_takes_the_place_of_a_sound_one(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save({**STATE, "epoch": 1})
    kept.save({**STATE, "epoch": 2})
    kept.newest.write_bytes(kept.newest.read_bytes()[:-10])
    assert (kept.load() or {})["epoch"] == 1
    kept.save({**STATE, "epoch": 3})
    kept.newest.write_bytes(b"")
    assert (kept.load() or {})["epoch"] == 1


def test_a_training_without_a_sound_checkpoint_does_not_begin_again_unasked(tmp_path: Path) -> None:
    with pytest.raises(InterruptedTrainingError):
        trained(Killed(tmp_path / "checkpoints", 1))
    kept = Checkpoints(tmp_path / "checkpoints")
    kept.newest.write_bytes(b"")
    with pytest.raises(TrainingError, match="delete that folder to begin this training again"):
        trained(kept)


def test_a_training_goes_on_from_the_state_before_a_damaged_one_to_the_same_end(
    uninterrupted: FittedNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InterruptedTrainingError):
        trained(Killed(tmp_path, 4))
    kept = Checkpoints(tmp_path)
    data = kept.newest.read_bytes()
    kept.newest.write_bytes(data[: len(data) // 2])
    with caplog.at_level(logging.INFO):
        resumed = trained(kept)
    assert "going on after epoch 3" in caplog.text
    assert_same(resumed, uninterrupted)


def test_a_state_of_an_earlier_version_is_refused_in_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(InterruptedTrainingError):
        trained(Killed(tmp_path, 1))
    kept = Checkpoints(tmp_path)
    state = kept.load() or {}
    kept.save({name: value for name, value in state.items() if name not in ("precision", "devices")})
    with pytest.raises(TrainingError, match=r"earlier version of medres.*--force"):
        trained(Checkpoints(tmp_path))


def test_a_state_is_on_the_disk_before_it_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, synced = Checkpoints(tmp_path), []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append((kept.newest.exists(), kept.previous.exists())))
    kept.save(STATE)
    kept.save(STATE)
    assert synced == [(False, False), (True, False)]


def test_a_gpu_s_generator_is_kept_and_set_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.Tensor] = []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.tensor([1, 2], dtype=torch.uint8))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: asked.append(state))
    on_gpu = Compute(torch.device("cuda"), "fp32")
    saved = on_gpu.generators()
    before = torch.rand(3)
    Checkpoints(tmp_path).save({"generators": [saved]})
    found = Checkpoints(tmp_path).load()
    assert found is not None
    on_gpu.set_generators(found["generators"][0])
    assert torch.equal(torch.rand(3), before)
    assert [state.tolist() for state in asked] == [[1, 2]]
