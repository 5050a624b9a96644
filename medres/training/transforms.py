"""MONAI dictionary transforms around the one path: nothing here reads or changes pixels in its own way."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    MapTransform,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medres.config import Augmentation, Gate, Limits, Preprocessing
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


def training_transforms(pixels: NDArray[np.uint16], *, size: int, augmentation: Augmentation, seed: int) -> Compose:
    """From a place in the cache to an augmented tensor; the same seed gives the same changes."""
    key = ["image"]
    turn = np.deg2rad(augmentation.rotation)
    shift = augmentation.translation * size
    steps: list[Any] = [
        CachedRadiographd(key, pixels=pixels, size=size),
        RandAffined(
            key,
            prob=augmentation.probability,
            rotate_range=(turn,),
            translate_range=(shift, shift),
            scale_range=(augmentation.scaling, augmentation.scaling),
            padding_mode="border",
            cache_grid=True,
            spatial_size=(size, size),
        ),
    ]
    if augmentation.horizontal_flip:
        steps.append(RandFlipd(key, prob=augmentation.horizontal_flip, spatial_axis=1))
    if augmentation.intensity_scale:
        steps.append(RandScaleIntensityd(key, factors=augmentation.intensity_scale, prob=1.0))
    if augmentation.intensity_shift:
        steps.append(RandShiftIntensityd(key, offsets=augmentation.intensity_shift, prob=1.0))
    if augmentation.noise:
        steps.append(RandGaussianNoised(key, prob=1.0, std=augmentation.noise))
    composed = Compose(steps)
    composed.set_random_state(seed=seed)
    return composed


def evaluation_transforms(pixels: NDArray[np.uint16], *, size: int) -> Compose:
    """From a place in the cache to the tensor that scoring sees."""
    return Compose([CachedRadiographd(["image"], pixels=pixels, size=size)])
