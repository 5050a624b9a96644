"""A model that travels: the same network, without what tells of the patients and the site that it was trained on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from medres.config import recipe_names
from medres.errors import UsageError
from medres.model.card import ModelCard, TrainedFacts
from medres.model.ensemble import joint_card
from medres.model.inspection import model_folders
from medres.model.loading import load_member
from medres.model.saving import save_model
from medres.tables import output_folder, refuse_inside

TRAVELLING_TAGS = (
    "Modality", "BodyPartExamined", "ViewPosition", "PatientSex", "Manufacturer", "PhotometricInterpretation",
    "BitsStored",
)  # fmt: skip
"""Tags whose counted values travel: what many sites share. All others stay, whatever a profile comes to count."""


def export_model(model: Path, out: Path) -> ModelCard:
    """Write a model, or the folds of a run, into a new folder that may travel; returns the card (of the ensemble).

    It holds the tensors, the configurations, the documents and the card, without `splits.json`, `run.json`, histories,
    tables and attachments. The card names the model that it was exported from, and leaves out values of the training
    cohort's tags by which a site might be known, and names of this machine's folders and servers. Its name is another,
    for it is another card; what the network computes is the same.

    Args:
        model: a model folder, or a cross-validation run.
        out: the new folder.

    Raises:
        UsageError: `model` holds no model, or one that was made to travel already, or `out` lies in it.
        OutputExists: `out` is there already.
        ModelError: the model is not what it was.
    """
    homes = model_folders(model)
    refuse_inside(out, [model])
    members = [load_member(home) for home in homes]
    for home, member in zip(homes, members, strict=True):
        if member.card.exported_from:
            raise UsageError(f"{home} was made to travel already: copy it as it is")
    written = []
    with output_folder(out, private=False) as folder:
        for home, member in zip(homes, members, strict=True):
            card = save_model(
                folder / home.relative_to(model),
                network=member.network.eval(),
                space=member.space,
                outlier_cut=member.card.outliers.cut,
                outlier_quantile=member.card.outliers.quantile,
                facts=travelling(member.card),
                exported_from=member.card.model_id,
            )
            written.append(card)
    return joint_card(tuple(written))


def travelling(card: ModelCard) -> TrainedFacts:
    """The facts of a card without what tells of its site."""
    facts = {name: getattr(card, name) for name in TrainedFacts.model_fields}
    origin, profile = card.provenance, card.cohort_profile
    counted = {tag: counts for tag, counts in profile.categories.items() if tag in TRAVELLING_TAGS}
    recipe = origin.recipe if origin.recipe in recipe_names() else "custom"
    changes = {"config": _without_places(origin.config) | {"name": recipe}, "recipe": recipe}
    changes["backbone"] = origin.backbone.model_copy(update={"name": _without_places(origin.backbone.name)})
    facts["cohort_profile"] = profile.model_copy(update={"categories": counted})
    facts["provenance"] = origin.model_copy(update=changes)
    return TrainedFacts(**facts)


def _without_places(value: Any) -> Any:
    """A value of a configuration without this machine's folders and servers: of a path its last part, of a URL nothing.

    >>> _without_places({"a": ["/data/x.pt", 3], "b": "http://host:1", "c": "auto", "d": "sqlite:////data/x.db"})
    {'a': ['x.pt', 3], 'b': '', 'c': 'auto', 'd': ''}
    """
    if isinstance(value, dict):
        return {name: _without_places(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_places(one) for one in value]
    if isinstance(value, str):
        return "" if "://" in value else re.split(r"[/\\]", value)[-1]
    return value
