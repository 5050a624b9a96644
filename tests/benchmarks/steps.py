"""The bare step of training: what no training loop can be faster than."""

from __future__ import annotations

import time

import torch
from torch.nn import functional

from medres.config import Config
from medres.model.network import build_network
from medres.training.device import choose_compute, seeded
from medres.training.optimiser import adamw


def bare_step(config: Config, *, side: int, steps: int, deterministic: bool = True) -> float:
    """Forward, loss, backward and AdamW on one batch that never changes: images/s.

    Args:
        config: the recipe.
        side: of the images, pixels.
        steps: that are timed.
        deterministic: cuDNN's algorithms are, as in `fit`; else torch chooses.
    """
    compute, batch = choose_compute(config.training), config.training.batch_size
    network = build_network(config.network.architecture, labels=1).train()
    network.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = adamw(network, config.training)
    images = torch.rand(batch, 1, side, side).to(compute.device, memory_format=torch.channels_last)
    answers = torch.randint(0, 2, (batch, 1)).float().to(compute.device)

    scaler = compute.scaler()

    def run(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            with compute.autocast():
                logits = network(images)
            loss = functional.binary_cross_entropy_with_logits(logits.float(), answers)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
        if compute.device.type == "cuda":
            torch.cuda.synchronize()
        return count * batch / (time.perf_counter() - started)

    with seeded(0, deterministic=deterministic), compute.float32():
        run(3)
        return run(steps)
