"""Real loading code against full-size checkpoints in torchvision's format, made here with random weights."""

from __future__ import annotations

import hashlib
import pickle
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from monai.networks import nets
from safetensors.torch import save_file

from medres import train
from medres.config import Architecture, Network, load_config
from medres.errors import WeightsError
from medres.model.card import BackboneOrigin
from medres.model.classifier import Classifier
from medres.model.network import IMAGENET_MEAN, IMAGENET_STD, RadiographNetwork, build_network
from medres.model.weights import (
    WeightsSource,
    fill_backbone,
    find_weights,
    folded_filters,
    load_backbone,
    named_source,
)
from tests.conftest import TINY, Medres
from tests.support.phantoms import write_cohort
from tests.support.recipes import fixture_changes

FIFTY = Network(architecture="resnet50", weights="IMAGENET1K_V2")
MADE = {name: getattr(torchvision.models, name) for name in ("resnet50", "resnet101")}


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests read the result, not the log."""


@pytest.fixture(scope="module", params=MADE)
def checkpoint(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A full-size network's checkpoint, its batch norms at home with images."""
    torch.manual_seed(1)
    network = MADE[request.param](weights=None)
    with torch.no_grad():
        for _ in range(8):  # a trained network's running statistics are those of its images
            network((torch.rand(4, 1, 96, 96).repeat(1, 3, 1, 1) - 0.449) / 0.226)
    draft = tmp_path_factory.mktemp("weights") / "draft.pth"
    torch.save(network.state_dict(), draft)
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()
    return draft.rename(draft.with_name(f"{request.param}-{digest[:8]}.pth"))


def named(checkpoint: Path) -> Network:
    """What a configuration says to start from it."""
    return Network.model_validate({**FIFTY.model_dump(), "architecture": checkpoint.stem.split("-")[0]})


@pytest.fixture
def source(checkpoint: Path) -> Iterator[WeightsSource]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(checkpoint.parent)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/{checkpoint.name}"
    yield WeightsSource(f"{checkpoint.stem.split('-')[0]} IMAGENET1K_V2", url, checkpoint.stem.rsplit("-", 1)[-1])
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def test_every_named_weight_has_a_hash_in_its_file_name() -> None:
    source = named_source(FIFTY)
    assert source.filename == "resnet50-11ad3fa6.pth"
    assert source.sha256_prefix == "11ad3fa6"
    assert named_source(Network(architecture="resnet18", weights="IMAGENET1K_V1")).sha256_prefix == "f37072fd"


def test_weights_that_torchvision_does_not_have_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"no IMAGENET1K_V2 for resnet18; .*weights=IMAGENET1K_V1"):
        named_source(Network(architecture="resnet18", weights="IMAGENET1K_V2"))


