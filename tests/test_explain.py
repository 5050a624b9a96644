from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from medres.config import Architecture
from medres.imaging.preprocessing import place
from medres.model.classifier import Classifier
from medres.model.explain import evidence
from medres.model.network import STRIDE, build_network, family
from medres.statistics.pointing import peak

ARCHITECTURES: tuple[Architecture, ...] = ("resnet18", "resnet50", "densenet121")


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_the_exact_map_is_grad_cam_of_the_logit_before_its_stretching(architecture: Architecture) -> None:
    torch.manual_seed(0)
    network = build_network(architecture, labels=3, folded=True).eval()
    images = torch.rand(1, 1, 128, 128)
    with torch.inference_mode():
        maps = evidence(network, network.feature_maps(images))
    for label in range(3):
        with GradCAM(network, [network.backbone.layer4[-1]]) as cam:
            cam(images, targets=[ClassifierOutputTarget(label)])
            activations = cam.activations_and_grads.activations[0]
            weights = cam.activations_and_grads.gradients[0].mean(dim=(2, 3), keepdim=True)
            expected = (weights * activations).sum(dim=1).clamp(min=0)
        cells = activations.shape[2] * activations.shape[3]
        torch.testing.assert_close(maps[:, label], expected * cells, rtol=1e-4, atol=1e-5)


def test_the_mean_of_unclipped_evidence_is_the_logit_without_its_bias() -> None:
    torch.manual_seed(0)
    network = build_network("resnet18", labels=2).eval()
    images = torch.rand(4, 1, 96, 96)
    with torch.inference_mode():
        features = network.feature_maps(images)
        positive = evidence(network, features).mean(dim=(2, 3))
        network.head.weight.neg_()
        negative = evidence(network, features).mean(dim=(2, 3))
        network.head.weight.neg_()
        torch.testing.assert_close(positive - negative + network.head.bias, network(images), rtol=1e-4, atol=1e-4)


def test_the_mean_of_densenet_s_evidence_is_its_logit() -> None:
    torch.manual_seed(0)
    network = build_network("densenet121", labels=2, folded=True).eval()
    torch.nn.init.uniform_(network.head.weight)  # all evidence speaks for the label: nothing is clipped
    images = torch.rand(2, 1, 96, 96)
    with torch.inference_mode():
        found = evidence(network, network.feature_maps(images)).mean(dim=(2, 3)) + network.head.bias
        torch.testing.assert_close(found, network(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cells_of_the_last_map_are_centred_where_heatmaps_are_drawn(architecture: Architecture) -> None:
    network = build_network(architecture, labels=1).eval()
    for name, value in network.named_parameters():
        if value.ndim == 4:
            torch.nn.init.constant_(value, 1 / value[0].numel())  # every kernel a plain average: centred by symmetry
        elif "bn" in name or "norm" in name or "downsample" in name:
            torch.nn.init.constant_(value, float("weight" in name))
    pool = "maxpool" if "resnet" in architecture else "features.pool0"
    network.backbone.set_submodule(pool, torch.nn.AvgPool2d(3, stride=2, padding=1))  # a maximum has no centre
    network.mean.zero_()
    network.std.fill_(1)
    images = torch.full((1, 1, 1000, 1000), 1.0, requires_grad=True)  # no multiple of the stride
    row, column = 15, 17  # far from the borders
    network.feature_maps(images)[0, :, row, column].sum().backward()
    assert images.grad is not None
    seen = images.grad[0, 0].double()
    places = torch.arange(1000, dtype=torch.float64)
    centre = [float((seen.sum(dim=1 - axis) * places).sum() / seen.sum()) for axis in (0, 1)]
    first = family(architecture).first_cell
    assert centre == pytest.approx([first + STRIDE * row, first + STRIDE * column], abs=1.0)


@pytest.mark.parametrize("size", [128, 300, 500])
@pytest.mark.parametrize("architecture", ["resnet18", "densenet121"])
def test_a_cell_is_drawn_at_its_centre_in_native_pixels(architecture: Architecture, size: int) -> None:
    first = family(architecture).first_cell
    with torch.inference_mode():
        side = build_network(architecture, labels=1).eval().feature_maps(torch.zeros(1, 1, size, size)).shape[-1]
    placement = place(1024, 1000, size=size)
    model: Any = SimpleNamespace(card=SimpleNamespace(architecture=architecture))
    for row, column in ((1, 2), (2, 1), (side - 1, side - 2)):
        cells = np.zeros((side, side), np.float32)
        cells[row, column] = 1
        found = np.array(peak(Classifier.native_heatmap(model, placement, cells)))
        centre = np.array([[first + STRIDE * row, first + STRIDE * column]], dtype=np.float64)
        expected = placement.to_native(centre)[0]
        if row == side - 1:  # beyond the outermost centre its value goes on: the peak may lie anywhere there
            found[0] = min(found[0], expected[0])
        assert np.abs(found - expected).max() <= 1024 / size  # one native pixel block
