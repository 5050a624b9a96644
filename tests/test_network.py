from __future__ import annotations

import pytest
import torch
import torchvision

from medres.config import Architecture
from medres.model.network import IMAGENET_MEAN, IMAGENET_STD, build_network, parameter_count


@pytest.mark.parametrize("architecture", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "densenet121"])
def test_every_depth_gives_one_logit_per_label(architecture: Architecture) -> None:
    network = build_network(architecture, labels=3, rgb=False).eval()
    with torch.inference_mode():
        assert network(torch.rand(2, 1, 64, 64)).shape == (2, 3)
        assert network.feature_maps(torch.rand(1, 1, 64, 96)).shape[2:] == (2, 3)


def test_one_channel_gives_exactly_what_three_equal_channels_give() -> None:
    torch.manual_seed(0)
    reference = torchvision.models.resnet50(weights=None).eval()
    network = build_network("resnet50", labels=1000, rgb=True).eval()
    tensors = reference.state_dict()
    network.backbone.load_state_dict({name: value for name, value in tensors.items() if not name.startswith("fc.")})
    network.head.load_state_dict({"weight": tensors["fc.weight"], "bias": tensors["fc.bias"]})
    images = torch.rand(2, 1, 96, 96)
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        expected = reference((images.repeat(1, 3, 1, 1) - mean) / std)
        torch.testing.assert_close(network(images), expected, rtol=1e-5, atol=1e-5)


def test_normalisation_is_inside_the_network_and_saved_with_it() -> None:
    assert {"mean", "std"} <= set(build_network("resnet18", labels=1, rgb=True).state_dict())


def test_deeper_networks_have_more_parameters() -> None:
    depths: tuple[Architecture, ...] = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
    counts = [parameter_count(build_network(name, labels=1, rgb=False)) for name in depths]
    assert counts == sorted(counts)
