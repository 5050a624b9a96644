"""The stages of one fit, epoch by epoch: MONAI's SupervisedTrainer and SupervisedEvaluator over the pixel cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from torch import Tensor

from medres.training.augmentation import BatchAugmentation
from medres.training.batches import InOrder, Shuffled, as_batch, loader, sampling_weights
from medres.training.device import AutocastInferer, EvaluationInferer
from medres.training.handlers import (
    ClipGradients,
    FiniteLoss,
    FollowAverage,
    FrozenStart,
    LearningRate,
    ValidationRecord,
)
from medres.training.interruption import Interruption
from medres.training.state import Fitting
from medres.training.tracking import time_left

log = logging.getLogger(__name__)

_EVALUATION_BATCH = 64


def run_stage(
    fitting: Fitting,
    number: int,
    training: Sequence[int],
    validation: Sequence[int],
    *,
    schedule: LearningRate,
    seed: int,
) -> None:
    """Train the epochs of one stage, or what is left of them."""
    stages = fitting.config.training.stages
    stage = stages[number]
    size = stage.size or fitting.config.preprocessing.size
    record, loss = ValidationRecord(fitting.loss.classes, fitting.processes), FiniteLoss(fitting.diverged)
    evaluator = SupervisedEvaluator(
        device=fitting.compute.device,
        val_data_loader=loader(
            fitting.pixels, fitting.targets, InOrder(validation, _EVALUATION_BATCH, fitting.processes), size=size
        ),
        network=fitting.judged,
        inferer=EvaluationInferer(),
        prepare_batch=as_batch,
        val_handlers=[record],
        decollate=False,
    )
    interruption = Interruption()
    order = _order(fitting, training, seed)
    augment = BatchAugmentation(
        fitting.config.augmentation, seed=seed, batch=order.batch_size, processes=fitting.processes
    )

    def prepare_training_batch(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
        images, targets = as_batch(*arguments, **options)
        return augment(images), targets

    trainer = SupervisedTrainer(
        device=fitting.compute.device,
        max_epochs=stage.epochs,
        train_data_loader=loader(fitting.pixels, fitting.learned, order, size=size),
        network=fitting.run_network,
        optimizer=fitting.optimizer,
        loss_function=fitting.loss,
        inferer=AutocastInferer(fitting.compute),
        prepare_batch=prepare_training_batch,
        iteration_update=fitting.step,
        train_handlers=[*_step_handlers(fitting), schedule, loss, ValidationHandler(interval=1, validator=evaluator)],
        decollate=False,
    )

    def finish_epoch(engine: Engine) -> None:
        epoch = len(fitting.history) + 1
        if not record.finite:  # the last step of the epoch, or the running average, which no loss has seen
            raise fitting.diverged("the network's answers to the validation images are no longer finite numbers")
        value, validation_loss = record.mean_auroc(), record.loss()
        entry = {
            "epoch": epoch,
            "size": size,
            "loss": loss.mean,
            "validation_loss": validation_loss,
            "validation_auroc": value,
            "learning_rate": fitting.optimizer.param_groups[0]["lr"],
            "smallest_part": fitting.step.smallest,
            "images_per_second": fitting.processes.count * loss.images / loss.seconds,
            "seconds": loss.seconds,
        }
        fitting.history.append(entry)
        if fitting.tracker:
            fitting.tracker.write(fitting.history)
        shown = "undefined" if value is None else f"{value:.3f}"
        log.info(
            "%s · epoch %d/%d · %d px · loss %.3f · validation loss %.3f, AUROC %s · %.0f images/s · ≤ %s left",
            fitting.title, epoch, sum(stage.epochs for stage in stages), size, loss.mean, validation_loss, shown,
            entry["images_per_second"],
            time_left(fitting.config, number, int(engine.state.epoch), time.monotonic() - loss.started),
        )  # fmt: skip
        last = number == len(stages) - 1
        stop = fitting.best.judge(
            fitting.judged,
            epoch=epoch,
            value=value,
            loss=validation_loss,
            last_stage=last,
            chance=record.chance_loss(),
        )
        done = int(engine.state.epoch)
        over = stop or done == stage.epochs
        asked = fitting.processes.any(interruption.asked, fitting.compute.device)
        fitting.save(number, epoch=done, over=over, augmentation=augment.generator, loss=loss, last=asked or over)
        if asked:
            raise KeyboardInterrupt
        if stop:
            engine.terminate()

    def finish_step(engine: Engine) -> None:
        done, step = divmod(int(engine.state.iteration), len(order))
        if not step:  # after the last step of an epoch, the epoch is finished first
            return
        if fitting.processes.any(interruption.asked, fitting.compute.device):
            if not all(bool(torch.isfinite(weight).all()) for weight in fitting.network.parameters()):
                raise fitting.diverged("the weights are no longer finite numbers")
            fitting.save(
                number, epoch=done, over=False, augmentation=augment.generator, step=step, loss=loss, last=True
            )
            raise KeyboardInterrupt

    trainer.add_event_handler(Events.ITERATION_COMPLETED, finish_step)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, finish_epoch)
    if fitting.resumed is not None:
        augment.generator.set_state(fitting.resumed["augmentation"])
        fitting.set_generators(fitting.resumed["generators"])  # building loader and trainer has drawn numbers
        order.epoch = trainer.state.epoch = fitting.resumed["stage_epoch"]
        order.done = fitting.resumed["stage_step"]
        loss.resume(fitting.resumed["stage_loss"])
        trainer.state.iteration = trainer.state.epoch * len(order) + order.done
        fitting.resumed = None
    keeps = fitting.processes.decide(fitting.checkpoints is not None)
    with interruption if keeps else nullcontext():
        trainer.run()


def _step_handlers(fitting: Fitting) -> list[Any]:
    """What is done at each step besides the step."""
    handlers: list[Any] = []
    if fitting.config.training.frozen_epochs:
        done = len(fitting.history) - (fitting.resumed["stage_epoch"] if fitting.resumed else 0)
        handlers.append(FrozenStart(fitting.network, epochs=fitting.config.training.frozen_epochs, done=done))
    if fitting.config.training.clip_norm:
        handlers.append(ClipGradients(fitting.network, fitting.config.training.clip_norm))
    if fitting.average is not None:
        handlers.append(FollowAverage(fitting.average, fitting.network))
    return handlers


def _order(fitting: Fitting, training: Sequence[int], seed: int) -> Shuffled:
    """The batches of each epoch."""
    balanced = fitting.config.training.sampler == "balanced"
    weights = sampling_weights(fitting.learned[list(training)]) if balanced else None
    return Shuffled(
        training, batch_size=fitting.config.training.batch_size, seed=seed, weights=weights, processes=fitting.processes
    )
