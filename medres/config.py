"""One typed configuration: every default and every bound of medres has its home here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from medres.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)
Architecture = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Frozen):
    """Budgets for one file; what exceeds them is refused before it is allocated."""

    file_bytes: int = Field(default=512 * 2**20, gt=0, description="Largest file that is opened, bytes.")
    pixels: int = Field(default=100_000_000, gt=0, description="Most pixels (Rows × Columns) of an image.")
    inflated_bytes: int = Field(
        default=400 * 2**20, gt=0, description="Largest size of a deflated data set once inflated, bytes."
    )
    inflation_ratio: float = Field(
        default=250.0, gt=1, description="Most times its own size a deflated data set may inflate to."
    )
    sequence_depth: int = Field(default=50, ge=1, description="Deepest nesting of sequences.")
    smallest_side: int = Field(default=16, ge=2, description="Fewest rows or columns of a radiograph.")
    seconds: float = Field(default=8.0, gt=0, description="Longest time one file may take to decode, seconds.")
    worker_bytes: int = Field(
        default=4 * 2**30, gt=0, description="Most memory a decoding process may allocate, bytes (Linux)."
    )


class Gate(_Frozen):
    """Which radiographs a model accepts, decided on the header before any pixel is decoded.

    An empty tuple admits everything. Values are compared in upper case.
    """

    name: str = Field(default="any", description="What the gate is called in tables and cards.")
    modality: tuple[str, ...] = Field(default=(), description="Admitted Modality values; absent is refused.")
    body_part: tuple[str, ...] = Field(
        default=(), description="Admitted BodyPartExamined values; absent or doubtful goes to review."
    )
    view: tuple[str, ...] = Field(
        default=(), description="Admitted ViewPosition values; absent goes to review, others are refused."
    )
    for_presentation: bool = Field(default=False, description="Refuse PresentationIntentType FOR PROCESSING.")


GATES: Mapping[str, Gate] = {
    "any": Gate(),
    "frontal-chest": Gate(
        name="frontal-chest",
        modality=("CR", "DX", "RG"),
        body_part=("CHEST", "THORAX"),
        view=("PA", "AP"),
        for_presentation=True,
    ),
}
"""Named gates; a YAML file with the fields of Gate serves as well."""


class Preprocessing(_Frozen):
    """How a radiograph becomes the network's input; its hash travels with the model."""

    size: int = Field(default=320, ge=32, le=2048, description="Side of the square input, pixels.")
    voi: Literal["header", "full", "percentile"] = Field(
        default="header",
        description="What spans black to white: the header's window or LUT, the full stored range, or percentiles.",
    )
    percentiles: tuple[float, float] = Field(
        default=(0.5, 99.5), description="Lower and upper percentile of `voi: percentile`."
    )
    laterality: Literal["as-acquired", "mirror-left-limbs"] = Field(
        default="as-acquired",
        description="`mirror-left-limbs` shows left limbs (ImageLaterality L; never the chest) as right ones.",
    )


class Augmentation(_Frozen):
    """Random changes to training images only, drawn for each image of a batch."""

    probability: float = Field(default=0.8, ge=0, le=1, description="Chance that an image is moved at all.")
    rotation: float = Field(default=10.0, ge=0, le=180, description="Largest rotation, degrees.")
    translation: float = Field(default=0.08, ge=0, le=0.5, description="Largest shift, as a part of the side.")
    scaling: float = Field(default=0.1, ge=0, lt=1, description="Largest change of size, as a part of the size.")
    intensity_scale: float = Field(default=0.2, ge=0, lt=1, description="Largest relative change of contrast.")
    intensity_shift: float = Field(default=0.1, ge=0, lt=1, description="Largest change of brightness, of [0, 1].")
    erasing: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Chance that a rectangle of 2 to 20 % of the area is blanked.",
    )
    noise: float = Field(default=0.0, ge=0, lt=1, description="Standard deviation of added Gaussian noise, of [0, 1].")
    horizontal_flip: float = Field(
        default=0.0, ge=0, le=1, description="Chance of a mirror image; off by default: the heart lies left."
    )


