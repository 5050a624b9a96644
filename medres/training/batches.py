"""Batches from the pixel cache, whole batches at a time; on a GPU the cache lies in its memory when it fits."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import Compose, MapTransform
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler

from medres.errors import TrainingError
from medres.training.distributed import ALONE, Processes

log = logging.getLogger(__name__)

DataItem = dict[Hashable, Any]
"""What MONAI's dictionary transforms pass on: anything, by key."""

_GPU_SHARE = 0.5  # of the free memory of a GPU that pixels may take: the network needs the rest


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The images and targets of a whole cohort; a fit takes its parts of them by their places."""

    pixels: NDArray[np.uint16]  # the cache, (images, size, size)
    targets: NDArray[np.float32]  # (images, labels): 1, 0, or NaN where unknown: what validation judges by
    learned: NDArray[np.float32]  # the same as training sees them: see `losses.training_targets`
    classes: tuple[slice, ...] = ()  # columns of labels of which exactly one is true; all others stand alone

    @property
    def labels(self) -> int:
        """How many labels a network answers."""
        return int(self.targets.shape[1])


class Pixels:
    """The cache as training reads it: uint16 (images, size, size), taken by places.

    Args:
        cache: the memory map.
        device: where batches are needed.
    """

    def __init__(self, cache: NDArray[np.uint16], device: torch.device) -> None:
        self.cache = cache
        self.resident: Tensor | None = None
        if device.type != "cuda":
            return
        room = _GPU_SHARE * torch.cuda.mem_get_info(device)[0]
        if cache.nbytes < room:
            self.resident = torch.from_numpy(np.ascontiguousarray(cache).view(np.int16)).to(device)
            log.info("%d images, %.0f MB, lie in the GPU's memory", len(cache), cache.nbytes / 1e6)
        else:
            log.info(
                "%d images, %.0f MB, stay in main memory, which is slower: half of what is free on the GPU is %.0f MB",
                len(cache), cache.nbytes / 1e6, room / 1e6,
            )  # fmt: skip

    def __getitem__(self, places: Sequence[int]) -> Tensor:
        """Images float32 (N, 1, size, size) in [0, 1], where batches are needed: bit for bit what scoring sees."""
        if self.resident is None:
            stored = torch.from_numpy(self.cache[list(places)].astype(np.int32))
        else:  # the bits of uint16, which a GPU cannot index, as int16
            chosen = torch.as_tensor(places, device=self.resident.device)
            stored = self.resident.index_select(0, chosen).to(torch.int32) & 0xFFFF
        return (stored.to(torch.float32) / 65535)[:, None]


class CachedRadiographd(MapTransform):
    """Places in the pixel cache become the network's input, a tensor float32 (N, 1, size, size) in [0, 1]."""

    def __init__(self, keys: KeysCollection, *, pixels: Pixels, size: int) -> None:
        super().__init__(keys)
        self.pixels = pixels
        self.size = size

    def __call__(self, data: DataItem) -> DataItem:
        """Replace places by a batch of images."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = resized(self.pixels[item[key]], self.size)
        return item


def resized(images: Tensor, size: int) -> Tensor:
    """Images (N, 1, S, S) at another size, by area averaging; themselves at their own size."""
    return images if images.shape[-1] == size else functional.interpolate(images, (size, size), mode="area")


def cache_transforms(pixels: Pixels, *, size: int) -> Compose:
    """From places in the cache to the batch that scoring sees; training changes it afterwards."""
    return Compose([CachedRadiographd(["image"], pixels=pixels, size=size)])


class CachedBatches(Dataset[dict[str, Tensor]]):
    """Places become a batch: `image` float32 (N, 1, size, size), `label` float32 (N, labels).

    Args:
        pixels: the cache.
        targets: float32 (images, labels).
        size: side of the images.
    """

    def __init__(self, pixels: Pixels, targets: NDArray[np.float32], *, size: int) -> None:
        self.targets = targets
        self.transform = cache_transforms(pixels, size=size)

    def __getitem__(self, places: Sequence[int]) -> dict[str, Tensor]:
        """One batch."""
        found: Any = self.transform({"image": places, "label": torch.from_numpy(self.targets[list(places)])})
        return dict(found)


class InOrder(Sampler[list[int]]):
    """Some images in their order, in batches; the last may be smaller. Processes take batches in turn.

    Raises:
        TrainingError: fewer images than processes.
    """

    def __init__(self, places: Sequence[int], batch_size: int, processes: Processes = ALONE) -> None:
        if len(places) < processes.count:
            raise TrainingError(
                f"{len(places)} validation images cannot be shared by {processes.count} processes: start fewer of them"
            )
        batch_size = min(batch_size, len(places) // processes.count)  # each process has at least one batch
        batches = [list(places[start : start + batch_size]) for start in range(0, len(places), batch_size)]
        self.batches = processes.part(batches)

    def __len__(self) -> int:
        """How many batches."""
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        """The batches."""
        return iter(self.batches)


class Shuffled(Sampler[list[int]]):
    """Some images in a new order in each epoch, in batches of one size; what is left over waits for another epoch.

    The order depends on the seed and the epoch alone, so that an interrupted training can go on: at `epoch`, after the
    first `done` batches of it.

    Args:
        places: the images.
        batch_size: images per batch.
        seed: of the orders.
        weights: how often each image is drawn, relative to the others; without, each is drawn once.
        processes: those that share every batch; this one yields its part.

    Raises:
        TrainingError: a batch has fewer than two images for each of several processes.
    """

    def __init__(
        self,
        places: Sequence[int],
        *,
        batch_size: int,
        seed: int,
        weights: NDArray[np.float64] | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.processes = processes
        self.places = list(places)
        self.batch_size = min(batch_size, len(self.places))
        if processes.count > 1 and self.batch_size < 2 * processes.count:
            raise TrainingError(
                f"batches of {self.batch_size} images are too small for {processes.count} processes, two images for "
                f"each: start fewer of them, or raise training.batch_size ({len(self.places)} images are there)"
            )
        self.seed = seed
        self.epoch = 0
        self.done = 0
        self.weights = None if weights is None else torch.from_numpy(weights)

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return len(self.places) // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of the next epoch, or what is left of them."""
        generator = torch.Generator().manual_seed((self.seed << 20) + self.epoch)
        self.epoch += 1
        if self.weights is None:
            order = torch.randperm(len(self.places), generator=generator)
        else:
            order = torch.multinomial(self.weights, len(self.places), replacement=True, generator=generator)
        first, self.done = self.done * self.batch_size, 0
        for start in range(first, len(self) * self.batch_size, self.batch_size):
            batch = [self.places[at] for at in order[start : start + self.batch_size].tolist()]
            yield list(self.processes.part(batch))


