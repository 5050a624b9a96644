"""Heatmaps of a batch: a picture for every label at or above its operating point."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medres.config import Limits
from medres.errors import Refused
from medres.files import make_folder
from medres.formatting import slugs
from medres.imaging.isolation import read_isolated
from medres.imaging.pictures import may_be_exported, overlay, write_png
from medres.imaging.preprocessing import Prepared
from medres.model.classifier import Classifier, Scores
from medres.records import Prediction

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HeatmapPolicy:
    """Which heatmaps are written beside the rows."""

    enabled: bool = False
    allow_burned_in: bool = False  # also where the pixels may hold a name


@dataclass(frozen=True, slots=True)
class Drawn:
    """How many pictures of one image were written, and how many withheld because its pixels may hold a name."""

    written: int = 0
    withheld: int = 0


class HeatmapWriter:
    """Draws heatmaps over the radiographs of one scored folder, in native pixels."""

    def __init__(self, classifier: Classifier, folder: Path, out: Path, policy: HeatmapPolicy, limits: Limits) -> None:
        self.classifier, self.folder, self.out, self.policy, self.limits = classifier, folder, out, policy, limits
        self.names = dict(zip(classifier.labels, slugs(classifier.labels), strict=True))

    def _place(self, sha256: str, label: str) -> Path:
        return self.out / f"{sha256[:16]}-{self.names[label]}.png"

    def are_there(self, sha256: str, positive: Sequence[str], warnings: Sequence[str]) -> bool:
        """Whether an image that was scored before needs no more pictures: all are there, or must be withheld."""
        withheld = not self.policy.allow_burned_in and not {"BURNED_IN", "BURNED_IN_UNKNOWN"}.isdisjoint(warnings)
        return withheld or all(self._place(sha256, label).is_file() for label in positive)

    def draw(self, path: str, item: Prepared, prediction: Prediction, scores: Scores, place: int) -> Drawn:
        """Write `SHA256-LABEL.png` for the positive labels of one image, which is read a second time for it.

        A file that is no longer the one that was scored is not drawn; the log says so.

        Args:
            path: the file, relative to the scored folder.
            item: what the network saw.
            prediction: what it said.
            scores: the batch, with maps.
            place: of the image in the batch.
        """
        positive = [label for label, score in prediction.scores.items() if score.positive]
        if not positive:
            return Drawn()
        if not may_be_exported(item.attributes) and not self.policy.allow_burned_in:
            return Drawn(withheld=len(positive))
        spec = self.classifier.preprocessing
        try:
            radiograph = read_isolated(
                self.folder / path,
                gate=self.classifier.gate,
                voi=spec.voi,
                percentiles=spec.percentiles,
                limits=self.limits,
                sha256=item.sha256,
            )
        except Refused as refusal:  # it is CHANGED since it was scored, or cannot be read any more
            log.warning("no heatmap for %s: %s", path, refusal)
            return Drawn()
        assert scores.maps is not None
        make_folder(self.out)
        for label in positive:
            cells = scores.maps[place, self.classifier.labels.index(label)]
            heatmap = self.classifier.native_heatmap(item.placement, cells)
            picture = overlay(radiograph.pixels, heatmap, scale=self.classifier.heatmap_scale(label))
            write_png(self._place(item.sha256, label), picture)
        return Drawn(written=len(positive))