def test_nothing_is_fetched_unasked_and_the_message_names_file_hash_and_folder(empty_hub: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        load_backbone(FIFTY)
    for words in ("resnet50-11ad3fa6.pth", "11ad3fa6", str(empty_hub), "weights_file", "allow_download"):
        assert words in str(caught.value)
    assert not empty_hub.exists()


def test_a_local_file_fills_every_tensor_of_the_backbone(checkpoint: Path, source: WeightsSource) -> None:
    config = named(checkpoint)
    weights = load_backbone(config.model_copy(update={"weights_file": checkpoint}), source=source)
    assert weights is not None
    assert weights.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    network = build_network(config.architecture, labels=2, folded=True)
    fill_backbone(network, weights)
    assert_filled(network, torch.load(checkpoint, weights_only=True))


def assert_filled(network: RadiographNetwork, original: dict[str, torch.Tensor]) -> None:
    """Every tensor of the backbone is the original's, but for the first layer, which is folded."""
    first = f"{network.family.first}.weight"
    for name, value in network.backbone.state_dict().items():
        expected = folded_filters(original[name], IMAGENET_MEAN, IMAGENET_STD) if name == first else original[name]
        assert torch.equal(value, expected), name


def test_one_channel_gives_what_three_equal_channels_give(checkpoint: Path, source: WeightsSource) -> None:
    config = named(checkpoint)
    reference = MADE[config.architecture](weights=None).eval()
    tensors = torch.load(checkpoint, weights_only=True)
    reference.load_state_dict(tensors)
    weights = load_backbone(config.model_copy(update={"weights_file": checkpoint}), source=source)
    assert weights is not None
    network = build_network(config.architecture, labels=1000, folded=True).eval()
    fill_backbone(network, weights)
    network.head.load_state_dict({name: tensors[f"fc.{name}"] for name in ("weight", "bias")})
    images = torch.rand(2, 1, 96, 96)
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    colour = (images.repeat(1, 3, 1, 1) - mean) / std
    grey = torch.cat([(images - network.mean) / network.std, torch.ones_like(images)], dim=1)
    with torch.inference_mode():
        responses = network.backbone.conv1(grey)  # its border, too, where a folded mean without ones would be wrong
        torch.testing.assert_close(responses, reference.conv1(colour), rtol=0, atol=1e-5)
        torch.testing.assert_close(network(images), reference(colour), rtol=0, atol=1e-5)


def test_three_channels_that_saw_another_range_are_folded_for_it(
    trained: torchvision.models.ResNet, tmp_path: Path
) -> None:
    path = tmp_path / "own.pth"
    torch.save(trained.state_dict(), path)
    weights = load_backbone(own(path, input_range=(0.0, 255.0)))
    assert weights is not None
    network = build_network("resnet18", labels=1, folded=True).eval()
    fill_backbone(network, weights)
    images = torch.rand(2, 1, 64, 64)
    seen = []
    trained.eval().avgpool.register_forward_hook(lambda *given: seen.append(given[2].flatten(1)))
    with torch.inference_mode():
        trained(images.repeat(1, 3, 1, 1) * 255)
        torch.testing.assert_close(network.features(images), seen[0], rtol=1e-4, atol=1e-4)


def test_an_allowed_download_lands_in_the_hub_cache_and_is_used_offline_after(
    source: WeightsSource, empty_hub: Path, checkpoint: Path
) -> None:
    path = find_weights(source, allow_download=True)
    assert path == empty_hub / checkpoint.name
    nowhere = WeightsSource(source.name, f"http://127.0.0.1:9/{checkpoint.name}", source.sha256_prefix)
    assert find_weights(nowhere, allow_download=True) == path


def test_a_download_with_another_hash_is_refused_and_not_kept(source: WeightsSource, empty_hub: Path) -> None:
    with pytest.raises(WeightsError, match="could not be downloaded"):
        find_weights(WeightsSource(source.name, source.url, "00000000"), allow_download=True)
    assert list(empty_hub.iterdir()) == []


def test_a_server_that_is_not_there_is_a_clear_refusal(source: WeightsSource) -> None:
    gone = WeightsSource(source.name, "http://127.0.0.1:9/resnet50-00000000.pth", "00000000")
    with pytest.raises(WeightsError, match="could not be downloaded"):
        find_weights(gone, allow_download=True)


def test_a_truncated_file_is_refused_by_its_hash(checkpoint: Path, source: WeightsSource, tmp_path: Path) -> None:
    cut = tmp_path / checkpoint.name
    cut.write_bytes(checkpoint.read_bytes()[:1_000_000])
    with pytest.raises(WeightsError, match="damaged or another one"):
        find_weights(source, file=cut)


def _source_of(path: Path) -> WeightsSource:
    return WeightsSource("made here", f"file:///{path.name}", hashlib.sha256(path.read_bytes()).hexdigest()[:8])


def test_another_architecture_is_refused(checkpoint: Path, source: WeightsSource) -> None:
    wrong = Network(architecture="resnet18", weights="IMAGENET1K_V1", weights_file=checkpoint)
    with pytest.raises(WeightsError, match="is not a resnet18"):
        load_backbone(wrong, source=source)


class _Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (str(self.path),))


def test_a_malicious_pickle_is_never_executed(tmp_path: Path) -> None:
    canary, trap = tmp_path / "canary", tmp_path / "resnet50-x.pth"
    trap.write_bytes(pickle.dumps({"conv1.weight": _Canary(canary)}))
    with pytest.raises(WeightsError, match=r"cannot be read as weights.*state_dict"):
        load_backbone(FIFTY.model_copy(update={"weights_file": trap}), source=_source_of(trap))
    assert not canary.exists()


