"""Heatmaps of a batch: a picture for every label at or above its operating point, from the pass that scored it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from medres.files import make_folder
from medres.formatting import slugs
from medres.imaging.pictures import may_be_exported, overlay, write_png
from medres.imaging.preprocessing import Prepared
from medres.model.classifier import Classifier, Scores
from medres.model.heatmaps.fine_maps import OF_CALLED, Finer
from medres.processors import usable_processors
from medres.records import Prediction

_PICTURE = re.compile(r"[0-9a-f]{16}-.+\.png")


@dataclass(frozen=True, slots=True)
class HeatmapPolicy:
    """Which heatmaps are written beside the rows."""

    enabled: bool = False
    allow_burned_in: bool = False  # also where the pixels may hold a name
    finer: Finer = OF_CALLED  # how fine the maps of called labels are

    @property
    def pictured(self) -> Callable[[Mapping[str, str]], bool] | None:
        """Of which radiographs, judged by their attributes, the picture has to come with the network's input."""
        if not self.enabled:
            return None
        return _every_one if self.allow_burned_in else may_be_exported


def _every_one(_: Mapping[str, str]) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Drawn:
    """How many pictures of one image are written, and how many withheld because its pixels may hold a name."""

    written: int = 0
    withheld: int = 0


class HeatmapWriter:
    """Draws heatmaps over radiographs, in native pixels, in threads; for the length of a `with` block.

    Leaving the block waits until all are written.
    """

    def __init__(self, classifier: Classifier, out: Path, policy: HeatmapPolicy) -> None:
        self.classifier, self.out, self.policy = classifier, out, policy
        self.names = dict(zip(classifier.labels, slugs(classifier.labels), strict=True))
        self.made_by = classifier.model_id.rpartition("-")[2][:8]
        self.threads = usable_processors()
        self._pool: ThreadPoolExecutor | None = None
        self._begun: deque[Future[None]] = deque()

    def __enter__(self) -> HeatmapWriter:
        """Threads start when they are first needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what was begun; what went wrong with it is raised here, unless something else did already."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=error is not None)
        if error is None:
            self._finish(0)

    def _place(self, sha256: str, label: str) -> Path:
        return self.out / f"{sha256[:16]}-{self.names[label]}-{self.made_by}.png"

    def remove_others(self) -> None:
        """Remove what another model, or an earlier version, has drawn here."""
        for path in self.out.glob("*.png"):
            if _PICTURE.fullmatch(path.name) and not path.stem.endswith(f"-{self.made_by}"):
                path.unlink()

    def are_there(self, sha256: str, positive: Sequence[str], warnings: Sequence[str]) -> bool:
        """Whether an image that was scored before needs no more pictures: all are there, or must be withheld."""
        withheld = not self.policy.allow_burned_in and not {"BURNED_IN", "BURNED_IN_UNKNOWN"}.isdisjoint(warnings)
        return withheld or all(self._place(sha256, label).is_file() for label in positive)

    def draw(self, item: Prepared, prediction: Prediction, scores: Scores, place: int) -> Drawn:
        """Begin to write `SHA256-LABEL-MODEL.png` for the positive labels of one image.

        Args:
            item: what the network saw, with its picture.
            prediction: what it said.
            scores: the batch, with finer maps of called images.
            place: of the image in the batch.
        """
        positive = [label for label, score in prediction.scores.items() if score.positive]
        if not positive:
            return Drawn()
        if item.picture is None:
            return Drawn(withheld=len(positive))
        if self._pool is None:
            make_folder(self.out)
            self._pool = ThreadPoolExecutor(self.threads)
        for label in positive:
            self._begun.append(self._pool.submit(self._draw, item, scores, place, label))
        self._finish(2 * self.threads)
        return Drawn(written=len(positive))

    def _draw(self, item: Prepared, scores: Scores, place: int, label: str) -> None:
        assert item.picture is not None
        cells = scores.shown(place, self.classifier.labels.index(label))
        heatmap = self.classifier.native_heatmap(item.placement, cells)
        scale = self.classifier.heatmap_scale(label, stride=self.policy.finer.stride)
        write_png(self._place(item.sha256, label), overlay(item.picture, heatmap, scale=scale))

    def _finish(self, left: int) -> None:
        while len(self._begun) > left:
            self._begun.popleft().result()
