"""The methods of the grad-cam library (pytorch-grad-cam), for any layer: imported where one of them is asked for.

Every call works on a structure of its own that shares the network's weights: hooks never touch the network, and several
threads may explain at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from types import SimpleNamespace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medres.errors import UsageError
from medres.model.device import full_precision, said_plainly
from medres.model.forward import as_images
from medres.model.network import RadiographNetwork

Method = Literal["cam", "gradcam", "gradcam++", "hirescam", "layercam", "eigencam", "scorecam"]
"""`cam` is the exact class-activation map, which needs no library; the others are the grad-cam library's."""

METHODS: tuple[Method, ...] = get_args(Method)
LOGIT_SCALE: frozenset[Method] = frozenset({"cam", "gradcam", "hirescam", "layercam"})
"""Methods whose values are logits: gradients times activations, times the number of cells, so that the mean of the map
is what the layer adds to the logit, to first order.

Grad-CAM++ weighs with ratios of powers of gradients, EigenCAM does not know the label, and Score-CAM's weights are a
softmax: their values cannot be compared between images.
"""


def unit(method: Method) -> str:
    """What a method's values are: `logit`, or "" where they have no scale.

    >>> unit("hirescam"), unit("eigencam")
    ('logit', '')
    """
    return "logit" if method in LOGIT_SCALE else ""


def library_map(
    network: RadiographNetwork, image: Tensor, *, label: int, method: Method, layer: str | None = None
) -> NDArray[np.float32]:
    """One label's map of one image, before the library stretches it to [0, 1].

    Args:
        network: in evaluation mode; it stays as it is.
        image: (1, 1, size, size) in [0, 1], where the network lies.
        label: its number.
        method: of the library. `gradcam` and `hirescam` keep their sign: where a value is negative, the place speaks
            against the label.
        layer: a module's name, such as `backbone.layer3`. Without one, the feature maps before they are pooled.

    Returns:
        float32 (rows, columns) of the layer's cells.

    Raises:
        UsageError: there is no such layer, or its output is no feature map.
    """
    with torch.inference_mode(False), full_precision():
        return _library_map(_Structure(network), image.detach().clone(), label, method, layer)


def _library_map(
    structure: _Structure, image: Tensor, label: int, method: Method, layer: str | None
) -> NDArray[np.float32]:
    target_layer = structure.layer(layer)
    image.requires_grad_(True)  # no weight requires a gradient: without this nothing would
    target = _Logit(label)
    cam = _library()[method](structure, [target_layer])
    seen = cam.activations_and_grads
    try:
        logits = seen(image)
        if not seen.activations or seen.activations[0].ndim != 4 or min(seen.activations[0].shape[2:]) < 2:
            raise UsageError(f"layer {layer!r} gives no feature map (channels, rows, columns) to explain")
        activations, gradients = seen.activations[0].float().numpy(), None
        if method not in {"eigencam", "scorecam"}:
            torch.autograd.backward(target(logits[0]))
            gradients = seen.gradients[0].float().numpy()
        cells = cam.get_cam_image(image.detach(), target_layer, [target], activations, gradients, False)[0]
    finally:
        seen.release()
    rows, columns = activations.shape[2:]
    scale = rows * columns if method in LOGIT_SCALE else 1
    found: NDArray[np.float32] = np.asarray(cells * scale, dtype=np.float32)
    return found


def library_maps(
    networks: Sequence[RadiographNetwork], pixels: NDArray[np.uint16], *, label: int, method: Method, layer: str | None
) -> NDArray[np.float32]:
    """The maps of several networks of one preprocessed image (size, size): float32 (networks, rows, columns).

    Errors are those of `library_map`, and DeviceError.
    """
    device = next(networks[0].parameters()).device
    image = as_images(pixels[None], device)
    with said_plainly(device):
        return np.stack([library_map(one, image, label=label, method=method, layer=layer) for one in networks])


def check_library_method(method: Method, *, stride: int | None, layer: str | None) -> None:
    """What is asked for can be done.

    Raises:
        UsageError: it cannot.
    """
    if method not in METHODS:
        raise UsageError(f"{method!r} is no method; choose {', '.join(METHODS)}")
    if method == "cam":
        raise UsageError(f"the exact map is of the last feature maps, not of {layer}: give a method for another layer")
    if stride is not None:
        raise UsageError(f"{method} has the cells of its layer: a stride can be chosen for the exact map only")


class _Structure(nn.Module):
    """A network's modules anew around its own weights, which need no gradients here."""

    def __init__(self, network: RadiographNetwork) -> None:
        super().__init__()
        own = [*network.parameters(), *network.buffers()]
        shared: dict[int, Any] = {id(tensor): tensor for tensor in own}
        shared |= {id(one): nn.Parameter(one.detach(), requires_grad=False) for one in network.parameters()}
        self.network: RadiographNetwork = deepcopy(network, shared)
        self.feature_maps = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        cells = self.feature_maps(self.network.feature_maps(images).float())
        return self.network.head(cells.mean(dim=(2, 3)))  # type: ignore[no-any-return]

    def layer(self, name: str | None) -> nn.Module:
        if name is None:
            return self.feature_maps
        named: dict[str, nn.Module] = dict(self.network.named_modules())
        if name not in named or not name:
            stages = ", ".join(f"backbone.{block}" for block in self.network.family.blocks)
            raise UsageError(f"the network has no layer {name!r}; its stages are {stages}")
        return named[name]


class _Logit:
    """What is explained: the logit of a label."""

    def __init__(self, label: int) -> None:
        self.label = label

    def __call__(self, logits: Tensor) -> Tensor:
        return logits[self.label]


def _library() -> dict[Method, Any]:
    """The library's classes. Score-CAM draws a progress bar on every call; here it does not."""
    import pytorch_grad_cam as library
    from pytorch_grad_cam import score_cam

    score_cam.tqdm = SimpleNamespace(tqdm=lambda items: items)
    return {
        "gradcam": library.GradCAM,
        "gradcam++": library.GradCAMPlusPlus,
        "hirescam": library.HiResCAM,
        "layercam": library.LayerCAM,
        "eigencam": library.EigenCAM,
        "scorecam": library.ScoreCAM,
    }
