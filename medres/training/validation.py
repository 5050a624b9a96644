"""What validation says of an epoch, which epoch is best, and when a stage ends."""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import nn

from medres.statistics.metric import metric
from medres.training.distributed import ALONE, Processes
from medres.training.handlers import output_of
from medres.training.losses import MaskedLoss, chance_loss


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
        self.logits.append(output_of(engine)["pred"].detach())
        self.targets.append(output_of(engine)["label"])

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
