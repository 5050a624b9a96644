"""Saved models for tests about their folders: nothing is trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from medres.model.card import ModelCard, TrainedFacts
from medres.model.loading import load_member
from medres.model.saving import save_model
from medres.tables import write_json

PLANTED = "$__import__('pathlib').Path('{}').touch()"
"""What an attacker writes into a bundle's configuration: `monai.bundle run` evaluates it."""


def saved_again(old: Path, folder: Path) -> ModelCard:
    """The model of an earlier format, as this version saves it; returns its card."""
    member = load_member(old)
    facts = TrainedFacts(**{name: getattr(member.card, name) for name in TrainedFacts.model_fields})
    return save_model(
        folder,
        network=member.network.eval(),
        space=member.space,
        outlier_cut=member.card.outliers.cut,
        outlier_quantile=member.card.outliers.quantile,
        facts=facts,
    )


def run_saved_again(old: Path, folder: Path) -> Path:
    """The folds of a run of an earlier format, as this version saves them."""
    for home in sorted((old / "models").iterdir()):
        saved_again(home, folder / "models" / home.name)
        shutil.copy(home / "fold.json", folder / "models" / home.name)
    return folder


def plant(model: Path, witness: Path) -> None:
    """Let a model's configuration create a file where it is executed."""
    path = model / "configs" / "inference.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["run"] = [PLANTED.format(witness), *content["run"]]
    path.unlink()  # it may be a link to another copy's
    write_json(path, content)
