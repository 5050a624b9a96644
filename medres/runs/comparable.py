"""Runs that can be compared: the same patients, folds, images and labels, or a refusal that says what differs.

Runs of several repeats of one split file are compared too: every recipe then needs a run of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd

from medres.cohort.splits import read_splits
from medres.config import Architecture, Config, Evaluation
from medres.errors import MedresError, UsageError
from medres.formatting import network_name
from medres.runs.records import RunRecord
from medres.runs.run import OpenRun
from medres.tables import sha256_file, sha256_json

if TYPE_CHECKING:
    from medres.model.card import ModelCard
    from medres.model.cost import Design

_NOT_THE_RECIPE = ("seed", "name", "tracking", "limits")
"""Parts of a configuration in which two runs of one recipe may differ."""

_NOT_OF_A_MODEL = ("crossval.", "evaluation.", "training.device", "network.weights_file")
"""Keys in which a model may differ from those of a cross-validation of its recipe, whose weights have a hash."""


_OF_RESULTS = ("replicates", "confidence", "subgroups", "shortcuts", "patient_rule", "heatmaps")
"""Parts of `evaluation` that say what is shown of a run, and change nothing that it learned or decided."""

Settings = Mapping[str, Any]
"""A configuration as a run recorded it: that of an earlier version may lack or hold other fields."""


@dataclass(frozen=True, slots=True)
class ComparableRun:
    """One cross-validation run, read and found whole."""

    folder: Path
    record: RunRecord
    table: pd.DataFrame  # oof.csv, sorted by image
    oof_sha256: str  # of that file
    folds: str  # hash of who is held out, validates and trains in each fold
    division: str  # what runs that are compared share: those folds, or the repeated split file that they are of
    repeat: int | None  # of that file; None: it has no other

    @property
    def config(self) -> Settings:
        """Its configuration."""
        return self.record.config

    @property
    def evaluation(self) -> Evaluation:
        """How its results were judged; as by default where that is not recorded.

        Raises:
            UsageError: what is recorded is not that.
        """
        return self.record.evaluation or Evaluation()

    @property
    def seed(self) -> int:
        """The seed of its configuration."""
        return int(self.config["seed"])

    @property
    def recipe(self) -> str:
        """Hash of all that makes its recipe; runs that share it differ in the seed alone."""
        own = own_settings(self.config)
        return sha256_json([own, self.record.network.weights_sha256 if self.record.network else None])

    @property
    def labels(self) -> list[str]:
        """What it was asked."""
        return list(self.record.labels)


def read_runs(folders: Sequence[Path]) -> list[ComparableRun]:
    """Read cross-validation runs that are to be compared.

    Raises:
        UsageError: a folder is no such run, a run is given twice, or runs differ in splits, images, patients or labels.
    """
    if len(folders) < 2:
        raise UsageError("a comparison needs two runs or more")
    found = [read_comparable(folder) for folder in folders]
    refuse_different(found)
    return found


def read_comparable(folder: Path) -> ComparableRun:
    """Read a cross-validation run.

    Raises:
        UsageError: it is none, or its split file or configuration is missing or altered.
    """
    run = OpenRun.open(folder)
    if run.record.kind is not None:
        raise UsageError(f"{folder} is an {run.record.kind}, not a run of `medres crossval`")
    _, document = read_splits(folder / "splits.json")
    if "seed" not in run.record.config or not run.record.labels:
        raise UsageError(f"{folder / 'run.json'} does not record the configuration, seed and labels of a run")
    missing = {"path", "PatientID", "SOPInstanceUID", "fold"} - set(run.predictions.columns)
    if missing:
        raise UsageError(f"{folder / 'oof.csv'} lacks the columns {', '.join(sorted(missing))}")
    key = "SOPInstanceUID" if run.predictions["SOPInstanceUID"].astype(bool).all() else "path"
    if run.predictions[key].duplicated().any():
        raise UsageError(f"{folder / 'oof.csv'} holds an image twice (column {key})")
    table = run.predictions.set_index(key, drop=False).sort_index()
    folds, parent = document.folds_sha256(), document.parent
    division, repeat = (parent.sha256, parent.repeat) if parent else (folds, None)
    return ComparableRun(folder, run.record, table, sha256_file(folder / "oof.csv"), folds, division, repeat)


def refuse_different(runs: Sequence[ComparableRun]) -> None:
    """Make sure that runs can be compared image by image.

    Raises:
        UsageError: a run is given twice; or all that differs between the first run and each other.
    """
    copies = Counter(run.oof_sha256 for run in runs)
    if max(copies.values()) > 1:
        same = [str(run.folder) for run in runs if copies[run.oof_sha256] > 1]
        raise UsageError(f"the same run is given twice: {', '.join(same)} hold the same out-of-fold table")
    first, found = runs[0], []
    for other in runs[1:]:
        reasons = _differences(first, other)
        if reasons:
            found.append(f"{other.folder} and {first.folder} differ in {'; '.join(reasons)}")
    if found:
        raise UsageError(f"not comparable: {'. '.join(found)} (crossval --splits gives runs the same folds)")


def _differences(first: ComparableRun, other: ComparableRun) -> list[str]:
    found = []
    if first.labels != other.labels:
        found.append(f"labels ({', '.join(other.labels)} and {', '.join(first.labels)})")
    if first.division != other.division:
        found.append("splits (the folds of splits.json)")
    one, two = first.table, other.table
    if list(one.index) != list(two.index):
        alone = len(set(one.index) ^ set(two.index))
        return [*found, f"images ({alone} are in one of them only)"]
    if (patients := int((one["PatientID"] != two["PatientID"]).sum())) > 0:
        found.append(f"patients ({patients} images have another PatientID)")
    if (moved := int((one["fold"] != two["fold"]).sum())) > 0 and first.folds == other.folds:
        found.append(f"folds ({moved} images were held out in another one)")
    for label in [name for name in first.labels if name in other.labels]:
        column = f"label_{label}"
        if column not in one or column not in two:
            found.append(f"columns ({column} is missing)")
        elif (changed := int((~_same(one[column], two[column])).sum())) > 0:
            found.append(f"the labels themselves ({changed} images have another {column})")
    return found


def _same(one: pd.Series[Any], two: pd.Series[Any]) -> pd.Series[Any]:
    return (one == two) | (one.isna() & two.isna())


def by_recipe(runs: Sequence[ComparableRun]) -> dict[str, list[ComparableRun]]:
    """Runs by the name of their recipe, in the order in which they were given.

    Raises:
        UsageError: recipes have runs of other repeats, or of some more often: their means would not be paired.
    """
    recipes: dict[str, list[ComparableRun]] = {}
    for run in runs:
        recipes.setdefault(run.recipe, []).append(run)
    groups = list(recipes.values())
    repeats = [Counter(run.repeat for run in group) for group in groups]
    if any(set(one) != set(repeats[0]) or len(set(one.values())) > 1 for one in repeats):
        said = "; ".join(f"{group[0].folder}: {_repeats(one)}" for group, one in zip(groups, repeats, strict=True))
        raise UsageError(f"not comparable: every recipe needs as many runs of each repeat of the split file ({said})")
    flat = [settings(group[0]) for group in groups]
    differing = {key for one in flat for key in one if any(one[key] != other.get(key) for other in flat)}
    networks = [network_name(one["network.architecture"]) for one in flat]
    choices = [[group[0].folder.name for group in groups], [str(group[0].folder) for group in groups]]
    if differing <= {"network.architecture", "network.weights_file"}:
        choices.insert(0, networks)
    names = next(choice for choice in choices if len(set(choice)) == len(groups))
    return dict(zip(names, groups, strict=True))


def _repeats(counted: Counter[int | None]) -> str:
    return ", ".join(f"repeat {one} × {count}" for one, count in sorted(counted.items(), key=str))


def own_settings(config: Settings) -> dict[str, Any]:
    """What makes a recipe: all but the seed, names, and what is only shown of results."""
    own = {key: value for key, value in config.items() if key not in _NOT_THE_RECIPE}
    if isinstance(judged := own.get("evaluation"), Mapping):
        own["evaluation"] = {key: value for key, value in judged.items() if key not in _OF_RESULTS}
    return own


def settings(run: ComparableRun) -> dict[str, str]:
    """A run's recipe as dotted keys."""
    found = _dotted(run.config)
    if "network.architecture" not in found:
        raise UsageError(f"{run.folder / 'run.json'} does not record the network's architecture")
    return found


