"""Saved models for tests about their folders: nothing is trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from medres.model.card import ModelCard, TrainedFacts
from medres.model.loading import load_member
from medres.model.saving import save_model
from medres.tables import write_json

PLANTED = "$__import__('pathlib').Path('{}').touch()"
"""What an attacker writes into a bundle's configuration: `monai.bundle run` evaluates it."""


def saved_again(old: Path, folder: Path, *, shift: float = 0.0, rename: tuple[str, str] | None = None) -> ModelCard:
    """The model of an earlier format, as this version saves it; returns its card.

    Args:
        old: the model.
        folder: where it is saved.
        shift: added to the weights of the head: another model.
        rename: a label, and what it is called instead.
    """
    member = load_member(old)
    facts = TrainedFacts(**{name: getattr(member.card, name) for name in TrainedFacts.model_fields})
    if rename:
        facts = TrainedFacts.model_validate_json(facts.model_dump_json().replace(*map(json.dumps, rename)))
    with torch.no_grad():
        for weights in member.network.head.parameters():
            weights += shift
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
