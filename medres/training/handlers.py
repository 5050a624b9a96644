"""MONAI/ignite handlers: schedule, validation record, early stop, and the table of a bundle's run."""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import nn

from medres.errors import TrainingError
from medres.model.network import RadiographNetwork
from medres.statistics.metric import metric
from medres.training.distributed import ALONE, Processes
from medres.training.losses import MaskedLoss, chance_loss
from medres.training.optimiser import Rate, RunningAverage

log = logging.getLogger(__name__)


def _output(engine: Engine) -> dict[str, torch.Tensor]:
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
        loss = _output(engine)["loss"].detach().double()
        count = len(_output(engine)["image"])
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


class ValidationRecord:
    """Collects a validator's logits and targets of one pass, in order.

    Args:
        classes: as for MaskedLoss.
        processes: those that take batches in turn; each ends with all of them.
    """

    def __init__(self, classes: tuple[slice, ...] = (), processes: Processes = ALONE) -> None:
        self.classes, self.processes = classes, processes
        self.logits: list[torch.Tensor] = []
        self.targets: list[torch.Tensor] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._gather)

    def _start(self, _: Engine) -> None:
        self.logits, self.targets = [], []

    def __call__(self, engine: Engine) -> None:
        """Keep one batch."""
        self.logits.append(_output(engine)["pred"].detach())
        self.targets.append(_output(engine)["label"])

    def _gather(self, _: Engine) -> None:
        """Fetch all batches, and put those of all processes into their order."""
        self.logits, self.targets = ([one.double().cpu() for one in kept] for kept in (self.logits, self.targets))
        everyone = self.processes.gather((self.logits, self.targets))
        count = sum(len(logits) for logits, _ in everyone)
        turns = [divmod(number, self.processes.count) for number in range(count)]
        self.logits = [everyone[rank][0][turn] for turn, rank in turns]
        self.targets = [everyone[rank][1][turn] for turn, rank in turns]

    @property
    def finite(self) -> bool:
        """Whether every logit is a finite number."""
        return all(bool(torch.isfinite(logits).all()) for logits in self.logits)

    def mean_auroc(self) -> float | None:
        """The mean AUROC over labels where it is defined; None where it is for none."""
        scores, targets = torch.cat(self.logits), torch.cat(self.targets).numpy()
        for columns in self.classes:
            scores[:, columns] = torch.log_softmax(scores[:, columns], dim=1)
        values = []
        for place in range(targets.shape[1]):
            known = ~np.isnan(targets[:, place])
            value = metric("auroc").value(targets[known, place].astype(np.int64), scores[known, place].numpy())
            if value is not None:
                values.append(value)
        return float(np.mean(values)) if values else None

    def chance_loss(self) -> float:
        """The loss of the prevalences alone."""
        return chance_loss(torch.cat(self.targets), self.classes)

    def loss(self) -> float:
        """The mean log loss over known targets."""
        return float(MaskedLoss(self.classes)(torch.cat(self.logits), torch.cat(self.targets)))


class BestState(TypedDict):
    """What a checkpoint keeps of the best epoch so far."""

    state: dict[str, torch.Tensor] | None
    epoch: int
    kept: tuple[float, float] | None
    high: float
    waited: int


class BestWeights:
    """Keeps the weights of the best epoch of the last stage, and says when to stop waiting for a better one.

    Better is a higher validation AUROC; equal AUROCs are told apart by the loss. A stage ends after `patience` epochs
    that were not better, or at once where the task is solved: the AUROC reaches `saturation`, and the loss is below
    half of what the prevalence alone would give. (A network can rank all images right after one epoch, by luck and
    while its batch norms are still far off.) With `last` the newest epoch is the best one, and no stage ends early.
    """

    def __init__(self, *, patience: int, saturation: float, last: bool = False) -> None:
        self.last = last
        self.patience = patience
        self.saturation = saturation
        self.state: dict[str, torch.Tensor] | None = None
        self.epoch = 0
        self._kept: tuple[float, float] | None = None
        self._high = -math.inf
        self._waited = 0

    def judge(
        self,
        network: nn.Module,
        *,
        epoch: int,
        value: float | None,
        loss: float,
        last_stage: bool,
        chance: float = math.inf,
    ) -> bool:
        """Note one epoch; True when the stage should end. `chance` is the loss of the prevalence alone."""
        score = (value if value is not None else 0.0, -loss)
        if last_stage and (self.last or self._kept is None or score > self._kept):
            self._kept, self.epoch = score, epoch
            self.state = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
        if score[0] > self._high:
            self._high, self._waited = score[0], 0
        else:
            self._waited += 1
        solved = score[0] >= self.saturation and loss < chance / 2
        return not self.last and (self._waited >= self.patience or solved)

    def state_dict(self) -> BestState:
        """What `load_state_dict` needs to go on."""
        return {
            "state": self.state,
            "epoch": self.epoch,
            "kept": self._kept,
            "high": self._high,
            "waited": self._waited,
        }

    def load_state_dict(self, values: BestState) -> None:
        """Go on from a checkpoint."""
        self.state, self.epoch = values["state"], values["epoch"]
        self._kept = None if values["kept"] is None else (values["kept"][0], values["kept"][1])
        self._high, self._waited = values["high"], values["waited"]

    def next_stage(self) -> None:
        """Another image size is another task: what was best before does not count."""
        self._high, self._waited = -math.inf, 0


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
