"""Where networks compute: chosen by name, exactly, without waiting, and with memory that runs out anywhere."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier
from time import sleep
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils._python_dispatch import TorchDispatchMode

from medres.cli import medres as group
from medres.errors import DeviceError, TrainingError, UsageError
from medres.model.cost import Design, kept_values
from medres.model.device import (
    CPU,
    choose_device,
    float32_as,
    full_precision,
    in_parts,
    lacks_memory,
    said_plainly,
    unit_range,
)
from medres.runs.device_checks import bright_images, fitted, steady
from medres.training.augmentation import affine_matrices, moved_images
from medres.training.batches import ahead
from medres.training.device import seeded
from medres.training.distributed import joined, own_gpu
from medres.training.handlers import FiniteLoss
from medres.training.losses import MaskedLoss
from medres.training.optimiser import RunningAverage
from medres.training.steps import AccumulatedStep
from tests.benchmarks.gpu_speed import WAITING
from tests.test_steps import batch, engine, linear


def with_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)


def test_a_device_is_chosen_by_name_and_a_gpu_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 0)
    assert choose_device("auto") == choose_device("cpu") == CPU
    with pytest.raises(UsageError, match="no GPU was found: choose auto or cpu"):
        choose_device("cuda:0")
    with_gpus(monkeypatch, 2)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 0)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UsageError, match="the GPUs here are cuda:0 to cuda:1"):
        choose_device("cuda:2")


@given(st.text(max_size=8).filter(lambda name: name not in ("auto", "cpu", "cuda")))
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        choose_device(f"x{name}" if name.startswith("cuda:") else name)


def test_every_verb_that_runs_a_network_lets_its_device_be_chosen() -> None:
    for verb in (
        "train",
        "crossval",
        "depth",
        "evaluate",
        "compare",
        "accuracy-check",
        "heatmap-check",
        "score",
        "explain",
    ):
        (option,) = [one for one in group.commands[verb].params if one.name == "device"]
        assert isinstance(option, click.Option)
        assert option.default == "auto"
    done = CliRunner().invoke(group, ["train", "m.csv", "--label", "a", "--out", "b", "--device", "gpu"])
    assert isinstance(done.exception, UsageError)
    assert "training.device" in str(done.exception)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_memory_that_runs_out_in_any_words_halves_a_batch_or_offers_the_processor(error: RuntimeError) -> None:
    def score(images: np.ndarray[Any, Any]) -> int:
        if len(images) > 2:
            raise error
        return len(images)

    assert lacks_memory(error)
    assert in_parts(score, np.zeros((9, 4, 4), np.uint16)) == [2, 2, 2, 1, 2]
    offered = pytest.raises(DeviceError, match=r"cuda:0 has too little free memory .*--device cpu")
    with offered, said_plainly(torch.device("cuda", 0)):
        raise error
    with pytest.raises(ZeroDivisionError), said_plainly(CPU):
        raise ZeroDivisionError


def test_a_busy_gpu_is_a_sentence_and_another_error_stays_what_it_is() -> None:
    busy = "CUDA error: CUDA-capable device(s) is/are busy or unavailable"
    with pytest.raises(DeviceError, match="cannot be used now"), said_plainly(CPU):
        raise RuntimeError(busy)
    with pytest.raises(RuntimeError, match="shapes"), said_plainly(CPU):
        raise RuntimeError("shapes differ")


def _switches() -> tuple[str, str, str]:
    conv, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul  # type: ignore[attr-defined]
    return conv.fp32_precision, matmul.fp32_precision, torch.get_float32_matmul_precision()


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["ieee", "tf32"])), max_size=12))
def test_float32_is_ieee_s_as_long_as_anybody_needs_it_and_afterwards_what_it_was(
    turns: list[tuple[int, Any]],
) -> None:
    before = _switches()
    users: dict[int, tuple[ExitStack, str]] = {}
    training = False  # one fit at a time may choose TF32
    for user, wanted in turns:
        if user in users:
            stack, held = users.pop(user)
            stack.close()
            training &= held != "tf32"
        elif wanted == "ieee" or not training:
            stack = ExitStack()
            stack.enter_context(float32_as(wanted))
            users[user] = stack, wanted
            training |= wanted == "tf32"
        if any(held == "ieee" for _, held in users.values()):
            assert _switches() == ("ieee", "ieee", "highest")
        elif users:
            assert _switches() == ("tf32", "tf32", "high")
    for stack, _ in users.values():
        stack.close()
    assert _switches() == before


@pytest.mark.parametrize("way", ["all", "matrices"])
def test_who_allowed_tf32_by_torch_s_newer_switches_has_exact_scores_and_the_switches_back(way: str) -> None:
    switch: Any = torch.backends if way == "all" else torch.backends.cuda.matmul
    before = switch.fp32_precision
    switch.fp32_precision = "tf32"
    try:
        with full_precision():
            assert torch.backends.cuda.matmul.fp32_precision == "ieee"
            assert torch.backends.cudnn.allow_tf32 is False  # readable: the older switch agrees
        assert switch.fp32_precision == "tf32"
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        switch.fp32_precision = before
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.fp32_precision = "none"


def test_threads_that_score_at_once_all_compute_exactly() -> None:
    before, seen, ready = _switches(), [], Barrier(8)

    def score(number: int) -> None:
        ready.wait(10)
        for _ in range(20):
            with full_precision():
                seen.append(_switches())
                sleep(0.0001 * number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(score, range(8)))
    assert set(seen) == {("ieee", "ieee", "highest")}
    assert _switches() == before


@pytest.mark.parametrize("compiled", [False, True])
def test_processes_exchange_gradients_once_a_step_however_many_parts_it_has(compiled: bool, tmp_path: Path) -> None:
    distributed.init_process_group(
        "cpu:gloo,cuda:gloo", rank=0, world_size=1, store=distributed.FileStore(str(tmp_path / "store"), 1)
    )
    try:
        network, plain = linear(), linear()
        joint = DistributedDataParallel(network)
        exchanged: list[int] = []

        def noted(_: object, bucket):  # type: ignore[no-untyped-def]  # torch looks at the annotations
            exchanged.append(bucket.index())
            done: Any = torch.futures.Future()
            done.set_result(bucket.buffer())
            return done

        joint.register_comm_hook(None, noted)
        run = engine(network)
        run.network = torch.compile(joint, backend="eager") if compiled else joint
        AccumulatedStep(MaskedLoss(), 3)(run, batch())
        AccumulatedStep(MaskedLoss(), 3)(engine(plain), batch())
        assert exchanged == [0]
        for one, other in zip(network.parameters(), plain.parameters(), strict=True):
            assert torch.allclose(one, other, atol=1e-6)
    finally:
        distributed.destroy_process_group()


def test_the_switches_are_put_back_after_an_exception() -> None:
    before = _switches(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with pytest.raises(KeyError), full_precision(), seeded(3, deterministic=True):
        assert torch.backends.cudnn.deterministic
        raise KeyError
    assert (_switches(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == before


def test_every_stored_value_becomes_the_float_that_numpy_gives() -> None:
    values = np.arange(2**16, dtype=np.uint16)
    found = unit_range(torch.from_numpy(values.view(np.int16)))
    np.testing.assert_array_equal(found.numpy(), values.astype(np.float32) / 65535)


@given(st.integers(8, 96), st.integers(0, 99))
def test_places_of_a_moved_image_are_those_of_affine_grid_without_a_matrix_product(side: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    turn, size = torch.rand(2, 3, generator=generator)
    matrices = affine_matrices(turn, torch.rand(3, 2, generator=generator) - 0.5, 0.8 + size)
    images = torch.rand(3, 1, side, side, generator=generator)
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    expected = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    with _Census() as census:
        found = moved_images(images, matrices)
    assert torch.allclose(found, expected, atol=1e-4 * side)
    assert not {name for name in census.counted if name.startswith(("aten::mm", "aten::bmm", "aten::matmul"))}


def _masked(loss: MaskedLoss, logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy over known targets as it was written before: by a boolean mask of columns."""
    known, alone = ~torch.isnan(targets), torch.ones(targets.shape[1], dtype=torch.bool)
    for columns in loss.classes:
        alone[columns] = False
    asked = torch.nan_to_num(targets)
    losses = functional.binary_cross_entropy_with_logits(logits, asked, reduction="none")
    total, count = (losses * known)[:, alone].sum(), known[:, alone].sum()
    for columns in loss.classes:
        sure = known[:, columns].all(dim=1)
        each = -(asked[:, columns] * functional.log_softmax(logits[:, columns], dim=1)).sum(dim=1)
        total, count = total + (each * sure).sum(), count + sure.sum()
    return total / count.clamp(min=1)


