"""One forward pass that all callers share: images become logits, pooled features and evidence, in full precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medres.imaging.preprocessing import as_float
from medres.model.device import batch_size, full_precision, in_parts, said_plainly, unit_range, uploaded
from medres.model.explain import evidence
from medres.model.network import RadiographNetwork


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
        batch: images in one pass on a processor; on a GPU there are more.
        maps: whether class-activation maps are wanted.
    """
    size = batch_size(device, processor=batch)
    for start in range(0, len(places), size):
        chosen = pixels[list(places[start : start + size])]
        yield from passes(network, chosen, device=device, maps=maps)


def passes(
    network: RadiographNetwork, pixels: NDArray[np.uint16], *, device: torch.device, maps: bool = False
) -> list[Outputs]:
    """Passes over preprocessed images, uint16 (n, size, size): one, or of parts where memory does not suffice.

    Raises:
        DeviceError: the device's memory does not even suffice for one image.
    """
    with said_plainly(device):
        return in_parts(lambda part: forward(network, as_images(part, device), maps=maps), pixels)


def as_images(pixels: NDArray[np.uint16], device: torch.device) -> Tensor:
    """Preprocessed images, uint16 (n, size, size), as a network takes them: (n, 1, size, size) in [0, 1]."""
    if device.type == "cpu":
        return torch.from_numpy(as_float(pixels)[:, None]).to(memory_format=torch.channels_last)
    stored = torch.from_numpy(np.array(pixels).view(np.int16))  # a copy: a memory map may be read-only
    return unit_range(uploaded(stored, device))[:, None].contiguous(memory_format=torch.channels_last)
