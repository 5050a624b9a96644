"""Recipes of the small runs that tests make, and the settings of the tests that change them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from medres.config import Config

Kind = Literal["disc", "marker"]
"""What a made network answers to: anything brighter than a blob's background, or only what is nearly white."""

MADE = (
    "--set=training.stages=[{epochs: 1}]",
    "--set=training.frozen_epochs=1",
    "--set=training.learning_rate=1e-12",
    "--set=training.ema_decay=0",
)
"""Options, after those of a recipe, with which a fit keeps the weights that it starts from."""

TINY = [
    "--set=preprocessing.size=64",
    "--set=training.stages=[{epochs: 8}]",
    "--set=training.patience=8",
    "--set=training.batch_size=8",
    "--set=crossval.folds=2",
    "--set=evaluation.replicates=200",
]
"""Options of a small run of `crossval` or `train`; `pytest_configure` adds those of `fixture_changes`."""

TOKEN = ("--set=preprocessing.size=32", "--set=evaluation.shortcuts=false", "--set=evaluation.replicates=100")
"""Options, after those of TINY, of a run that is made for its records alone."""

STEADY = [*TINY, "--set=training.stages=[{epochs: 1, size: 32}, {epochs: 2}]", "--set=training.saturation=1"]
"""Options of a run of two folds, three epochs each, that tests interrupt: no stage ends early."""


def fixture_seed() -> int:
    """What `pytest --fixture-seed` says, in this process and in those below it."""
    return int(os.environ.get("MEDRES_FIXTURE_SEED", "0"))


def fixture_changes() -> list[str]:
    """What `pytest --fixture-seed` and `--fixture-precision` change in a recipe."""
    precision = os.environ.get("MEDRES_FIXTURE_PRECISION", "auto")
    changes = [f"seed={fixture_seed()}"] if fixture_seed() else []
    return [*changes, f"training.precision={precision}"] if precision != "auto" else changes


def quick(*changes: str) -> Config:
    """The recipe `quick` with changes, for trainings in the test's own process."""
    from medres.config import load_config

    return load_config("quick", [*changes, *fixture_changes()])


def made(*changes: str) -> Config:
    """The same for `tests.support.made.made_networks`, whose weights it keeps as they are."""
    first, last = ([option.removeprefix("--set=") for option in options] for options in (TINY, MADE))
    return quick(*first, *changes, *last)
