"""Writing a model: a MONAI Bundle whose tensors are safetensors and whose card is verified on loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save as arrays_bytes
from safetensors.torch import save as tensors_bytes

from medres.files import make_folder, write_bytes
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
from medres.tables import json_text, sha256_file, write_json, write_text

_SELF_CHECK_TOLERANCE = (
    1e-2  # logits; float32 differs by 1e-5 between processors (`full_precision`), altered weights by far more
)
_LICENCE = (
    "This folder is a model made with medres (Apache-2.0). The licence of medres covers the software, not these\n"
    "weights: whoever trained the model states the terms of its use in a file in attachments/, within those of the\n"
    "training data and of the starting weights named in medres.json, which covers this file by its hash.\n"
)


def save_model(
    folder: Path,
    *,
    network: RadiographNetwork,
    space: FeatureSpace,
    outlier_cut: float,
    outlier_quantile: float,
    facts: TrainedFacts,
    exported_from: str = "",
) -> ModelCard:
    """Write a model folder and return its completed card.

    Args:
        folder: exists, or is created; what is in it is overwritten.
        network: in evaluation mode, on the CPU.
        space: the training images' feature space, with the cut of its distance.
        outlier_cut: distances above it are outliers.
        outlier_quantile: the part of validation images below the cut.
        facts: all of the card that does not follow from the tensors.
        exported_from: the model that this one is made of, to travel: see `exporting`.
    """
    for home in (folder, *(folder / name for name in ("models", "configs", "docs"))):
        make_folder(home, private=False)
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_bytes(folder / WEIGHTS_FILE, tensors_bytes(tensors), private=False)
    arrays = {name: np.ascontiguousarray(getattr(space, name)) for name in FeatureSpace.__dataclass_fields__}
    write_bytes(folder / OUTLIERS_FILE, arrays_bytes(arrays), private=False)
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
        exported_from=exported_from,
    )
    texts = {
        "configs/metadata.json": json_text(bundle.metadata(unnamed)),
        "configs/inference.json": json_text(bundle.inference(unnamed)),
        "configs/train.json": json_text(bundle.train(unnamed)),
        bundle.CARD_TEXT: bundle.card_text(unnamed),
        "LICENSE": _LICENCE,
    }
    for name, text in texts.items():
        write_text(folder / name, text, private=False)
    covered = unnamed.model_copy(update={"files": {name: sha256_file(folder / name) for name in texts}})
    complete = covered.model_copy(update={"model_id": identify(covered.content())})
    write_json(folder / CARD_FILE, complete.content(), private=False)
    return complete