def test_a_random_start_is_none_and_cannot_be_combined_with_a_file(checkpoint: Path) -> None:
    assert load_backbone(Network(architecture="resnet18", weights="none")) is None
    with pytest.raises(WeightsError, match="say which is meant"):
        load_backbone(Network(architecture="resnet18", weights="none", weights_file=checkpoint))


@pytest.fixture(scope="module")
def trained() -> torchvision.models.ResNet:
    """A ResNet-18 whose running statistics are not those of a new network."""
    torch.manual_seed(2)
    network = torchvision.models.resnet18(weights=None)
    network(torch.rand(4, 3, 64, 64))
    return network.eval()


def own(path: Path, **changes: object) -> Network:
    asked = {"architecture": "resnet18", "weights": "file", "weights_file": path} | changes
    return Network.model_validate(asked)


@pytest.mark.parametrize("wrapper", ["", "module.", "backbone.", "module.model."])
@pytest.mark.parametrize("kind", ["pickle", "safetensors", "checkpoint"])
def test_a_checkpoint_of_ones_own_loads_whatever_wraps_its_names(
    trained: torchvision.models.ResNet, tmp_path: Path, wrapper: str, kind: str
) -> None:
    tensors = {f"{wrapper}{name}": value for name, value in trained.state_dict().items()}
    path = tmp_path / ("own.safetensors" if kind == "safetensors" else "own.pth")
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors, "epoch": 3} if kind == "checkpoint" else tensors, path)
    weights = load_backbone(own(path))
    assert weights is not None
    assert weights.folded
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    network = build_network("resnet18", labels=1, folded=True)
    fill_backbone(network, weights)
    assert_filled(network, trained.state_dict())


MONAI: dict[str, tuple[Architecture, Callable[[int], torch.nn.Module]]] = {
    "ResNet": ("resnet18", lambda channels: nets.resnet18(**_flat(channels), conv1_t_stride=2, bias_downsample=False)),
    "ResNet, biases": ("resnet50", lambda channels: nets.resnet50(**_flat(channels), conv1_t_stride=2)),
    "DenseNet121": (
        "densenet121",
        lambda channels: nets.DenseNet121(spatial_dims=2, in_channels=channels, out_channels=2),
    ),
    "TorchVisionFCModel": ("resnet18", lambda _: nets.TorchVisionFCModel("resnet18", num_classes=2)),
    "TorchVisionFCModel, pool kept": ("resnet18", lambda _: nets.TorchVisionFCModel(num_classes=2, pool=None)),
    "TorchVisionFCModel, DenseNet": (
        "densenet121",
        lambda _: nets.TorchVisionFCModel("densenet121", num_classes=2, pool=None, fc_name="classifier"),
    ),
}
"""Networks that MONAI makes, with as many channels as they are asked for where they can be asked, else three."""


def _flat(channels: int) -> dict[str, Any]:
    return {"spatial_dims": 2, "n_input_channels": channels, "num_classes": 2}


def lived(network: torch.nn.Module, channels: int) -> torch.nn.Module:
    """The network with running statistics and biases that a training leaves."""
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("bias"):
                value += torch.randn_like(value) / 10
        network(torch.rand(4, channels, 224, 224))
    return network.eval()


@pytest.mark.parametrize(("name", "channels"), [*((name, 3) for name in MONAI), ("DenseNet121", 1), ("ResNet", 1)])
def test_what_monai_saved_gives_what_it_gave_there(name: str, channels: int, tmp_path: Path) -> None:
    torch.manual_seed(4)
    architecture, make = MONAI[name]
    made = lived(make(channels), channels)
    path = tmp_path / "monai.pt"
    torch.save({"model": made.state_dict()}, path)
    weights = load_backbone(own(path, architecture=architecture, input_range=(0.0, 1.0)))
    assert weights is not None
    network = build_network(architecture, labels=2, folded=channels == 3).eval()
    fill_backbone(network, weights)
    (head,) = (part for part in made.modules() if isinstance(part, torch.nn.Linear))
    network.head.load_state_dict(head.state_dict())
    images = torch.rand(2, 1, 224, 224)
    with torch.inference_mode():
        expected = made(images.repeat(1, channels, 1, 1))
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)
    assert bool(weights.doubt) == (name in ("ResNet", "ResNet, biases", "TorchVisionFCModel, pool kept"))


