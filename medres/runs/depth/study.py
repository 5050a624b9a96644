"""A study of depth: the same cohort, folds and recipe for networks of several depths, several seeds each."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medres.cohort.manifest import Manifest
from medres.cohort.splits import SplitFile, read_splits, refuse_few_patients, write_splits
from medres.config import Architecture, Config
from medres.documents import Document, read_document, write_document
from medres.errors import UsageError, WeightsError
from medres.evaluation.depth import DepthRun, DepthStudy, NetworkCost
from medres.formatting import network_name
from medres.model.weights import find_weights, load_backbone, named_source
from medres.runs.cohort import TrainingCohort, load_cohort
from medres.runs.comparable import ComparableRun, read_comparable
from medres.runs.crossval import cross_validate
from medres.runs.depth.fits import fitted
from medres.runs.depth.judging import judge
from medres.runs.depth.tables import depth_rows
from medres.runs.depth.trials import (
    Workload,
    estimate_lines,
    known_architectures,
    measure_costs,
    refuse_lack_of_memory,
)
from medres.runs.division import NO_DIVISION, Division, divide
from medres.runs.options import DEFAULT, RunOptions
from medres.runs.recording import depth_record
from medres.runs.records import RANDOM_START, write_run_record
from medres.runs.train import run_identity
from medres.tables import write_csv
from medres.unfinished import hold_to, resumable_folder

log = logging.getLogger(__name__)

RUNS = "runs"
RECORD = "depth.json"
TABLE = "depth.csv"
_COSTS = "costs.json"
_FITS = "fits"
ENOUGH_SEEDS = 3
"""Seeds of each network that measure what another seed changes."""


class _Costs(Document):
    """What was measured before the first run; a study that is gone on with does not measure again."""

    networks: tuple[NetworkCost, ...]


@dataclass(frozen=True, slots=True)
class DepthPlan:
    """Which networks are compared, how often each is trained, and how patients are divided.

    Raises:
        UsageError: medres does not know an architecture, or none or one is named twice; fewer than one seed.
    """

    architectures: tuple[Architecture, ...]
    seeds: int = ENOUGH_SEEDS
    division: Division = NO_DIVISION
    probe: bool = False  # only the last layer is fitted, on features of pretrained weights

    @classmethod
    def of(
        cls, architectures: Sequence[str], *, seeds: int, division: Division = NO_DIVISION, probe: bool = False
    ) -> DepthPlan:
        """A plan; the cheapest network comes first. In linear probes nothing is random: one seed is all there is."""
        if seeds < 1:
            raise UsageError("--seeds must be 1 or more; three measure what another seed changes")
        if len(set(architectures)) == 1:
            raise UsageError("a study of depth compares two networks or more: name another with --architectures")
        return cls(known_architectures(architectures), 1 if probe else seeds, division, probe)

    def advice(self) -> str:
        """What one or two seeds cannot tell, and what would; "" where there are enough."""
        if self.probe or self.seeds >= ENOUGH_SEEDS:
            return ""
        known = "is assumed, not measured" if self.seeds == 1 else "is measured too little to stand alone"
        return (
            f"with {self.seeds} seed{'s' if self.seeds > 1 else ''} of each network what another seed changes {known}, "
            f"and the answer may be that it cannot be told: --seeds {ENOUGH_SEEDS} measures it"
        )

    def recipe(self, config: Config) -> Config:
        """The recipe of the study's runs, which leave heatmaps and shortcuts to `crossval`."""
        heatmaps = config.evaluation.heatmaps.model_copy(update={"measured": False})
        evaluation = config.evaluation.model_copy(update={"shortcuts": False, "heatmaps": heatmaps})
        training = config.training.model_copy(update={"method": "linear-probe"}) if self.probe else config.training
        changed = config.model_copy(update={"evaluation": evaluation, "training": training})
        return Config.model_validate(changed.model_dump()) if self.probe else changed  # a probe has rules of its own


Say = Callable[[str], None]


