"""What a reviewer can know of the model before trusting or distrusting it: its card, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medres.records import Interval
from medres.review.words import NOT_DIAGNOSTIC

if TYPE_CHECKING:
    from medres.model.card import ModelCard


def facts(card: ModelCard) -> tuple[tuple[str, str], ...]:
    """(name, value) pairs, most important first."""
    origin = card.provenance
    scaled = f"{card.preprocessing.size} × {card.preprocessing.size} pixels"
    found = [
        ("Intended use", f"{NOT_DIAGNOSTIC}. {card.intended_use}"),
        ("Model", card.model_id),
        ("Architecture", card.architecture + (f", {card.members} networks averaged" if card.members > 1 else "")),
        ("Starting weights", card.weights),
        (
            "Trained on",
            card.folds
            or f"{origin.training_images} images of {origin.training_patients} patients; "
            f"{origin.validation_images} images of {origin.validation_patients} other patients chose "
            f"{origin.chosen}calibration and operating points",
        ),
        ("Accepts", f"{_gate(card)}; each image is seen at {scaled}"),
    ]
    for label in card.labels:
        found.append((f"AUROC, {label}", _estimate(card, label)))
        point = card.operating_points[label]
        reached = [
            f"{name} {100 * value:.0f} %"
            for name, value in (("sensitivity", point.sensitivity), ("specificity", point.specificity))
            if value is not None
        ]
        there = f" ({', '.join(reached)} there)" if reached else ""
        found.append((f"Operating point, {label}", f"{100 * point.threshold:.1f} %: {point.rule}{there}"))
    found.extend(("Limit", limit) for limit in card.limits)
    when = "" if card.folds else f"{origin.created}, "
    found.append(("Made", f"{when}recipe {origin.recipe}, medres {origin.packages.get('medres', 'unknown')}"))
    return tuple(found)


def _gate(card: ModelCard) -> str:
    if card.gate.name == "any":
        return "any radiograph (the model has no gate)"
    parts = (("modality", card.gate.modality), ("body part", card.gate.body_part), ("view", card.gate.view))
    return f"{card.gate.name}: " + ", ".join(f"{name} {' or '.join(values)}" for name, values in parts if values)


def _estimate(card: ModelCard, label: str) -> str:
    """The AUROC of a label with its interval, and on whom it was measured."""
    stated = card.metrics.get(label, {}).get("auroc")
    found = Interval(**stated) if stated else None
    if found is None or found.value is None:
        return f"not known ({card.metrics_split})"
    percent = 100 * card.provenance.config["evaluation"]["confidence"]
    bounds = found.method
    if found.low is not None and found.high is not None:
        bounds = f"{percent:g} % interval {found.low:.3f}–{found.high:.3f}"
    return f"{found.value:.3f} ({bounds}), {found.n} images of {found.n_patients} patients: {card.metrics_split}"
