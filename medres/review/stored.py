"""What a scored folder keeps of an image beside its row: each network's probability, and the cells of its maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from medres.errors import UsageError
from medres.imaging.preprocessing import place
from medres.model.heatmaps.grid import native_heatmap
from medres.review.encode import CONTOUR_SIDE
from medres.review.scoring_model import ScoringModel
from medres.scoring.evidence import EVIDENCE


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of one image; empty where its folder keeps none."""

    folds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # calibrated, of each network, by label
    cells: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  # (k, k), logit units, by label


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where an image lies: what places a map of the network's input over it."""

    rows: int  # native
    columns: int  # native
    pixel_aspect_ratio: float
    left_limb: bool


class StoredEvidence:
    """What scored folders keep of images; of one that several hold, the first that keeps anything says it.

    Args:
        scores: the folders.
        labels: of the model that scored them.

    Raises:
        UsageError: a file is damaged.
    """

    def __init__(self, scores: Sequence[Path], labels: tuple[str, ...]) -> None:
        self._files = [_EvidenceFile(folder / EVIDENCE, labels) for folder in scores]

    def of(self, sha256: str) -> Evidence:
        """What is kept of the image in the file with this SHA-256.

        Raises:
            UsageError: the file is damaged.
        """
        holding = next((file for file in self._files if file.holds(sha256)), None)
        return holding.of(sha256) if holding else Evidence()


class _EvidenceFile:
    """`evidence.parquet` of a scored folder, read a few rows at a time.

    Args:
        path: of the file, which need not be there.
        labels: of the model that scored the folder.

    Raises:
        UsageError: the file is damaged.
    """

    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        self.path, self.labels = path, labels
        self._lock = Lock()
        self._places: dict[str, tuple[int, int]] = {}  # sha256 → row group, row in it
        self._kept: tuple[int, Any] | None = None  # the last row group: neighbours in the table are often opened next
        if self.path.is_file():
            try:
                self._file = parquet.ParquetFile(self.path)
                self._index()
            except (OSError, ValueError, KeyError, pa.ArrowException) as error:
                raise UsageError(f"{self.path} is damaged: {' '.join(str(error).split())}") from None

    def _index(self) -> None:
        for group in range(self._file.num_row_groups):
            hashes = self._file.read_row_group(group, columns=["sha256"]).column(0).to_pylist()
            self._places |= {sha256: (group, number) for number, sha256 in enumerate(hashes)}

    def holds(self, sha256: str) -> bool:
        """Whether anything is kept of the image in the file with this SHA-256."""
        return sha256 in self._places

    def of(self, sha256: str) -> Evidence:
        """What is kept of it.

        Raises:
            UsageError: the file is damaged.
        """
        group, number = self._places[sha256]
        with self._lock:
            if self._kept is None or self._kept[0] != group:
                try:
                    self._kept = group, self._file.read_row_group(group)
                except (OSError, ValueError, pa.ArrowException) as error:
                    raise UsageError(f"{self.path} is damaged: {' '.join(str(error).split())}") from None
            table = self._kept[1]
        folds, cells = {}, {}
        for label in self.labels:
            if (found := _cell(table, f"folds_{label}", number)) is not None:
                folds[label] = tuple(float(value) for value in found)
            if (found := _cell(table, f"cells_{label}", number)) is not None:
                cells[label] = _square(found)
        return Evidence(folds, {label: made for label, made in cells.items() if made is not None})


def _cell(table: Any, column: str, number: int) -> Any:
    return table.column(column)[number].as_py() if column in table.column_names else None


def _square(found: bytes) -> NDArray[np.float32] | None:
    values = np.frombuffer(found, "<f2").astype(np.float32)
    side = round(len(values) ** 0.5)
    whole = side > 0 and side * side == len(values) and bool(np.isfinite(values).all())
    return values.reshape(side, side) if whole else None


def over_image(model: ScoringModel, geometry: Geometry, cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """A stored map over the whole image, with as many rows and columns as a contour needs: bilinear, not stretched."""
    spec = model.preprocessing
    native = place(
        geometry.rows, geometry.columns, size=spec.size, pixel_aspect_ratio=geometry.pixel_aspect_ratio,
        mirrored=spec.laterality == "mirror-left-limbs" and geometry.left_limb,
    )  # fmt: skip
    times = CONTOUR_SIDE / max(geometry.rows, geometry.columns)
    rows, columns = max(1, round(geometry.rows * times)), max(1, round(geometry.columns * times))
    down, across = geometry.rows / rows, geometry.columns / columns
    small = replace(
        native, rows=rows, columns=columns, scale_row=native.scale_row * down, scale_column=native.scale_column * across
    )
    return native_heatmap(model.card.architecture, small, cells)
