"""How fast a device trains: what `tests.benchmarks.gpu` measures beside the bare step."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from medres.config import Config
from medres.model.classifier import Classifier
from medres.model.device import full_precision
from medres.model.forward import as_images
from medres.runs.device_checks import Figures, bright_images, fitted, save_fitted, steady
from medres.scoring.stages import overlapped
from medres.training.handlers import LearningRate
from tests.benchmarks.steps import bare_step
from tests.benchmarks.timing import in_turn, medians, ratio


@dataclass(frozen=True, slots=True)
class Steps:
    """What is trained, and what part of the bare step's images/s is promised."""

    architecture: str
    side: int
    batch: int
    steps: int
    promised: float


SMALL = Steps("resnet18", 160, 32, 60, promised=0.85)
SCORING = 0.90
"""The part of the bare forward's images/s that scoring reaches at least."""
LARGE = Steps("resnet50", 224, 256, 25, promised=0.97)
TINY = Steps("resnet18", 32, 8, 4, promised=0.0)
WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::item", "aten::masked_select"}
"""Operations after which the processor waits for a GPU."""


def throughput(device: torch.device, wanted: Steps, *, tiny: bool) -> tuple[bool, Figures]:
    """images/s of medres's whole loop and of the bare step on one fixed batch, in turn, in one precision.

    Recipes from a random start keep a running average of the weights, which the bare step does not have.
    """
    wanted = TINY if tiny else wanted
    config, with_average = _recipe(device, wanted), _recipe(device, wanted, "training.ema_decay=0.99")
    data = bright_images(wanted.batch * wanted.steps + 32, wanted.side)

    def medres(config: Config) -> float:
        return float(fitted(data, config, held_out=32).history[-1]["images_per_second"])

    def bare(**options: Any) -> float:
        return bare_step(config, side=wanted.side, steps=wanted.steps, **options)

    runs: dict[str, Callable[[], float]] = {
        "medres": lambda: medres(config),
        "medres with a running average": lambda: medres(with_average),
        "bare step": lambda: bare(deterministic=False),
        "bare step, deterministic": lambda: bare(deterministic=True),
    }
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    found = in_turn(runs, rounds=1 if tiny else 2)
    part = ratio(found, "medres", "bare step")
    figures = {f"images/s, {name}": round(value, 1) for name, value in medians(found).items()}
    figures |= {"part of the bare step": part, "part with a running average": ratio(found, list(runs)[1], "bare step")}
    if device.type == "cuda":
        figures["peak memory, GB"] = torch.cuda.max_memory_allocated(device) / 1e9
    return part >= wanted.promised, figures


def scoring(device: torch.device, *, tiny: bool) -> tuple[bool, Figures]:
    """images/s of scoring as a folder's files are, from decoded inputs to probabilities, and of the bare forward pass.

    The pass has one batch that lies on the device already; scoring fetches each from the processor's memory, and gives
    back calibrated probabilities, distances and every label's map.
    """
    wanted = TINY if tiny else LARGE
    config, data = _recipe(device, wanted), bright_images(wanted.batch + 32, wanted.side)
    with tempfile.TemporaryDirectory() as folder:
        save_fitted(Path(folder), fitted(data, config, held_out=32), data.pixels[: wanted.batch], config)
        model = Classifier.load(folder, device=str(device))
    network, passes = model.members[0].network, 2 if tiny else 40
    pixels = bright_images(model.batch, wanted.side, seed=1).pixels
    there = as_images(pixels, device)

    def seconds(run: Callable[[], object]) -> float:
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return model.batch * passes / (time.perf_counter() - started)

    def medres() -> None:
        score = partial(model.score_whole_batch, maps=True)
        threads = 2 if device.type == "cuda" else 1
        deque(overlapped(score, (pixels for _ in range(passes)), threads=threads), maxlen=0)

    @torch.inference_mode()
    def bare() -> None:
        with full_precision():
            for _ in range(passes):
                network(there)

    runs: dict[str, Callable[[], float]] = {"medres": lambda: seconds(medres), "bare forward": lambda: seconds(bare)}
    found = in_turn(runs, rounds=1 if tiny else 3)
    part = ratio(found, "medres", "bare forward")
    figures = {f"images/s, {name}": round(value, 1) for name, value in medians(found).items()}
    return tiny or part >= SCORING, figures | {"batch": float(model.batch), "part of the bare forward": part}


