from __future__ import annotations

from typing import get_args

import pytest
import torch

from medres.config import Architecture
from medres.model.network import build_network, parameter_count


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_every_depth_gives_one_logit_per_label(architecture: Architecture) -> None:
    network = build_network(architecture, labels=3).eval()
    with torch.inference_mode():
        assert network(torch.rand(2, 1, 64, 64)).shape == (2, 3)
        assert network.feature_maps(torch.rand(1, 1, 64, 96)).shape[2:] == (2, 3)


def test_normalisation_is_inside_the_network_and_saved_with_it() -> None:
    assert {"mean", "std"} <= set(build_network("resnet18", labels=1, folded=True).state_dict())


def test_deeper_networks_have_more_parameters() -> None:
    depths: tuple[Architecture, ...] = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
    counts = [parameter_count(build_network(name, labels=1)) for name in depths]
    assert counts == sorted(counts)
