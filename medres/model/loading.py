"""Loading a saved model: its hashes and self-check are verified before it says anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file as load_tensors

from medres.config import Preprocessing
from medres.errors import ModelError
from medres.imaging.preprocessing import preprocess
from medres.imaging.reference import reference_radiograph
from medres.model.card import OUTLIERS_FILE, WEIGHTS_FILE, ModelCard
from medres.model.device import batch_size
from medres.model.forward import as_images, forward
from medres.model.inspection import read_card, verify_folder
from medres.model.network import RadiographNetwork, saved_network
from medres.model.outliers import FeatureSpace


@dataclass(frozen=True, slots=True)
class Member:
    """One network with its card and feature space."""

    network: RadiographNetwork
    card: ModelCard
    space: FeatureSpace


def load_member(folder: Path) -> Member:
    """A model's network, card and feature space, on the CPU; its hashes are verified.

    Raises:
        UsageError, ModelError: as `read_card`; or the folder is not what its card says: see `verify_folder`; or the
            tensors do not fit the card.
    """
    card = read_card(folder)
    verify_folder(folder, card)
    try:
        tensors = load_tensors(folder / WEIGHTS_FILE)
        network = saved_network(card.architecture, tensors, labels=len(card.labels), folded=card.folded)
        arrays = load_arrays(folder / OUTLIERS_FILE)
    except (RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: the tensors do not fit the card: {str(error).splitlines()[0]}") from None
    if set(arrays) != set(FeatureSpace.__dataclass_fields__):
        raise ModelError(f"{folder / OUTLIERS_FILE} holds other tensors than a feature space has")
    return Member(network, card, FeatureSpace(**arrays))


def reference_logits(network: RadiographNetwork, spec: Preprocessing, device: torch.device) -> NDArray[np.float64]:
    """Logits (labels,) of the reference radiograph: what the self-check compares."""
    pixels = preprocess(reference_radiograph(), spec).pixels
    logits: NDArray[np.float64] = forward(network, as_images(pixels[None], device)).logits[0].double().cpu().numpy()
    return logits


def self_check(member: Member, device: torch.device) -> None:
    """Make sure that a model computes on this device what it did when it was made.

    Raises:
        ModelError: the reference radiograph has another logit by more than the card's tolerance.
    """
    found = reference_logits(member.network, member.card.preprocessing, device)
    for label, value in zip(member.card.labels, found, strict=True):
        expected = member.card.self_check.logits[label]
        if not abs(value - expected) <= member.card.self_check.tolerance:
            raise ModelError(
                f"model {member.card.model_id} fails its self-check: label {label!r} of the reference radiograph "
                f"gives logit {value:.6f}, at training time {expected:.6f}"
            )


def whole_batch(card: ModelCard, device: torch.device) -> int:
    """How many images one pass of a model takes on a device: it follows from both alone, so that scores do as well."""
    if device.type != "cuda":
        return batch_size(device)
    from medres.model.cost import Design, filling_batch  # which counts, as scoring on a processor does not need

    design = Design(card.architecture, card.preprocessing.size, len(card.labels), card.folded)
    return filling_batch(design, memory=torch.cuda.get_device_properties(device).total_memory)
