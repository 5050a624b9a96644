"""Heatmaps of a batch: a picture for every label at or above its operating point, from the pass that scored it.

None is drawn of a label whose heatmaps have failed their validation; what was never validated says so in the picture.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from medres.files import make_folder
from medres.formatting import slugs
from medres.imaging.pictures import may_be_exported, write_png
from medres.imaging.preprocessing import Prepared
from medres.model.classifier import Classifier, Scores
from medres.model.heatmaps.figure import Words, figure
from medres.model.heatmaps.fine_maps import OF_CALLED, Finer
from medres.model.heatmaps.licence import LabelLicence
from medres.model.heatmaps.licence import withheld as kept_back
from medres.model.heatmaps.shown import Drawing, words_of
from medres.processors import usable_processors
from medres.records import Prediction
from medres.tables import sha256_json

_PICTURE = re.compile(r"[0-9a-f]{16}-.+\.png")
_DRAWN = 2  # how pictures look: raised when they change, so that --resume draws them anew


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
    """How many pictures of one image are written, and how many are not."""

    written: int = 0
    withheld: int = 0  # the pixels may hold a name
    failed: int = 0  # the heatmaps of these labels have failed their validation


class HeatmapWriter:
    """Draws heatmaps over radiographs, in native pixels, in threads; for the length of a `with` block.

    Leaving the block waits until all are written.
    """

    def __init__(self, classifier: Classifier, out: Path, policy: HeatmapPolicy) -> None:
        self.classifier, self.out, self.policy = classifier, out, policy
        self.names = dict(zip(classifier.labels, slugs(classifier.labels), strict=True))
        stride = policy.finer.stride
        self.licences = {label: classifier.licence(label, stride=stride) for label in classifier.labels}
        self.made_by = f"{classifier.model_id.rpartition('-')[2][:8]}-{_look(self.licences)}"
        self.drawing = Drawing()
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
        """Remove what another model, an earlier version, or this model under another licence has drawn here."""
        for path in self.out.glob("*.png"):
            if _PICTURE.fullmatch(path.name) and not path.stem.endswith(f"-{self.made_by}"):
                path.unlink()

    def are_there(self, sha256: str, positive: Sequence[str], warnings: Sequence[str]) -> bool:
        """Whether an image that was scored before needs no more pictures: all are there, or must be withheld."""
        withheld = not self.policy.allow_burned_in and not {"BURNED_IN", "BURNED_IN_UNKNOWN"}.isdisjoint(warnings)
        return withheld or all(self._place(sha256, label).is_file() for label in self._shown(positive))

    def _shown(self, positive: Sequence[str]) -> list[str]:
        """The called labels whose maps are shown."""
        return [label for label in positive if not kept_back(self.licences[label], positive=True)]

    def draw(self, item: Prepared, prediction: Prediction, scores: Scores, place: int) -> Drawn:
        """Begin to write `SHA256-LABEL-MODEL-LOOK.png` for the positive labels of one image that have not failed.

        Args:
            item: what the network saw, with its picture.
            prediction: what it said.
            scores: the batch, with finer maps of called images.
            place: of the image in the batch.
        """
        positive = [label for label, score in prediction.scores.items() if score.positive]
        shown = self._shown(positive)
        failed = len(positive) - len(shown)
        if not shown:
            return Drawn(failed=failed)
        if item.picture is None:
            return Drawn(withheld=len(shown), failed=failed)
        if self._pool is None:
            make_folder(self.out)
            self._pool = ThreadPoolExecutor(self.threads)
        for label in shown:
            cells = scores.shown(place, self.classifier.labels.index(label))
            said = words_of(label, prediction.scores[label], self.licences[label], "", self._named)
            self._begun.append(self._pool.submit(self._draw, item, cells, label, said))
        self._finish(2 * self.threads)
        return Drawn(written=len(shown), failed=failed)

    @property
    def _named(self) -> str:
        return f"{self.drawing.named(self.policy.finer.stride)} · {self.classifier.model_id}"

    def _draw(self, item: Prepared, cells: NDArray[np.float32], label: str, said: Words) -> None:
        assert item.picture is not None
        heatmap = self.classifier.native_heatmap(item.placement, cells)
        scale = self.classifier.heatmap_scale(label, stride=self.policy.finer.stride)
        legend = self.drawing.legend(scale, float(cells.max()))
        shown = figure(item.picture, heatmap, legend, said, beside=False, aspect=item.pixel_aspect_ratio)
        write_png(self._place(item.sha256, label), shown)

    def _finish(self, left: int) -> None:
        while len(self._begun) > left:
            self._begun.popleft().result()


def _look(licences: Mapping[str, LabelLicence]) -> str:
    """Four digits that change with what is said on a picture: another licence, or another way of drawing."""
    said = {label: licence.model_dump(mode="json") for label, licence in licences.items()}
    return sha256_json({"drawn": _DRAWN, "licences": said})[:4]
