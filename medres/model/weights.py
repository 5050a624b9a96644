"""Starting weights: found on this machine, verified by hash, never executed, never fetched unasked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from medres.config import Architecture, Network
from medres.errors import WeightsError
from medres.model.backbones import build_backbone
from medres.model.naming import HEADS, as_torchvision
from medres.model.network import IMAGENET_MEAN, IMAGENET_STD, RadiographNetwork, family
from medres.tables import sha256_file

_SAVED = "what loads is a file of torch.save(network.state_dict(), PATH), or safetensors"
_CONTAINERS = ("state_dict", "model_state_dict", "model")  # under which training scripts keep the tensors
_FIRST = ("conv1.weight", "features.conv0.weight")
_SHOWN = 5
_STRIDES = (
    "a checkpoint does not say its strides: the first convolution is taken to have torchvision's, 2; a MONAI ResNet "
    "has 1 there unless it was made with conv1_t_stride=2, and its weights compute something else here"
)


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
    input_range: tuple[float, float] | None = None  # black and white where they were trained; None: ImageNet's
    doubt: str = ""  # what the file leaves open, for log and card

    @property
    def channels(self) -> int:
        """What the first layer takes: 3, 1, or the 2 of a folded network of medres."""
        return next(self.tensors[name] for name in _FIRST if name in self.tensors).shape[1]

    @property
    def folded(self) -> bool:
        """Whether a network of these weights has a channel of ones."""
        return self.channels > 1


def named_source(network: Network) -> WeightsSource:
    """torchvision's source of `network.weights` for `network.architecture`.

    Raises:
        WeightsError: torchvision has no such weights for that architecture.
    """
    known = _published(network.architecture)
    if network.weights not in known:
        raise WeightsError(
            f"torchvision has no {network.weights} for {network.architecture}; it has {', '.join(known)}: "
            f"--set network.weights={next(iter(known))}"
        )
    return known[network.weights]


def _published(architecture: Architecture) -> dict[str, WeightsSource]:
    """What torchvision publishes for an architecture, by name."""
    import torchvision  # costly, and only training asks

    found = {}
    for name, weights in torchvision.models.get_model_weights(architecture).__members__.items():
        stem = weights.url.rsplit("/", 1)[-1].removesuffix(".pth")
        found[name] = WeightsSource(f"{architecture} {name}", weights.url, stem.rsplit("-", 1)[-1])
    return found


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
        raise WeightsError(f"{path} cannot be read as weights: {first}; {_SAVED}") from None
    for name in _CONTAINERS:
        values = values.get(name, values) if isinstance(values, dict) else values
    if not isinstance(values, dict) or not all(isinstance(value, Tensor) for value in values.values()):
        raise WeightsError(f"{path} holds no table of tensors; {_SAVED}")
    return values


def load_backbone(config: Network, *, source: WeightsSource | None = None) -> BackboneWeights | None:
    """The weights that `config` names, verified; None for `weights: none`, a random start.

    Raises:
        WeightsError: missing, damaged, or of another architecture.
    """
    if config.weights == "none":
        if config.weights_file is not None:
            raise WeightsError("network.weights is none, but network.weights_file names a file; say which is meant")
        return None
    if config.weights == "file":
        path, name = _own_file(config), f"{config.architecture} from {config.weights_file and config.weights_file.name}"
    else:
        source = source or named_source(config)
        path, name = find_weights(source, file=config.weights_file, allow_download=config.allow_download), source.name
    found = read_tensors(path)
    known_range = config.input_range
    if own := _is_medres_model(found):
        if known_range is not None:
            raise WeightsError(f"{path} is a model of medres and says its input's range itself: leave out input_range")
        known_range = _range(float(found.pop("mean")), float(found.pop("std")))
    tensors = as_torchvision(found)
    _refuse_misfits(tensors, config.architecture, path, folded=own)
    digest = sha256_file(path)
    torchvisions = any("features.0." in key for key in found) or any(
        digest.startswith(published.sha256_prefix) for published in _published(config.architecture).values()
    )
    foreign = config.weights == "file" and not own and "conv1.weight" in tensors
    weights = BackboneWeights(name, digest, tensors, known_range, _STRIDES if foreign and not torchvisions else "")
    if weights.channels == 1 and known_range is None:
        raise WeightsError(
            f"{path} takes one channel and does not say which values were black and white in its input: "
            "--set network.input_range=[-1024,1024] as TorchXRayVision has them, [0,1] where images were only scaled"
        )
    return weights


def _is_medres_model(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a saved model, `models/model.safetensors`, with its normalisation."""
    return {name.split(".", 1)[0] for name in tensors} == {"backbone", "head", "mean", "std"}


