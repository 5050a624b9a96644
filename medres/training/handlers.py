"""MONAI/ignite handlers: schedule, validation record, early stop, and the table of a bundle's run."""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import nn

from medres.errors import TrainingError
from medres.model.network import RadiographNetwork
from medres.training.optimiser import Rate, RunningAverage

log = logging.getLogger(__name__)


def output_of(engine: Engine) -> dict[str, torch.Tensor]:
    """What MONAI's engines leave after a step: image, label, pred, and loss when training."""
    return cast(dict[str, torch.Tensor], engine.state.output)


class LearningRate:
    """Sets every parameter group's rate before each step, from the step's absolute number."""

    def __init__(self, optimizer: torch.optim.Optimizer, factor: Rate, *, first_step: int) -> None:
        self.optimizer = optimizer
        self.factor = factor
        self.first_step = first_step

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the rates of the coming step."""
        factor = self.factor(self.first_step + engine.state.iteration - 1)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor


class FrozenStart:
    """Lets only the head learn in the first epochs of a training, then the whole network.

    Args:
        network: that learns.
        epochs: in which the head alone does.
        done: epochs before this trainer's first.
        runs: makes what a trainer runs of the network, after what learns has changed.
    """

    def __init__(
        self, network: RadiographNetwork, *, epochs: int, done: int, runs: Callable[[], nn.Module] | None = None
    ) -> None:
        self.network, self.epochs, self.done, self.runs = network, epochs, done, runs

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Freeze or free the backbone for the coming epoch."""
        frozen = self.done + engine.state.epoch <= self.epochs
        changes = frozen != self.network.frozen
        self.network.freeze_backbone(frozen)
        if changes and self.runs is not None:
            cast(Any, engine).network = self.runs()


class ClipGradients:
    """Shortens a step's gradient to a given norm over all weights (Pascanu et al. 2013)."""

    def __init__(self, network: nn.Module, norm: float) -> None:
        self.network, self.norm = network, norm

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, _: Engine) -> None:
        """Shorten the gradient of the coming step."""
        nn.utils.clip_grad_norm_(self.network.parameters(), self.norm)


class FollowAverage:
    """Brings a running average up to date after each step."""

    def __init__(self, average: RunningAverage) -> None:
        self.average = average

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self)

    def __call__(self, _: Engine) -> None:
        """Take in the weights of this step."""
        self.average.update()


_LOOK = 50
"""Steps after which a GPU is asked whether the loss is still a number: asking at each one would let it wait."""


class FiniteLoss:
    """Averages the loss of an epoch, and stops training when it is no longer a number.

    The sum is kept on the device. A sum that once was not finite stays so: at the end of an epoch all is known.

    Args:
        diverged: makes the refusal from what is not finite.
    """

    def __init__(self, diverged: Callable[[str], TrainingError]) -> None:
        self.diverged = diverged
        self._sum: float | torch.Tensor = 0.0
        self.images, self.started = 0, 0.0
        self.seconds = 0.0  # of training in the last epoch, without validation
        self._before: tuple[float, int, float] = (0.0, 0, 0.0)  # what an interruption left of the coming epoch

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._stop)  # attached before validation, so called before it

    def _start(self, _: Engine) -> None:
        self._sum, self.images, seconds = self._before
        self._before, self.started = (0.0, 0, 0.0), time.monotonic() - seconds

    def __call__(self, engine: Engine) -> None:
        """Add one step's loss.

        Raises:
            TrainingError: the loss is not finite; on a GPU that of some step since the last look.
        """
        loss = output_of(engine)["loss"].detach().double()
        count = len(output_of(engine)["image"])
        self._sum = self._sum + loss * count
        self.images += count
        if loss.device.type == "cpu" or engine.state.iteration % _LOOK == 0:
            self._look()

    def _look(self) -> None:
        if not math.isfinite(total := self.total):
            raise self.diverged(f"the loss became {total}")

    def _stop(self, _: Engine) -> None:
        self._look()
        self.seconds = time.monotonic() - self.started

    @property
    def total(self) -> float:
        """The sum over the images of the epoch so far."""
        return float(self._sum)

    @property
    def mean(self) -> float:
        """The mean loss of the epoch so far."""
        return self.total / max(1, self.images)

    def state(self) -> tuple[float, int, float]:
        """What `resume` needs to go on within an epoch."""
        return self.total, self.images, time.monotonic() - self.started

    def resume(self, state: tuple[float, int, float]) -> None:
        """Let the coming epoch begin with what was done of it before an interruption."""
        self._before = state


class ProbabilityTable:
    """Writes a bundle's predictions as CSV: `path, prob_<label> …`, one row per image."""

    def __init__(self, labels: Sequence[str], output: str) -> None:
        self.labels = list(labels)
        self.output = Path(output)
        self.rows: list[list[Any]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def __call__(self, engine: Engine) -> None:
        """Keep one batch (MONAI decollates it into a list of items)."""
        for item in cast(list[Any], engine.state.output):
            path = item["image"].meta["filename_or_obj"]
            self.rows.append([path, *(float(value) for value in item["pred"])])

    def write(self, _: Engine) -> None:
        """Write the table."""
        with self.output.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", *(f"prob_{label}" for label in self.labels)])
            writer.writerows(self.rows)
        log.info("%s: %d rows", self.output, len(self.rows))
