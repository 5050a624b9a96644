"""What other programs call the tensors of a backbone, as torchvision calls them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

HEADS = ("fc.", "head.", "classifier.", "class_layers.", "op_threshs")
"""Names of what is not the backbone's: a new task gets a new head."""

_OWN = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "features")
_STEMS = ("conv1.weight", "features.conv0.weight")
_NAMES = (
    (r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2."),  # torchvision's files of DenseNet, of an older torch
    (r"(denselayer\d+)\.layers\.", r"\1."),  # MONAI's DenseNet
    (r"^features\.0\.", "conv1."),  # MONAI's TorchVisionFCModel of a ResNet, in the order of its parts
    (r"^features\.1\.", "bn1."),
    *((rf"^features\.{block + 3}\.", f"layer{block}.") for block in (1, 2, 3, 4)),
)


def unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what a wrapper put before all of them: `module.`, `model.`, `backbone.` …

    >>> sorted(unwrapped({"module.model.conv1.weight": Tensor([0]), "module.op_threshs": Tensor([0])}))
    ['conv1.weight', 'op_threshs']
    """
    found = dict(tensors)
    while len(first := {name.split(".", 1)[0] for name in found if not name.startswith(HEADS)}) == 1:
        wrapper = first.pop()
        wraps = any(f"{wrapper}.{stem}" in found for stem in _STEMS)  # `features.` may be a wrapper or DenseNet's own
        if not all("." in name for name in found if not name.startswith(HEADS)) or (wrapper in _OWN and not wraps):
            break
        found = {name.removeprefix(f"{wrapper}."): value for name, value in found.items()}
    return found


def as_torchvision(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's tensors without wrapper and head, by torchvision's names.

    >>> sorted(as_torchvision({"features.0.weight": Tensor([0]), "features.4.0.bn1.bias": Tensor([0])}))
    ['conv1.weight', 'layer1.0.bn1.bias']
    """
    found = {}
    for name, value in unwrapped(tensors).items():
        if not name.startswith(HEADS):
            for pattern, replacement in _NAMES:
                name = re.sub(pattern, replacement, name)
            found[name] = value
    return _without_biases(found)


def _without_biases(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """MONAI's ResNets add a bias before the batch norm of a shortcut; the norm's running mean can take it off instead.

    >>> found = {"layer2.0.downsample.0.bias": Tensor([1]), "layer2.0.downsample.1.running_mean": Tensor([1])}
    >>> _without_biases(found)
    {'layer2.0.downsample.1.running_mean': tensor([0.])}
    """
    found = dict(tensors)
    for name in tensors:
        mean = name.replace(".downsample.0.bias", ".downsample.1.running_mean")
        if mean != name and mean in tensors and tensors[mean].shape == tensors[name].shape:
            found[mean] = tensors[mean] - found.pop(name)
    return found
