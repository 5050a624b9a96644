"""The heatmaps of one case as the app shows them: with their licence, or with why they are not shown."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medres.model.heatmaps.grid import grid_of
from medres.model.heatmaps.licence import in_words, withheld
from medres.review.encode import HeatmapGrid, encode_heatmap
from medres.review.scoring_model import ScoringModel
from medres.review.sent import ShownMap, ShownMaps
from medres.review.stored import Evidence, Geometry, over_image
from medres.review.wording import (
    heatmap_contour,
    heatmap_failed,
    heatmap_missing,
    heatmap_scale,
    heatmap_strength,
    heatmap_withheld,
)

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

    grid: HeatmapGrid | None  # None where there is nothing to show: its heatmaps have failed, or it was not kept
    licence: str  # whether its heatmaps are validated, in words
    kept_back: str  # why it is not shown unless a reviewer asks; "" where it is
    spread: HeatmapGrid | None = None  # of several networks: where they disagree


def stored_heatmaps(
    model: ScoringModel, evidence: Evidence, geometry: Geometry, positive: Mapping[str, bool]
) -> Mapping[str, CaseHeatmap]:
    """The maps of every label that a scored folder keeps; of those that have failed only the words.

    Args:
        model: that scored the image.
        evidence: what is kept of it.
        geometry: of the image.
        positive: which labels are at or above their operating point.
    """
    found = {}
    for label in model.labels:
        licence, grid = model.licence(label), None
        cells = evidence.cells.get(label)
        if licence.state != "failed" and cells is not None:
            stride = grid_of(model.card.architecture, model.preprocessing.size, len(cells)).stride
            licence = model.licence(label, stride=stride)  # type: ignore[arg-type]  # no other grid was ever kept
            grid = encode_heatmap(
                over_image(model, geometry, cells), scale=model.heatmap_scale(label, stride=stride),
                strength=float(cells.max()),
            )  # fmt: skip
        found[label] = CaseHeatmap(grid, in_words(licence), withheld(licence, positive=positive[label]))
    return found


def shown_maps(label: str, found: CaseHeatmap) -> ShownMaps:
    """A label's heatmaps as the page is sent them."""
    mean = _shown(f"Where the score of “{label}” comes from", label, found, found.grid)
    if found.spread is None:
        return ShownMaps(mean=mean)
    title = f"Where the networks disagree about “{label}”"
    return ShownMaps(mean=mean, spread=_shown(title, label, found, found.spread))


def _shown(title: str, label: str, found: CaseHeatmap, grid: HeatmapGrid | None) -> ShownMap:
    failed = found.kept_back and found.licence.startswith("heatmap failed")
    words = ShownMap(
        title=title,
        state=found.licence.partition(":")[0],
        licence=f"{found.licence[:1].upper()}{found.licence[1:]}.",
        drawn=not found.kept_back,
        note=heatmap_failed(label, found.kept_back) if failed else heatmap_missing(label),
    )
    if grid is None:
        return words
    update = {
        "note": heatmap_withheld(label, grid.strength, grid.scale, grid.unit),
        "full": heatmap_scale(grid.scale, grid.unit),
        "strength": f"This image: {heatmap_strength(grid.strength, grid.scale, grid.unit)}.",
        "contoured": heatmap_contour(grid.scale, grid.contour, grid.unit),
        "rows": grid.rows,
        "columns": grid.columns,
        "cells": b64encode(grid.cells).decode(),
        "lines": grid.lines,
    }
    return words.model_copy(update=update)


def own_heatmaps(model: Classifier, radiograph: Radiograph, positive: Mapping[str, bool]) -> Mapping[str, CaseHeatmap]:
    """The class-activation maps of every label, of one pass; of those that have failed only the words.

    Args:
        model: that scored the image.
        radiograph: as the model takes it.
        positive: which labels are at or above their operating point.
    """
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
    from medres.model.heatmaps.licence import licence_of

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
