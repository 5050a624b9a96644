"""What is written of an explained file: pictures and arrays of its maps, and rows that say where they are strong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medres.files import make_folder
from medres.formatting import slugs
from medres.imaging.pictures import name_may_show, write_array, write_png
from medres.imaging.preprocessing import Prepared
from medres.model.classifier import Classifier
from medres.model.heatmaps.figure import Legend, figure
from medres.model.heatmaps.grid import grid_of
from medres.model.heatmaps.library import unit
from medres.model.heatmaps.regions import Measures, Spacing, measure, spacing_of
from medres.model.heatmaps.shown import words_of
from medres.records import Refusal
from medres.scoring.columns import Cell
from medres.scoring.explaining.explainer import Asked, Explained, LabelMap
from medres.scoring.resuming import same_image
from medres.tables import inert_path

MAPS = "heatmaps"
"""The folder of pictures and arrays, beside the table."""

NOTHING_CALLED = "no label is at or above its operating point"

COLUMNS = (
    "path", "sha256", "status", "reason", "SOPInstanceUID", "label", "probability", "operating_point", "positive",
    "licence", "licence_reasons", "shown", "withheld", "method", "layer", "stride", "unit", "strength", "full_colour",
    "contour", "peak_row", "peak_column", "boxes", "area_pixels", "spacing", "row_spacing_mm", "column_spacing_mm",
    "peak_row_mm", "peak_column_mm", "boxes_mm", "area_mm2", "png", "npy", "model_id", "warnings", "detail",
)  # fmt: skip
"""Of `heatmaps.csv`. Rows and columns count from 0, points from the centre of the first pixel; a box is x, y, width and
height, x and y its first column and row. `spacing` names the attribute that says how large pixels are; of
ImagerPixelSpacing millimetres are those at the detector, larger than in the patient."""

Row = dict[str, Cell]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One map in native pixels, as it is written."""

    heatmap: NDArray[np.float32]  # float32 (rows, columns)
    legend: Legend
    strength: float
    stride: int
    measures: Measures


def drawn(classifier: Classifier, asked: Asked, item: Prepared, one: LabelMap) -> Drawn:
    """A map in native pixels and on its scale; of a label whose map is shown."""
    assert one.cells is not None
    stride = grid_of(classifier.card.architecture, item.placement.size, len(one.cells)).stride
    strength = float(one.cells.max())
    legend = asked.drawing.legend(classifier.heatmap_scale(one.label, stride=stride), strength)
    heatmap = classifier.native_heatmap(item.placement, one.cells)
    return Drawn(heatmap, legend, strength, stride, measure(heatmap, legend.contour * legend.scale))


def pictured(classifier: Classifier, asked: Asked, item: Prepared, one: LabelMap, found: Drawn) -> NDArray[np.uint8]:
    """A map as a picture, the untouched radiograph beside it; of an image whose picture may be written."""
    assert item.picture is not None
    made_by = f"{asked.drawing.named(found.stride)} · {classifier.model_id}"
    words = words_of(one.label, one.score, one.licence, one.kept_back, made_by)
    return figure(item.picture, found.heatmap, found.legend, words, aspect=item.pixel_aspect_ratio)


class MapFiles:
    """Writes what was asked for of explained files, below one folder.

    Args:
        classifier: that explained them.
        asked: what is wanted.
        out: the folder.
    """

    def __init__(self, classifier: Classifier, asked: Asked, out: Path) -> None:
        self.classifier, self.asked, self.out = classifier, asked, out
        self.names = dict(zip(classifier.labels, slugs(classifier.labels), strict=True))
        make_folder(out / MAPS)

    def rows(self, explained: Explained) -> list[Row]:
        """The rows of one file, whose pictures and arrays are written: one for each label, and one at least."""
        result = explained.result
        if isinstance(result, Refusal):
            return [{
                "path": inert_path(explained.path), "sha256": result.sha256, "status": "refused",
                "reason": result.code, "model_id": self.classifier.model_id, "detail": result.detail,
            }]  # fmt: skip
        known: Row = {
            "path": inert_path(explained.path), "sha256": result.sha256, "SOPInstanceUID": result.sop_instance_uid,
            "model_id": self.classifier.model_id, "warnings": " ".join((*result.review, *result.warnings)),
        }  # fmt: skip
        if explained.prediction is None:
            said: Row = {"status": "duplicate", "reason": "DUPLICATE_IDENTICAL"}
            return [known | said | {"detail": same_image(explained.identical_to)}]
        known |= {"status": explained.prediction.status, "reason": explained.prediction.reason}
        if not explained.maps:
            return [known | {"shown": 0, "withheld": NOTHING_CALLED if explained.prediction.scores else ""}]
        return [known | self._row(result, one) for one in explained.maps]

    def _row(self, item: Prepared, one: LabelMap) -> Row:
        row: Row = {
            "label": one.label, "probability": one.score.probability, "operating_point": one.score.threshold,
            "positive": int(one.score.positive), "licence": one.licence.state,
            "licence_reasons": "; ".join(one.licence.reasons), "shown": int(one.cells is not None),
            "withheld": one.kept_back, "method": self.asked.drawing.method,
            "layer": self.asked.drawing.layer or "", "unit": unit(self.asked.drawing.method),
        }  # fmt: skip
        if one.cells is None:
            return row
        found = drawn(self.classifier, self.asked, item, one)
        row |= {
            "stride": found.stride, "strength": found.strength, "full_colour": found.legend.scale,
            "contour": found.legend.contour * found.legend.scale,
        }  # fmt: skip
        return row | measured(found.measures, spacing_of(item.attributes)) | self._written(item, one, found)

    def _written(self, item: Prepared, one: LabelMap, found: Drawn) -> Row:
        """The files of one map; a picture is withheld where the pixels may hold a name."""
        row: Row = {}
        stem = f"{item.sha256[:16]}-{self.names[one.label]}"
        if "npy" in self.asked.formats:
            write_array(self.out / MAPS / f"{stem}.npy", found.heatmap)
            row["npy"] = f"{MAPS}/{stem}.npy"
        if item.picture is not None:
            write_png(self.out / MAPS / f"{stem}.png", pictured(self.classifier, self.asked, item, one, found))
            row["png"] = f"{MAPS}/{stem}.png"
        elif "png" in self.asked.formats:
            row["detail"] = f"no picture: {name_may_show(item.attributes)}"
        return row


def measured(found: Measures, spacing: Spacing | None) -> Row:
    """Peak, boxes and area in native pixels, and in millimetres where the size of a pixel is known."""
    boxes = [(region.x, region.y, region.width, region.height) for region in found.regions]
    row: Row = {"boxes": json.dumps(boxes), "area_pixels": found.pixels}
    if found.peak is not None:
        row |= {"peak_row": found.peak[0], "peak_column": found.peak[1]}
    if spacing is None:
        return row
    across, down = spacing.column, spacing.row
    in_mm = [[round(size, 3) for size in (x * across, y * down, w * across, h * down)] for x, y, w, h in boxes]
    row |= {
        "spacing": spacing.source, "row_spacing_mm": down, "column_spacing_mm": across, "boxes_mm": json.dumps(in_mm),
        "area_mm2": round(found.pixels * across * down, 3),
    }  # fmt: skip
    if found.peak is not None:
        row |= {"peak_row_mm": round(found.peak[0] * down, 3), "peak_column_mm": round(found.peak[1] * across, 3)}
    return row
