"""One forward pass that all callers share, and what a model makes of it for a batch of images.

In full precision, unless `lower_precision` has changed the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medres.imaging.preprocessing import as_float
from medres.model.device import batch_size, full_precision, in_parts, said_plainly, unit_range, uploaded
from medres.model.explain import evidence
from medres.model.heatmaps.fine_maps import Maps, positive_mean
from medres.model.network import RadiographNetwork
from medres.records import Precision

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a network computes for some images: float32, on its device."""

    logits: Tensor  # (n, labels)
    features: Tensor  # (n, channels), pooled
    maps: Tensor | None  # (n, labels, k, k) class-activation maps, ≥ 0, logit units; where they were asked for
    before: Tensor | None  # what the last stages were given; where it was asked for, for finer maps


@torch.inference_mode()
@full_precision()
def forward(network: RadiographNetwork, images: Tensor, *, maps: bool = False, stages: int = 0) -> Outputs:
    """One pass of images through a network in evaluation mode.

    Args:
        network: where the images are.
        images: (n, 1, size, size) in [0, 1].
        maps: whether class-activation maps are wanted.
        stages: of how many of the last stages the input is wanted as well, which finer maps are made of.
    """
    before = network.before(images, stages)
    cells = network.activated(network.last_stages(stages)(before)).float()
    features = cells.mean(dim=(2, 3))
    drawn = evidence(network, cells) if maps else None
    return Outputs(network.head(features), features, drawn, before if stages else None)


def precision_complaint(precision: Precision, device: torch.device) -> str:
    """Why a device does not compute well in a precision, with what can be chosen; "" where it does."""
    if precision == "fp16" and device.type == "cpu":
        return "fp16 on a processor is slow on most, and overflows: choose --precision bf16, or a GPU (--device cuda)"
    if precision == "bf16" and device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        name = torch.cuda.get_device_name(device)
        return f"{name} has no bf16 (its compute capability is below 8.0): choose --precision fp16 or float32"
    return ""


def lower_precision(network: RadiographNetwork, precision: Precision) -> None:
    """Let a network's convolutions compute in another precision from now on; its weights are rounded for good.

    Normalisation keeps its numbers in float32, and so do pooling, the head and the evidence.
    """
    if precision != "float32":
        for module in network.backbone.modules():
            if isinstance(module, nn.Conv2d):
                module.to(_TYPES[precision])


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


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model computes for a batch of images."""

    logits: NDArray[np.float64]  # (n, labels); of an ensemble: the log odds of the mean probability
    probabilities: NDArray[np.float64]  # (n, labels), calibrated
    distances: NDArray[np.float64]  # (n,), 1 = the outlier cut
    maps: NDArray[np.float32] | None  # (n, labels, k, k) class-activation maps, logit units
    members: NDArray[np.float64]  # (networks, n, labels), each network's calibrated probabilities
    split: NDArray[np.bool_]  # (n,), whether memory made the pass smaller than it was meant to be
    fine: tuple[Maps, ...] = ()  # finer maps, where wanted

    def shown(self, place: int, label: int) -> NDArray[np.float32]:
        """The finer map (k, k) of an image and a label that have one: what speaks for it, in the networks' mean."""
        return positive_mean(self.fine[place][label])

    def first(self, count: int) -> Scores:
        """Those of so many images at the start."""
        return Scores(
            logits=self.logits[:count],
            probabilities=self.probabilities[:count],
            distances=self.distances[:count],
            maps=self.maps[:count] if self.maps is not None else None,
            members=self.members[:, :count],
            split=self.split[:count],
            fine=self.fine[:count],
        )

    def marked(self) -> Scores:
        """The same, of a pass that memory made smaller than it was meant to be."""
        return replace(self, split=np.ones_like(self.split))


def joined(parts: Sequence[Scores]) -> Scores:
    """The scores of several batches as those of one; all have maps, or none."""
    maps = [part.maps for part in parts if part.maps is not None]
    return Scores(
        logits=np.concatenate([part.logits for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        distances=np.concatenate([part.distances for part in parts]),
        maps=np.concatenate(maps) if maps else None,
        members=np.concatenate([part.members for part in parts], axis=1),
        split=np.concatenate([part.split for part in parts]),
        fine=tuple(one for part in parts for one in part.fine),
    )
