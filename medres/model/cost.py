"""What a network costs: its size, its arithmetic, and its speed beside another's on the same machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from medres.config import Architecture
from medres.model.device import device_name, full_precision
from medres.model.network import RadiographNetwork, build_network, parameter_count

__all__ = [
    "Cost",
    "Design",
    "Speed",
    "compare_speed",
    "cost",
    "device_name",
    "filling_batch",
    "kept_values",
    "training_memory",
]

BATCH = 4
ROUNDS = 7
FEWEST_ROUNDS = 3
BUDGET = 20.0  # seconds after which no further round is begun


@dataclass(frozen=True, slots=True)
class Design:
    """A network's shape, which decides its cost; the weights do not."""

    architecture: Architecture
    side: int  # of the input, pixels
    labels: int
    folded: bool

    def build(self) -> RadiographNetwork:
        """A network of that shape, in evaluation mode."""
        return build_network(self.architecture, labels=self.labels, folded=self.folded).eval()


@dataclass(frozen=True, slots=True)
class Cost:
    """Size and arithmetic of one image."""

    parameters: int
    gflop: float  # per image; a multiplication and an addition count as two


@dataclass(frozen=True, slots=True)
class Speed:
    """Scoring speed on one machine."""

    images_per_second: float  # median of the rounds
    relative_time: float  # time per image ÷ that of the first network in the same round, median


def cost(design: Design) -> Cost:
    """Count parameters and floating-point operations; nothing is computed.

    >>> cost(Design("resnet50", 224, 1, True)).gflop > 8
    True
    """
    with torch.device("meta"):
        network = design.build()
        images = torch.zeros(1, 1, design.side, design.side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    return Cost(parameter_count(network), counter.get_total_flops() / 1e9)


def kept_values(design: Design) -> int:
    """Values of one image that a training step keeps for its backward pass: what all layers but activations give.

    >>> round(kept_values(Design("resnet50", 224, 1, False)) / 1e6)
    22
    """
    count = 0

    def add(module: torch.nn.Module, _: object, found: object) -> None:
        nonlocal count
        if not list(module.children()) and not isinstance(module, torch.nn.ReLU) and isinstance(found, torch.Tensor):
            count += found.numel()

    with torch.device("meta"):
        network = design.build()
        hooks = [module.register_forward_hook(add) for module in network.modules()]
        with torch.no_grad():
            network(torch.zeros(1, 1, design.side, design.side))
    for hook in hooks:
        hook.remove()
    return count


def training_memory(design: Design, *, images: int, width: int) -> int:
    """Bytes that a training step is expected to need, besides the libraries and the cohort's pixels.

    Gradients, AdamW's two averages, the running average and the weights in half precision come beside the weights; a
    batch counts half as much again, for what convolutions work in.

    Args:
        design: the network, at the side at which it learns.
        images: of one part of a step.
        width: bytes of a value: 4 in float32, 2 in bf16 and fp16.

    >>> round(training_memory(Design("resnet50", 320, 1, True), images=32, width=2) / 1e9, 1)
    5.0
    """
    with torch.device("meta"):
        parameters = parameter_count(design.build())
    return int(1.5 * images * kept_values(design) * width) + 24 * parameters


def filling_batch(design: Design, *, memory: int) -> int:
    """Images in one pass that fill a GPU: a power of two from 16 to 512, which depends on nothing else.

    What all layers of a pass give, though most of it is freed at once, may take half of the memory.

    Args:
        design: the network.
        memory: of the whole device, bytes: what is free at the moment must not change a score's last digits.

    >>> filling_batch(Design("resnet50", 224, 1, False), memory=80 * 2**30)
    256
    """
    fitting = memory // 2 // (4 * kept_values(design))
    return 1 << min(9, max(4, fitting.bit_length() - 1))


def compare_speed(designs: Mapping[str, Design], *, device: torch.device, rounds: int = ROUNDS) -> dict[str, Speed]:
    """Scoring speed of several networks, in turn, so that what disturbs one disturbs the others.

    One round before the first is not counted; where time runs out, three are enough.

    Args:
        designs: the networks by name; the first is what the others are compared with.
        device: where they run.
        rounds: in each, every network scores one batch.
    """
    seconds: dict[str, list[float]] = {name: [] for name in designs}
    networks = {
        name: design.build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, design in designs.items()
    }
    started = time.perf_counter()
    for number in range(rounds + 1):
        if number > FEWEST_ROUNDS and time.perf_counter() - started > BUDGET:
            break
        for name, design in designs.items():
            images = torch.full((BATCH, 1, design.side, design.side), 0.5, device=device)
            taken = _seconds(networks[name], images)
            if number:
                seconds[name].append(taken)
    first = next(iter(seconds.values()))
    return {
        name: Speed(
            BATCH / statistics.median(times),
            statistics.median(own / other for own, other in zip(times, first, strict=True)),
        )
        for name, times in seconds.items()
    }


@torch.inference_mode()
@full_precision()
def _seconds(network: RadiographNetwork, images: torch.Tensor) -> float:
    _wait(images.device)
    started = time.perf_counter()
    network(images)
    _wait(images.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
