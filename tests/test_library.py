"""Maps of the grad-cam library: where the exact map equals them and where it does not, and that they leave no trace."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image

from medres import Classifier, read_radiograph
from medres.config import Architecture
from medres.errors import UsageError
from medres.model.explain import evidence
from medres.model.heatmaps import library
from medres.model.heatmaps.grid import grid_of
from medres.model.heatmaps.library import LOGIT_SCALE, METHODS, Method, library_map
from medres.model.network import RadiographNetwork, build_network
from medres.records import Radiograph
from tests.conftest import Medres
from tests.support.processes import loaded_after

OF_LIBRARY = tuple(method for method in METHODS if method != "cam")


class Explained(torch.nn.Module):
    """A network whose last feature maps the library can hook."""

    def __init__(self, network: RadiographNetwork) -> None:
        super().__init__()
        self.network, self.maps = network, torch.nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network.head(self.maps(self.network.feature_maps(images)).mean(dim=(2, 3)))


def lively(architecture: Architecture, labels: int = 3) -> RadiographNetwork:
    torch.manual_seed(0)
    network = build_network(architecture, labels=labels).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
    with torch.inference_mode():
        logits = network(torch.rand(1, 1, 128, 128))
    with torch.no_grad():
        network.head.weight.div_(logits.abs().max())  # random networks are sure of anything: no sigmoid has a gradient
    return network


def differences(network: RadiographNetwork, target: Any, layer: torch.nn.Module | None = None) -> list[float]:
    """Of every label: how far the exact map and the library's Grad-CAM lie apart, after the library's stretching."""
    images = torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exact = evidence(network, network.feature_maps(images)).numpy()
    model = Explained(network)
    found = []
    for label in range(3):
        with GradCAM(model, [layer or model.maps]) as cam:
            theirs = cam(images, targets=[lambda logits, label=label: target(logits, label)])
        ours = scale_cam_image(scale_cam_image(exact[:, label], (128, 128)))
        found.append(float(np.abs(ours - theirs).max()))
    return found


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50", "resnet101", "densenet121"])
def test_the_exact_map_is_the_library_s_grad_cam_of_the_logit_and_of_its_own_sigmoid(
    architecture: Architecture,
) -> None:
    network = lively(architecture)
    assert max(differences(network, lambda logits, label: logits[label])) <= 1e-4
    assert max(differences(network, lambda logits, label: torch.sigmoid(logits[label]))) <= 1e-4


def test_the_exact_map_is_not_grad_cam_of_a_softmax_or_of_an_earlier_layer() -> None:
    network = lively("resnet18")
    assert max(differences(network, lambda logits, label: torch.softmax(logits, dim=0)[label])) > 0.01
    assert max(differences(network, lambda logits, label: logits[label], network.backbone.layer3)) > 0.01
    with torch.no_grad():
        network.head.weight.mul_(1e4)  # a sure network's sigmoid has no gradient, and the library no map
    assert max(differences(network, lambda logits, label: torch.sigmoid(logits[label]))) > 0.01


@pytest.mark.parametrize("architecture", ["resnet18", "densenet121"])
def test_grad_cam_and_hirescam_of_the_last_layer_are_the_signed_exact_map(architecture: Architecture) -> None:
    network, image = lively(architecture), torch.rand(1, 1, 96, 96)
    with torch.inference_mode():
        exact = evidence(network, network.feature_maps(image))[0, 1].numpy()
        logit = float(network(image)[0, 1] - network.head.bias[1])
    for method in ("gradcam", "hirescam"):
        found = library_map(network, image, label=1, method=method)
        np.testing.assert_allclose(np.clip(found, 0, None), exact, rtol=1e-4, atol=1e-5)
        assert found.mean() == pytest.approx(logit, abs=1e-4)


@pytest.mark.parametrize("method", OF_LIBRARY)
def test_a_method_gives_a_map_of_a_layer_and_leaves_the_network_as_it_was(method: Method) -> None:
    network, image = lively("resnet18"), torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        before = network(image)
    for layer, side in ((None, 2), ("backbone.layer3", 4), ("backbone.layer2.1.conv2", 8)):
        found = library_map(network, image, label=0, method=method, layer=layer)
        assert found.shape == (side, side)
        assert np.isfinite(found).all()
    with torch.inference_mode():
        assert torch.equal(network(image), before)
    assert no_hook(network)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())


def no_hook(network: RadiographNetwork) -> bool:
    return not any(module._forward_hooks or module._backward_hooks for module in network.modules())


@pytest.mark.parametrize("method", OF_LIBRARY)
def test_hooks_are_released_after_an_error_too(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Recorded(library._Structure):
        def __init__(self, network: RadiographNetwork) -> None:
            super().__init__(network)
            made.append(self)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            super().forward(images)
            raise IndexError("which the library would swallow")

    monkeypatch.setattr(library, "_Structure", Recorded)
    with pytest.raises(IndexError):
        library_map(lively("resnet18"), torch.rand(1, 1, 64, 64), label=0, method=method)
    assert no_hook(made[0])


def test_what_cannot_be_explained_is_said() -> None:
    network, image = lively("resnet18"), torch.rand(1, 1, 64, 64)
    with pytest.raises(UsageError, match=r"its stages are backbone\.layer1, "):
        library_map(network, image, label=0, method="gradcam", layer="layer3")
    with pytest.raises(UsageError, match="no feature map"):
        library_map(network, image, label=0, method="gradcam", layer="head")


def test_a_classifier_says_what_a_method_s_values_are(small_model: Path, radiograph: Radiograph) -> None:
    model = Classifier.load(small_model)
    for method in OF_LIBRARY:
        found = model.explain(radiograph, label="disc", method=method)
        assert (found.method, found.unit, found.stride) == (method, "logit" if method in LOGIT_SCALE else "", 32)
        assert found.heatmap.shape == radiograph.pixels.shape
    third = model.explain(radiograph, label="disc", method="hirescam", layer="backbone.layer3")
    assert third.stride == 16
    for wrong in (
        {"method": "hirescam", "stride": 16},
        {"layer": "backbone.layer3"},
        {"method": "saliency"},
    ):
        with pytest.raises(UsageError):
            model.explain(radiograph, label="disc", **wrong)


@pytest.fixture
def radiograph(small_cohort: Path) -> Radiograph:
    return read_radiograph(small_cohort.parent / "images" / "0003.dcm")


@pytest.mark.parametrize("size", [64, 96, 130])
@pytest.mark.parametrize("architecture", ["resnet18", "densenet121"])
def test_cells_of_an_earlier_layer_are_drawn_where_they_lie(architecture: Architecture, size: int) -> None:
    network = build_network(architecture, labels=1).eval()
    for block, stride in zip(network.family.blocks, (4, 8, 16, 32), strict=True):
        seen: list[int] = []
        handle = network.get_submodule(f"backbone.{block}").register_forward_hook(
            lambda module, given, output, seen=seen: seen.append(output.shape[-1])
        )
        with torch.inference_mode():
            network(torch.zeros(1, 1, size, size))
        handle.remove()
        grid = grid_of(architecture, size, seen[0])
        assert grid.stride == stride
        if stride == 32:
            assert grid.first == network.family.first_cell
    with pytest.raises(UsageError):
        grid_of(architecture, 128, 5)


def test_the_library_is_imported_for_its_methods_alone() -> None:
    assert "pytorch_grad_cam" not in loaded_after("import medres.model.classifier, medres.scoring.folder")


def many_explanations(model: Classifier, shown: Radiograph, *, threads: int, each: int) -> None:
    """Explanations in threads are those of one thread, no hook is left, and memory does not grow with their number."""
    kinds: list[dict[str, Any]] = [{}, {"stride": 8}, {"stride": 32}, {"method": "gradcam"}, {"method": "layercam"}]
    serial = [model.explain(shown, label="disc", **kind).heatmap for kind in kinds]
    ready = threading.Barrier(threads)

    def work(number: int) -> None:
        ready.wait(60)
        for turn in range(each):
            kind = (number + turn) % len(kinds)
            assert np.array_equal(model.explain(shown, label="disc", **kinds[kind]).heatmap, serial[kind])

    def all_threads() -> int:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
        gc.collect()
        return int(psutil.Process().memory_info().rss)

    first = all_threads()
    assert all_threads() < first + 64 * 2**20
    assert all(no_hook(member.network) for member in model.members)


def test_explanations_in_threads_are_those_of_one(small_model: Path, radiograph: Radiograph) -> None:
    many_explanations(Classifier.load(small_model, device="cpu"), radiograph, threads=4, each=5)


@pytest.mark.sweep
@pytest.mark.timeout(7200)
def test_sixteen_threads_of_two_hundred_explanations_are_those_of_one(
    small_model: Path, radiograph: Radiograph
) -> None:
    many_explanations(Classifier.load(small_model, device="cpu"), radiograph, threads=16, each=200)


def test_explain_takes_a_method_and_says_where_it_has_no_logit_scale(
    small_model: Path, small_cohort: Path, tmp_path: Path, medres: Medres
) -> None:
    one = small_cohort.parent / "images" / "0003.dcm"
    asked = ("explain", small_model, one, "--label", "disc", "--show-anyway")
    found = medres(*asked, "--method", "eigencam", "--layer", "backbone.layer3", "--out", tmp_path / "eigen.png")
    assert found.returncode == 0, found.stderr
    assert "no logit scale" in found.stdout
    wrong = medres(*asked, "--layer", "backbone.layer3", "--out", tmp_path / "cam.png")
    assert wrong.returncode == 2
    assert "give a method" in wrong.stderr
    assert not (tmp_path / "cam.png").exists()
