"""A stored score is computed again with the network that gave it: as it was scored, within a tolerance, or refused."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medres.errors import Refused
from medres.imaging.isolation import read_isolated
from medres.model.classifier import Classifier
from medres.model.device import choose_device
from medres.model.forward import precision_complaint
from medres.records import FULL, Radiograph
from medres.review.cases import Case, Worklist
from medres.review.heatmaps import CaseHeatmap, other_heatmap, own_heatmaps
from medres.review.scored_folders import how_scored

_KEPT_CASES = 24  # whose heatmaps stay in memory
_SAME = 0.005
"""Most that a probability may differ when it is computed again, as it was: in its precision, decoded as it was.

float32 on another processor or a GPU differs by less, another model by more. What was checked in another precision, or
from smaller copies, is as near to float32: see `model.accuracy`.
"""


@dataclass(frozen=True, slots=True)
class OpenedCase:
    """One image whose scores were computed again."""

    case: Case
    heatmaps: Mapping[str, CaseHeatmap]  # the model's own, by label


class Recomputation:
    """The network of a scored folder's model, computing as it did.

    Args:
        worklist: the folder.
        model: the model that scored it.
    """

    def __init__(self, worklist: Worklist, model: Classifier) -> None:
        self.worklist, self.model = worklist, model
        self._opened: OrderedDict[str, OpenedCase] = OrderedDict()
        self._otherwise: OrderedDict[tuple[str, str, str], CaseHeatmap] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def open(cls, scores: Path | Sequence[Path], model: Path, *, device: str = "auto") -> Recomputation:
        """Load a model, on a device, for the folders that it scored: in float32 where it cannot compute as it did.

        Raises:
            UsageError: a folder is missing something, or another model scored it.
            ModelError: the model is not what it was.
            DeviceError: the GPU is busy or too full.
        """
        worklist = Worklist.open(scores, model)
        precision, decode = how_scored(worklist.folders[0].scores)
        chosen = choose_device(device)
        if precision_complaint(precision, chosen):
            precision = "float32"
        return cls(worklist, Classifier.load(model, device=str(chosen), precision=precision, decode=decode))

    def open_case(self, case: Case) -> OpenedCase:
        """Read a case's image again, check that it is what was scored, and explain its scores.

        Raises:
            Refused: the file lies outside the scored folder (OUTSIDE_ROOT), is gone (UNREADABLE), is not what was
                scored (CHANGED), can no longer be read, or its score cannot be computed again (NOT_REPRODUCED).
        """
        path = self.worklist.unchanged(case)
        with self._lock:
            if case.key in self._opened:
                self._opened.move_to_end(case.key)
                return self._opened[case.key]
        seen = self._read(case, path)
        self._verify(case, seen)
        opened = OpenedCase(case, own_heatmaps(self.model, seen, case.positive))
        with self._lock:
            self._opened[case.key] = opened
            while len(self._opened) > _KEPT_CASES:
                self._opened.popitem(last=False)
        return opened

    def explain_otherwise(self, case: Case, label: str, name: str) -> CaseHeatmap:
        """A label's heatmap by another method, one of `heatmaps.METHODS`; the image is read again.

        Raises:
            Refused: as `open_case`, but NOT_REPRODUCED.
        """
        sought = (case.key, label, name)
        path = self.worklist.unchanged(case)
        with self._lock:
            if sought in self._otherwise:
                self._otherwise.move_to_end(sought)
                return self._otherwise[sought]
        seen = self._read(case, path)
        found = other_heatmap(self.model, seen, label, name=name, positive=case.positive[label])
        with self._lock:
            self._otherwise[sought] = found
            while len(self._otherwise) > _KEPT_CASES:
                self._otherwise.popitem(last=False)
        return found

    def _read(self, case: Case, path: Path) -> Radiograph:
        """An image as the model takes it."""
        spec = self.model.preprocessing
        smaller: frozenset[str] | None = (
            frozenset() if self.model.shorter_side is not None and case.decode == FULL else None
        )
        seen = read_isolated(
            path, gate=self.model.gate, voi=spec.voi, percentiles=spec.percentiles, sha256=case.sha256,
            shorter_side=self.model.shorter_side, smaller=smaller,
        )  # fmt: skip
        if seen.sop_instance_uid != case.sop_instance_uid:
            raise Refused("CHANGED", "the file holds another image than the one that was scored")
        return seen

    def _verify(self, case: Case, radiograph: Radiograph) -> None:
        found = self.model.predict(radiograph)
        for label, scored in case.probabilities.items():
            again = found.scores[label].probability if label in found.scores else float("nan")
            if not abs(again - scored) <= _SAME:
                raise Refused(
                    "NOT_REPRODUCED",
                    f"the table says {scored:.3f} for {label}, and the model now gives {again:.3f}; "
                    "score the folder again",
                )
