"""The stages of one fit, epoch by epoch: MONAI's SupervisedTrainer and SupervisedEvaluator over the pixel cache."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from torch import Tensor

from medres.training.augmentation import BatchAugmentation
from medres.training.batches import BatchLoader, InOrder, Shuffled, sampling_weights
from medres.training.device import AutocastInferer, EvaluationInferer
from medres.training.handlers import (
    ClipGradients,
    FiniteLoss,
    FollowAverage,
    FrozenStart,
    LearningRate,
)
from medres.training.interruption import Interruption
from medres.training.state import TrainingState
from medres.training.tracking import Epoch, time_left
from medres.training.validation import ValidationRecord

log = logging.getLogger(__name__)

_EVALUATION_BATCH = 64
_ASKED = 10  # steps after which several processes tell each other of a signal: one process looks at every step


def run_stage(state: TrainingState, number: int, *, schedule: LearningRate) -> None:
    """Train the epochs of one stage, or what is left of them.

    Args:
        state: of the fit.
        number: of the stage, from 0.
        schedule: sets the learning rates before each step.
    """
    seed = state.plan.seed + number
    stages = state.config.training.stages
    stage = stages[number]
    size = stage.size or state.config.preprocessing.size
    record, loss = ValidationRecord(state.loss.classes, state.processes), FiniteLoss(state.diverged)
    in_order = InOrder(state.plan.validation, _EVALUATION_BATCH, state.processes)
    validation = BatchLoader(state.pixels, state.data.targets, in_order, size=size)
    evaluator = SupervisedEvaluator(
        device=state.compute.device,
        val_data_loader=validation,
        epoch_length=len(validation),
        network=state.validated,
        inferer=EvaluationInferer(),
        prepare_batch=validation.as_batch,
        val_handlers=[record],
        decollate=False,
    )
    interruption = Interruption()
    order = _order(state, seed)
    augment = BatchAugmentation(state.config.augmentation, seed=seed, batch=order.batch_size, processes=state.processes)

    batches = BatchLoader(state.pixels, state.data.learned, order, size=size)

    def prepare_training_batch(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
        images, targets = batches.as_batch(*arguments, **options)
        with augment.repeatable():
            return augment(images), targets

    trainer = SupervisedTrainer(
        device=state.compute.device,
        max_epochs=stage.epochs,
        train_data_loader=batches,
        epoch_length=len(order),
        network=state.run_network(),
        optimizer=state.optimizer,
        loss_function=state.loss,
        inferer=AutocastInferer(state.compute),
        prepare_batch=prepare_training_batch,
        iteration_update=state.step,
        train_handlers=[*_step_handlers(state), schedule, loss, ValidationHandler(interval=1, validator=evaluator)],
        decollate=False,
    )

    def finish_epoch(engine: Engine) -> None:
        epoch = len(state.history) + 1
        if not record.finite:  # the last step of the epoch, or the running average, which no loss has seen
            raise state.diverged("the network's answers to the validation images are no longer finite numbers")
        value, validation_loss = record.mean_auroc(), record.loss()
        entry: Epoch = {
            "epoch": epoch,
            "size": size,
            "loss": loss.mean,
            "validation_loss": validation_loss,
            "validation_auroc": value,
            "learning_rate": state.optimizer.param_groups[0]["lr"],
            "smallest_part": state.step.smallest,
            "images_per_second": state.processes.count * loss.images / loss.seconds,
            "seconds": loss.seconds,
        }
        state.history.append(entry)
        if state.tracker:
            state.tracker.write(state.history)
        shown = "undefined" if value is None else f"{value:.3f}"
        log.info(
            "%s · epoch %d/%d · %d px · loss %.3f · validation loss %.3f, AUROC %s · %.0f images/s · ≤ %s left",
            state.title, epoch, sum(stage.epochs for stage in stages), size, loss.mean, validation_loss, shown,
            entry["images_per_second"],
            time_left(state.config, number, int(engine.state.epoch), time.monotonic() - loss.started),
        )  # fmt: skip
        last = number == len(stages) - 1
        stop = state.best.judge(
            state.validated,
            epoch=epoch,
            value=value,
            loss=validation_loss,
            last_stage=last,
            chance=record.chance_loss(),
        )
        done = int(engine.state.epoch)
        over = stop or done == stage.epochs
        asked = state.processes.any(interruption.asked)
        state.save(number, epoch=done, over=over, augmentation=augment.generator, loss=loss, last=asked or over)
        if asked:
            raise KeyboardInterrupt
        if stop:
            engine.terminate()

    def finish_step(engine: Engine) -> None:
        done, step = divmod(int(engine.state.iteration), len(order))
        if not step:  # after the last step of an epoch, the epoch is finished first
            return
        if state.processes.count > 1 and step % _ASKED:
            return
        if state.processes.any(interruption.asked):
            if not all(bool(torch.isfinite(weight).all()) for weight in state.network.parameters()):
                raise state.diverged("the weights are no longer finite numbers")
            state.save(number, epoch=done, over=False, augmentation=augment.generator, step=step, loss=loss, last=True)
            raise KeyboardInterrupt

    trainer.add_event_handler(Events.ITERATION_COMPLETED, finish_step)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, finish_epoch)
    if state.resumed is not None:
        augment.generator.set_state(state.resumed["augmentation"])
        state.set_generators(state.resumed["generators"])  # building loader and trainer has drawn numbers
        order.epoch = trainer.state.epoch = state.resumed["stage_epoch"]
        order.done = state.resumed["stage_step"]
        loss.resume(state.resumed["stage_loss"])
        trainer.state.iteration = trainer.state.epoch * len(order) + order.done
        state.resumed = None
    keeps = state.processes.decide(state.checkpoints is not None)
    with interruption if keeps else nullcontext():
        trainer.run()


def _step_handlers(state: TrainingState) -> list[Any]:
    """What is done at each step besides the step."""
    handlers: list[Any] = []
    if state.config.training.frozen_epochs:
        done = len(state.history) - (state.resumed["stage_epoch"] if state.resumed else 0)
        handlers.append(
            FrozenStart(
                state.network,
                epochs=state.config.training.frozen_epochs,
                done=done,
                runs=partial(state.run_network, anew=True) if state.processes.count > 1 else None,
            )
        )
    if state.config.training.clip_norm:
        handlers.append(ClipGradients(state.network, state.config.training.clip_norm))
    if state.average is not None:
        handlers.append(FollowAverage(state.average))
    return handlers


def _order(state: TrainingState, seed: int) -> Shuffled:
    """The batches of each epoch."""
    balanced = state.config.training.sampler == "balanced"
    weights = sampling_weights(state.data.learned[list(state.plan.training)]) if balanced else None
    return Shuffled(
        state.plan.training,
        batch_size=state.config.training.batch_size,
        seed=seed,
        weights=weights,
        processes=state.processes,
    )
