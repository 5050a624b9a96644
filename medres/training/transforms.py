"""MONAI dictionary transforms around the one path: nothing here reads or changes pixels in its own way."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from medres.cohort.tasks import read_tasks
from medres.config import Gate, Limits, Preprocessing
from medres.imaging.preprocessing import as_float, preprocess
from medres.imaging.reading import read_radiograph
from medres.model.calibration import probabilities

DataItem = dict[Hashable, Any]
"""What MONAI's dictionary transforms pass on: anything, by key."""


class LoadRadiographd(MapTransform):
    """A path becomes the network's input: MetaTensor float32 (1, size, size) in [0, 1].

    Raises:
        Refused: the file is not a radiograph that the gate admits.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        specification: Preprocessing | Mapping[str, Any],
        gate: Gate | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(keys)
        self.specification = Preprocessing.model_validate(specification)
        self.gate = Gate.model_validate(gate or {})

    def __call__(self, data: DataItem) -> DataItem:
        """Replace each path by its tensor."""
        item = dict(data)
        for key in self.key_iterator(item):
            radiograph = read_radiograph(
                item[key],
                gate=self.gate,
                voi=self.specification.voi,
                percentiles=self.specification.percentiles,
                limits=Limits(),
                shorter_side=self.specification.shorter_side(),
            )
            pixels = preprocess(radiograph, self.specification).pixels
            item[key] = MetaTensor(torch.from_numpy(as_float(pixels)[None]), meta={"filename_or_obj": str(item[key])})
        return item


class CalibratedProbabilitiesd(MapTransform):
    """Logits (labels,) become calibrated probabilities: see `medres.model.calibration.probabilities`."""

    def __init__(
        self, keys: KeysCollection, *, temperatures: Mapping[str, float], tasks: Sequence[Mapping[str, Any]]
    ) -> None:
        super().__init__(keys)
        self.temperatures = dict(temperatures)
        self.tasks = read_tasks(tasks)

    def __call__(self, data: DataItem) -> DataItem:
        """Replace each vector of logits."""
        item = dict(data)
        for key in self.key_iterator(item):
            logits = item[key].double().cpu().numpy()[None]
            item[key] = torch.from_numpy(probabilities(logits, self.tasks, self.temperatures)[0])
        return item
