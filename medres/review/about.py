"""What the review app says about the model: its card as a table of names and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medres.formatting import DASH, bounds, figure, level, sample
from medres.review.wording import NOT_DIAGNOSTIC

if TYPE_CHECKING:
    from medres.model.card import ModelCard
    from medres.records import Interval


def card_facts(card: ModelCard) -> tuple[tuple[str, str], ...]:
    """The facts of a card as (name, value) pairs, most important first."""
    origin = card.provenance
    scaled = f"{card.preprocessing.size} × {card.preprocessing.size} pixels"
    if card.preprocessing.decode != "full":
        scaled += f", decoded {card.preprocessing.decode} where it holds a smaller copy"
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
        found.append((f"AUROC, {label}", _estimate(card, card.metrics.get(label, {}).get("auroc"))))
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
    gate = card.gate
    parts = (("modality", gate.modality), ("body part", gate.body_part), ("view", gate.view))
    said = ", ".join(f"{name} {' or '.join(values)}" for name, values in parts if values)
    if not said:
        return "any grayscale image of one frame (the model has no gate)"
    doubted = f" (a human must look: {', '.join(gate.review_modality)})" if gate.review_modality else ""
    return f"{gate.name}: {said}{doubted}"


def _estimate(card: ModelCard, item: Interval | None) -> str:
    if item is None or item.value is None:
        return f"not known ({card.metrics_split})"
    confidence = card.provenance.config["evaluation"]["confidence"]
    interval = bounds(item, between=DASH)
    inside = f"{level(confidence)} interval {interval}" if interval else item.method
    return f"{figure(item.value)} ({inside}), {sample(item)}: {card.metrics_split}"
