"""How fast a training goes on this machine, from a few batches of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from medres.config import Config, Stage
from medres.errors import DeviceError, TrainingError
from medres.model.weights import BackboneWeights
from medres.training.batches import TrainingData
from medres.training.device import gives_memory_back
from medres.training.engine import fit_network, largest_side
from medres.training.state import FitPlan

log = logging.getLogger(__name__)

BATCHES = 6
"""In each of a trial's two epochs, of which the second is measured."""


@gives_memory_back
def trial_speed(data: TrainingData, config: Config, weights: BackboneWeights | None) -> float:
    """Images per second of such a training at its largest images, after a first epoch to warm up; 0 if it cannot run.

    Args:
        data: the cohort, of which the first BATCHES are learnt from.
        config: of the training.
        weights: that it starts from.
    """
    patience = {"patience": 2, "saturation": 1.0, "frozen_epochs": 0}
    stages = (Stage(epochs=2, size=largest_side(config)),)
    training = config.training.model_copy(update={"stages": stages, **patience})
    places = range(len(data.pixels))[: BATCHES * training.batch_size]
    try:
        with _silent():
            fitted = fit_network(
                data,
                FitPlan(places, places[: training.batch_size], seed=0, title="trial"),
                config.model_copy(update={"training": training}),
                weights=weights,
            )
    except (TrainingError, DeviceError) as error:
        log.warning("a trial failed: %s", error)
        return 0.0
    return fitted.history[-1]["images_per_second"]


@contextmanager
def _silent() -> Iterator[None]:
    """Inside, nothing is logged but warnings."""
    level = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(level)


def equal_epochs(config: Config) -> float:
    """The epochs of a training at most, in those at full size that take as long."""
    full = config.preprocessing.size
    return sum(stage.epochs * ((stage.size or full) / full) ** 2 for stage in config.training.stages)
