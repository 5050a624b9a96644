"""Writing a model: a MONAI Bundle whose tensors are safetensors and whose card is verified on loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file as save_tensors

from medres.imaging.preprocessing import specification_hash
from medres.model import bundle
from medres.model.card import (
    CARD_FILE,
    OUTLIERS_FILE,
    WEIGHTS_FILE,
    ModelCard,
    Outliers,
    SelfCheck,
    TrainedFacts,
    identify,
)
from medres.model.loading import reference_logits
from medres.model.network import RadiographNetwork, parameter_count
from medres.model.outliers import FeatureSpace
from medres.tables import sha256_file, write_json, write_text

_SELF_CHECK_TOLERANCE = (
    1e-2  # logits; float32 differs by 1e-5 between processors (`full_precision`), altered weights by far more
)
_LICENCE = (
    "This folder is a model made with medres (Apache-2.0). The licence of medres covers the software, not these\n"
    "weights: whoever trained the model states the terms of its use, within those of the training data and of the\n"
    "starting weights named in medres.json.\n"
)


def save_model(
    folder: Path,
    *,
    network: RadiographNetwork,
    space: FeatureSpace,
    outlier_cut: float,
    outlier_quantile: float,
    facts: TrainedFacts,
) -> ModelCard:
    """Write a model folder and return its completed card.

    Args:
        folder: exists, or is created; what is in it is overwritten.
        network: in evaluation mode, on the CPU.
        space: the training images' feature space, with the cut of its distance.
        outlier_cut: distances above it are outliers.
        outlier_quantile: the part of validation images below the cut.
        facts: all of the card that does not follow from the tensors.
    """
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "configs").mkdir(exist_ok=True)
    (folder / "docs").mkdir(exist_ok=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_tensors(tensors, folder / WEIGHTS_FILE)
    arrays = {name: np.ascontiguousarray(getattr(space, name)) for name in FeatureSpace.__dataclass_fields__}
    save_arrays(arrays, folder / OUTLIERS_FILE)
    expected = reference_logits(network, facts.preprocessing, torch.device("cpu"))
    unnamed = ModelCard(
        **dict(facts),
        parameters=parameter_count(network),
        preprocessing_sha256=specification_hash(facts.preprocessing),
        outliers=Outliers(sha256=sha256_file(folder / OUTLIERS_FILE), cut=outlier_cut, quantile=outlier_quantile),
        weights_sha256=sha256_file(folder / WEIGHTS_FILE),
        self_check=SelfCheck(
            logits=dict(zip(facts.labels, map(float, expected), strict=True)),
            tolerance=_SELF_CHECK_TOLERANCE,
        ),
    )
    complete = unnamed.model_copy(update={"model_id": identify(unnamed.content())})
    write_json(folder / CARD_FILE, complete.content())
    write_json(folder / "configs" / "metadata.json", bundle.metadata(complete))
    write_json(folder / "configs" / "inference.json", bundle.inference(complete))
    write_json(folder / "configs" / "train.json", bundle.train(complete))
    write_text(folder / bundle.CARD_TEXT, bundle.card_text(complete))
    write_text(folder / "LICENSE", _LICENCE)
    return complete