@given(st.integers(1, 40), st.integers(1, 9), st.booleans(), st.integers(0, 99))
def test_the_loss_is_that_of_boolean_masks_to_the_last_bit(images: int, labels: int, shared: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, labels + 3, generator=generator)
    targets = (torch.rand(images, labels + 3, generator=generator) > 0.5).float()
    targets[torch.rand(images, labels + 3, generator=generator) < 0.2] = math.nan
    loss = MaskedLoss((slice(1, 4),) if shared else ())
    assert torch.equal(loss(logits, targets), _masked(loss, logits, targets))


@given(st.floats(0.1, 0.999), st.integers(1, 14))
def test_the_running_average_is_torch_s_to_the_last_bit(decay: float, steps: int) -> None:
    def average(kept: Any, new: Any, count: Any) -> None:
        torch._foreach_lerp_(list(kept), list(new), 1 - min(decay, (1 + int(count)) / (10 + int(count))))

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    ours, theirs = RunningAverage(network, decay), AveragedModel(network, multi_avg_fn=average)
    for _ in range(steps):
        network(torch.rand(4, 1, 8, 8))
        with torch.no_grad():
            for weight in network.parameters():
                weight += torch.randn_like(weight)
        ours.update()
        theirs.update_parameters(network)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


class _Census(TorchDispatchMode):
    """Counts operations by name, and fails at one of them where that is asked for."""

    def __init__(self, *, fails_at: int = 0) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()
        self.left = fails_at

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        self.counted[operation.name().split(".")[0]] += 1
        self.left -= 1
        if not self.left:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return operation(*arguments, **(options or {}))