class Network(_Frozen):
    """Which network, and from which weights it starts."""

    architecture: Architecture = Field(default="resnet50", description="Depth of the ResNet.")
    weights: Literal["IMAGENET1K_V1", "IMAGENET1K_V2", "file", "none"] = Field(
        default="IMAGENET1K_V2",
        description="torchvision's ImageNet weights; `file`: any checkpoint of the architecture, in weights_file; "
        "or `none`: a random start. Every log, card and report says which.",
    )
    weights_file: Path | None = Field(
        default=None, description="The weights as a local file; else the torch hub cache is searched."
    )
    weights_sha256: str = Field(
        default="",
        pattern="^[0-9a-f]{0,64}$",
        description="What the SHA-256 of weights_file must start with, for `weights: file`.",
    )
    input_range: tuple[float, float] | None = Field(
        default=None,
        description="The values that were black and white where weights_file was trained, e.g. [-1024, 1024]; "
        "empty: ImageNet's normalisation for a first layer of three channels, else mean 0.5 and deviation 0.25.",
    )
    allow_download: bool = Field(
        default=False, description="Fetch the named weights when they are not on this machine."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before the last layer.")

    @field_validator("input_range")
    @classmethod
    def _two_values(cls, values: tuple[float, float] | None) -> tuple[float, float] | None:
        if values is not None and values[0] == values[1]:
            raise ValueError("black and white must be two different values")
        return values


class Stage(_Frozen):
    """A run of epochs at one image size (progressive resizing: small and cheap first)."""

    epochs: int = Field(ge=1, description="Epochs in this stage.")
    size: int | None = Field(
        default=None,
        ge=32,
        le=2048,
        description="Side of the training images, pixels; empty: preprocessing.size.",
    )


class Training(_Frozen):
    """How the network is fitted."""

    method: Literal["fine-tune", "linear-probe"] = Field(
        default="fine-tune",
        description="`fine-tune`: all weights learn; `linear-probe`: the pretrained backbone rests, its features are "
        "computed once, and logistic regression is the head: the cheapest baseline.",
    )
    stages: tuple[Stage, ...] = Field(
        default=(Stage(epochs=20),), min_length=1, description="Epochs and image sizes, in order."
    )
    batch_size: int = Field(default=32, ge=2, description="Images per step.")
    micro_batch_size: int = Field(
        default=0,
        ge=0,
        description="Most images in memory at once: a step is done in such parts, with the same gradient; 0: all. "
        "Where a GPU's memory runs out, parts are made and halved without being asked for.",
    )
    compile: bool = Field(
        default=False, description="Compile the network with torch.compile: minutes at first, faster epochs after."
    )
    learning_rate: float = Field(default=1e-4, gt=0, description="Peak learning rate of AdamW for the backbone.")
    head_learning_rate_factor: float = Field(
        default=10.0, gt=0, description="The head's learning rate, as a multiple of the backbone's."
    )
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's weight decay (not on biases and norms).")
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Each block of layers learns this much slower than the one after it; 1: all alike. Early layers of "
        "a pretrained network fit radiographs already.",
    )
    frozen_epochs: int = Field(
        default=0, ge=0, description="First epochs in which only the head learns (the backbone and its norms rest)."
    )
    clip_norm: float = Field(
        default=0.0, ge=0, description="Longest gradient (its norm over all weights) that a step follows; 0: any."
    )
    ema_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Decay per step of the running average of weights that is judged and kept; 0: no average.",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="How far targets move towards 0.5.")
    focusing: float = Field(default=0.0, ge=0, description="Gamma of the focal loss; 0: cross-entropy.")
    balance: Literal["none", "positives"] = Field(
        default="none",
        description="`positives`: positive targets weigh as much as all negatives; calibration undoes it.",
    )
    sampler: Literal["shuffle", "balanced"] = Field(
        default="shuffle",
        description="`shuffle`: every image once an epoch; `balanced`: images of rare classes are drawn more often, "
        "with replacement; calibration undoes it.",
    )
    uncertain: Literal["ignore", "ones", "zeros", "soft"] = Field(
        default="ignore", description="What an uncertain target (−1) is in training: unknown, 1, 0, or 0.5."
    )
    warmup: float = Field(default=0.08, ge=0, lt=1, description="Part of all steps in which the rate rises linearly.")
    patience: int = Field(
        default=4, ge=1, description="Epochs without a better validation AUROC after which training stops."
    )
    saturation: float = Field(
        default=0.99,
        gt=0.5,
        le=1,
        description="Validation AUROC at which a stage ends, if the loss is low too: nothing is left to gain.",
    )
    validation_fraction: float = Field(
        default=0.15,
        gt=0,
        lt=0.5,
        description="Part of the training patients kept for epoch, calibration, thresholds.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="`auto`: bf16 where the device computes it natively, else fp32."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="`auto`: a GPU when there is one.")


class Tracking(_Frozen):
    """What is written about a training besides `history.jsonl` and `history.csv`."""

    tensorboard: bool = Field(
        default=False, description="Event files for TensorBoard in the model's folder (needs medres[tensorboard])."
    )


class CrossValidation(_Frozen):
    """How the cohort is divided."""

    folds: int = Field(default=5, ge=2, le=50, description="Number of folds.")


class Evaluation(_Frozen):
    """How results are judged."""

    replicates: int = Field(default=2000, ge=100, description="Bootstrap replicates of an interval.")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Confidence level of intervals.")
    operating_point: Literal["youden", "sensitivity", "specificity"] = Field(
        default="youden", description="The rule that chooses the threshold on the inner validation split."
    )
    operating_target: float = Field(
        default=0.95, gt=0, lt=1, description="The sensitivity or specificity that the rule must reach."
    )
    outlier_quantile: float = Field(
        default=0.99,
        gt=0.5,
        lt=1,
        description="Validation quantile of the feature distance beyond which a row is `review`.",
    )


class Config(_Frozen):
    """Everything that a run was told."""

    name: str = Field(default="custom", description="Name of the recipe.")
    seed: int = Field(default=0, ge=0, description="Seed of splits, weights, sampling and augmentation.")
    gate: Gate = Field(default=GATES["any"], description="Which radiographs the model accepts.")
    limits: Limits = Field(default=Limits(), description="Budgets for one file.")
    preprocessing: Preprocessing = Field(default=Preprocessing(), description="From radiograph to tensor.")
    augmentation: Augmentation = Field(default=Augmentation(), description="Random changes in training.")
    network: Network = Field(default=Network(), description="Architecture and starting weights.")
    training: Training = Field(default=Training(), description="Optimisation.")
    tracking: Tracking = Field(default=Tracking(), description="Trackers.")
    crossval: CrossValidation = Field(default=CrossValidation(), description="Folds.")
    evaluation: Evaluation = Field(default=Evaluation(), description="Intervals and operating points.")

    @model_validator(mode="before")
    @classmethod
    def _resolve_gate(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("gate"), str):
            return {**values, "gate": load_gate(values["gate"])}
        return values


def recipe_names() -> tuple[str, ...]:
    """Names of the built-in recipes, sorted.

    >>> recipe_names()
    ('quick', 'resnet101', 'resnet50')
    """
    folder = resources.files("medres") / "recipes"
    return tuple(sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")))


def load_config(source: str | Path = "quick", overrides: Iterable[str] = ()) -> Config:
    """Read a recipe by name, or a YAML file, and apply `key.subkey=value` overrides.

    Raises:
        ConfigError: the recipe is unknown, or a key or value is wrong (the message names it).

    >>> load_config("quick", ["training.batch_size=16"]).training.batch_size
    16
    """
    name = str(source)
    if name in recipe_names():
        text = (resources.files("medres") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    elif Path(name).is_file():
        text = Path(name).read_text(encoding="utf-8")
    else:
        raise ConfigError(f"no recipe or file named {name!r}; built-in recipes: {', '.join(recipe_names())}")
    values = _read_yaml(text, name)
    for override in overrides:
        _apply(values, override)
    return _validated(Config, values, name)


def load_gate(source: str | Path) -> Gate:
    """A gate by name (`any`, `frontal-chest`), or a YAML file with the fields of Gate.

    Raises:
        ConfigError: neither a known name nor a readable file.
    """
    name = str(source)
    if name in GATES:
        return GATES[name]
    if not Path(name).is_file():
        raise ConfigError(f"no gate or file named {name!r}; built-in gates: {', '.join(GATES)}")
    return _validated(Gate, {"name": Path(name).stem} | _read_yaml(Path(name).read_text(encoding="utf-8"), name), name)


def _read_yaml(text: str, name: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must hold keys and values, not a {type(values).__name__}")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r} is not KEY=VALUE, for example training.batch_size=16")
    *parents, last = key.strip().split(".")
    branch: Any = values
    for parent in parents:
        branch = branch.setdefault(parent, {})
        if not isinstance(branch, dict):
            raise ConfigError(f"--set {override!r}: {parent} has no keys below it")
    try:
        branch[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML") from None


def _validated(model: type[Model], values: Mapping[str, Any], source: str) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {_complaint(item['type'], item['msg'])}"
            for item in error.errors()
        )
        raise ConfigError(f"{source}: {problems}") from None


def _complaint(kind: str, message: str) -> str:
    return "unknown key" if kind == "extra_forbidden" else message[0].lower() + message[1:]
