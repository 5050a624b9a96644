"""One step of training, whole or in parts; frozen beginnings; which images are drawn."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.engines.utils import IterationEvents

from medres.config import Stage, Training
from medres.errors import TrainingError
from medres.model.network import build_network
from medres.training.batches import Pixels, Shuffled, sampling_weights
from medres.training.device import choose_compute
from medres.training.distributed import Processes
from medres.training.losses import MaskedLoss
from medres.training.optimiser import adamw
from medres.training.steps import AccumulatedStep, _number_of_parts, _parts
from tests.test_training import _fit

NAN = float("nan")


class Engine(SimpleNamespace):
    """As much of MONAI's trainer as a step needs."""

    def fire_event(self, event: object) -> None:
        self.events.append(event)


def engine(network: torch.nn.Module, forward: Any = None) -> Engine:
    return Engine(
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        inferer=forward or (lambda images, network: network(images)),
        prepare_batch=lambda batch, *_, **__: (batch["image"], batch["label"]),
        state=SimpleNamespace(device=torch.device("cpu")),
        non_blocking=False,
        to_kwargs={},
        events=[],
    )


class Unconnected(Processes):
    """One of several processes, without the others."""

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        return value


def linear() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))


def batch(count: int = 9) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(0, 2, (count, 2), generator=generator).float()
    targets[:4, 0] = NAN  # parts have different numbers of known targets
    return {"image": torch.rand(count, 1, 4, 4, generator=generator), "label": targets}


