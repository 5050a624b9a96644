"""Where readers saw findings: boxes in native pixels, from a CSV table or a COCO file, checked against a manifest.

CSV: columns `path` (as in the manifest), `label`, `x`, `y`, `width`, `height`; x counts columns and y rows, from the
outer edge of the first pixel. COCO: `images` with `file_name`, `annotations` with `bbox` [x, y, width, height], and
`categories` whose names are labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from medres.cohort.manifest import Manifest
from medres.documents import fault
from medres.errors import ManifestError, UsageError
from medres.imaging.preprocessing import Placement
from medres.tables import named_path, read_csv, read_json, sha256_file

COLUMNS = ("path", "label", "x", "y", "width", "height")
_SHOWN = 5  # complaints of one file


@dataclass(frozen=True, slots=True)
class Box:
    """One box of one finding, native pixels; edges, not pixel centres."""

    x: float  # columns to the left of it
    y: float  # rows above it
    width: float
    height: float

    def input_edges(self, placement: Placement) -> tuple[float, float, float, float]:
        """Top, left, bottom and right edge in the network's pixels, whose centres have whole coordinates."""
        corners = np.array([[self.y, self.x], [self.y + self.height, self.x + self.width]]) - 0.5
        placed = placement.to_input(corners)
        (top, left), (bottom, right) = placed.min(axis=0), placed.max(axis=0)
        return float(top), float(left), float(bottom), float(right)


@dataclass(frozen=True, slots=True)
class Boxes:
    """The boxes of a cohort."""

    path: Path
    sha256: str
    labels: tuple[str, ...]  # of the manifest
    found: Mapping[tuple[int, str], tuple[Box, ...]]  # by row of the manifest, and label

    def of(self, row: int, label: str) -> tuple[Box, ...]:
        """Those of one image and label."""
        return self.found.get((row, label), ())

    def refuse_outside(self, row: int, rows: int, columns: int) -> None:
        """Refuse boxes that do not lie on their image.

        Args:
            row: of the manifest.
            rows, columns: native size of its image.

        Raises:
            ManifestError: one does not.
        """
        for label in self.labels:
            for box in self.of(row, label):
                if box.x < 0 or box.y < 0 or box.x + box.width > columns + 1 or box.y + box.height > rows + 1:
                    raise ManifestError(
                        f"{self.path}: a box of {label} (x {box.x:g}, y {box.y:g}, width {box.width:g}, height "
                        f"{box.height:g}) does not lie on its image of {columns} × {rows} pixels: boxes are given in "
                        "native pixels, x and width along a row"
                    )


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _CocoImage(_Part):
    id: int | str
    file_name: str


class _CocoAnnotation(_Part):
    image_id: int | str
    category_id: int | str
    bbox: tuple[float, float, float, float]


class _CocoCategory(_Part):
    id: int | str
    name: str


class _Coco(_Part):
    images: tuple[_CocoImage, ...]
    annotations: tuple[_CocoAnnotation, ...]
    categories: tuple[_CocoCategory, ...]


_Line = tuple[str, str, tuple[float, float, float, float]]  # path, label, box


def read_boxes(path: Path, manifest: Manifest) -> Boxes:
    """Read boxes and check all that can be checked without opening an image.

    Args:
        path: a CSV table, or a COCO file (`.json`).
        manifest: whose images they are of.

    Raises:
        UsageError: the file is missing or not what it should be.
        ManifestError: names every kind of problem: an image that is not in the manifest, a label that is not asked, a
            box without area, or of an image that has not the finding.
    """
    lines = _coco_lines(path) if path.suffix.lower() == ".json" else _csv_lines(path)
    if not lines:
        raise ManifestError(f"{path} holds no box")
    rows = {str(named_path(name)): number for number, name in enumerate(manifest.table["path"].astype(str))}
    found: dict[tuple[int, str], list[Box]] = {}
    problems: list[str] = []
    for number, (name, label, values) in enumerate(lines, start=1):
        row = rows.get(str(named_path(name)))
        if complaint := _complaint(manifest, row, name, label, values):
            problems.append(f"box {number}: {complaint}")
        elif row is not None:
            found.setdefault((row, label), []).append(Box(*values))
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ManifestError(f"{path}: {'; '.join(problems[:_SHOWN])}{more}")
    return Boxes(path, sha256_file(path), manifest.labels, {key: tuple(boxes) for key, boxes in found.items()})


def _complaint(manifest: Manifest, row: int | None, name: str, label: str, values: Sequence[float]) -> str:
    if row is None:
        return f"{name} is no path of {manifest.path.name}"
    if label not in manifest.labels:
        return f"{label!r} is none of the labels {', '.join(manifest.labels)}"
    if not all(map(math.isfinite, values)) or min(values[2:]) <= 0 or min(values[:2]) < 0:
        said = ", ".join(f"{value:g}" for value in values)
        return f"x, y, width and height of {name} are {said}: the first two are 0 or more, the others above 0"
    if manifest.rows[row].targets[label] == 0:
        return f"{name} has a box of {label}, and label_{label} says that it is absent"
    return ""


def _csv_lines(path: Path) -> list[_Line]:
    table = read_csv(path)
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise ManifestError(f"{path} lacks the column {missing[0]}: boxes have {', '.join(COLUMNS)}")
    found: list[_Line] = []
    for number, cells in enumerate(table[list(COLUMNS)].astype(str).itertuples(index=False), start=2):
        try:
            x, y, width, height = (float(cell) for cell in cells[2:])
        except ValueError as error:
            raise ManifestError(f"{path}, line {number}: {error}") from None
        found.append((cells[0], cells[1].strip().removeprefix("label_"), (x, y, width, height)))
    return found


def _coco_lines(path: Path) -> list[_Line]:
    try:
        coco = _Coco.model_validate(read_json(path))
    except ValidationError as error:
        raise UsageError(f"{path} is no COCO file: {fault(error)}") from None
    images = {image.id: image.file_name for image in coco.images}
    labels = {category.id: category.name for category in coco.categories}
    found: list[_Line] = []
    for number, one in enumerate(coco.annotations, start=1):
        if one.image_id not in images or one.category_id not in labels:
            what = "image" if one.image_id not in images else "category"
            raise ManifestError(f"{path}: annotation {number} names an {what} that is not there")
        found.append((images[one.image_id], labels[one.category_id], one.bbox))
    return found
