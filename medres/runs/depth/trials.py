"""What each network costs on this machine, measured before anything is trained: speed, memory, and hours to come."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import psutil
import torch

from medres.config import Architecture, Config
from medres.errors import UsageError
from medres.evaluation.depth import NetworkCost
from medres.model.cost import Design, compare_speed, cost, device_name, training_memory
from medres.model.device import choose_device, said_plainly
from medres.runs.depth.memory import peak_memory
from medres.training.batches import TrainingData
from medres.training.device import choose_compute
from medres.training.engine import largest_side
from medres.training.trial import BATCHES, equal_epochs, trial_speed

log = logging.getLogger(__name__)

_SPARE = 0.9  # of the free memory, which a step may take
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Workload:
    """How many images go through the networks of one cross-validation, once each."""

    learnt: int  # over all folds, in one epoch
    scored: int  # held-out and validation images, and the others for what was learnt by heart


def known_architectures(asked: Sequence[str]) -> tuple[Architecture, ...]:
    """The architectures that were asked for, the cheapest first.

    Raises:
        UsageError: medres does not know one, one is named twice, or none is named.

    >>> known_architectures(["resnet50", "resnet18"])
    ('resnet18', 'resnet50')
    """
    known = get_args(Architecture)
    if not asked:
        raise UsageError(f"no architecture is named; medres knows {', '.join(known)}")
    if unknown := [name for name in asked if name not in known]:
        raise UsageError(f"medres knows no architecture {', '.join(unknown)}; it knows {', '.join(known)}")
    if twice := sorted({name for name in asked if list(asked).count(name) > 1}):
        raise UsageError(f"--architectures names {', '.join(twice)} twice")
    chosen: list[Architecture] = [name for name in known if name in asked]
    return tuple(sorted(chosen, key=lambda name: cost(Design(name, 224, 1, False)).gflop))


def refuse_lack_of_memory(config: Config, architectures: Sequence[Architecture], *, labels: int) -> None:
    """Make sure that a training step of the deepest network is expected to fit.

    Raises:
        UsageError: it is not; the message says what would.
    """
    if config.training.method == "linear-probe":
        return
    compute = choose_compute(config.training)
    free = free_memory(compute.device)
    side, batch = largest_side(config), config.training.batch_size
    images = min(batch, config.training.micro_batch_size or batch)
    needed = {
        name: training_memory(Design(name, side, labels, True), images=images, width=compute.bytes_per_value)
        for name in architectures
    }
    too_large = [name for name, size in needed.items() if size > _SPARE * free]
    if not too_large:
        return
    deepest = too_large[-1]
    fitting = [name for name in architectures if name not in too_large]
    design = Design(deepest, side, labels, True)
    smaller = next(
        (
            part
            for part in (images // 2**step for step in range(1, images.bit_length()))
            if part > 1 and training_memory(design, images=part, width=compute.bytes_per_value) <= _SPARE * free
        ),
        None,
    )
    ways = [
        *([f"leave it out (--architectures {','.join(fitting)})"] if fitting else []),
        *([f"do each step in parts (--set training.micro_batch_size={smaller})"] if smaller else []),
        "take smaller images (--set preprocessing.size=…)",
    ]
    raise UsageError(
        f"a training step of {', '.join(too_large)} with {images} images of {side} pixels is expected to need up to "
        f"{needed[deepest] / _GB:.1f} GB, and {free / _GB:.1f} GB are free: {', or '.join(ways)}"
    )


def free_memory(device: torch.device) -> int:
    """Bytes that a training may still take: of the GPU, or of this machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def measure_costs(
    config: Config, architectures: Sequence[Architecture], *, labels: int, work: Workload
) -> tuple[NetworkCost, ...]:
    """Size, speed and memory of each network on this machine, on images of noise.

    Args:
        config: of the training; its weights change no cost.
        architectures: the cheapest first.
        labels: how many a network answers.
        work: of one cross-validation, for the time that it will take.
    """
    device = choose_device(config.training.device)
    folded = config.network.weights != "none"
    side = config.preprocessing.size
    designs: dict[str, Design] = {name: Design(name, side, labels, folded) for name in architectures}
    with said_plainly(device):
        scoring = compare_speed(designs, device=device)
    probe = config.training.method == "linear-probe"
    data = _noise(config, labels)
    costs = []
    for name, design in designs.items():
        own = config.model_copy(update={"network": config.network.model_copy(update={"architecture": name})})
        speed = memory = None
        if not probe:
            with peak_memory(device) as peak:
                speed = trial_speed(data, own, None)
            memory = peak.taken
        counted, scored = cost(design), scoring[name].images_per_second
        learning = work.learnt * equal_epochs(config) / speed if speed else 0.0
        costs.append(
            NetworkCost(
                architecture=name,
                parameters=counted.parameters,
                gflop=counted.gflop,
                training_images_per_second=round(speed, 1) if speed else None,
                scoring_images_per_second=round(scored, 1),
                training_memory=memory,
                estimated_seconds=round(learning + work.scored / scored, 1),
                machine=device_name(device),
                training_device=str(choose_compute(config.training)),
            )
        )
    return tuple(costs)


def _noise(config: Config, labels: int) -> TrainingData:
    """As many images as a trial learns from."""
    generator = np.random.default_rng(0)
    count, side = BATCHES * config.training.batch_size, config.preprocessing.size
    pixels = generator.integers(0, 65536, (count, side, side), dtype=np.uint16)
    targets = generator.integers(0, 2, (count, labels)).astype(np.float32)
    return TrainingData(pixels, targets, targets)


def estimate_lines(costs: Sequence[NetworkCost], *, seeds: int, names: Mapping[str, str]) -> list[str]:
    """What a study will take, in words: each network, and all of them.

    Args:
        costs: of each network.
        seeds: how often each is cross-validated.
        names: the networks as people write them.
    """
    from medres.formatting import duration

    lines = [
        f"{names[one.architecture]}: {one.parameters / 1e6:.1f} million parameters, {one.gflop:.3g} GFLOP an image, "
        + (f"{one.training_images_per_second:.0f} images/s in training, " if one.training_images_per_second else "")
        + f"{seeds} × {duration(one.estimated_seconds)}"
        for one in costs
    ]
    whole = sum(seeds * one.estimated_seconds for one in costs)
    return [*lines, f"at most about {duration(whole)} on {costs[0].training_device}; epochs that end early shorten it"]