def study_depth(
    manifest: Manifest,
    plan: DepthPlan,
    *,
    config: Config,
    out: Path,
    options: RunOptions = DEFAULT,
    say: Say = log.info,
    dry: bool = False,
) -> DepthStudy | None:
    """Cross-validate networks of several depths on the same folds, and say which is worth its cost.

    Writes `depth.json`, `depth.csv`, `splits.json`, `run.json`, a run for each network and seed in `runs/`, and what
    was measured of costs and of what was learnt by heart. An interrupted study that is resumed keeps its finished runs,
    folds and measurements.

    Args:
        manifest: the cohort, with what is asked of it.
        plan: the networks, and how often each is trained.
        config: the recipe, of which the architecture is changed.
        out: the new folder.
        options: what becomes of an output that is there already.
        say: told, before anything is trained, what it will take.
        dry: say that, and end.

    Returns:
        What is written as `depth.json`; None of a dry run, which writes nothing.

    Raises:
        UsageError, ManifestError, WeightsError, TrainingError: see `medres.errors`.
    """
    config = plan.recipe(config)
    _refuse_what_cannot_end(manifest, plan, config)
    if advice := plan.advice():
        say(advice)
    given = plan.division.given(manifest, config)
    if dry:
        cohort = load_cohort(manifest, config, progress=options.progress)
        _, document = divide(cohort, config, given)
        _say_costs(_measured(plan, config, cohort, document), plan, say)
        return None
    identity = {
        **run_identity("depth", manifest, config, None),
        "architectures": plan.architectures,
        "seeds": plan.seeds,
        "splits": given[1].sha256 if given else None,
    }
    with resumable_folder(out, identity=identity, resume=options.resume, force=options.force) as folder:
        cohort = load_cohort(manifest, config, progress=options.progress)
        hold_to(folder, {"usable_images": cohort.sha256}, what="usable images")
        _, document = divide(cohort, config, given)
        write_splits(folder / "splits.json", document)
        costs = _known_costs(folder) or _measured(plan, config, cohort, document)
        write_document(folder / _COSTS, _Costs(networks=costs))
        _say_costs(costs, plan, say)
        fits = _run_all(folder, plan, config, cohort, options)
        study = _concluded(folder, plan, config, costs, fits)
        write_document(folder / RECORD, study)
        import pandas as pd

        write_csv(folder / TABLE, pd.DataFrame(depth_rows(study)))
        write_run_record(folder, depth_record())
    return study