def test_a_step_lets_nobody_wait_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations that wait for a GPU do not become more with the steps of an epoch."""
    monkeypatch.setattr(FiniteLoss, "__call__", _without_looking(FiniteLoss.__call__))
    changes = ("preprocessing.size=32", "training.stages=[{epochs: 1}]", "training.batch_size=4")
    rich = ("training.ema_decay=0.9", "training.clip_norm=1", "augmentation.erasing=0.5", "training.balance=positives")
    waits = []
    for count in (16, 48):
        with _Census() as census:
            fitted(bright_images(count + 8, 32), steady(CPU, *changes, *rich), held_out=8)
        waits.append(sum(census.counted[name] for name in WAITING))
    assert waits[0] == waits[1]


def _without_looking(call: Any) -> Any:
    """As on a GPU, where the loss is looked at every fifty steps."""

    def quiet(self: FiniteLoss, of: Any) -> None:
        look, self._look = self._look, lambda: None  # type: ignore[method-assign]
        call(self, of)
        self._look = look  # type: ignore[method-assign]

    return quiet


def _norms() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))


def test_memory_that_runs_out_at_any_operation_ends_in_the_step_in_parts_or_in_a_sentence() -> None:
    expected = _norms()
    AccumulatedStep(MaskedLoss(), 4)(engine(expected), batch(8))
    in_halves, refused = 0, 0
    for place in itertools.count(1):
        network = _norms()
        step = AccumulatedStep(MaskedLoss())
        run = engine(network)
        try:
            with _Census(fails_at=place) as census:
                step(run, batch(8))
        except TrainingError as error:
            assert "runs out of memory" in str(error)
            refused += 1
            continue
        except torch.OutOfMemoryError:
            continue  # while the test's own batch was made, or what is kept before a step
        if census.left > 0:
            break  # the step has fewer operations
        assert step.part == 4
        in_halves += 1
        for name, value in expected.state_dict().items():
            assert torch.equal(network.state_dict()[name], value), (place, name)
    assert in_halves > 20
    assert refused


def test_items_are_got_ahead_in_their_order_and_an_error_is_raised_where_they_are_used() -> None:
    got: list[int] = []

    def items() -> Any:
        for number in range(6):
            got.append(number)
            yield number
        raise KeyError("the seventh")

    found = []
    with pytest.raises(KeyError, match="the seventh"):
        for item in ahead(items(), 2):
            assert len(got) <= item + 4
            found.append(item)
    assert found == list(range(6))


def test_the_gpu_of_a_process_is_its_own_or_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_gpu({"LOCAL_RANK": "1"}, 4) == 1
    assert own_gpu({"OMPI_COMM_WORLD_LOCAL_RANK": "2"}, 4) == 2
    with pytest.raises(TrainingError, match="LOCAL_RANK is not set"):
        own_gpu({}, 2)
    with pytest.raises(TrainingError, match="8 processes, but 4 GPUs"):
        own_gpu({"LOCAL_RANK": "7", "LOCAL_WORLD_SIZE": "8"}, 4)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match="every process takes a GPU of its own"), joined("cuda:1"):
        pass


@settings(max_examples=6)
@given(st.sampled_from(["resnet18", "resnet50"]), st.sampled_from([64, 128]))
def test_what_a_step_keeps_grows_with_the_area_of_its_images(architecture: Any, side: int) -> None:
    one, other = (kept_values(Design(architecture, length, 1, False)) for length in (side, 2 * side))
    assert 3.5 < other / one < 4.5