@given(st.integers(0, 9))
def test_a_step_in_parts_is_the_step_of_the_whole_batch(part: int) -> None:
    whole, split = linear(), linear()
    expected = AccumulatedStep(MaskedLoss())(engine(whole), batch())
    found = AccumulatedStep(MaskedLoss(), part)(engine(split), batch())
    assert torch.allclose(found["loss"], expected["loss"], atol=1e-6)
    for one, other in zip(whole.parameters(), split.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_memory_that_runs_out_halves_the_parts_and_keeps_the_gradient(caplog: pytest.LogCaptureFixture) -> None:
    def forward(images: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
        if len(images) > 3:
            raise torch.OutOfMemoryError("no memory")
        return network(images)  # type: ignore[no-any-return]

    whole, split = linear(), linear()
    AccumulatedStep(MaskedLoss())(engine(whole), batch())
    step = AccumulatedStep(MaskedLoss())
    with caplog.at_level(logging.WARNING):
        step(engine(split, forward), batch())
    assert (step.part, step.smallest) == (4, 3)
    assert "parts of 4 images" in caplog.text
    assert "same gradient" not in caplog.text
    for one, other in zip(whole.parameters(), split.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_memory_that_is_never_enough_ends_the_training() -> None:
    def forward(images: torch.Tensor, _: torch.nn.Module) -> torch.Tensor:
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(TrainingError, match="two images at a time"):
        AccumulatedStep(MaskedLoss())(engine(linear(), forward), batch())


@given(st.integers(2, 6), st.integers(4, 80), st.integers(0, 40))
def test_processes_make_as_many_parts_and_none_is_a_single_image(count: int, batch: int, size: int) -> None:
    batch = max(batch, 2 * count)
    shares = [len(Processes(rank, count).part(range(batch))) for rank in range(count)]
    largest = Processes(0, count).largest_part(batch)
    assert largest == max(shares)
    number = _number_of_parts(largest, size or largest, batch)
    parts = [[stop - start for start, stop in _parts(share, number)] for share in shares]
    assert {len(sizes) for sizes in parts} == {number}
    assert [sum(sizes) for sizes in parts] == shares
    assert max(map(max, parts)) <= (max(2, size) if size else largest)
    assert min(map(min, parts)) >= 1
    assert min(map(sum, zip(*parts, strict=True))) >= 2


@given(st.integers(2, 40), st.integers(1, 40))
def test_parts_of_a_process_alone_have_two_images_at_least(batch: int, size: int) -> None:
    sizes = [stop - start for start, stop in _parts(batch, _number_of_parts(batch, size, batch))]
    assert sum(sizes) == batch
    assert min(sizes) >= 2
    assert max(sizes) <= max(3, size)


def test_memory_that_runs_out_in_one_of_several_processes_ends_them_with_a_remedy() -> None:
    def forward(images: torch.Tensor, _: torch.nn.Module) -> torch.Tensor:
        raise torch.OutOfMemoryError("no memory")

    step = AccumulatedStep(MaskedLoss(), processes=Unconnected(0, 2), batch=18)
    with pytest.raises(TrainingError, match=r"--force.*training\.micro_batch_size=4 or less"):
        step(engine(linear(), forward), batch())


@pytest.mark.parametrize(("batch", "images"), [(2, 40), (5, 40), (32, 5)])
def test_a_batch_that_is_too_small_for_the_processes_is_refused(batch: int, images: int) -> None:
    with pytest.raises(TrainingError, match=r"too small for 3 processes.*training\.batch_size"):
        Shuffled(range(images), batch_size=batch, seed=0, processes=Processes(0, 3))
    assert len(next(iter(Shuffled(range(40), batch_size=6, seed=0, processes=Processes(2, 3))))) == 2


def test_a_scaled_loss_gives_the_gradient_that_is_clipped_and_the_step_of_the_loss_itself() -> None:
    plain, scaled = linear(), linear()
    clipped: list[torch.Tensor] = []
    run = engine(scaled)
    object.__setattr__(run, "fire_event", lambda event: clipped.append(scaled[1].weight.grad.clone()))
    AccumulatedStep(MaskedLoss())(engine(plain), batch())
    AccumulatedStep(MaskedLoss(), 3, scaler=torch.amp.GradScaler("cpu"))(run, batch())
    assert torch.allclose(clipped[0], plain[1].weight.grad, atol=1e-6)
    for one, other in zip(plain.parameters(), scaled.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_step_whose_scaled_gradient_overflows_is_left_out_and_the_next_one_is_done() -> None:
    network = linear()
    run, step = engine(network), AccumulatedStep(MaskedLoss(), scaler=torch.amp.GradScaler("cpu", init_scale=1e38))
    run.optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, fused=True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    huge = batch()
    huge["image"] *= 1e4
    found = step(run, huge)
    assert torch.isfinite(found["loss"])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert IterationEvents.MODEL_COMPLETED not in run.events  # the running average does not see it
    assert step.scaler.get_scale() == pytest.approx(5e37)
    assert all(state["step"] == 0 for state in run.optimizer.state.values())
    again = AccumulatedStep(MaskedLoss(), scaler=torch.amp.GradScaler("cpu"))
    again.scaler.load_state_dict(step.scaler.state_dict())
    assert again.scaler.get_scale() == step.scaler.get_scale()
    step(run, batch())
    assert IterationEvents.MODEL_COMPLETED in run.events
    assert not torch.equal(network[1].weight, before["1.weight"])


def test_gradients_that_always_overflow_end_the_training() -> None:
    step = AccumulatedStep(MaskedLoss(), scaler=torch.amp.GradScaler("cpu", init_scale=4.0))
    network = linear()
    network[1].weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingError, match=r"training\.precision=fp32"):
        for _ in range(20):
            step(engine(network), batch())


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_without_bf16_trains_in_fp16_with_a_scaled_loss(
    native: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    compute = choose_compute(Training())
    assert compute.precision == precision
    assert compute.scaler().is_enabled() == (precision == "fp16")
    assert choose_compute(Training(precision="fp32")).precision == "fp32"


def test_fp16_on_a_cpu_is_refused_with_what_to_choose() -> None:
    with pytest.raises(TrainingError, match="choose auto, fp32 or bf16"):
        choose_compute(Training(precision="fp16", device="cpu"))
    assert not choose_compute(Training(device="cpu")).scaler().is_enabled()


def test_a_frozen_backbone_rests_and_the_head_learns() -> None:
    fitted: Any = _fit(stages=(Stage(epochs=2),), frozen_epochs=2, ema_decay=0.0, saturation=1.0)
    started: Any = _fit(stages=(Stage(epochs=1),), frozen_epochs=1, ema_decay=0.0, learning_rate=1e-12)
    for name, value in fitted.network.backbone.state_dict().items():
        assert torch.allclose(value, started.network.backbone.state_dict()[name], atol=1e-6), name
    assert not torch.allclose(fitted.network.head.weight, started.network.head.weight)
    free: Any = _fit(stages=(Stage(epochs=2),), frozen_epochs=1, ema_decay=0.0, saturation=1.0, keep="last")
    assert not torch.allclose(free.network.backbone.conv1.weight, started.network.backbone.conv1.weight, atol=1e-6)


def test_early_blocks_learn_slower_and_every_weight_is_in_one_group() -> None:
    network = build_network("resnet18", labels=1)
    groups = adamw(network, Training(learning_rate=1e-3, layer_decay=0.5, head_learning_rate_factor=10)).param_groups
    rates = {id(parameter): group["peak"] for group in groups for parameter in group["params"]}
    assert len(rates) == len(list(network.parameters()))
    blocks = [network.backbone.conv1, *(getattr(network.backbone, f"layer{n}") for n in (1, 2, 3, 4)), network.head]
    found = [{rates[id(parameter)] for parameter in block.parameters()} for block in blocks]
    assert found == [{1e-3 / 16}, {1e-3 / 8}, {1e-3 / 4}, {1e-3 / 2}, {1e-3}, {1e-2}]


@given(st.integers(2, 40), st.integers(2, 12), st.integers(0, 99))
def test_an_epoch_draws_every_image_at_most_once_and_epochs_differ(count: int, size: int, seed: int) -> None:
    order = Shuffled(range(100, 100 + count), batch_size=size, seed=seed)
    first, second = (list(order) for _ in range(2))
    assert {len(part) for part in first} == {min(size, count)}
    drawn = [place for part in first for place in part]
    assert len(set(drawn)) == len(drawn) == len(first) * min(size, count)
    again = Shuffled(range(100, 100 + count), batch_size=size, seed=seed)
    again.epoch = 1
    assert list(again) == second


def test_a_balanced_sampler_shows_rare_positives_as_often_as_negatives() -> None:
    targets = np.zeros((400, 1), np.float32)
    targets[:20] = 1
    order = Shuffled(range(400), batch_size=40, seed=0, weights=sampling_weights(targets))
    drawn = [place for _ in range(20) for part in order for place in part]
    assert targets[drawn].mean() == pytest.approx(0.5, abs=0.03)


def test_an_image_without_a_known_label_is_drawn_as_often_as_the_average() -> None:
    weights = sampling_weights(np.array([[1], [0], [0], [NAN]], np.float32))
    assert weights[3] == pytest.approx(weights[:3].mean())


def test_the_cache_gives_the_float_of_every_value_bit_for_bit() -> None:
    values = np.arange(2**16, dtype=np.uint16).reshape(1, 256, 256)
    found = Pixels(values, torch.device("cpu"))[[0]].numpy()[0, 0]
    np.testing.assert_array_equal(found, values[0].astype(np.float32) / 65535)
