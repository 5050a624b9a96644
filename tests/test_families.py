"""Small networks with shortcuts and without, exact counts of published ones, and what they say of common claims."""

from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medres.config import Config, recipe_names
from medres.model.backbones import build_backbone
from medres.model.families.claims import claims, family_counts
from medres.model.families.counting import FAMILY, count_network
from medres.model.families.small import (
    Shortcuts,
    SmallResNet,
    logits_of,
    movable,
    rearranged,
    start_as_identity,
)

IMAGES = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", FAMILY)
def test_parameters_and_arithmetic_are_torchvision_s_published_ones_to_their_printed_digits(name: str) -> None:
    published = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta
    counted = family_counts()[name]
    assert counted.parameters == published["num_params"]
    assert round(counted.multiply_adds / 1e9, 3) == published["_ops"]


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_small_networks_have_the_size_that_the_paper_prints(depth: int, millions: float) -> None:
    with torch.device("meta"):
        network = SmallResNet(depth, labels=10)
    digits = 1 if millions >= 1 else 2
    assert round(sum(one.numel() for one in network.parameters()) / 1e6, digits) == millions


@pytest.mark.parametrize("shortcuts", get_args(Shortcuts))
@pytest.mark.parametrize(("depth", "bottleneck"), [(8, False), (11, True)])
def test_every_kind_computes_and_learns(shortcuts: Shortcuts, depth: int, bottleneck: bool) -> None:
    network = SmallResNet(depth, width=4, shortcuts=shortcuts, bottleneck=bottleneck, labels=3)
    network(IMAGES).square().sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in network.parameters())


@given(st.integers(-5, 60), st.booleans())
def test_a_depth_that_no_number_of_blocks_gives_is_refused(depth: int, bottleneck: bool) -> None:
    layers = 9 if bottleneck else 6
    if depth > 2 and (depth - 2) % layers == 0:
        with torch.device("meta"):
            network = SmallResNet(depth, bottleneck=bottleneck)
        count = sum(isinstance(one, nn.Conv2d | nn.Linear) for one in network.modules())
        shortcuts = 1 if bottleneck else 0  # with identity shortcuts no other layer has weights
        assert count == depth, shortcuts
    else:
        with pytest.raises(ValueError, match="layers"):
            SmallResNet(depth, bottleneck=bottleneck)


def test_a_plain_network_has_the_convolutions_of_the_residual_one_and_starts_with_the_same() -> None:
    networks = []
    for shortcuts in ("none", "identity"):
        torch.manual_seed(1)
        networks.append(SmallResNet(14, width=4, shortcuts=shortcuts))
    plain, residual = (network.state_dict() for network in networks)
    assert plain.keys() == residual.keys()
    assert all(plain[name].shape == value.shape for name, value in residual.items())


def test_identity_shortcuts_need_no_weights_and_projections_do() -> None:
    counted = {kind: count_network(SmallResNet(20, shortcuts=kind), (1, 32, 32)) for kind in get_args(Shortcuts)}
    plain, identity = counted["none"], counted["identity"]
    assert (plain.parameters, plain.multiply_adds) == (identity.parameters, identity.multiply_adds)
    assert counted["identity"].parameters < counted["projection"].parameters < counted["projections"].parameters


def test_a_network_without_norms_has_none_and_the_same_convolutions() -> None:
    network = SmallResNet(8, width=4, norms=False)
    assert not [one for one in network.modules() if isinstance(one, nn.BatchNorm2d)]
    assert network(IMAGES).shape == (4, 1)


def test_blocks_that_start_as_identities_hand_on_what_they_are_given() -> None:
    network = SmallResNet(20, width=4)
    assert start_as_identity(network) == 9
    x = torch.rand(2, 4, 8, 8)
    assert torch.equal(network.blocks[1](x), x)
    whole = logits_of(network, IMAGES)
    for place in movable(network):
        fewer = rearranged(network, [one for one in range(9) if one != place])
        assert torch.equal(logits_of(fewer, IMAGES), whole)
    assert start_as_identity(build_backbone("resnet50")) == start_as_identity(torchvision.models.resnet50()) == 16


def test_a_block_that_is_left_out_leaves_its_shortcut_and_the_network_stays_as_it_was() -> None:
    torch.manual_seed(0)
    network = SmallResNet(14, width=4)
    before = copy.deepcopy(network.state_dict())
    fewer = rearranged(network, [0, 2, 3, 4, 5])
    by_hand = copy.deepcopy(network)
    by_hand.blocks[1] = nn.Identity()
    assert torch.equal(logits_of(fewer, IMAGES), logits_of(by_hand, IMAGES))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(logits_of(rearranged(network, range(6)), IMAGES), logits_of(network, IMAGES))


@given(st.permutations(range(6)))
def test_blocks_change_places_within_their_stage_or_not_at_all(order: list[int]) -> None:
    with torch.device("meta"):
        network = SmallResNet(14, width=4)
    assert movable(network) == [0, 1, 3, 5]
    fits = set(order[:2]) == {0, 1} and order[2:] == [2, 3, 4, 5]
    if fits:
        assert len(rearranged(network, order).blocks) == 6
    else:
        with pytest.raises(ValueError, match="does not fit"):
            rearranged(network, order)


def test_the_block_that_changes_the_shape_must_stay() -> None:
    with torch.device("meta"):
        network = SmallResNet(8, width=4)
    with pytest.raises(ValueError, match="must stay"):
        rearranged(network, [0, 1])


def test_scoring_leaves_a_network_in_its_mode() -> None:
    network = SmallResNet(8, width=4).train()
    logits_of(network, IMAGES)
    assert network.training


def test_what_training_keeps_is_counted_as_by_hand() -> None:
    """A convolution keeps its input, a ReLU what it gives, a linear layer its input; weights are of no image."""

    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5))
    counted = count_network(network, (3, 4, 4))
    assert counted.kept_bytes == 4 * (3 * 16 + 8 * 16)
    assert counted.activations == 8 * 16 + 5
    assert counted.multiply_adds == 8 * 16 * 27 + 5 * 128
    assert (counted.layers, counted.dense_parameters, counted.parameters) == (2, 645, 645 + 8 * 27 + 8)


def test_what_is_said_of_residual_networks_is_held_against_exact_counts() -> None:
    assert {claim.said: claim.verdict for claim in claims()} == {
        "152 residual layers cost less than VGG-19": "holds",
        "each step of depth adds 18 to 22 % of parameters": "does not hold",
        "arithmetic grows as the number of layers does": "depends",
        "fewer parameters mean less arithmetic": "does not hold",
        "DenseNet-121 is a lighter network than ResNet-18": "depends",
        "training memory follows the number of parameters": "does not hold",
        "bottlenecks save 40 %": "does not hold",
        "global average pooling saves most of a network's parameters": "holds",
    }
    (growth,) = [claim for claim in claims() if "18 to 22" in claim.said]
    assert growth.figures == "18 to 34 +86%, 34 to 50 +17%, 50 to 101 +74%, 101 to 152 +35%"


def test_no_recipe_uses_a_network_that_is_there_to_be_looked_at() -> None:
    architectures = Config.model_fields["network"].annotation.model_fields["architecture"].annotation
    assert recipe_names()
    assert not [name for name in get_args(architectures) if "plain" in name or "small" in name]