def _refuse_what_cannot_end(manifest: Manifest, plan: DepthPlan, config: Config) -> None:
    """Say what is wrong with a study before anything is decoded.

    Raises:
        UsageError, ManifestError, WeightsError: see `study_depth`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("a study of depth runs in one process; crossval.folds_at_once=auto uses several GPUs")
    if not (plan.division.splits or plan.division.column):
        refuse_few_patients(manifest.rows, manifest.labels, config.crossval.folds)
    _refuse_missing_weights(plan, config)
    refuse_lack_of_memory(config, plan.architectures, labels=len(manifest.labels))


def _refuse_missing_weights(plan: DepthPlan, config: Config) -> None:
    """Every network needs the starting weights that the recipe names; all that are missing are named together."""
    if config.network.weights == "none":
        if plan.probe:
            raise UsageError(
                "--probe-only fits the last layer on pretrained features, and network.weights is none: name weights "
                "that every architecture has (--set network.weights=IMAGENET1K_V1), or leave --probe-only out"
            )
        return
    if config.network.weights == "file":
        if len(plan.architectures) > 1:
            raise UsageError(
                f"one weights file fits one architecture, and {len(plan.architectures)} are compared: start all from "
                "torchvision's (--set network.weights=IMAGENET1K_V1), or from random weights (network.weights=none)"
            )
        load_backbone(config.network.model_copy(update={"architecture": plan.architectures[0]}))
        return
    missing: dict[str, str] = {}
    for name in plan.architectures:
        network = config.network.model_copy(update={"architecture": name})
        try:
            find_weights(named_source(network), file=network.weights_file, allow_download=network.allow_download)
        except WeightsError as error:
            missing[name] = str(error)
    if missing:
        first, *others = missing
        also = f"; the same holds for {', '.join(others)}" if others else ""
        raise WeightsError(f"{missing[first]}{also}")


def _known_costs(folder: Path) -> tuple[NetworkCost, ...]:
    path = folder / _COSTS
    return read_document(path, _Costs).networks if path.is_file() else ()


def _measured(plan: DepthPlan, config: Config, cohort: TrainingCohort, document: SplitFile) -> tuple[NetworkCost, ...]:
    """What each network costs on this machine."""
    log.info("measuring %d networks on this machine", len(plan.architectures))
    learnt = sum(len(cohort.places(fold.training, learning=True)) for fold in document.folds)
    others = sum(len(cohort.places((*fold.validation, *fold.held_out))) for fold in document.folds)
    work = Workload(learnt, learnt + others)
    return measure_costs(config, plan.architectures, labels=len(cohort.manifest.labels), work=work)


def _say_costs(costs: Sequence[NetworkCost], plan: DepthPlan, say: Say) -> None:
    """Say what the study takes, before anything is trained."""
    for line in estimate_lines(costs, seeds=plan.seeds, names={one: network_name(one) for one in plan.architectures}):
        say(line)


def _run_all(
    folder: Path, plan: DepthPlan, config: Config, cohort: TrainingCohort, options: RunOptions
) -> list[DepthRun]:
    """Every network with every seed: all of one seed first, so that what an interruption leaves can be compared."""
    fits = []
    for number in range(plan.seeds):
        for name in plan.architectures:
            seed = config.seed + number
            known = folder / _FITS / f"{name}-seed{seed}.json"
            run = folder / RUNS / f"{name}-seed{seed}"
            if known.is_file():
                fits.append(read_document(known, DepthRun))
                continue
            log.info("%s, seed %d: run %d of %d", name, seed, len(fits) + 1, plan.seeds * len(plan.architectures))
            if not (run / "run.json").is_file():
                network = config.network.model_copy(update={"architecture": name})
                own = config.model_copy(update={"network": network, "seed": seed})
                cross_validate(
                    cohort.manifest,
                    config=own,
                    out=run,
                    division=Division(splits=folder / "splits.json"),
                    options=RunOptions(resume=True, allow_burned_in=options.allow_burned_in),
                )
            found = fitted(run, cohort, device=config.training.device)
            known.parent.mkdir(parents=True, exist_ok=True)
            write_document(known, found)
            fits.append(found)
    return fits


def _concluded(
    folder: Path,
    plan: DepthPlan,
    config: Config,
    costs: Sequence[NetworkCost],
    fits: Sequence[DepthRun],
) -> DepthStudy:
    """Verdicts and answers of all runs."""
    groups = _groups(folder, plan, fits)
    found = judge(groups, fits, costs, config.evaluation, probe=plan.probe)
    first = groups[plan.architectures[0]][0]
    start = RANDOM_START if config.network.weights == "none" else str(config.network.weights)
    _, document = read_splits(folder / "splits.json")
    return DepthStudy(
        labels=tuple(first.labels),
        images=len(first.table),
        patients=int(first.table["PatientID"].nunique()),
        folds=len(document.folds),
        seeds=tuple(config.seed + number for number in range(plan.seeds)),
        splits_sha256=document.sha256,
        recipe=config.name,
        side=config.preprocessing.size,
        weights=start,
        probe=plan.probe,
        confidence=config.evaluation.confidence,
        tested=found.tested,
        correction="Holm 1979" if found.tested > 1 else None,
        networks=tuple(costs),
        runs=tuple(fits),
        found=found.labels,
    )


def _groups(folder: Path, plan: DepthPlan, fits: Sequence[DepthRun]) -> Mapping[str, Sequence[ComparableRun]]:
    """The runs of each architecture, read from their folders."""
    return {
        name: [read_comparable(folder / RUNS / fit.name) for fit in fits if fit.architecture == name]
        for name in plan.architectures
    }
