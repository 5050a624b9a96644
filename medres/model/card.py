"""The typed ModelCard: all that must travel with a network so that its numbers can be trusted and traced."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medres.cohort.profile import CohortProfile
from medres.cohort.tasks import Task
from medres.config import Architecture, Gate, Preprocessing, Training
from medres.model.calibration import OperatingPoint, Rule
from medres.tables import sha256_json

FORMAT = 3
INTENDED_USE = (
    "Research and quality assurance on radiographs like those it was trained on. Not a medical device: not for "
    "diagnosis, triage or treatment of patients."
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BackboneOrigin(_Frozen):
    """The weights that training started from."""

    name: str  # "resnet50 IMAGENET1K_V2", or "none: a random start"
    sha256: str | None  # of the weights' file; None for a random start


class Provenance(_Frozen):
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


class Outliers(_Frozen):
    """The cut of the feature distance, and the file that holds the feature space."""

    sha256: str
    cut: float  # distances above it are `review`, OUTLIER
    quantile: float  # of the validation images that lie below the cut


class SelfCheck(_Frozen):
    """What the model computes on the reference radiograph of `imaging.synthesis`."""

    logits: dict[str, float]
    tolerance: float  # absolute, logit units


class ModelCard(_Frozen):
    """`medres.json`: everything a model is, except its tensors."""

    format: int = FORMAT
    model_id: str = ""
    architecture: Architecture
    folded: bool  # the first layer holds filters of three channels, and takes a channel of ones
    tasks: tuple[Task, ...] = Field(min_length=1)  # what is asked of an image
    labels: tuple[str, ...]  # what answers it: the labels of all tasks, in the network's order
    parameters: int
    preprocessing: Preprocessing
    preprocessing_sha256: str
    gate: Gate
    temperatures: dict[str, float]
    operating_points: dict[str, OperatingPoint]  # what the model decides by
    points_by_rule: dict[str, dict[Rule, OperatingPoint]]  # of every rule
    heatmap_scale: dict[str, float]  # logit units drawn as full colour, the same for every image
    outliers: Outliers
    weights_sha256: str
    self_check: SelfCheck
    provenance: Provenance
    metrics: dict[str, Any]  # {label: {metric: {value, low, high, method, n, n_patients}}}, on the split it names
    metrics_split: str
    intended_use: str = INTENDED_USE
    limits: tuple[str, ...] = ()
    members: int = 1  # networks whose calibrated probabilities are averaged
    cohort_profile: CohortProfile  # of the training and validation images

    @model_validator(mode="after")
    def _labels_of_tasks(self) -> ModelCard:
        if self.labels != tuple(label for task in self.tasks for label in task.labels):
            raise ValueError("labels are not those of the tasks")
        return self

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

    def identifier(self) -> str:
        """The model's name: its architecture and a hash of everything else on the card."""
        content = self.model_dump(mode="json", exclude={"model_id"})
        return f"{self.architecture}-{sha256_json(content)[:12]}"