def _dotted(config: Settings) -> dict[str, str]:
    found = pd.json_normalize(own_settings(config), sep=".").iloc[0].to_dict()
    return {str(key): str(value) for key, value in found.items()}


def recipe_differences(run: ComparableRun, card: ModelCard) -> list[str]:
    """In what a model is not what a run has cross-validated; nothing where it has its recipe, labels and manifest.

    A key that one of them does not record, being of another version, has its default.

    Args:
        run: the cross-validation.
        card: of the model.
    """
    usual = _dotted(Config().model_dump(mode="json"))
    theirs, own = settings(run), _dotted(card.provenance.config)
    keys = [key for key in {**theirs, **own} if not key.startswith(_NOT_OF_A_MODEL)]
    pairs = [(key, theirs.get(key, usual.get(key)), own.get(key, usual.get(key))) for key in keys]
    found = [f"{key} ({one} and {other})" for key, one, other in pairs if one != other]
    if list(card.labels) != run.labels:
        found.append(f"labels ({', '.join(run.labels)} and {', '.join(card.labels)})")
    start = run.record.network.weights_sha256 if run.record.network else None
    if start != card.provenance.backbone.sha256:
        found.append("the weights that they started from")
    if run.record.manifest is None or run.record.manifest.sha256 != card.provenance.manifest_sha256:
        found.append("the manifest")
    return found


def design_of(run: ComparableRun) -> Design:
    """The shape of a run's networks: from a fold's card, else from what the run records."""
    from medres.model.classifier import read_card
    from medres.model.cost import Design

    architecture = run.config["network"]["architecture"]
    if architecture not in get_args(Architecture):
        raise UsageError(f"{run.folder / 'run.json'} names an unknown architecture {architecture!r}")
    side = int(run.config["preprocessing"]["size"])
    folded = run.config["network"].get("weights") != "none"
    for path in sorted(run.folder.glob("models/fold-*")):
        try:
            folded = read_card(path).folded
        except MedresError:
            continue
        break
    return Design(architecture, side, len(run.labels), folded)
