"""The networks that medres defines itself are torchvision's, to the bit."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
import torchvision

from medres.config import Architecture
from medres.model.backbones import build_backbone
from tests.support.processes import loaded_after

KINDS: tuple[Architecture, ...] = ("resnet18", "resnet50", "densenet121")
"""One of each kind of block; the others differ in how many there are."""


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_a_backbone_has_torchvision_s_names_and_shapes_in_its_order(architecture: Architecture) -> None:
    with torch.device("meta"):
        ours, theirs = build_backbone(architecture), torchvision.models.get_model(architecture, weights=None)
    for listed in ("state_dict", "named_parameters"):  # an optimiser keeps its states in the order of the latter
        found, expected = (dict(getattr(network, listed)()) for network in (ours, theirs))
        assert [(name, value.shape) for name, value in found.items()] == [
            (name, value.shape) for name, value in expected.items()
        ]


@pytest.mark.parametrize("architecture", KINDS)
def test_a_backbone_starts_and_computes_and_learns_as_torchvision_s_does_to_the_bit(architecture: Architecture) -> None:
    torch.manual_seed(3)
    theirs = torchvision.models.get_model(architecture, weights=None)
    drawn = torch.get_rng_state()
    torch.manual_seed(3)
    ours = build_backbone(architecture)
    assert torch.equal(torch.get_rng_state(), drawn)
    expected = theirs.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in ours.state_dict().items())
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    outputs = [network.train()(images) for network in (ours, theirs)]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().mean().backward()
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    assert all(torch.equal(one.grad, other.grad) for one, other in pairs)
    assert all(torch.equal(*pair) for pair in zip(ours.buffers(), theirs.buffers(), strict=True))
    with torch.inference_mode():
        assert torch.equal(ours.eval()(images), theirs.eval()(images))


def test_a_network_that_medres_does_not_define_comes_from_torchvision() -> None:
    assert isinstance(build_backbone("wide_resnet50_2"), torchvision.models.ResNet)


@pytest.mark.slow
def test_building_a_network_loads_neither_torchvision_nor_a_compiler() -> None:
    code = "from medres.model.network import build_network\nfor name in ('resnet18', 'densenet121'):\n"
    loaded = loaded_after(f"{code}    build_network(name, labels=1)")
    assert not {
        name for name in loaded if name.startswith(("torchvision", "torch._dynamo", "torch._inductor", "sympy"))
    }
