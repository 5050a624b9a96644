"""What one fit consists of: its plan, its state from the first step to the last, and the network that comes out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from medres.config import Config
from medres.errors import TrainingError
from medres.model.network import RadiographNetwork
from medres.training.batches import Pixels, TrainingData
from medres.training.checkpoints import Checkpoints, TrainingCheckpoint
from medres.training.device import Compute
from medres.training.distributed import Processes, adding_up
from medres.training.handlers import FiniteLoss
from medres.training.losses import MaskedLoss
from medres.training.optimiser import RunningAverage
from medres.training.steps import AccumulatedStep
from medres.training.tracking import Epoch, Tracker
from medres.training.validation import BestWeights

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FitPlan:
    """Which images one fit learns from and is validated by."""

    training: Sequence[int]  # places in the training data
    validation: Sequence[int]  # places too; no patient of theirs is among the training images
    seed: int  # of weights, order and augmentation
    title: str  # what log lines call this fit ("fold 1/5")


@dataclass(frozen=True, slots=True)
class FittedNetwork:
    """A fitted network, on the CPU in evaluation mode, with the weights of its best epoch, or of its last."""

    network: RadiographNetwork
    history: tuple[Epoch, ...]
    best_epoch: int  # whose weights these are
    device: str  # what it was trained on, in words


@dataclass(slots=True)
class TrainingState:
    """One fit between its first step and its last: what its stages share."""

    data: TrainingData
    pixels: Pixels
    plan: FitPlan
    config: Config
    compute: Compute
    network: RadiographNetwork
    average: RunningAverage | None
    loss: MaskedLoss
    optimizer: torch.optim.Optimizer
    best: BestWeights
    step: AccumulatedStep
    processes: Processes
    checkpoints: Checkpoints | None = None
    tracker: Tracker | None = None
    history: list[Epoch] = field(default_factory=list)
    resumed: TrainingCheckpoint | None = None  # the checkpoint of the stage in which training goes on
    kept: int = 0  # epochs of the newest checkpoint
    _running: nn.Module | None = None
    devices: list[str] = field(default_factory=list)  # what it ran on before the last interruption, in words

    @property
    def title(self) -> str:
        """What log lines call this fit."""
        return self.plan.title

    @property
    def validated(self) -> nn.Module:
        """The network that validation sees and that is kept: the running average where there is one."""
        return self.network if self.average is None else self.average.module

    def run_network(self, *, anew: bool = False) -> nn.Module:
        """The network as a trainer runs it: over several processes, and compiled, where that was asked for.

        Args:
            anew: make it again, because other weights learn now.
        """
        if self._running is None or anew:
            asked, joint = self.config.training.compile, adding_up(self.network, self.processes)
            mode = asked if isinstance(asked, str) else None
            self._running = cast(nn.Module, torch.compile(joint, mode=mode)) if asked else joint
        return self._running

    @property
    def device(self) -> str:
        """All that it ran on, in words."""
        return ", then ".join([*self.devices, str(self.compute)])

    def resume(self) -> int:
        """Go on from the newest sound checkpoint; returns the stage to go on with, 0 where there is none.

        Raises:
            TrainingError: no checkpoint is sound, or an earlier version of medres wrote it, or this machine would go on
                in another precision.
        """
        saved = self.processes.decide(self.checkpoints.load() if self.checkpoints else None)
        if saved is None:
            return 0
        if "precision" not in saved:
            raise TrainingError(
                f"{self.title}: the checkpoint is of an earlier version of medres: go on with that one, or start anew "
                "(--force)"
            )
        if saved["precision"] != self.compute.precision:
            raise TrainingError(
                f"{self.title}: this training began in {saved['precision']} ({saved['devices'][-1]}), and here "
                f"({self.compute}) would go on in {self.compute.precision}: go on there, or start anew (--force)"
            )
        self.devices = saved["devices"]
        if self.devices[-1] == str(self.compute):
            self.devices.pop()
        else:
            log.warning(
                "%s: began on %s, goes on on %s: last digits will differ", self.title, self.devices[-1], self.compute
            )
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.best.load_state_dict(saved["best"])
        self.history.extend(saved["history"])
        if self.tracker:
            self.tracker.shown = len(self.history)
        self.set_generators(saved["generators"])
        self.kept = len(self.history)
        steps = f" and {saved['stage_step']} steps" if saved["stage_step"] else ""
        log.info("%s · going on after epoch %d%s", self.title, len(self.history), steps)
        if saved["stage_over"]:
            self.best.next_stage()
            return int(saved["stage"]) + 1
        self.resumed = saved
        return int(saved["stage"])

    def save(
        self,
        number: int,
        *,
        epoch: int,
        over: bool,
        augmentation: torch.Generator,
        step: int = 0,
        loss: FiniteLoss,
        last: bool,
    ) -> None:
        """Keep the state after so many whole epochs, and so many steps of the next, of a stage; all processes call.

        A state that is not the last one is kept if writing it costs little beside the training since the one before.
        """
        generators = self.processes.gather(self.compute.generators())
        if self.checkpoints is not None and (last or self.checkpoints.due):
            self.checkpoints.save(
                {
                    "stage": number,
                    "stage_epoch": epoch,
                    "stage_step": step,
                    "stage_loss": loss.state() if step else (0.0, 0, 0.0),
                    "stage_over": over,
                    "network": self.network.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.step.scaler.state_dict(),
                    "average": None if self.average is None else self.average.state_dict(),
                    "best": self.best.state_dict(),
                    "history": self.history,
                    "generators": generators,
                    "precision": self.compute.precision,
                    "devices": [*self.devices, str(self.compute)],
                    "augmentation": augmentation.get_state(),
                }
            )
            self.kept = len(self.history)
        if last:
            self.processes.gather(None)  # one that ended now would have the first ended by torchrun while it writes

    def set_generators(self, saved: Sequence[dict[str, Tensor]]) -> None:
        """Go on with the generators of every process; as many processes as were there, else they keep their own."""
        if len(saved) == self.processes.count:
            self.compute.set_generators(saved[self.processes.rank])

    def diverged(self, what: str) -> TrainingError:
        """The refusal to go on with numbers that are not finite, and what is left: no epoch was judged by them."""
        kept = ""
        if self.checkpoints is not None and self.checkpoints.newest.is_file():
            kept = (
                f". The newest state that was kept (whole epochs: {self.kept}) lies in {self.checkpoints.newest}, but "
                "--resume takes no other configuration, and with this one most likely ends here again"
            )
        lower = "a lower training.learning_rate or a training.clip_norm"
        if self.compute.precision == "fp16":
            lower += ", or with training.precision=fp32"
        return TrainingError(
            f"{self.title}: {what} in epoch {len(self.history) + 1}: start anew (--force) with {lower}, or look for "
            f"damaged images{kept}"
        )
