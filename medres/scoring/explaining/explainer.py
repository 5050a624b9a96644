"""Files are read, scored and explained here, in the stages in which `medres score` scores them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medres.cohort.duplicates import Repeat, Repeats
from medres.config import Limits
from medres.imaging.isolation import Workers
from medres.imaging.preprocessing import Prepared, prepare
from medres.model.classifier import Classifier, Scores
from medres.model.heatmaps.fine_maps import Finer, positive_mean
from medres.model.heatmaps.grid import SHOWN, Stride, grid_of
from medres.model.heatmaps.library import check_library_method, library_maps
from medres.model.heatmaps.licence import LabelLicence, licence_of, withheld
from medres.model.heatmaps.shown import Drawing
from medres.records import LabelScore, Prediction, Refusal
from medres.scoring.heatmaps import HeatmapPolicy
from medres.scoring.stages import Planned, batches, nearly_sorted, overlapped
from medres.tables import inert_path

Format = Literal["png", "npy"]

_WINDOW = 8  # results that are kept back so that their order is nearly that of the paths; each may hold a picture
_AHEAD = 2  # results that are kept ready per worker


@dataclass(frozen=True, slots=True)
class Asked:
    """Which maps are wanted, and what is made of them."""

    labels: tuple[str, ...] = ()  # none: those at or above their operating point
    drawing: Drawing = field(default_factory=Drawing)
    stride: Stride | None = None  # of the exact map; None: the one that people are shown
    formats: tuple[Format, ...] = ("png",)
    show_anyway: bool = False  # also what has not earned it, marked so
    allow_burned_in: bool = False  # also pictures of images whose pixels may hold a name

    def check(self, classifier: Classifier) -> None:
        """What is asked for can be done by a model.

        Raises:
            UsageError: it has no such label, or the method no such stride or layer.
        """
        for label in self.labels:
            classifier.heatmap_scale(label)
        if self.drawing.method != "cam" or self.drawing.layer is not None:
            check_library_method(self.drawing.method, stride=self.stride, layer=self.drawing.layer)


@dataclass(frozen=True, slots=True)
class LabelMap:
    """What is said of one label of one image, with its map where that is shown."""

    label: str
    score: LabelScore
    licence: LabelLicence
    kept_back: str  # why the map is shown on request only; "" where it is shown to everybody
    cells: NDArray[np.float32] | None  # the networks' mean, (k, k); None where no map is shown


@dataclass(frozen=True, slots=True)
class Explained:
    """One file, with the maps of its labels; or why there are none."""

    path: str  # relative
    result: Prepared | Refusal
    identical_to: str = ""  # the earlier file that holds the same image
    prediction: Prediction | None = None
    maps: tuple[LabelMap, ...] = ()


class Explainer:
    """Explains files with one model."""

    def __init__(self, classifier: Classifier, asked: Asked) -> None:
        asked.check(classifier)
        self.classifier, self.asked, self.repeats = classifier, asked, Repeats()

    def explained(
        self, folder: Path, paths: Sequence[str], *, limits: Limits, workers: int | None = None
    ) -> Iterator[list[Explained]]:
        """Files below a folder with their maps, about in the order of the paths, a batch at a time.

        They are read in processes that can be killed, and scored in the batches in which `medres score` scores them.
        """
        policy = HeatmapPolicy("png" in self.asked.formats, self.asked.allow_burned_in)
        job = partial(
            prepare, spec=self.classifier.preprocessing, gate=self.classifier.gate, limits=limits,
            decode=self.classifier.decode, smaller=self.classifier.smaller,
            pictured=policy.pictured,
        )  # fmt: skip
        named = {str(folder / path): path for path in paths}
        with Workers(workers, limits=limits, ahead=_AHEAD) as pool:
            found = ((named[name], result) for name, result in pool.map(job, named))
            plans = (
                Planned(path, result, self._repeat(path, result)) for path, result in nearly_sorted(found, _WINDOW)
            )
            for batch, scores in overlapped(self._scores, batches(plans, self.classifier.batch)):
                yield self._explained(batch, scores)

    def remember(self, path: str, sop_instance_uid: str, sha256: str) -> None:
        """A file of an earlier run: later ones that hold the same image are its duplicates."""
        self.repeats.compare(path, sop_instance_uid=sop_instance_uid, sha256=sha256, pixels_sha256="")

    def _repeat(self, path: str, result: Prepared | Refusal) -> Repeat:
        if isinstance(result, Refusal):
            return Repeat()
        return self.repeats.compare(
            inert_path(path), sop_instance_uid=result.sop_instance_uid, sha256=result.sha256,
            pixels_sha256=result.pixels_sha256,
        )  # fmt: skip

    def _scores(self, batch: Sequence[Planned]) -> Scores | None:
        images = [plan.image.pixels for plan in batch if plan.image is not None]
        if not images:
            return None
        exact = self.asked.stride == 32
        return self.classifier.score_whole_batch(np.stack(images), maps=exact, finer=None if exact else self._finer)

    @property
    def _finer(self) -> Finer | None:
        stride = self.asked.stride or SHOWN
        if self.asked.drawing.method != "cam" or stride == 32:
            return None
        every = self.asked.labels if self.asked.show_anyway else ()
        return Finer(stride, tuple(map(self.classifier.labels.index, every)) or None)

    def _explained(self, batch: Sequence[Planned], scores: Scores | None) -> list[Explained]:
        found, place = [], 0
        for plan in batch:
            if isinstance(plan.result, Refusal):
                found.append(Explained(plan.path, plan.result))
            elif plan.repeat.identical_to:
                found.append(Explained(plan.path, plan.result, plan.repeat.identical_to))
            else:
                assert scores is not None
                found.append(self._one(plan, plan.result, scores, place))
                place += 1
        return found

    def _one(self, plan: Planned, item: Prepared, scores: Scores, place: int) -> Explained:
        doubts = self.classifier.expected.doubts(item, item.pixels)
        conflict = ("DUPLICATE_CONFLICT",) if plan.repeat.conflict else ()
        review = (*conflict, *item.review, *doubts)
        prediction = self.classifier.prediction(item.sop_instance_uid, scores, place, review=review)
        wanted = self.asked.labels or [name for name, score in prediction.scores.items() if score.positive]
        maps = []
        for label in wanted if prediction.scores else ():
            score = prediction.scores[label]
            kept_back = withheld(self._licence(label, self.asked.stride or SHOWN), positive=score.positive)
            cells = self._cells(item, label, scores, place) if self.asked.show_anyway or not kept_back else None
            stride: int = self.asked.stride or SHOWN
            if cells is not None:
                stride = grid_of(self.classifier.card.architecture, item.placement.size, len(cells)).stride
            maps.append(LabelMap(label, score, self._licence(label, stride), kept_back, cells))
        return Explained(plan.path, item, prediction=prediction, maps=tuple(maps))

    def _licence(self, label: str, stride: int) -> LabelLicence:
        licence = self.classifier.heatmap_licence
        return licence_of(licence, label, method=self.asked.drawing.method, stride=stride)

    def _cells(self, item: Prepared, label: str, scores: Scores, place: int) -> NDArray[np.float32]:
        number = self.classifier.labels.index(label)
        if self.asked.drawing.method != "cam":
            drawing = self.asked.drawing
            networks = [member.network for member in self.classifier.members]
            drawn = library_maps(networks, item.pixels, label=number, method=drawing.method, layer=drawing.layer)
            mean: NDArray[np.float32] = drawn.mean(axis=0)
            return mean
        if scores.maps is not None:
            exact: NDArray[np.float32] = scores.maps[place, number]
            return exact
        return positive_mean(scores.fine[place][number])
