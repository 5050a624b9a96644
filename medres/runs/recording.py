"""What every run writes down about itself, gathered here once; each verb adds what is its own."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from typing import TypedDict

from medres import __version__
from medres.config import Config
from medres.model.card import BackboneOrigin
from medres.model.weights import BackboneWeights
from medres.provenance import environment, git_commit, now
from medres.runs.cohort import TrainingCohort
from medres.runs.records import COMPARISON, DEPTH, RANDOM_START, ManifestRecord, NetworkRecord, RunRecord


class _Maker(TypedDict):
    medres: str
    created: str
    command: str
    environment: Mapping[str, str]
    git_commit: str | None


def _maker() -> _Maker:
    return {
        "medres": __version__,
        "created": now(),
        "command": shlex.join(["medres", *sys.argv[1:]]),
        "environment": environment(),
        "git_commit": git_commit(),
    }


def comparison_record() -> RunRecord:
    """What `run.json` says of a comparison."""
    return RunRecord(kind=COMPARISON, **_maker())


def depth_record() -> RunRecord:
    """What `run.json` says of a study of depth."""
    return RunRecord(kind=DEPTH, **_maker())


def cohort_record(
    cohort: TrainingCohort, config: Config, network: NetworkRecord, *, device: str, seconds: float
) -> RunRecord:
    """What `run.json` says of every run on a cohort: of a training, a cross-validation and an external validation.

    Args:
        cohort: its images.
        config: its configuration.
        network: its network.
        device: what it ran on, in words.
        seconds: how long it took.
    """
    manifest = cohort.manifest
    return RunRecord(
        labels=manifest.labels,
        tasks=manifest.tasks,
        recipe=config.name,
        config=config.model_dump(mode="json"),
        seed=config.seed,
        manifest=ManifestRecord(
            name=manifest.path.name, sha256=manifest.sha256, rows=len(manifest.rows), patients=manifest.patients
        ),
        flow=cohort.flow(),
        leaks=dict(cohort.leaks),
        network=network,
        device=device,
        seconds=round(seconds, 1),
        **_maker(),
    )


def network_record(config: Config, weights: BackboneWeights | None) -> NetworkRecord:
    """The network that a configuration asks for, and where it starts."""
    start = origin(weights)
    return NetworkRecord(
        architecture=config.network.architecture,
        weights=start.name,
        weights_sha256=start.sha256,
        input=input_size(config),
    )


def input_size(config: Config) -> str:
    """The size of a network's input, in words."""
    return f"{config.preprocessing.size} × {config.preprocessing.size}"


def origin(weights: BackboneWeights | None) -> BackboneOrigin:
    """The starting weights as a model's card states them."""
    if weights is None:
        return BackboneOrigin(name=RANDOM_START, sha256=None)
    return BackboneOrigin(name=weights.name, sha256=weights.sha256)