def loader(
    pixels: Pixels, targets: NDArray[np.float32], sampler: Sampler[list[int]], *, size: int
) -> DataLoader[dict[str, Tensor]]:
    """What MONAI's engines iterate over: batches of the cache in a sampler's order."""
    return DataLoader(
        CachedBatches(pixels, targets, size=size),
        sampler=sampler,
        batch_size=None,  # the sampler's items are batches already
        num_workers=0,
        generator=torch.Generator(),  # its own: a loader that draws from the global one would disturb dropout
    )


def sampling_weights(targets: NDArray[np.float32]) -> NDArray[np.float64]:
    """How often each image should be drawn so that positives and negatives of every label are seen equally often.

    The mean over an image's known labels of 0.5 ÷ the share of its class: with many labels one image cannot balance all
    of them at once.

    >>> sampling_weights(np.array([[1], [0], [0], [0]], np.float32)).tolist()
    [2.0, 0.6666666666666666, 0.6666666666666666, 0.6666666666666666]
    """
    known = ~np.isnan(targets)
    positive = targets > 0.5
    count = np.maximum(known.sum(axis=0), 1)
    share = np.clip((positive & known).sum(axis=0) / count, 1 / (count + 1), 1 - 1 / (count + 1))
    rarity = np.where(positive, 0.5 / share, 0.5 / (1 - share))
    weights: NDArray[np.float64] = (rarity * known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    usual = weights[weights > 0].mean() if weights.any() else 1.0
    return np.where(weights > 0, weights, usual)


def as_batch(
    batch: Mapping[str, Tensor], device: torch.device, non_blocking: bool = False, **_: Any
) -> tuple[Tensor, Tensor]:
    """Images and targets of a batch, where the network is (what MONAI calls `prepare_batch`)."""
    images, targets = (torch.as_tensor(batch[key]).to(device, non_blocking=non_blocking) for key in ("image", "label"))
    return images, targets
