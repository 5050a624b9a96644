"""One forward pass that all callers share: images become logits, pooled features and evidence, in full precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medres.imaging.preprocessing import as_float
from medres.model.explain import evidence
from medres.model.network import RadiographNetwork, full_precision

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a network computes for some images: float32, on its device."""

    logits: Tensor  # (n, labels)
    features: Tensor  # (n, channels), pooled
    maps: Tensor | None  # (n, labels, k, k) class-activation maps, ≥ 0, logit units; where they were asked for


@torch.inference_mode()
@full_precision()
def forward(network: RadiographNetwork, images: Tensor, *, maps: bool = False) -> Outputs:
    """One pass of images (n, 1, size, size) in [0, 1], which lie where the network does; it is in evaluation mode."""
    cells = network.feature_maps(images)
    features = cells.mean(dim=(2, 3))
    return Outputs(network.head(features), features, evidence(network, cells) if maps else None)


def forward_batches(
    network: RadiographNetwork,
    pixels: NDArray[np.uint16],
    places: Sequence[int],
    *,
    device: torch.device,
    batch: int,
    maps: bool = False,
) -> Iterator[Outputs]:
    """Passes over some of many preprocessed images, in order: a batch each, or less where memory does not suffice.

    Args:
        network: on `device`, in evaluation mode.
        pixels: uint16 (images, size, size), also on disk.
        places: which of them.
        device: where the network is.
        batch: images in one pass.
        maps: whether class-activation maps are wanted.
    """
    for start in range(0, len(places), batch):
        chosen = pixels[list(places[start : start + batch])]
        yield from in_parts(partial(forward, network, maps=maps), as_images(chosen, device))


def as_images(pixels: NDArray[np.uint16], device: torch.device) -> Tensor:
    """Preprocessed images, uint16 (n, size, size), as a network takes them: (n, 1, size, size) in [0, 1]."""
    return torch.from_numpy(as_float(pixels)[:, None]).to(device, memory_format=torch.channels_last)


def in_parts(function: Callable[[Tensor], Result], images: Tensor) -> list[Result]:
    """What a function says of a batch (N, ...), of halves of it where memory does not suffice, and so on.

    Raises:
        torch.OutOfMemoryError: not even one image fits.
    """
    try:
        return [function(images)]
    except torch.OutOfMemoryError:
        if len(images) < 2:
            raise
    torch.cuda.empty_cache()
    half = len(images) // 2
    return [*in_parts(function, images[:half]), *in_parts(function, images[half:])]