def test_a_network_of_three_dimensions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "monai.pt"
    torch.save(nets.resnet18(spatial_dims=3, n_input_channels=1, num_classes=2).state_dict(), path)
    with pytest.raises(WeightsError, match="of another shape"):
        load_backbone(own(path, input_range=(0.0, 1.0)))


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("architecture", ["resnet18", "densenet121"])
def test_a_model_of_medres_is_a_start_and_brings_its_own_normalisation(
    architecture: Architecture, folded: bool, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    saved = build_network(architecture, labels=3, folded=folded)
    saved.mean.fill_(0.449)
    saved.std.fill_(0.226)
    saved(torch.rand(4, 1, 64, 64))
    path = tmp_path / "model.safetensors"
    save_file(saved.state_dict(), path)
    weights = load_backbone(own(path, architecture=architecture))
    assert weights is not None
    assert (weights.folded, weights.doubt) == (folded, "")
    network = build_network(architecture, labels=1, folded=folded)
    fill_backbone(network, weights)
    images = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(network.eval().features(images), saved.eval().features(images), rtol=1e-5, atol=1e-5)
    with pytest.raises(WeightsError, match="leave out input_range"):
        load_backbone(own(path, architecture=architecture, input_range=(0.0, 1.0)))
    with pytest.raises(WeightsError, match=r"not a resnet34.*network\.architecture"):
        load_backbone(own(path, architecture="resnet34"))


def test_a_radiograph_network_of_one_channel_gets_the_range_it_was_trained_on(tmp_path: Path) -> None:
    """The layout of TorchXRayVision's ResNet-50: one channel, values from −1024 to 1024, thresholds beside them."""
    torch.manual_seed(3)
    foreign = torchvision.models.resnet50(weights=None, num_classes=18)
    foreign.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    foreign(torch.rand(4, 1, 64, 64) * 2048 - 1024)
    foreign.eval()
    tensors = {f"model.{name}": value for name, value in foreign.state_dict().items()}
    path = tmp_path / "foreign.pth"
    torch.save({**tensors, "op_threshs": torch.rand(18)}, path)
    with pytest.raises(WeightsError, match=r"one channel.*--set network\.input_range=\[-1024,1024\]"):
        load_backbone(own(path, architecture="resnet50"))
    weights = load_backbone(own(path, architecture="resnet50", input_range=(-1024.0, 1024.0)))
    assert weights is not None
    assert not weights.folded
    network = build_network("resnet50", labels=1)
    fill_backbone(network, weights)
    images = torch.rand(2, 1, 64, 64)
    foreign.fc = torch.nn.Identity()
    with torch.inference_mode():
        torch.testing.assert_close(network.eval().features(images), foreign(images * 2048 - 1024), rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_listed_by_name(trained: torchvision.models.ResNet, tmp_path: Path) -> None:
    tensors = dict(trained.state_dict())
    del tensors["layer3.0.conv1.weight"]
    tensors["layer1.0.conv1.weight"] = torch.zeros(1)
    tensors["attention.weight"] = torch.zeros(1)
    path = tmp_path / "own.pth"
    torch.save(tensors, path)
    with pytest.raises(WeightsError, match=r"1 missing \(layer3.*1 of another network \(attention.*1 of another shape"):
        load_backbone(own(path))


def test_a_checkpoint_of_ones_own_is_verified_where_a_hash_is_given(
    trained: torchvision.models.ResNet, tmp_path: Path
) -> None:
    path = tmp_path / "own.pth"
    torch.save(trained.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_backbone(own(path, weights_sha256=digest[:12])) is not None
    with pytest.raises(WeightsError, match=f"has the SHA-256 {digest}"):
        load_backbone(own(path, weights_sha256="00"))
    with pytest.raises(WeightsError, match="is not there"):
        load_backbone(own(tmp_path / "no.pth"))
    with pytest.raises(WeightsError, match="names none"):
        load_backbone(Network(architecture="resnet18", weights="file"))


def test_training_starts_from_a_checkpoint_of_ones_own(
    medres: Medres, trained: torchvision.models.ResNet, small_cohort: Path, tmp_path: Path
) -> None:
    path = tmp_path / "my: weights.pth"  # a name that YAML would read as a mapping
    torch.save(trained.state_dict(), path)
    short = "--set=training.stages=[{epochs: 1}]"
    done = medres("train", small_cohort, "--label", "disc", "--weights", path, "--out", tmp_path / "m", *TINY, short)
    assert done.returncode == 0, done.stderr
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest in done.stderr
    for text in (done.stderr, (tmp_path / "m" / "docs" / "README.md").read_text()):
        assert "does not say its strides" in text  # the same names may be of a MONAI ResNet, which has others
    shown = medres("inspect", tmp_path / "m").stdout
    assert "my: weights.pth" in shown
    assert digest[:12] in shown


def test_a_file_that_is_torchvision_s_by_its_hash_leaves_no_doubt(
    trained: torchvision.models.ResNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "renamed.pth"
    torch.save(trained.state_dict(), path)
    asked = Network(architecture="resnet18", weights="file", weights_file=path)
    found = load_backbone(asked)
    assert found is not None
    assert "does not say its strides" in found.doubt
    published = WeightsSource("resnet18 IMAGENET1K_V1", "https://example.org/resnet18.pth", found.sha256[:8])
    monkeypatch.setattr("medres.model.weights._published", lambda _: {"IMAGENET1K_V1": published})
    found = load_backbone(asked)
    assert found is not None
    assert found.doubt == ""


@pytest.mark.slow
def test_the_recipes_that_start_from_imagenet_are_trained_from_what_the_hub_cache_holds(
    checkpoint: Path, source: WeightsSource, empty_hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = checkpoint.stem.split("-")[0]
    monkeypatch.setattr("medres.model.weights.named_source", lambda _: source)
    empty_hub.mkdir(parents=True)
    shutil.copy(checkpoint, empty_hub)
    small = ["preprocessing.size=64", "training.stages=[{epochs: 1}]", "training.batch_size=8", "training.device=cpu"]
    config = load_config(recipe, [*small, "evaluation.replicates=100", *fixture_changes()])
    manifest = write_cohort(tmp_path / "cohort", patients=12)
    card = train(manifest, labels=("disc",), config=config, out=tmp_path / "model")
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert card.provenance.backbone == BackboneOrigin(name=f"{recipe} IMAGENET1K_V2", sha256=digest)
    assert (card.provenance.recipe, card.architecture, card.folded) == (recipe, recipe, True)
    assert not [limit for limit in card.limits if "strides" in limit]  # torchvision's own
    model = Classifier.load(tmp_path / "model", device="cpu")
    learnt = model.members[0].network.backbone.state_dict()["layer4.0.conv1.weight"]
    moved = (learnt - torch.load(checkpoint, weights_only=True)["layer4.0.conv1.weight"]).abs()
    assert 0 < moved.max() < 0.01  # fine-tuned, not started anew


def test_densenet_loads_from_files_old_and_new(tmp_path: Path) -> None:
    torch.manual_seed(3)
    trained = torchvision.models.densenet121(weights=None)
    tensors = trained.state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): value for name, value in tensors.items()}
    assert old.keys() != tensors.keys()
    for number, named in enumerate((tensors, old, {f"module.{name}": value for name, value in tensors.items()})):
        path = tmp_path / f"{number}.pth"
        torch.save(named, path)
        weights = load_backbone(Network(architecture="densenet121", weights="file", weights_file=path))
        assert weights is not None
        assert weights.folded
        network = build_network("densenet121", labels=2, folded=True)
        fill_backbone(network, weights)
        assert_filled(network, tensors)
    with pytest.raises(WeightsError, match="not a resnet18"):
        load_backbone(own(tmp_path / "0.pth"))
