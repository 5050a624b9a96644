"""Loading a saved model: its card, hashes and self-check are verified before it says anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file as load_tensors

from medres.config import Preprocessing
from medres.config.versions import OLDEST_FORMAT, SavedAs
from medres.errors import ModelError, UsageError
from medres.imaging.preprocessing import preprocess, specification_hash
from medres.imaging.reference import reference_radiograph
from medres.model.card import CARD_FILE, COVERS_ALL, FORMAT, OUTLIERS_FILE, WEIGHTS_FILE, ModelCard, identify
from medres.model.device import batch_size
from medres.model.ensemble import ensemble_card
from medres.model.forward import as_images, forward
from medres.model.inspection import verify_folder
from medres.model.network import RadiographNetwork, saved_network
from medres.model.outliers import FeatureSpace
from medres.model.saved_json import complaints, read_saved
from medres.tables import json_text


@dataclass(frozen=True, slots=True)
class Member:
    """One network with its card and feature space."""

    network: RadiographNetwork
    card: ModelCard
    space: FeatureSpace


def model_folders(path: Path) -> tuple[Path, ...]:
    """The folder of a model, or those of the folds of a cross-validation run, which are used as an ensemble.

    Raises:
        UsageError: `path` holds neither.
    """
    if (path / CARD_FILE).is_file():
        return (path,)
    folders = tuple(found.parent for found in sorted((path / "models").glob(f"fold-*/{CARD_FILE}")))
    if not folders:
        raise UsageError(f"{path} holds no model (no {CARD_FILE}) and no cross-validation run (no models/fold-*)")
    return folders


def joint_card(cards: tuple[ModelCard, ...]) -> ModelCard:
    """The card of a model, or of the ensemble that several are.

    Raises:
        ModelError: the models are not those of one run.
    """
    return cards[0] if len(cards) == 1 else ensemble_card(cards)


def read_card(folder: Path) -> ModelCard:
    """Read and verify a model's card; of an earlier format, fields that came later say what held before.

    Raises:
        UsageError: the folder holds no card.
        ModelError: the card is damaged, altered, of a format this version does not know, or holds fields that its
            format does not have.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise UsageError(f"{folder} holds no model (no {CARD_FILE})")
    written, content = read_saved(path, oldest=OLDEST_FORMAT, newest=FORMAT)
    if not isinstance(content.get("model_id"), str) or not isinstance(content.get("architecture"), str):
        raise ModelError(f"{path} is damaged: it holds no model_id and architecture")
    if identify(content) != content["model_id"]:
        raise ModelError(f"{path} was altered: its content no longer gives model_id {content['model_id']}")
    if written >= COVERS_ALL and path.read_bytes() != json_text(content).encode(errors="backslashreplace"):
        raise ModelError(f"{path} was altered: it says what it said, and in other bytes")
    try:
        card = ModelCard.model_validate(content, context=SavedAs(written))
    except ValidationError as error:
        raise ModelError(
            f"{path} is as it was written, but not a card of format {written}: {complaints(error)}"
        ) from None
    if specification_hash(card.preprocessing) != card.preprocessing_sha256:
        raise ModelError(
            f"{path}: this version of medres preprocesses images differently than the one that trained the model"
        )
    return card


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
