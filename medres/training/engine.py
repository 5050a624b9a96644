"""Fitting one network, from its first weights to its best epoch, or its last where that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from monai.utils import set_determinism
from numpy.typing import NDArray
from torch import nn

from medres.config import Config
from medres.errors import TrainingError
from medres.model.network import build_network
from medres.model.weights import BackboneWeights, fill_backbone
from medres.training.batches import Pixels
from medres.training.checkpoints import Checkpoints
from medres.training.device import choose_compute, gives_memory_back
from medres.training.distributed import ALONE, Processes, synchronised
from medres.training.epochs import run_stage
from medres.training.fitted import Fitted
from medres.training.handlers import (
    BestWeights,
    LearningRate,
)
from medres.training.losses import MaskedLoss, balancing_weights
from medres.training.optimiser import adamw, average_of, warmup_cosine
from medres.training.state import Fitting
from medres.training.steps import AccumulatedStep
from medres.training.tracking import Tracker


@gives_memory_back
def fit(
    pixels: NDArray[np.uint16],
    targets: NDArray[np.float32],
    training: Sequence[int],
    validation: Sequence[int],
    config: Config,
    *,
    classes: tuple[slice, ...] = (),
    learned: NDArray[np.float32] | None = None,
    weights: BackboneWeights | None,
    seed: int,
    title: str,
    checkpoints: Checkpoints | None = None,
    tracker: Tracker | None = None,
    processes: Processes = ALONE,
) -> Fitted:
    """Fit one network, and keep the epoch that is best on the validation images, unless the last is kept.

    Args:
        pixels: the cache, uint16 (images, size, size).
        targets: float32 (images, labels): 1, 0, or NaN where unknown.
        training: places of the training images.
        validation: places of the validation images; no patient of theirs is among the training images.
        config: the whole configuration.
        classes: columns of labels of which exactly one is true, one slice per question; all others stand alone.
        learned: targets of the training images, where they are not `targets`: see `losses.training_targets`.
        weights: the starting weights, or None for a random start.
        seed: of weights, order and augmentation; the same seed gives the same network on the same CPU.
        title: what log lines call this fit ("fold 1/5").
        checkpoints: where the state is kept after an epoch, as often as is cheap, and when a signal ends the training;
            a state that lies there is gone on from, and on a CPU the network becomes, bit for bit, what it would have
            become without the interruption.
        tracker: writes the history after each epoch.
        processes: those that share the batches; all call this function alike, the first with checkpoints and tracker.

    Raises:
        TrainingError: the loss is not finite, or there are fewer images than one batch of two.
    """
    if len(training) < 2:
        raise TrainingError(
            f"{title}: {len(training)} training images are too few, two are needed: add images, or lower "
            "training.validation_fraction or crossval.folds"
        )
    compute = choose_compute(config.training)
    set_determinism(seed=seed)
    network = build_network(
        config.network.architecture,
        labels=targets.shape[1],
        folded=weights is not None and weights.folded,
        dropout=config.network.dropout,
    )
    if weights is not None:
        fill_backbone(network, weights)
    learned = targets if learned is None else learned
    if processes.rank:  # dropout and noise of its own; the weights above are those of all, and so is the order below
        torch.manual_seed(seed + 1_000_003 * processes.rank)  # a CPU's generator takes 32 bits of it
    synchronised(network, processes, compute.device)
    network.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    loss = MaskedLoss(
        classes,
        config.training.label_smoothing,
        config.training.focusing,
        config.training.negative_focusing,
        config.training.negative_margin,
        balancing_weights(learned[list(training)]) if config.training.balance == "positives" else (),
    )
    fitting = Fitting(
        Pixels(pixels, compute.device),
        targets,
        learned,
        config,
        compute,
        network,
        cast(nn.Module, torch.compile(network)) if config.training.compile else network,
        average=average_of(network, config.training.ema_decay),
        loss=loss,
        optimizer=adamw(network, config.training),
        best=BestWeights(
            patience=config.training.patience,
            saturation=config.training.saturation,
            last=config.training.keep == "last",
        ),
        title=title,
        checkpoints=checkpoints,
        tracker=tracker,
        step=AccumulatedStep(
            loss,
            config.training.micro_batch_size,
            processes,
            batch=min(config.training.batch_size, len(training)),
            scaler=compute.scaler(),
        ),
        processes=processes,
    )
    stages = config.training.stages
    batches = max(1, len(training) // config.training.batch_size)
    factor = warmup_cosine(batches * sum(stage.epochs for stage in stages), config.training.warmup)
    for number in range(fitting.resume(), len(stages)):
        planned = sum(stage.epochs for stage in stages[:number])
        schedule = LearningRate(fitting.optimizer, factor, first_step=planned * batches)
        run_stage(fitting, number, training, validation, schedule=schedule, seed=seed + number)
        fitting.best.next_stage()
    set_determinism(seed=None)
    if fitting.best.state is None:
        raise TrainingError(f"{title}: no epoch was completed")
    network.cpu().load_state_dict(fitting.best.state)
    return Fitted(network.eval(), tuple(fitting.history), fitting.best.epoch, fitting.device)
