"""The network: a ResNet or DenseNet, one-channel input, one linear layer, normalisation inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medres.config import Architecture
from medres.model.backbones import build_backbone
from medres.model.device import full_precision

__all__ = ["RadiographNetwork", "build_network", "family", "full_precision", "parameter_count", "saved_network"]
# saved bundles name full_precision here

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RADIOGRAPH_MEAN = 0.5
RADIOGRAPH_STD = 0.25
STRIDE = 32
"""Distance between neighbouring cells of the last feature map, input pixels."""


@dataclass(frozen=True, slots=True)
class Family:
    """Where torchvision keeps the parts of a kind of network, and where its feature maps lie in the image."""

    first: str  # the first convolution
    head: str  # what medres replaces: the linear layer of 1,000 ImageNet classes
    blocks: tuple[str, ...]  # from first to last; what precedes the first is the stem
    first_cell: float
    """The input pixel on which the first cell of the last feature map is centred, rows and columns.

    A strided layer with an odd kernel and symmetric padding centres its output i on its input 2 i; one that averages
    two pixels, between them, at 2 i + 1/2. Every ResNet has only the former: cell i lies on pixel 32 i, half a cell
    before the place that a plain resize would give it. DenseNet averages three times, where a pixel is 4, 8 and 16
    input pixels.
    """


_RESNET = Family("conv1", "fc", ("layer1", "layer2", "layer3", "layer4"), 0.0)
_DENSENET = Family(
    "features.conv0", "classifier", tuple(f"features.denseblock{number}" for number in (1, 2, 3, 4)), 2.0 + 4.0 + 8.0
)


def family(architecture: Architecture) -> Family:
    """The kind of network that an architecture is."""
    return _DENSENET if architecture.startswith("densenet") else _RESNET


class RadiographNetwork(nn.Module):
    """Convolutions → global average pooling → one linear layer.

    Input: float32 (N, 1, S, S) in [0, 1], higher = brighter. Output: logits (N, labels).

    The first layer has one channel. `folded` adds a second, of ones, which lets it hold the filters of a network that
    took three (`weights.folded_filters`): each of those normalises with a mean of its own, and what the means add to
    the filters' sum ends where the zero padding begins, as the ones do. A plain bias would be wrong at the border.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture, *, labels: int, folded: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(RADIOGRAPH_MEAN))
        self.register_buffer("std", torch.tensor(RADIOGRAPH_STD))
        self.folded = folded
        backbone: Any = build_backbone(architecture)
        self.family = family(architecture)
        features = backbone.get_submodule(self.family.head).in_features
        backbone.set_submodule(self.family.head, nn.Identity())
        # torch's own start: with weights as small as torchvision's for three channels every step turns them too far
        first = nn.Conv2d(2 if folded else 1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        backbone.set_submodule(self.family.first, first)
        self.backbone = backbone
        self.frozen = False
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, labels)

    def freeze_backbone(self, frozen: bool = True) -> None:
        """Let only the head learn, and batch norms use what they know; or let all learn again."""
        self.frozen = frozen
        self.backbone.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> RadiographNetwork:
        """Training or evaluation mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def feature_maps(self, images: Tensor) -> Tensor:
        """The last convolutional feature maps A, (N, channels, k, k); k = S / 32, rounded up (ResNet) or down."""
        return self.activated(self.before(images, 0))

    def before(self, images: Tensor, stages: int) -> Tensor:
        """What all but so many of the last stages give; of no stages, what `activated` makes feature maps of."""
        x = (images - self.mean) / self.std
        if self.folded:
            x = torch.cat([x, torch.ones_like(x)], dim=1)
        modules = self._modules_in_order()
        x = x.to(self.backbone.get_submodule(self.family.first).weight.dtype)
        for module in modules[: self._first_of_last(stages)]:
            x = module(x)
        return x

    def last_stages(self, stages: int) -> nn.Sequential:
        """So many of the last stages, each of which halves the image; they give feature maps to be `activated`."""
        return nn.Sequential(*self._modules_in_order()[self._first_of_last(stages) :])

    def activated(self, features: Tensor) -> Tensor:
        """Feature maps A of what the last stage gives."""
        return torch.relu(features) if self.family == _DENSENET else features

    def _first_of_last(self, stages: int) -> int:
        count = 2 * stages + 1 if self.family == _DENSENET and stages else stages  # transitions, blocks, and a norm
        return len(self._modules_in_order()) - count

    def _modules_in_order(self) -> list[nn.Module]:
        net = self.backbone
        if self.family == _DENSENET:
            return list(net.features)
        return [net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4]

    def features(self, images: Tensor) -> Tensor:
        """The pooled features, (N, channels)."""
        return self.feature_maps(images).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """The logits, (N, labels)."""
        return self.head(self.dropout(self.features(images)))  # type: ignore[no-any-return]

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, labels) and pooled features (N, channels) of one pass."""
        features = self.features(images)
        return self.head(self.dropout(features)), features


def build_network(
    architecture: Architecture, *, labels: int, folded: bool = False, dropout: float = 0.0
) -> RadiographNetwork:
    """A network with random weights, for `weights.load_backbone` or a saved model to fill.

    >>> build_network("resnet18", labels=2).head.out_features
    2
    """
    return RadiographNetwork(architecture, labels=labels, folded=folded, dropout=dropout)


def saved_network(
    architecture: Architecture, tensors: Mapping[str, Tensor], *, labels: int, folded: bool
) -> RadiographNetwork:
    """A network that holds given tensors, by the names of `state_dict()`, channels last; nothing is drawn for it.

    Raises:
        RuntimeError: a tensor is missing, of another shape, or none of the network's.
    """
    with torch.device("meta"):
        network = RadiographNetwork(architecture, labels=labels, folded=folded)
    # copies, because a file's tensors lie anywhere, and how sums are rounded may depend on where they start
    copies = {
        name: value.clone(memory_format=torch.channels_last if value.ndim == 4 else torch.contiguous_format)
        for name, value in tensors.items()
    }
    network.load_state_dict(copies, assign=True)
    return network


def parameter_count(network: nn.Module) -> int:
    """The number of trainable values."""
    return sum(parameter.numel() for parameter in network.parameters())
