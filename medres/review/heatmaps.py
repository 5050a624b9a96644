"""The heatmaps of one case as the app shows them: with their licence, or with why they are not shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medres.review.encode import HeatmapGrid, encode_heatmap

if TYPE_CHECKING:
    from medres.model.classifier import Classifier
    from medres.model.heatmaps.library import Method
    from medres.records import Explanation, Radiograph

METHODS: Mapping[str, Method] = {
    "Class-activation map": "cam",
    "Grad-CAM": "gradcam",
    "HiResCAM": "hirescam",
    "LayerCAM": "layercam",
    "Grad-CAM++": "gradcam++",
    "EigenCAM": "eigencam",
    "Score-CAM": "scorecam",
}
"""What a reviewer chooses from; the first is what medres shows unasked, and the only one that can be validated."""

OWN = next(iter(METHODS))


@dataclass(frozen=True, slots=True)
class CaseHeatmap:
    """One label's heatmap of one case."""

    grid: HeatmapGrid | None  # None where the label's heatmaps have failed: then there is nothing to show
    licence: str  # whether its heatmaps are validated, in words
    kept_back: str  # why it is not shown unless a reviewer asks; "" where it is
    spread: HeatmapGrid | None = None  # of several networks: where they disagree


def own_heatmaps(model: Classifier, radiograph: Radiograph, positive: Mapping[str, bool]) -> Mapping[str, CaseHeatmap]:
    """The class-activation maps of every label, of one pass; of those that have failed only the words.

    Args:
        model: that scored the image.
        radiograph: as the model takes it.
        positive: which labels are at or above their operating point.
    """
    from medres.model.heatmaps.licence import in_words, withheld

    licences = {label: model.licence(label) for label in model.labels}
    shown = [label for label, licence in licences.items() if licence.state != "failed"]
    found = {one.label: one for one in model.explain_labels(radiograph, shown)} if shown else {}
    return {
        label: CaseHeatmap(
            _grid(model, found[label]) if label in found else None, in_words(licence),
            withheld(licence, positive=positive[label]), _spread(model, found[label]) if label in found else None,
        )
        for label, licence in licences.items()
    }  # fmt: skip


def other_heatmap(model: Classifier, radiograph: Radiograph, label: str, *, name: str, positive: bool) -> CaseHeatmap:
    """The heatmap of another method, computed anew; of a label whose heatmaps have failed only the words.

    Args:
        model: that scored the image.
        radiograph: as the model takes it.
        label: which.
        name: of the method, one of METHODS.
        positive: whether the label is at or above its operating point.
    """
    from medres.model.heatmaps.licence import in_words, licence_of, withheld

    licence = model.licence(label)
    kept_back = withheld(licence, positive=positive)
    if licence.state == "failed":
        return CaseHeatmap(None, in_words(licence), kept_back)
    found = model.explain(radiograph, label=label, method=METHODS[name])
    own = licence_of(model.heatmap_licence, label, method=METHODS[name], stride=found.stride)
    return CaseHeatmap(_grid(model, found), in_words(own), kept_back, _spread(model, found))


def _grid(model: Classifier, found: Explanation) -> HeatmapGrid:
    scale = model.heatmap_scale(found.label, stride=found.stride)
    if not found.unit:
        scale = found.strength if found.strength > 0 else 1.0
    return encode_heatmap(found.heatmap, scale=scale, strength=found.strength, unit=found.unit)


def _spread(model: Classifier, found: Explanation) -> HeatmapGrid | None:
    """Where the networks of an ensemble disagree, on the scale of the map itself."""
    if found.spread is None or not found.unit:
        return None
    scale = model.heatmap_scale(found.label, stride=found.stride)
    return encode_heatmap(found.spread, scale=scale, strength=float(found.spread.max()), unit=found.unit)
