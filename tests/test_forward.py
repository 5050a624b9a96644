"""One forward pass for all callers: what it gives is the network's own answer, however many images come at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medres.config import Architecture
from medres.model import forward as forwarding
from medres.model.explain import evidence
from medres.model.forward import as_images, forward, forward_batches, lower_precision, precision_complaint
from medres.model.network import RadiographNetwork, build_network

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 2**16, (5, 32, 32), dtype=np.uint16)


@pytest.fixture(scope="module")
def network() -> RadiographNetwork:
    return build_network("resnet18", labels=2).eval()


def test_a_pass_gives_the_network_s_logits_features_and_evidence(network: RadiographNetwork) -> None:
    images = as_images(PIXELS, CPU)
    assert images.shape == (5, 1, 32, 32)
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    found = forward(network, images, maps=True)
    with torch.inference_mode():
        assert torch.equal(found.logits, network(images))
        assert torch.equal(found.features, network.features(images))
        assert found.maps is not None
        assert torch.equal(found.maps, evidence(network, network.feature_maps(images)))
    assert forward(network, images).maps is None
    assert not found.logits.requires_grad


def test_batches_are_the_chosen_images_in_order(network: RadiographNetwork) -> None:
    places = [4, 0, 3]
    found = list(forward_batches(network, PIXELS, places, device=CPU, batch=2))
    assert [len(part.logits) for part in found] == [2, 1]
    for part, chosen in zip(found, ([4, 0], [3]), strict=True):
        assert torch.equal(part.logits, forward(network, as_images(PIXELS[chosen], CPU)).logits)


def test_a_batch_that_does_not_fit_is_passed_in_parts(
    network: RadiographNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = forward

    def small(network: RadiographNetwork, images: torch.Tensor, *, maps: bool) -> forwarding.Outputs:
        if len(images) > 2:
            raise torch.OutOfMemoryError
        return whole(network, images, maps=maps)

    monkeypatch.setattr(forwarding, "forward", small)
    found = list(forward_batches(network, PIXELS, range(5), device=CPU, batch=5))
    assert [len(part.logits) for part in found] == [2, 1, 2]
    assert torch.allclose(
        torch.cat([part.logits for part in found]), whole(network, as_images(PIXELS, CPU)).logits, atol=1e-5
    )


@pytest.mark.parametrize("architecture", ["resnet18", "densenet121"])
def test_bf16_rounds_convolutions_and_nothing_after_them(architecture: Architecture) -> None:
    torch.manual_seed(0)
    exact, rounded = (build_network(architecture, labels=2).eval() for _ in range(2))
    rounded.load_state_dict(exact.state_dict())
    lower_precision(rounded, "bf16")
    images = as_images(np.random.default_rng(0).integers(0, 2**16, (3, 64, 64), dtype=np.uint16), CPU)
    one, other = forward(exact, images, maps=True), forward(rounded, images, maps=True)
    assert other.maps is not None
    assert {tensor.dtype for tensor in (other.logits, other.features, other.maps)} == {torch.float32}
    with torch.inference_mode():
        assert torch.equal(other.logits, rounded.head(other.features))
    assert not torch.equal(one.features, other.features)
    assert torch.allclose(one.features, other.features, atol=0.05 * float(one.features.abs().max()))
    norms = [module for module in rounded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {module.weight.dtype for module in norms} == {torch.float32}


def test_float32_changes_nothing(network: RadiographNetwork) -> None:
    before = forward(network, as_images(PIXELS, CPU)).logits
    lower_precision(network, "float32")
    assert torch.equal(forward(network, as_images(PIXELS, CPU)).logits, before)


def test_fp16_on_a_processor_is_refused_with_what_to_choose() -> None:
    assert "bf16" in precision_complaint("fp16", CPU)
    assert not precision_complaint("bf16", CPU)
