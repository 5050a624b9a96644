"""The stages of one fit, epoch by epoch: MONAI's SupervisedTrainer and SupervisedEvaluator over the pixel cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from monai.inferers import SimpleInferer
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from medres.config import Config
from medres.errors import TrainingError
from medres.model.network import RadiographNetwork
from medres.training.augmentation import BatchAugmentation
from medres.training.checkpoints import Checkpoints
from medres.training.compute import AutocastInferer, Compute
from medres.training.distributed import Processes
from medres.training.handlers import (
    BestWeights,
    ClipGradients,
    FiniteLoss,
    FollowAverage,
    FrozenStart,
    LearningRate,
    ValidationRecord,
)
from medres.training.interruption import Interruption
from medres.training.loading import InOrder, Pixels, Shuffled, as_batch, loader, sampling_weights
from medres.training.losses import MaskedLoss
from medres.training.steps import AccumulatedStep
from medres.training.tracking import Tracker, time_left

log = logging.getLogger(__name__)

_EVALUATION_BATCH = 64


@dataclass(slots=True)
class Fitting:
    """One fit from its first step to its last: what its stages share."""

    pixels: Pixels
    targets: NDArray[np.float32]
    learned: NDArray[np.float32]
    config: Config
    compute: Compute
    network: RadiographNetwork
    run_network: nn.Module  # the same network, compiled where that was asked for
    average: AveragedModel | None
    loss: MaskedLoss
    optimizer: torch.optim.Optimizer
    best: BestWeights
    title: str
    checkpoints: Checkpoints | None
    tracker: Tracker | None
    step: AccumulatedStep
    processes: Processes
    history: list[dict[str, Any]] = field(default_factory=list)
    resumed: dict[str, Any] | None = None  # of the stage in which training goes on
    kept: int = 0  # epochs of the newest checkpoint

    @property
    def judged(self) -> nn.Module:
        """The network that validation sees and that is kept: the running average where there is one."""
        return self.network if self.average is None else self.average.module

    def resume(self) -> int:
        """Go on from the newest sound checkpoint; returns the stage to go on with, 0 where there is none.

        Raises:
            TrainingError: no checkpoint is sound, or an earlier version of medres wrote it.
        """
        saved = self.processes.decide(self.checkpoints.load() if self.checkpoints else None)
        if saved is None:
            return 0
        if "generators" not in saved:
            raise TrainingError(
                f"{self.title}: the checkpoint is of an earlier version of medres: go on with that one, or start anew "
                "(--force)"
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
        self._set_generators(saved["generators"])
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
        if self.checkpoints is None or not (last or self.checkpoints.due):
            return
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
                "augmentation": augmentation.get_state(),
            }
        )
        self.kept = len(self.history)

    def _set_generators(self, saved: Sequence[dict[str, Tensor]]) -> None:
        """Go on with the generators of every process; as many processes as were there, else they keep their own."""
        if len(saved) == self.processes.count:
            self.compute.set_generators(saved[self.processes.rank])

    def diverged(self, what: str) -> TrainingError:
        """The refusal to go on with numbers that are not finite, and what is left: no epoch was judged by them."""
        kept = ""
        if self.checkpoints is not None and self.checkpoints.newest.is_file():
            kept = (
                f". The last sound state (whole epochs: {self.kept}) is kept in {self.checkpoints.newest}, but "
                "--resume takes no other configuration, and with this one most likely ends here again"
            )
        lower = "a lower training.learning_rate or a training.clip_norm"
        if self.compute.precision == "fp16":
            lower += ", or with training.precision=fp32"
        return TrainingError(
            f"{self.title}: {what} in epoch {len(self.history) + 1}: start anew (--force) with {lower}, or look for "
            f"damaged images{kept}"
        )

    def run(
        self,
        number: int,
        training: Sequence[int],
        validation: Sequence[int],
        *,
        schedule: LearningRate,
        seed: int,
    ) -> None:
        """Train the epochs of one stage, or what is left of them."""
        stages = self.config.training.stages
        stage = stages[number]
        size = stage.size or self.config.preprocessing.size
        record, loss = ValidationRecord(self.loss.classes, self.processes), FiniteLoss(self.diverged)
        evaluator = SupervisedEvaluator(
            device=self.compute.device,
            val_data_loader=loader(
                self.pixels, self.targets, InOrder(validation, _EVALUATION_BATCH, self.processes), size=size
            ),
            network=self.judged,
            inferer=SimpleInferer(),
            prepare_batch=as_batch,
            val_handlers=[record],
            decollate=False,
        )
        interruption = Interruption()
        order = self._order(training, seed)
        augment = BatchAugmentation(
            self.config.augmentation, seed=seed, batch=order.batch_size, processes=self.processes
        )

        def prepare_training_batch(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
            images, targets = as_batch(*arguments, **options)
            return augment(images), targets

        trainer = SupervisedTrainer(
            device=self.compute.device,
            max_epochs=stage.epochs,
            train_data_loader=loader(self.pixels, self.learned, order, size=size),
            network=self.run_network,
            optimizer=self.optimizer,
            loss_function=self.loss,
            inferer=AutocastInferer(self.compute),
            prepare_batch=prepare_training_batch,
            iteration_update=self.step,
            train_handlers=[*self._step_handlers(), schedule, loss, ValidationHandler(interval=1, validator=evaluator)],
            decollate=False,
        )

        def finish_epoch(engine: Engine) -> None:
            epoch = len(self.history) + 1
            if not record.finite:  # the last step of the epoch, or the running average, which no loss has seen
                raise self.diverged("the network's answers to the validation images are no longer finite numbers")
            value, validation_loss = record.mean_auroc(), record.loss()
            entry = {
                "epoch": epoch,
                "size": size,
                "loss": loss.mean,
                "validation_loss": validation_loss,
                "validation_auroc": value,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "smallest_part": self.step.smallest,
                "images_per_second": self.processes.count * loss.images / loss.seconds,
                "seconds": loss.seconds,
            }
            self.history.append(entry)
            if self.tracker:
                self.tracker.write(self.history)
            shown = "undefined" if value is None else f"{value:.3f}"
            log.info(
                "%s · epoch %d/%d · %d px · loss %.3f · validation loss %.3f, AUROC %s · %.0f images/s · ≤ %s left",
                self.title, epoch, sum(stage.epochs for stage in stages), size, loss.mean, validation_loss, shown,
                entry["images_per_second"],
                time_left(self.config, number, int(engine.state.epoch), time.monotonic() - loss.started),
            )  # fmt: skip
            last = number == len(stages) - 1
            stop = self.best.judge(
                self.judged,
                epoch=epoch,
                value=value,
                loss=validation_loss,
                last_stage=last,
                chance=record.chance_loss(),
            )
            done = int(engine.state.epoch)
            over = stop or done == stage.epochs
            self.save(number, epoch=done, over=over, augmentation=augment.generator, loss=loss, last=interruption.asked)
            if interruption.asked:
                raise KeyboardInterrupt
            if stop:
                engine.terminate()

        def finish_step(engine: Engine) -> None:
            done, step = divmod(int(engine.state.iteration), len(order))
            if interruption.asked and step:  # after the last step of an epoch, the epoch is finished first
                if not all(bool(torch.isfinite(weight).all()) for weight in self.network.parameters()):
                    raise self.diverged("the weights are no longer finite numbers")
                self.save(
                    number, epoch=done, over=False, augmentation=augment.generator, step=step, loss=loss, last=True
                )
                raise KeyboardInterrupt

        trainer.add_event_handler(Events.ITERATION_COMPLETED, finish_step)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, finish_epoch)
        if self.resumed is not None:
            augment.generator.set_state(self.resumed["augmentation"])
            self._set_generators(self.resumed["generators"])  # building loader and trainer has drawn numbers
            order.epoch = trainer.state.epoch = self.resumed["stage_epoch"]
            order.done = self.resumed["stage_step"]
            loss.resume(self.resumed["stage_loss"])
            trainer.state.iteration = trainer.state.epoch * len(order) + order.done
            self.resumed = None
        # processes that share a batch must end at the same step: they end at once, and go on from the newest checkpoint
        with interruption if self.processes.count == 1 and self.checkpoints else nullcontext():
            trainer.run()

    def _step_handlers(self) -> list[Any]:
        """What is done at each step besides the step."""
        handlers: list[Any] = []
        if self.config.training.frozen_epochs:
            done = len(self.history) - (self.resumed["stage_epoch"] if self.resumed else 0)
            handlers.append(FrozenStart(self.network, epochs=self.config.training.frozen_epochs, done=done))
        if self.config.training.clip_norm:
            handlers.append(ClipGradients(self.network, self.config.training.clip_norm))
        if self.average is not None:
            handlers.append(FollowAverage(self.average, self.network))
        return handlers

    def _order(self, training: Sequence[int], seed: int) -> Shuffled:
        """The batches of each epoch."""
        balanced = self.config.training.sampler == "balanced"
        weights = sampling_weights(self.learned[list(training)]) if balanced else None
        return Shuffled(
            training, batch_size=self.config.training.batch_size, seed=seed, weights=weights, processes=self.processes
        )
