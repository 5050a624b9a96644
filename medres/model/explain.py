"""Class-activation maps: where in the input a label's logit comes from, exact and without gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from medres.model.network import RadiographNetwork


def evidence(network: RadiographNetwork, feature_maps: Tensor) -> Tensor:
    """Every label's class-activation map of given feature maps.

    With global average pooling before one linear layer, logit_c = bias_c + mean over cells of w_c · A: the map
    w_c · A is the logit's evidence, cell by cell. Its positive part is what Grad-CAM at the last block gives, up to
    Grad-CAM's constant factor 1 / cells and without its stretching to [0, 1].

    Args:
        network: its head gives the weights.
        feature_maps: `network.feature_maps(images)`, (N, channels, k, k).

    Returns:
        (N, labels, k, k), ≥ 0, logit units.

    Source: Zhou et al. 2016, Learning Deep Features for Discriminative Localization; Selvaraju et al. 2017, Grad-CAM.
    """
    return torch.einsum("lc,nchw->nlhw", network.head.weight, feature_maps).clamp(min=0)
