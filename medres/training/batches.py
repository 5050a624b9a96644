"""Batches from the pixel cache, whole batches at a time; on a GPU the cache lies in its memory when it fits."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Sampler

from medres.errors import TrainingError
from medres.model.device import lacks_memory, unit_range, uploaded
from medres.training.distributed import ALONE, Processes

log = logging.getLogger(__name__)

Item = TypeVar("Item")

_AHEAD = 2  # batches that are fetched while a GPU computes
_CHUNK = 64 * 2**20  # bytes that are copied to a GPU at a time


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

    On a GPU it lies in the GPU's memory where it fits; else batches of it are fetched while the GPU computes.

    Args:
        cache: the memory map.
        device: where batches are needed.
        reserve: bytes of a GPU's memory that the network, its gradients and a batch are expected to need.
    """

    def __init__(self, cache: NDArray[np.uint16], device: torch.device, *, reserve: int = 0) -> None:
        self.cache, self.device = cache, device
        self.resident: Tensor | None = None
        if device.type != "cuda":
            return
        room = _room(device, reserve)
        if cache.nbytes <= room:
            try:
                self.resident = _copied(cache, device)
            except RuntimeError as error:
                if not lacks_memory(error):
                    raise
        if self.resident is not None:
            log.info("%d images, %.0f MB, lie in the GPU's memory", len(cache), cache.nbytes / 1e6)
        else:
            log.info(
                "%d images, %.0f MB, stay in main memory, which is slower: the GPU has room for %.0f MB beside the "
                "network and a batch",
                len(cache), cache.nbytes / 1e6, max(0.0, room / 1e6),
            )  # fmt: skip

    @property
    def fetches(self) -> bool:
        """Whether batches come from main memory to a GPU: they should be fetched ahead."""
        return self.device.type == "cuda" and self.resident is None

    def fetch(self, places: Sequence[int]) -> Tensor:
        """What the CPU does for a batch: its images as int16 (N, size, size), or their places where all are there."""
        if self.resident is not None:
            return torch.tensor(list(places))
        stored = torch.from_numpy(self.cache[list(places)].view(np.int16))
        return stored.pin_memory() if self.fetches else stored

    def images(self, fetched: Tensor) -> Tensor:
        """Images float32 (N, 1, size, size) in [0, 1], where batches are needed: bit for bit what scoring sees."""
        if self.resident is None:
            return unit_range(fetched.to(self.device, non_blocking=True))[:, None]
        return unit_range(self.resident.index_select(0, uploaded(fetched, self.device)))[:, None]

    def __getitem__(self, places: Sequence[int]) -> Tensor:
        """The images of some places."""
        return self.images(self.fetch(places))


def _room(device: torch.device, reserve: int) -> float:
    """Bytes that pixels may take of a GPU's memory: what is free, or this process's share of it, less the reserve."""
    free, total = torch.cuda.mem_get_info(device)
    share = torch.cuda.get_per_process_memory_fraction(device)
    return min(free, share * total - torch.cuda.memory_reserved(device)) - reserve


def _copied(cache: NDArray[np.uint16], device: torch.device) -> Tensor:
    """The bits of a memory map as int16 in a GPU's memory, chunk by chunk."""
    there = torch.empty(cache.shape, dtype=torch.int16, device=device)
    step = max(1, _CHUNK // max(1, cache[:1].nbytes))
    for start in range(0, len(cache), step):
        chunk = np.array(cache[start : start + step])  # a copy: the map may be read-only
        there[start : start + step].copy_(torch.from_numpy(chunk.view(np.int16)))
    return there


def resized(images: Tensor, size: int) -> Tensor:
    """Images (N, 1, S, S) at another size, by area averaging; themselves at their own size."""
    return images if images.shape[-1] == size else functional.interpolate(images, (size, size), mode="area")


class BatchLoader:
    """What MONAI's engines iterate over: batches of the cache in a sampler's order, each in two keys.

    `image` is what `Pixels.fetch` gives and `as_batch` makes images of; `label` float32 (N, labels), on the device.

    Args:
        pixels: the cache.
        targets: float32 (images, labels).
        sampler: gives the places of each batch.
        size: side of the images.
    """

    def __init__(self, pixels: Pixels, targets: NDArray[np.float32], sampler: Sampler[list[int]], *, size: int) -> None:
        self.pixels, self.sampler, self.size = pixels, sampler, size
        self.targets = torch.from_numpy(np.array(targets)).to(pixels.device)

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return len(self.sampler)  # type: ignore[arg-type]  # ours have a length

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """The batches of an epoch."""
        batches: Iterator[tuple[Tensor, list[int]]] = ((self.pixels.fetch(places), places) for places in self.sampler)
        for fetched, places in ahead(batches, _AHEAD) if self.pixels.fetches else batches:
            asked = uploaded(torch.tensor(places), self.targets.device)
            yield {"image": fetched, "label": self.targets.index_select(0, asked)}

    def as_batch(self, batch: Mapping[str, Tensor], *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Images float32 (N, 1, size, size) and targets (N, labels), on the device (MONAI's `prepare_batch`)."""
        return resized(self.pixels.images(batch["image"]), self.size), batch["label"]


def ahead(items: Iterator[Item], count: int) -> Iterator[Item]:
    """The same items, of which a thread gets so many while another is used; its errors are raised here.

    >>> list(ahead(iter("abc"), 2))
    ['a', 'b', 'c']
    """
    end: Any = object()
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, items, end) for _ in range(count))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, items, end))
            yield item


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
