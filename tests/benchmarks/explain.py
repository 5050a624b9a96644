"""What heatmaps cost: `python -m tests.benchmarks.explain` measures them beside the plain pass and pytorch-grad-cam.

Every way of computing has its turn in each round (`timing`), on one thread; figures are processor seconds, and ratios
are medians of rounds. Before that: the exact maps must be the library's, after its own stretching to [0, 1].
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from medres.config import Architecture
from medres.model.forward import forward
from medres.model.heatmaps.fine_maps import Finer, fine_maps
from medres.model.network import RadiographNetwork, build_network
from tests.benchmarks.timing import finish, in_turn, medians, ratio, versions

LABELS = 14
ARCHITECTURES: tuple[Architecture, ...] = ("resnet18", "resnet50", "resnet101", "densenet121")
MOST_OVER_PLAIN = 1.05
ONE_LABEL, ALL_LABELS = 2.5, 25.0
SAME = 1e-4


class Explained(torch.nn.Module):
    """A network whose last feature maps the library can hook."""

    def __init__(self, network: RadiographNetwork) -> None:
        super().__init__()
        self.network, self.maps = network, torch.nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.network.head(self.maps(self.network.feature_maps(images)).mean(dim=(2, 3)))


def plain(network: RadiographNetwork, image: Tensor) -> None:
    with torch.inference_mode():
        network(image)


def library(cam: GradCAM, image: Tensor, labels: int) -> list[Any]:
    return [cam(image, targets=[ClassifierOutputTarget(label)]) for label in range(labels)]


def finer(network: RadiographNetwork, asked: Finer, image: Tensor, labels: int) -> None:
    before = forward(network, image, maps=True, stages=asked.stages).before
    assert before is not None
    fine_maps([network], [before], np.arange(LABELS)[None] < labels, stages=asked.stages)


def used(run: Callable[[], Any]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def difference(network: RadiographNetwork, cam: GradCAM, image: Tensor) -> float:
    """How far the exact maps and the library's lie apart, over all labels."""
    maps = forward(network, image, maps=True).maps
    assert maps is not None
    side = image.shape[-1]
    ours = [scale_cam_image(scale_cam_image(maps[:, label].numpy(), (side, side))) for label in range(LABELS)]
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, library(cam, image, LABELS), strict=True))


def measured(architecture: Architecture, size: int, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    network = build_network(architecture, labels=LABELS).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.rand(1, 1, size, size).contiguous(memory_format=torch.channels_last)
    model = Explained(network)
    with GradCAM(model, [model.maps]) as cam:
        apart = difference(network, cam, image)
        ways: dict[str, Callable[[], Any]] = {
            "plain": partial(plain, network, image),
            "all_labels": partial(forward, network, image, maps=True),
            "stride_16": partial(finer, network, Finer(16), image, 1),
            "stride_16_all": partial(finer, network, Finer(16), image, LABELS),
            "stride_8": partial(finer, network, Finer(8), image, 1),
            "library_1": partial(library, cam, image, 1),
            "library_14": partial(library, cam, image, LABELS),
        }
        found = in_turn({name: partial(used, way) for name, way in ways.items()}, rounds=rounds)
    return {
        "largest_difference_from_the_library": apart,
        "processor_s": medians(found),
        "all_labels_over_plain": ratio(found, "all_labels", "plain"),
        "stride_16_over_plain": ratio(found, "stride_16", "plain"),
        "stride_16_of_all_labels_over_plain": ratio(found, "stride_16_all", "plain"),
        "stride_8_over_plain": ratio(found, "stride_8", "plain"),
        "library_1_over_all_labels": ratio(found, "library_1", "all_labels"),
        "library_14_over_all_labels": ratio(found, "library_14", "all_labels"),
    }


def unmet(name: str, found: dict[str, Any]) -> list[str]:
    promises = {
        f"maps differ from the library's by more than {SAME}": found["largest_difference_from_the_library"] <= SAME,
        f"all labels cost more than {MOST_OVER_PLAIN} passes": found["all_labels_over_plain"] <= MOST_OVER_PLAIN,
        f"less than {ONE_LABEL} times as fast for a label": found["library_1_over_all_labels"] >= ONE_LABEL,
        f"less than {ALL_LABELS} times as fast for {LABELS}": found["library_14_over_all_labels"] >= ALL_LABELS,
    }
    return [f"{name}: {words}" for words, kept in promises.items() if not kept]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", choices=get_args(Architecture), action="append")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: measured(name, asked.size, asked.rounds) for name in asked.architecture or ARCHITECTURES}
    said = [line for name, each in found.items() for line in unmet(name, each)]
    finish({"versions": versions("torch", "grad-cam"), "size": asked.size, "networks": found}, said)


if __name__ == "__main__":
    main()