def _range(mean: float, deviation: float) -> tuple[float, float]:
    """What black and white are once normalised.

    >>> _range(0.5, 0.25)
    (-2.0, 2.0)
    """
    return -mean / deviation, (1 - mean) / deviation


def _own_file(config: Network) -> Path:
    """The user's checkpoint.

    Raises:
        WeightsError: none is named, it is not there, or its hash is not the one that was given.
    """
    path = config.weights_file
    if path is None:
        raise WeightsError("network.weights is file, but network.weights_file names none (--weights PATH does both)")
    if not path.is_file():
        raise WeightsError(f"{path} is not there: network.weights_file must name a checkpoint")
    digest = sha256_file(path)
    if not digest.startswith(config.weights_sha256):
        raise WeightsError(f"{path} has the SHA-256 {digest}, which does not start with {config.weights_sha256}")
    return path


def _refuse_misfits(tensors: dict[str, Tensor], architecture: Architecture, path: Path, *, folded: bool) -> None:
    """Every tensor must be the backbone's, and every one of the backbone's must be there.

    The first layer may have one channel instead of three, and two where it was `folded`.

    Raises:
        WeightsError: with the names of those that do not fit.
    """
    expected = {
        name: value.shape
        for name, value in build_backbone(architecture).state_dict().items()
        if not name.startswith(HEADS)
    }
    first = f"{family(architecture).first}.weight"
    if first in tensors and tensors[first].ndim == 4 and tensors[first].shape[1] in ((1, 2) if folded else (1,)):
        expected[first] = torch.Size((64, tensors[first].shape[1], 7, 7))
    for name in [name for name in expected if name.endswith("num_batches_tracked")]:
        tensors.setdefault(name, torch.tensor(0))  # older checkpoints lack it; only cumulative averages would use it
    missing = [name for name in expected if name not in tensors]
    strange = [name for name in tensors if name not in expected]
    shapes = [name for name in expected if name in tensors and tensors[name].shape != expected[name]]
    if missing or strange or shapes:
        said = [
            f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{' …' if len(names) > _SHOWN else ''})"
            for what, names in (("missing", missing), ("of another network", strange), ("of another shape", shapes))
            if names
        ]
        raise WeightsError(
            f"{path} is not a {architecture}: its tensors are {', '.join(said)}; "
            "--set network.architecture names another one"
        )


def fill_backbone(network: RadiographNetwork, weights: BackboneWeights) -> None:
    """Copy verified weights into a network's backbone, every tensor of it, and normalise input as they expect."""
    tensors = dict(weights.tensors)
    means: tuple[float, ...] = IMAGENET_MEAN
    deviations: tuple[float, ...] = IMAGENET_STD
    if weights.input_range is not None:
        black, white = weights.input_range
        means, deviations = ((value / (white - black),) * 3 for value in (-black, 1.0))
    if weights.channels == 3:
        first = f"{network.family.first}.weight"
        tensors[first] = folded_filters(tensors[first], means, deviations)
    network.backbone.load_state_dict(tensors, strict=True)
    network.mean.fill_(fmean(means))
    network.std.fill_(fmean(deviations))


def folded_filters(filters: Tensor, means: Sequence[float], deviations: Sequence[float]) -> Tensor:
    """Filters of a colour image as filters of a grey image and a constant, with the same response to a grey image.

    Channel c of the three sees (x − mean_c) / std_c; the one sees u = (x − mean) / std, with the average mean and std.
    So channel c is u · std / std_c + (mean − mean_c) / std_c: a filter of u, and one of a channel of ones.

    Args:
        filters: (64, 3, 7, 7).
        means: of the three channels.
        deviations: of the three channels.

    Returns:
        (64, 2, 7, 7).
    """
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (means, deviations))
    exact = filters.double()
    grey = torch.einsum("ocij,c->oij", exact, std.mean() / std)
    constant = torch.einsum("ocij,c->oij", exact, (mean.mean() - mean) / std)
    return torch.stack([grey, constant], dim=1).to(filters.dtype)
