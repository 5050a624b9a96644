"""Maps of many images are those of one at a time; shuffled weights make another network and leave the first alone."""

from __future__ import annotations

import numpy as np
import torch

from medres.model.forward import as_images
from medres.model.heatmaps.fine_maps import Finer, earlier_evidence
from medres.model.heatmaps.many_maps import SHUFFLED, maps_of, shuffled
from medres.model.network import RadiographNetwork, build_network
from medres.statistics.map_similarity import rank_correlation
from tests.support.made import narrow_networks
from tests.support.phantoms import blob

CPU = torch.device("cpu")


def network(seed: int = 0) -> RadiographNetwork:
    torch.manual_seed(seed)
    with narrow_networks():
        return build_network("resnet18", labels=3).eval()


def images(count: int) -> np.ndarray:
    square = [blob(seed, bright=True, rows=64, columns=64) for seed in range(count)]
    return (np.stack(square) * 16).astype(np.uint16)


def test_a_batch_gives_the_maps_of_single_images() -> None:
    net, pixels = network(), images(3)
    found = maps_of([net], pixels, 1, device=CPU)
    stages = Finer().stages
    for one, image in zip(found, pixels, strict=True):
        before = net.before(as_images(image[None], CPU), stages)
        alone = earlier_evidence(net, before.detach(), [1], stages=stages)[0].numpy()
        assert np.allclose(one, alone, atol=1e-5 * np.abs(alone).max())
    assert all(parameter.grad is None for parameter in net.parameters())
    other = network(1)
    both = maps_of([net, other], pixels, 1, device=CPU)
    assert np.allclose(both, (found + maps_of([other], pixels, 1, device=CPU)) / 2, atol=1e-6)


def test_shuffling_goes_from_the_head_down_keeps_every_value_and_leaves_the_network_as_it_was() -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    changed: list[set[str]] = []
    for name, copy in shuffled(net, seed=0):
        own = copy.state_dict()
        changed.append({key for key, value in own.items() if not torch.equal(value, before[key])})
        for key, value in own.items():
            assert torch.equal(value.flatten().sort().values, before[key].flatten().sort().values), (name, key)
    assert changed[0] == {"head.weight", "head.bias"}
    assert changed[0] < changed[1] < changed[2]
    assert all(key.startswith(("head", "backbone.layer4")) for key in changed[1])
    assert "backbone.conv1.weight" in changed[2]
    assert len(changed) == len(SHUFFLED)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_same_seed_shuffles_alike_and_a_map_that_ignores_the_weights_is_found_out() -> None:
    net, pixels = network(), images(4)
    own = maps_of([net], pixels, 0, device=CPU)
    first, again = ([maps_of([copy], pixels, 0, device=CPU) for _, copy in shuffled(net, seed=3)] for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    brightness = pixels[:, ::16, ::16].astype(np.float64)  # a picture of the image, whatever the network is
    assert np.mean([rank_correlation(one, one) for one in brightness]) == 1
    assert np.mean([abs(rank_correlation(one, other)) for one, other in zip(own, first[-1], strict=True)]) < 0.9
