"""MONAI dictionary transforms around the one path: nothing here reads or changes pixels in its own way."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform
from torch import Tensor
from torch.nn import functional

from medres.cohort.tasks import read_tasks
from medres.config import Gate, Limits, Preprocessing
from medres.imaging.preprocessing import as_float, preprocess
from medres.imaging.reading import read_radiograph
from medres.model.calibration import probabilities


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

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each path by its tensor."""
        item = dict(data)
        for key in self.key_iterator(item):
            radiograph = read_radiograph(
                item[key],
                gate=self.gate,
                voi=self.specification.voi,
                percentiles=self.specification.percentiles,
                limits=Limits(),
            )
            pixels = preprocess(radiograph, self.specification).pixels
            item[key] = MetaTensor(torch.from_numpy(as_float(pixels)[None]), meta={"filename_or_obj": str(item[key])})
        return item


class Cache(Protocol):
    """What gives images by their places: float32 (N, 1, size, size) in [0, 1]."""

    def __getitem__(self, places: Sequence[int], /) -> Tensor:
        """The images."""


class CachedRadiographd(MapTransform):
    """Places in the pixel cache become the network's input, a tensor float32 (N, 1, size, size) in [0, 1]."""

    def __init__(self, keys: KeysCollection, *, pixels: Cache, size: int) -> None:
        super().__init__(keys)
        self.pixels = pixels
        self.size = size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace places by a batch of images."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = resized(self.pixels[item[key]], self.size)
        return item


def resized(images: Tensor, size: int) -> Tensor:
    """Images (N, 1, S, S) at another size, by area averaging; themselves at their own size."""
    return images if images.shape[-1] == size else functional.interpolate(images, (size, size), mode="area")


class CalibratedProbabilitiesd(MapTransform):
    """Logits (labels,) become calibrated probabilities: see `medres.model.calibration.probabilities`."""

    def __init__(
        self, keys: KeysCollection, *, temperatures: Mapping[str, float], tasks: Sequence[Mapping[str, Any]]
    ) -> None:
        super().__init__(keys)
        self.temperatures = dict(temperatures)
        self.tasks = read_tasks(tasks)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each vector of logits."""
        item = dict(data)
        for key in self.key_iterator(item):
            logits = item[key].double().cpu().numpy()[None]
            item[key] = torch.from_numpy(probabilities(logits, self.tasks, self.temperatures)[0])
        return item


def cache_transforms(pixels: Cache, *, size: int) -> Compose:
    """From places in the cache to the batch that scoring sees; training changes it afterwards."""
    return Compose([CachedRadiographd(["image"], pixels=pixels, size=size)])
