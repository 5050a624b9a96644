"""MONAI dictionary transforms around the one path: nothing here reads or changes pixels in its own way."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Sampler

from medres.config import Gate, Limits, Preprocessing
from medres.imaging.preprocessing import as_float, preprocess
from medres.imaging.reading import read_radiograph


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


class CachedRadiographd(MapTransform):
    """A place in the pixel cache becomes the network's input, a tensor float32 (1, size, size) in [0, 1]."""

    def __init__(self, keys: KeysCollection, *, pixels: NDArray[np.uint16], size: int) -> None:
        super().__init__(keys)
        self.pixels = pixels
        self.size = size

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each place by its tensor."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = resized(torch.from_numpy(as_float(self.pixels[item[key]])[None]), self.size)
        return item


def resized(image: Tensor, size: int) -> Tensor:
    """An image (1, S, S) at another size, by area averaging; itself at its own size."""
    return image if image.shape[-1] == size else functional.interpolate(image[None], (size, size), mode="area")[0]


class EpochOrder(Sampler[int]):
    """A new order of `count` images in each epoch, which depends on the seed and the epoch alone."""

    def __init__(self, count: int, *, seed: int) -> None:
        self.count = count
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        """How many places an epoch has."""
        return self.count

    def __iter__(self) -> Iterator[int]:
        """The places of the next epoch."""
        generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
        self.epoch += 1
        return iter(torch.randperm(self.count, generator=generator).tolist())


class CalibratedProbabilitiesd(MapTransform):
    """Logits (labels,) become calibrated probabilities: sigmoid(logit / temperature)."""

    def __init__(self, keys: KeysCollection, *, temperatures: Sequence[float]) -> None:
        super().__init__(keys)
        self.temperatures = torch.tensor(temperatures, dtype=torch.float64)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each vector of logits."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = torch.sigmoid(item[key].double().cpu() / self.temperatures)
        return item


def cache_transforms(pixels: NDArray[np.uint16], *, size: int) -> Compose:
    """From a place in the cache to the tensor that scoring sees; training changes it afterwards, batch by batch."""
    return Compose([CachedRadiographd(["image"], pixels=pixels, size=size)])
