"""The typed ModelCard: all that must travel with a network so that its numbers can be trusted and traced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, JsonValue, model_validator

from medres.cohort.profile import CohortProfile
from medres.cohort.tasks import Task
from medres.config import Architecture, Gate, Preprocessing, Training
from medres.config.versions import Since, Versioned
from medres.model.calibration import OperatingPoint, Rule
from medres.records import Interval
from medres.tables import sha256_json

CARD_FILE = "medres.json"
WEIGHTS_FILE = "models/model.safetensors"
OUTLIERS_FILE = "models/outliers.safetensors"

FORMAT = 6
"""Of the cards that this version writes; raised whenever a field is added, which is marked: see `config.versions`."""

COVERS_ALL = 5
"""The first format whose cards cover every file of the model's folder, and whose names are of 128 bits."""

_DIGITS = 32  # hexadecimal, of a name: 128 bits
_DIGITS_BEFORE = 12  # of formats before COVERS_ALL

INTENDED_USE = (
    "Research and quality assurance on radiographs like those it was trained on. Not a medical device: not for "
    "diagnosis, triage or treatment of patients."
)


class BackboneOrigin(Versioned):
    """The weights that training started from."""

    name: str  # "resnet50 IMAGENET1K_V2", or "none: a random start"
    sha256: str | None  # of the weights' file; None for a random start


class Provenance(Versioned):
    """Where a model comes from."""

    created: str  # ISO 8601, UTC
    recipe: str
    config: dict[str, Any]  # the whole Config
    seed: int
    manifest_sha256: str
    splits_sha256: str
    fold: int | None  # of a cross-validation; None for a final model
    training_images: int
    training_patients: int
    validation_images: int
    validation_patients: int
    epochs: int
    best_epoch: int
    device: str
    backbone: BackboneOrigin
    packages: dict[str, str]
    git_commit: str | None

    @property
    def chosen(self) -> str:
        """What validation patients chose besides calibration and thresholds: see `chosen_besides`."""
        return chosen_besides(Training.model_construct(**self.config["training"]))


def chosen_besides(training: Training) -> str:
    """What validation patients choose besides calibration and thresholds, with a comma; "" where nothing.

    >>> chosen_besides(Training()), chosen_besides(Training(keep="last"))
    ('epoch, ', '')
    """
    if training.method == "linear-probe":
        return "regularisation, "
    return "epoch, " if training.keep == "best" else ""


class Outliers(Versioned):
    """The cut of the feature distance, and the file that holds the feature space."""

    sha256: str
    cut: float  # distances above it are `review`, OUTLIER
    quantile: float  # of the validation images that lie below the cut


class SelfCheck(Versioned):
    """What the model computes on the reference radiograph of `imaging.synthesis`."""

    logits: dict[str, float]
    tolerance: float  # absolute, logit units


class TrainedFacts(Versioned):
    """What of a card is known once a network is trained and its validation patients have chosen."""

    architecture: Architecture
    folded: bool  # the first layer holds filters of three channels, and takes a channel of ones
    tasks: tuple[Task, ...] = Field(min_length=1)  # what is asked of an image
    labels: tuple[str, ...]  # what answers it: the labels of all tasks, in the network's order
    preprocessing: Preprocessing
    gate: Gate
    temperatures: dict[str, float]
    operating_points: dict[str, OperatingPoint]  # what the model decides by
    points_by_rule: dict[str, dict[Rule, OperatingPoint]]  # of every rule
    heatmap_scale: dict[str, float]  # logit units drawn as full colour, the same for every image
    provenance: Provenance
    metrics: dict[str, dict[str, Interval]]  # by label and metric, on the split that `metrics_split` names
    metrics_split: str
    intended_use: str = INTENDED_USE
    limits: tuple[str, ...] = ()
    cohort_profile: CohortProfile  # of the training and validation images

    @model_validator(mode="after")
    def _labels_of_tasks(self) -> TrainedFacts:
        if self.labels != tuple(label for task in self.tasks for label in task.labels):
            raise ValueError("labels are not those of the tasks")
        for name in ("temperatures", "operating_points", "points_by_rule", "heatmap_scale"):
            if set(getattr(self, name)) != set(self.labels):
                raise ValueError(f"{name} are not of these labels")
        return self


class ModelCard(TrainedFacts):
    """`medres.json`: everything a model is, except its tensors."""

    format: int = FORMAT
    model_id: str = ""
    parameters: int
    preprocessing_sha256: str
    outliers: Outliers
    weights_sha256: str
    self_check: SelfCheck
    members: int = 1  # networks whose calibrated probabilities are averaged
    files: Annotated[dict[str, str], Since(5, then={})] = Field(default_factory=dict)
    """SHA-256 of configurations and documents, by their path in the folder; what a later format adds is not here."""
    exported_from: Annotated[str, Since(5, then="")] = ""
    """The name of the model that this one was exported from, to travel without what tells of its site; "" in-house."""

    @property
    def folds(self) -> str:
        """What an ensemble is, in words; "" of one network. Epoch, counts and temperature are its members' own."""
        several = f"{self.members} networks, the folds of one cross-validation; each has its own card"
        return several if self.members > 1 else ""

    @property
    def weights(self) -> str:
        """The starting weights in words, with the first digits of their file's SHA-256."""
        start = self.provenance.backbone
        return start.name if start.sha256 is None else f"{start.name} (SHA-256 {start.sha256[:12]}…)"

    @property
    def whereabouts(self) -> str:
        """Whether the model may travel, in words; "" of a format that did not tell."""
        if self.format < COVERS_ALL or self.members > 1:
            return ""
        if self.exported_from:
            return (
                f"Made to travel by `medres export` from {self.exported_from}: its folder holds no PatientID, and its "
                "card none of the values by which a site might be known"
            )
        return (
            "In-house: `splits.json` beside it holds PatientIDs, and its card tells of the training cohort; "
            "`medres export` makes a folder that may travel"
        )

    def content(self) -> dict[str, JsonValue]:
        """What is written to `medres.json`, its format and name first."""
        found: dict[str, JsonValue] = self.model_dump(mode="json")
        return {"format": found["format"], "model_id": found["model_id"], **found}


def identify(content: Mapping[str, JsonValue]) -> str:
    """The name of the model whose card holds this: its architecture, and a hash of everything on the card but the name.

    It covers the card as it was written, so that later versions, whose cards have more fields, give the same name.
    """
    rest = {name: value for name, value in content.items() if name != "model_id"}
    written = content.get("format")
    return f"{content['architecture']}-{sha256_json(rest)[: digits(written if isinstance(written, int) else FORMAT)]}"


def digits(card_format: int) -> int:
    """How many hexadecimal digits the names of models of a format have."""
    return _DIGITS if card_format >= COVERS_ALL else _DIGITS_BEFORE
