"""Networks that are made, not trained: weights set by hand find the disc of `phantoms.blob` on every processor.

What a network of seconds has learnt depends on the processor, the precision and the seed, so a test that needs one that
knows something takes one of these. Everything else of a run is real: the weights go in where a random start would, and
one epoch at a learning rate of almost nothing leaves them as they are. It also costs a fraction of a training.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast, get_args

import pytest
import torch

from medres.config import Architecture
from medres.model import backbones
from medres.model.network import RadiographNetwork, build_network
from medres.training import engine
from tests.support.recipes import Kind

_DARKEST_SEEN: dict[Kind, float] = {"disc": -0.25, "marker": 1.2}  # mean of the network's normalised input
_SIDE_SEEN: dict[Kind, int] = {"disc": 7, "marker": 3}  # of which that is the mean, pixels
_TEXTURES = 15
_GAIN = 100.0
_BIAS = -2.0


@torch.no_grad()
def set_by_hand(network: RadiographNetwork, *, seed: int, kind: Kind = "disc") -> None:
    """Let the first feature of a ResNet-18 be how much of the image is bright, and its first logit follow that.

    Args:
        network: one with fresh batch norms, which change nothing.
        seed: of small differences, as those between folds; other features answer to texture and weigh next to nothing.
        kind: what it sees.
    """
    generator = torch.Generator().manual_seed(seed)
    net = network.backbone
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.zero_()
    margin = (7 - _SIDE_SEEN[kind]) // 2
    net.conv1.weight[0, 0, margin : 7 - margin, margin : 7 - margin] = 1 / _SIDE_SEEN[kind] ** 2
    net.bn1.bias[0] = -_DARKEST_SEEN[kind]
    textures = torch.randn(_TEXTURES, 7, 7, generator=generator)
    net.conv1.weight[1 : _TEXTURES + 1, 0] = textures / textures.flatten(1).norm(dim=1)[:, None, None]
    for layer in (net.layer2, net.layer3, net.layer4):  # blocks without weights hand on what they are given
        for channel in range(_TEXTURES + 1):
            layer[0].conv1.weight[channel, channel] = 1 / 9  # with a stride of two the mean stays
            layer[0].conv2.weight[channel, channel, 1, 1] = 1
    network.head.weight.normal_(0, 0.01, generator=generator)
    network.head.bias.normal_(0, 0.1, generator=generator)
    if kind == "marker":
        network.head.weight[0] = 0  # a disc has a texture, too
    network.head.weight[0, 0] = _GAIN * (1 + 0.1 * torch.rand(1, generator=generator).item())
    network.head.bias[0] += _BIAS


@contextmanager
def narrow_networks() -> Iterator[None]:
    """Inside, a ResNet-18 has a sixtieth of its weights: for what holds of a training of any network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "_WIDTHS", (64, 16, 16, 16))
        yield


@contextmanager
def made_networks(kind: Kind = "disc") -> Iterator[None]:
    """Inside, a fit that would start from random weights starts from weights that were set by hand."""

    def made(
        architecture: Architecture, *, labels: int, folded: bool = False, dropout: float = 0.0
    ) -> RadiographNetwork:
        network = build_network(architecture, labels=labels, folded=folded, dropout=dropout)
        set_by_hand(network, seed=torch.initial_seed() % 2**32, kind=kind)
        return network

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "build_network", made)
        yield


def main() -> None:
    """The command line, its networks made: `python -m tests.support.made KIND VERB …`, where processes cannot fork."""
    kind = sys.argv.pop(1)
    assert kind in get_args(Kind)
    from medres.cli import main

    with made_networks(cast(Kind, kind)):
        main()


if __name__ == "__main__":
    main()