def graphs(device: torch.device) -> tuple[bool, Figures]:
    """Small steps whose kernels are recorded are not slower than others."""
    data = bright_images(SMALL.batch * SMALL.steps + 32, SMALL.side)
    speeds = {}
    for mode in ("false", "reduce-overhead"):
        config = _recipe(device, SMALL, f"training.compile={mode}")
        speeds[f"images/s, compile={mode}"] = float(fitted(data, config, held_out=32).history[-1]["images_per_second"])
    eager, recorded = speeds.values()
    return recorded > eager, speeds


def waits(device: torch.device, *, small: bool) -> tuple[bool, Figures]:
    """How often the processor waits for the device within the steps of an epoch after the first.

    On a GPU torch warns of each wait; elsewhere the operations are counted that would be one.
    """
    wanted = TINY if small else SMALL
    config = _recipe(device, wanted, "training.ema_decay=0.9", "training.clip_norm=1", "augmentation.erasing=0.3")
    data, counted, steps = bright_images(wanted.batch * 8 + 16, wanted.side), Counter[str](), 0
    begin = LearningRate.__call__

    def watched(self: LearningRate, engine: Any) -> None:
        nonlocal steps
        steps += 1
        if device.type == "cuda" and engine.state.epoch > 1:
            torch.cuda.set_sync_debug_mode("warn" if engine.state.iteration % 8 else "default")
        begin(self, engine)

    LearningRate.__call__ = watched  # type: ignore[method-assign]
    try:
        with warnings.catch_warnings(record=True) as said, _Census(counted):
            warnings.simplefilter("always")
            fitted(data, config, held_out=16)
    finally:
        LearningRate.__call__ = begin  # type: ignore[method-assign]
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    if device.type == "cuda":
        each = sum("synchroniz" in str(one.message) for one in said) / 7
        allowed = 2 if config.training.precision == "fp16" or not _has_bf16(device) else 0  # of the scaled loss
        return each < 1 + allowed, {"waits per step": each}
    # on a processor the loss is looked at after every step: what is left must not grow with the steps
    others = sum(count for name, count in counted.items() if name in WAITING)
    return others <= 2 * steps + 60, {"operations that would wait, per step": others / steps}


def _has_bf16(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)


def longest(device: torch.device) -> tuple[bool, Figures]:
    """The ten kernels that take longest in a training of small steps, in milliseconds."""
    data, config = bright_images(SMALL.batch * 20 + 32, SMALL.side), _recipe(device, SMALL)
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        started = time.perf_counter()
        fitted(data, config, held_out=32)
        seconds = time.perf_counter() - started
    found = sorted(profile.key_averages(), key=lambda event: event.self_device_time_total, reverse=True)[:10]
    return True, {"seconds": seconds} | {event.key[:60]: event.self_device_time_total / 1e3 for event in found}


def _recipe(device: torch.device, wanted: Steps, *changes: str) -> Config:
    return steady(
        device, f"network.architecture={wanted.architecture}", f"preprocessing.size={wanted.side}",
        f"training.batch_size={wanted.batch}", "training.stages=[{epochs: 2}]", "augmentation.translation=0.06",
        *changes,
    )  # fmt: skip


class _Census(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self, counted: Counter[str]) -> None:
        super().__init__()
        self.counted = counted

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        self.counted[operation.name().split(".")[0]] += 1
        return operation(*arguments, **(options or {}))
