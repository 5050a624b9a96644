"""Finer maps: what cells of an earlier stage add to the logit, as the library's HiResCAM; networks stay."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from medres.config import Architecture
from medres.model.forward import forward
from medres.model.heatmaps.fine_maps import Finer, earlier_evidence, fine_maps
from medres.model.heatmaps.grid import FineStride
from medres.model.heatmaps.library import library_map
from medres.model.network import RadiographNetwork, build_network

ARCHITECTURES: tuple[Architecture, ...] = ("resnet18", "resnet50", "densenet121")


@pytest.fixture(params=ARCHITECTURES)
def network(request: pytest.FixtureRequest) -> RadiographNetwork:
    torch.manual_seed(0)
    return build_network(request.param, labels=3).eval()


@pytest.mark.parametrize("stride", get_args(FineStride))
def test_the_mean_of_a_fine_map_is_the_logit_where_nothing_else_adds_to_it(
    network: RadiographNetwork, stride: FineStride
) -> None:
    stages = Finer(stride).stages
    images = torch.rand(2, 1, 96, 96)
    found = forward(network, images, stages=stages)  # fresh batch norms add nothing
    assert found.before is not None
    maps = fine_maps([network], [found.before], np.ones((2, 3), np.bool_), stages=stages)
    for place in range(2):
        for label in range(3):
            assert maps[place][label].shape == (1, 96 // stride, 96 // stride)
            logit = float(found.logits[place, label] - network.head.bias[label].detach())
            assert maps[place][label].mean() == pytest.approx(logit, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("stages", [1, 2])
def test_a_fine_map_is_the_library_s_hirescam_of_an_earlier_stage(network: RadiographNetwork, stages: int) -> None:
    image = torch.rand(1, 1, 96, 96)
    before = forward(network, image, stages=stages).before
    assert before is not None
    layer = f"backbone.{network.family.blocks[-1 - stages]}"
    theirs = library_map(network, image, label=1, method="hirescam", layer=layer)
    (ours,) = earlier_evidence(network, before, [1], stages=stages).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * float(np.abs(theirs).max()))


def test_only_what_is_wanted_is_computed_and_the_network_stays_as_it_was(network: RadiographNetwork) -> None:
    images = torch.rand(3, 1, 64, 64)
    found = forward(network, images, stages=1)
    assert found.before is not None
    wanted = np.array([[True, False, True], [False, False, False], [False, True, False]])
    maps = fine_maps([network, network], [found.before, found.before], wanted, stages=1)
    assert [sorted(one) for one in maps] == [[0, 2], [], [1]]
    assert maps[0][0].shape == (2, 4, 4)
    assert np.array_equal(maps[0][0][0], maps[0][0][1])
    assert torch.equal(forward(network, images).logits, found.logits)
    assert all(parameter.grad is None for parameter in network.parameters())
