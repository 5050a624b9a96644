"""Fitting one network, from its first weights to its best epoch, or its last where that is kept."""

from __future__ import annotations

import torch

from medres.config import Config
from medres.errors import TrainingError
from medres.model.cost import Design, training_memory
from medres.model.device import said_plainly
from medres.model.network import RadiographNetwork, build_network
from medres.model.weights import BackboneWeights, fill_backbone
from medres.training.batches import Pixels, TrainingData
from medres.training.checkpoints import Checkpoints
from medres.training.device import Compute, choose_compute, gives_memory_back, seeded
from medres.training.distributed import ALONE, Processes, synchronised
from medres.training.epochs import run_stage
from medres.training.handlers import LearningRate
from medres.training.losses import MaskedLoss, balancing_weights
from medres.training.optimiser import RunningAverage, adamw, warmup_cosine
from medres.training.state import FitPlan, FittedNetwork, TrainingState
from medres.training.steps import AccumulatedStep
from medres.training.tracking import Tracker
from medres.training.validation import BestWeights

_CONTEXT = 1_500_000_000  # bytes that libraries and fragments take


@gives_memory_back
def fit_network(
    data: TrainingData,
    plan: FitPlan,
    config: Config,
    *,
    weights: BackboneWeights | None,
    checkpoints: Checkpoints | None = None,
    tracker: Tracker | None = None,
    processes: Processes = ALONE,
) -> FittedNetwork:
    """Fit one network, and keep the epoch that is best on the validation images, unless the last is kept.

    The same seed gives the same network on the same CPU.

    Args:
        data: images and targets of the cohort.
        plan: which of them it learns from, and the seed.
        config: the whole configuration.
        weights: the starting weights, or None for a random start.
        checkpoints: where the state is kept after an epoch, as often as is cheap, and when a signal ends the training;
            a state that lies there is gone on from, and on a CPU the network becomes, bit for bit, what it would have
            become without the interruption.
        tracker: writes the history after each epoch.
        processes: those that share the batches; all call this function alike, the first with checkpoints and tracker.

    Raises:
        TrainingError: the loss is not finite, or there are fewer images than one batch of two.
        UsageError: a GPU is asked for that is not there.
        DeviceError: the GPU is busy or too full.
    """
    settings, training = config.training, plan.training
    if len(training) < 2:
        raise TrainingError(
            f"{plan.title}: {len(training)} training images are too few, two are needed: add images, or lower "
            "training.validation_fraction or crossval.folds"
        )
    compute = choose_compute(settings)
    with said_plainly(compute.device), compute.float32(), seeded(plan.seed, deterministic=settings.deterministic):
        state = _begun(data, plan, config, compute, weights, processes)
        state.checkpoints, state.tracker = checkpoints, tracker
        stages = settings.stages
        batches = max(1, len(training) // settings.batch_size)
        factor = warmup_cosine(batches * sum(stage.epochs for stage in stages), settings.warmup)
        for number in range(state.resume(), len(stages)):
            planned = sum(stage.epochs for stage in stages[:number])
            schedule = LearningRate(state.optimizer, factor, first_step=planned * batches)
            run_stage(state, number, schedule=schedule)
            state.best.next_stage()
        if state.best.state is None:
            raise TrainingError(f"{plan.title}: no epoch was completed")
        network = state.network.cpu()
        network.load_state_dict(state.best.state)
        return FittedNetwork(network.eval(), tuple(state.history), state.best.epoch, state.device)


def _begun(
    data: TrainingData,
    plan: FitPlan,
    config: Config,
    compute: Compute,
    weights: BackboneWeights | None,
    processes: Processes,
) -> TrainingState:
    """A fit before its first step."""
    settings, training = config.training, plan.training
    network = build_network(
        config.network.architecture,
        labels=data.labels,
        folded=weights is not None and weights.folded,
        dropout=config.network.dropout,
    )
    if weights is not None:
        fill_backbone(network, weights)
    if processes.rank:  # dropout and noise of its own; the weights above are those of all, and so is the order below
        torch.manual_seed(plan.seed + 1_000_003 * processes.rank)  # a CPU's generator takes 32 bits of it
    synchronised(network, processes, compute.device)
    network.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    loss = MaskedLoss(
        data.classes,
        settings.label_smoothing,
        settings.focusing,
        settings.negative_focusing,
        settings.negative_margin,
        balancing_weights(data.learned[list(training)]) if settings.balance == "positives" else (),
    )
    return TrainingState(
        data,
        Pixels(data.pixels, compute.device, reserve=_needed(network, config, compute, processes)),
        plan,
        config,
        compute,
        network,
        average=RunningAverage(network, settings.ema_decay) if settings.ema_decay else None,
        loss=loss,
        optimizer=adamw(network, settings),
        best=BestWeights(
            patience=settings.patience,
            saturation=settings.saturation,
            last=settings.keep == "last",
        ),
        step=AccumulatedStep(
            loss,
            settings.micro_batch_size,
            processes,
            batch=min(settings.batch_size, len(training)),
            scaler=compute.scaler(),
            graphs=settings.compile == "reduce-overhead" and compute.device.type == "cuda",
        ),
        processes=processes,
    )


def _needed(network: RadiographNetwork, config: Config, compute: Compute, processes: Processes) -> int:
    """Bytes of a GPU's memory that a step is expected to need besides the cohort's pixels; 0 on a CPU."""
    if compute.device.type == "cpu":
        return 0
    images = processes.largest_part(config.training.batch_size)
    images = min(images, config.training.micro_batch_size or images)
    design = Design(config.network.architecture, largest_side(config), 1, network.folded)
    return training_memory(design, images=images, width=compute.bytes_per_value) + _CONTEXT


def largest_side(config: Config) -> int:
    """The side of the largest images of a training, pixels."""
    side = config.preprocessing.size
    return max((stage.size or side for stage in config.training.stages), default=side)
