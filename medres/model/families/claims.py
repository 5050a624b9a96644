"""What is said of residual networks everywhere, held against exact counts: it holds, it does not, or it depends.

Claims about speed on a machine, about training error and about radiographs are measured elsewhere:
`notebooks/04_why_residual_networks.py`, `medres depth`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

from medres.model.backbones import BasicBlock, Bottleneck
from medres.model.families.counting import FAMILY, Counted, count_network, count_published
from medres.model.network import parameter_count

Holds = Literal["holds", "does not hold", "depends"]

STEPS = (("resnet18", "resnet34"), ("resnet34", "resnet50"), ("resnet50", "resnet101"), ("resnet101", "resnet152"))
"""From each depth of the family to the next."""

_NAMES = {
    "resnet18": "ResNet-18", "resnet34": "ResNet-34", "resnet50": "ResNet-50", "resnet101": "ResNet-101",
    "resnet152": "ResNet-152", "densenet121": "DenseNet-121", "vgg16": "VGG-16", "vgg19": "VGG-19",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said, whether exact counts bear it out, and the figures."""

    said: str
    verdict: Holds
    figures: str


@cache
def family_counts() -> Mapping[str, Counted]:
    """The networks of FAMILY for an image of 224 pixels, by torchvision's names."""
    return {name: count_published(name) for name in FAMILY}


def claims() -> tuple[Claim, ...]:
    """Every claim about size, arithmetic and memory, judged."""
    counts = family_counts()
    return (
        _less_than_vgg(counts),
        _growth(counts),
        _arithmetic_follows_depth(counts),
        _size_tells_cost(counts),
        _densenet(counts),
        _memory(counts),
        _bottleneck(),
        _pooling(counts),
    )


def _less_than_vgg(counts: Mapping[str, Counted]) -> Claim:
    deep, wide = counts["resnet152"], counts["vgg19"]
    holds = deep.multiply_adds < wide.multiply_adds and deep.parameters < wide.parameters
    return Claim(
        "152 residual layers cost less than VGG-19",
        "holds" if holds else "does not hold",
        f"{_giga(deep)} against {_giga(wide)} thousand million multiply-adds, {_million(deep)} against "
        f"{_million(wide)} million parameters; VGG-16 takes {_giga(counts['vgg16'])}",
    )


def _growth(counts: Mapping[str, Counted]) -> Claim:
    grown = [counts[deeper].parameters / counts[one].parameters - 1 for one, deeper in STEPS]
    within = [0.18 <= value <= 0.22 for value in grown]
    verdict: Holds = "holds" if all(within) else "depends" if any(within) else "does not hold"
    return Claim("each step of depth adds 18 to 22 % of parameters", verdict, _steps(grown))


def _arithmetic_follows_depth(counts: Mapping[str, Counted]) -> Claim:
    grown = [counts[deeper].multiply_adds / counts[one].multiply_adds - 1 for one, deeper in STEPS]
    layers = [_depth(deeper) / _depth(one) - 1 for one, deeper in STEPS]
    near = [abs(own - named) <= 0.15 * (1 + named) for own, named in zip(grown, layers, strict=True)]
    return Claim(
        "arithmetic grows as the number of layers does",
        "holds" if all(near) else "depends" if any(near) else "does not hold",
        f"multiply-adds: {_steps(grown)}; layers: {_steps(layers)}",
    )


def _size_tells_cost(counts: Mapping[str, Counted]) -> Claim:
    order = sorted(FAMILY, key=lambda name: counts[name].parameters)
    same = order == sorted(FAMILY, key=lambda name: counts[name].multiply_adds)
    said = ", ".join(f"{_NAMES[name]} {_million(counts[name])} and {_giga(counts[name])}" for name in order)
    return Claim(
        "fewer parameters mean less arithmetic",
        "holds" if same else "does not hold",
        f"millions of parameters and thousand millions of multiply-adds: {said}",
    )


def _densenet(counts: Mapping[str, Counted]) -> Claim:
    dense, residual = counts["densenet121"], counts["resnet18"]
    smaller = dense.parameters < residual.parameters
    cheaper = dense.multiply_adds < residual.multiply_adds and dense.kept_bytes < residual.kept_bytes
    return Claim(
        "DenseNet-121 is a lighter network than ResNet-18",
        "holds" if smaller and cheaper else "depends" if smaller or cheaper else "does not hold",
        f"{_million(dense)} against {_million(residual)} million parameters, but {_giga(dense)} against "
        f"{_giga(residual)} thousand million multiply-adds, and {_kept(dense)} against {_kept(residual)} MB that "
        "training keeps of an image",
    )


def _memory(counts: Mapping[str, Counted]) -> Claim:
    shallow, deep = counts["resnet18"], counts["resnet50"]
    kept, held = deep.kept_bytes / shallow.kept_bytes, deep.parameters / shallow.parameters
    said = ", ".join(f"{_NAMES[name]} {_kept(counts[name])}" for name in FAMILY)
    return Claim(
        "training memory follows the number of parameters",
        "holds" if abs(kept / held - 1) <= 0.25 else "does not hold",
        f"from ResNet-18 to ResNet-50 parameters grow {held:.1f} times and what training keeps of an image {kept:.1f} "
        f"times; MB an image in float32: {said}",
    )


def _bottleneck() -> Claim:
    with torch.device("meta"):
        blocks = Bottleneck(256, 64, 1), BasicBlock(256, 256, 1), BasicBlock(64, 64, 1)
    shapes = (256, 56, 56), (256, 56, 56), (64, 56, 56)
    counted = [count_network(block, shape).multiply_adds for block, shape in zip(blocks, shapes, strict=True)]
    bottleneck, wide, narrow = counted
    saved = [1 - bottleneck / other for other in (wide, narrow)]
    near = [abs(value - 0.4) <= 0.1 for value in saved]
    return Claim(
        "bottlenecks save 40 %",
        "holds" if all(near) else "depends" if any(near) else "does not hold",
        f"against two 3 × 3 convolutions of as many channels (256) a bottleneck saves {saved[0]:.0%} of the "
        f"multiply-adds, against two of its inner 64 channels {saved[1]:.0%}: it buys four times the channels for the "
        "same arithmetic",
    )


def _pooling(counts: Mapping[str, Counted]) -> Claim:
    flat, pooled = counts["vgg16"], counts["resnet50"]
    with torch.device("meta"):
        dense = parameter_count(torch.nn.Linear(2048 * 7 * 7, 1000))
    shares = [one.dense_parameters / one.parameters for one in (flat, pooled)]
    return Claim(
        "global average pooling saves most of a network's parameters",
        "holds" if shares[0] > 0.5 > shares[1] and dense > pooled.parameters else "does not hold",
        f"{shares[0]:.0%} of VGG-16's lie in its dense layers, {shares[1]:.0%} of ResNet-50's; without pooling its "
        f"last layer alone would have {dense / 1e6:.0f} million, four times the network",
    )


def _depth(name: str) -> int:
    """The number in a network's name."""
    return int(name.removeprefix("resnet"))


def _steps(grown: list[float]) -> str:
    names = [f"{_depth(one)} to {_depth(deeper)}" for one, deeper in STEPS]
    return ", ".join(f"{name} {value:+.0%}" for name, value in zip(names, grown, strict=True))


def _giga(counted: Counted) -> str:
    return f"{counted.multiply_adds / 1e9:.1f}"


def _million(counted: Counted) -> str:
    return f"{counted.parameters / 1e6:.1f}"


def _kept(counted: Counted) -> str:
    return f"{counted.kept_bytes / 1e6:.0f}"
