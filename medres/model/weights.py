"""ImageNet weights: found on this machine, verified by hash, never executed, never fetched unasked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from medres.config import Network
from medres.errors import WeightsError
from medres.tables import sha256_file

_HEAD = ("fc.weight", "fc.bias")


@dataclass(frozen=True, slots=True)
class WeightsSource:
    """Where named weights come from, and how to know them."""

    name: str  # "resnet50 IMAGENET1K_V2"
    url: str
    sha256_prefix: str  # the SHA-256 starts with this; torchvision writes it into the file name

    @property
    def filename(self) -> str:
        """The file's name, as torchvision and the torch hub cache have it."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class BackboneWeights:
    """Verified weights of a backbone, without its ImageNet head."""

    name: str
    sha256: str
    tensors: dict[str, Tensor]


def named_source(network: Network) -> WeightsSource:
    """torchvision's source of `network.weights` for `network.architecture`.

    Raises:
        WeightsError: torchvision has no such weights for that architecture.
    """
    try:
        weights = torchvision.models.get_model_weights(network.architecture)[network.weights]
    except KeyError:
        raise WeightsError(f"torchvision has no {network.weights} for {network.architecture}") from None
    stem = weights.url.rsplit("/", 1)[-1].removesuffix(".pth")
    return WeightsSource(f"{network.architecture} {network.weights}", weights.url, stem.rsplit("-", 1)[-1])


def find_weights(source: WeightsSource, *, file: Path | None = None, allow_download: bool = False) -> Path:
    """The path of the weights: `file`, else the torch hub cache, else (only if allowed) a download into it.

    Raises:
        WeightsError: it is not there, or its hash is not the one expected; the message names file, hash and folder.
    """
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    path = file if file is not None else hub / source.filename
    if file is None and not path.is_file() and allow_download:
        hub.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(source.url, str(path), hash_prefix=source.sha256_prefix, progress=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsError(f"{source.name} could not be downloaded from {source.url}: {error}") from None
    if not path.is_file():
        raise WeightsError(
            f"the weights of {source.name} are not on this machine: put {source.filename} (SHA-256 starting with "
            f"{source.sha256_prefix}) into {hub}, or name the file with --set network.weights_file=FILE, "
            f"or allow fetching {source.url} with --set network.allow_download=true"
        )
    digest = sha256_file(path)
    if not digest.startswith(source.sha256_prefix):
        raise WeightsError(
            f"{path} is not {source.name}: its SHA-256 starts with {digest[:8]}, expected {source.sha256_prefix}; "
            "the file is damaged or another one"
        )
    return path


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint (safetensors, or a pickle that may hold nothing but tensors).

    Raises:
        WeightsError: it cannot be read, or holds anything that would have to be executed.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  a damaged file may raise anything from unpickling
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} cannot be read as weights: {first}") from None
    values = values.get("state_dict", values) if isinstance(values, dict) else values
    if not isinstance(values, dict) or not all(isinstance(value, Tensor) for value in values.values()):
        raise WeightsError(f"{path} holds no table of tensors")
    return {name.removeprefix("module."): value for name, value in values.items()}


def load_backbone(config: Network, *, source: WeightsSource | None = None) -> BackboneWeights | None:
    """The weights that `config` names, verified; None for `weights: none`, a random start.

    Raises:
        WeightsError: missing, damaged, or of another architecture.
    """
    if config.weights == "none":
        if config.weights_file is not None:
            raise WeightsError("network.weights is none, but network.weights_file names a file; say which is meant")
        return None
    source = source or named_source(config)
    path = find_weights(source, file=config.weights_file, allow_download=config.allow_download)
    tensors = {name: value for name, value in read_tensors(path).items() if name not in _HEAD}
    expected = torchvision.models.get_model(config.architecture, weights=None).state_dict()
    wrong = [name for name in expected if name not in _HEAD and _shape(tensors, name) != expected[name].shape]
    wrong += [name for name in tensors if name not in expected]
    if wrong:
        raise WeightsError(
            f"{path} is not a {config.architecture}: {len(wrong)} tensors do not fit, for example {wrong[0]}"
        )
    return BackboneWeights(source.name, sha256_file(path), tensors)


def _shape(tensors: dict[str, Tensor], name: str) -> Any:
    return tensors[name].shape if name in tensors else None


def fill_backbone(backbone: nn.Module, weights: BackboneWeights) -> None:
    """Copy verified weights into a network's backbone; every tensor of it is set."""
    backbone.load_state_dict(weights.tensors, strict=True)
