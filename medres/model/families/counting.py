"""What a network holds, computes and keeps, counted exactly: nothing is computed for it."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from medres.model.backbones import build_backbone
from medres.model.network import parameter_count

FAMILY = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "densenet121", "vgg16", "vgg19")
"""What is usually compared, by torchvision's names."""


@dataclass(frozen=True, slots=True)
class Counted:
    """One network and one image."""

    parameters: int
    multiply_adds: int  # of convolutions and linear layers; a FLOP count of papers, half of the one of `cost`
    activations: int  # values that convolutions and linear layers give
    kept_bytes: int  # what training in float32 keeps of the image from the forward pass to the backward one
    layers: int  # convolutions and linear layers, shortcuts' included
    dense_parameters: int  # of linear layers


def build_published(name: str) -> nn.Module:
    """A network of three channels and 1,000 classes as it was published; on the meta device nothing is drawn.

    >>> with torch.device("meta"):
    ...     sum(one.numel() for one in build_published("vgg16").parameters())
    138357544
    """
    if name.startswith("vgg"):
        import torchvision

        return torchvision.models.get_model(name, weights=None, init_weights=False)  # type: ignore[no-any-return]
    return build_backbone(name)


def count_published(name: str, *, side: int = 224) -> Counted:
    """A published network and an image of that side.

    >>> count_published("resnet50").multiply_adds
    4089184256
    """
    with torch.device("meta"):
        network = build_published(name)
    return count_network(network, (3, side, side))


def count_network(network: nn.Module, shape: tuple[int, int, int]) -> Counted:
    """Count a network, which stays as it is.

    Args:
        network: on any device.
        shape: channels, rows and columns of an image.
    """
    network = copy.deepcopy(network).to("meta")
    with torch.device("meta"):
        one, pair = torch.zeros(1, *shape), torch.zeros(2, *shape)
    weighted = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    given = 0

    def add(_: nn.Module, __: object, found: Tensor) -> None:
        nonlocal given
        given += found.numel()

    hooks = [module.register_forward_hook(add) for module in weighted]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(one)
    for hook in hooks:
        hook.remove()
    return Counted(
        parameters=parameter_count(network),
        multiply_adds=counter.get_total_flops() // 2,
        activations=given,
        kept_bytes=_kept(network, pair) - _kept(network, one),
        layers=len(weighted),
        dense_parameters=sum(parameter_count(module) for module in weighted if isinstance(module, nn.Linear)),
    )


def _kept(network: nn.Module, images: Tensor) -> int:
    """Bytes that autograd keeps for the backward pass of a batch, weights included; a tensor kept twice counts once.

    Norms are in training mode but keep no statistics of one pixel, which the smallest images would have.
    """
    storages: dict[int, int] = {}

    def pack(kept: Tensor) -> Tensor:
        storage = kept.untyped_storage()
        storages[storage._cdata] = storage.nbytes()
        held.append(kept)  # what is let go could hand its number on to another
        return kept

    held: list[Tensor] = []
    network.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
        network(images)
    return sum(storages.values())


def seconds_per_image(network: nn.Module, images: Tensor, *, learning: bool, rounds: int = 3) -> float:
    """The time of one image in a batch on this machine, median of some rounds after a first one.

    Args:
        network: where it computes.
        images: a batch there.
        learning: forward and backward pass; without, the forward pass alone.
        rounds: how many are measured.
    """
    network.train(learning)
    taken = []
    for number in range(rounds + 1):
        started = time.perf_counter()
        with torch.set_grad_enabled(learning):
            found = network(images)
        if learning:
            found.square().mean().backward()
        if number:
            taken.append((time.perf_counter() - started) / len(images))
    network.zero_grad()
    return median(taken)
