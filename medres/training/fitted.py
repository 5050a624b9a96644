"""What fitting gives: a network, and how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medres.model.network import RadiographNetwork


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted network, on the CPU in evaluation mode, with the weights of its best epoch, or of its last."""

    network: RadiographNetwork
    history: tuple[Mapping[str, Any], ...]  # one entry per epoch
    best_epoch: int  # whose weights these are
    device: str  # what it was trained on, in words
