"""Fine class-activation maps: every second cell is the coarse map's, and the network stays what it was."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from medres.config import Architecture
from medres.model.explain import evidence
from medres.model.fine_maps import FineMaps, FineStride, coarse_cells
from medres.model.network import build_network


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50", "densenet121"])
@pytest.mark.parametrize("stride", get_args(FineStride))
@pytest.mark.parametrize("side", [96, 160, 130])
def test_the_coarse_map_is_a_subsample_of_the_fine_one(
    architecture: Architecture, stride: FineStride, side: int
) -> None:
    torch.manual_seed(side)
    network = build_network(architecture, labels=3).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
    images = torch.rand(2, 1, side, side)
    with torch.inference_mode():
        coarse = evidence(network, network.feature_maps(images))
        fine = FineMaps(network, stride).of(network.before(images, 32 // stride // 2))
    found = coarse_cells(fine, stride)
    size = coarse.shape[-1]
    assert found.shape[-1] >= size
    assert (found[..., :size, :size] - coarse).abs().max() <= 1e-5 * coarse.abs().max()
    assert fine.shape[-1] > (coarse.shape[-1] - 1) * 32 // stride


def test_the_network_keeps_its_strides_and_shares_its_weights() -> None:
    network = build_network("resnet18", labels=1).eval()
    images = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        before = network(images)
    fine = FineMaps(network, 8)
    with torch.inference_mode():
        assert torch.equal(network(images), before)
    shared = {parameter.data_ptr() for parameter in network.parameters()}
    assert {parameter.data_ptr() for parameter in fine.last.parameters()} <= shared
