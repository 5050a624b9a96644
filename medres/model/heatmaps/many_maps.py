"""Maps of many images at once, and those of networks whose weights are shuffled: what evidence on heatmaps is made of.

Whoever looks at one image gets the same map from `Classifier.explain`, up to the last digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medres.model.device import batch_size, full_precision, in_parts, said_plainly
from medres.model.forward import as_images
from medres.model.heatmaps.fine_maps import Finer
from medres.model.heatmaps.grid import SHOWN
from medres.model.network import RadiographNetwork

_STAGES = Finer(SHOWN).stages

SHUFFLED = ("head", "last stage", "all")
"""What is shuffled in the networks of `shuffled`, one after the other; each has what the ones before it have."""


def maps_of(
    networks: Sequence[RadiographNetwork], pixels: NDArray[np.uint16], label: int, *, device: torch.device
) -> NDArray[np.float32]:
    """The maps that people are shown, of one label and many images: the networks' mean, with its negative values.

    Args:
        networks: on `device`, in evaluation mode. They stay as they are.
        pixels: preprocessed, (n, size, size).
        label: its number.
        device: where the networks are.

    Returns:
        (n, k, k), logit units.
    """
    size = batch_size(device)
    found = []
    with said_plainly(device):
        for start in range(0, len(pixels), size):
            chosen = np.asarray(pixels[start : start + size])
            drawn = [np.concatenate(in_parts(partial(_maps, one, label, device), chosen)) for one in networks]
            found.append(np.mean(drawn, axis=0, dtype=np.float32))
    return np.concatenate(found)


def _maps(
    network: RadiographNetwork, label: int, device: torch.device, pixels: NDArray[np.uint16]
) -> NDArray[np.float32]:
    return _evidence(network, as_images(pixels, device), label)


def _evidence(network: RadiographNetwork, images: Tensor, label: int) -> NDArray[np.float32]:
    """`fine_maps.earlier_evidence` of a batch: in evaluation mode no image's gradient holds anything of another."""
    with torch.inference_mode(False), torch.enable_grad(), full_precision():
        with torch.no_grad():
            before = network.before(images.clone(), _STAGES)
        given = before.detach().requires_grad_(True)
        cells = network.activated(network.last_stages(_STAGES)(given)).float()
        logits = network.head(cells.mean(dim=(2, 3)))[:, label]
        (gradient,) = torch.autograd.grad(logits.sum(), given)
        found = (gradient.float() * given.float()).sum(dim=1) * (given.shape[2] * given.shape[3])
        values: NDArray[np.float32] = found.detach().cpu().numpy()
        return values


def shuffled(network: RadiographNetwork, *, seed: int) -> Iterator[tuple[str, RadiographNetwork]]:
    """Copies of a network that know less and less: from the head down, the values of each weight change places.

    Shuffled weights have the distribution that the trained ones had, so that activations neither vanish nor explode.

    Yields:
        What is shuffled (`SHUFFLED`), and the copy: the same one each time, shuffled further.

    Source: Adebayo et al. 2018, Sanity checks for saliency maps: cascading randomisation.
    """
    copy = deepcopy(network)
    generator = np.random.default_rng(seed)
    done: set[int] = set()
    parts: tuple[nn.Module, ...] = (copy.head, copy.last_stages(_STAGES), copy.backbone)
    for name, part in zip(SHUFFLED, parts, strict=True):
        for values in (*part.parameters(), *part.buffers()):
            if id(values) not in done and values.is_floating_point() and values.numel() > 1:
                order = torch.from_numpy(generator.permutation(values.numel())).to(values.device)
                values.data = values.data.flatten()[order].reshape(values.shape)
            done.add(id(values))
        yield name, copy
