"""One typed configuration: every default and every bound of medres has its home here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from medres.config.augmentation import Augmentation
from medres.config.evaluation import CrossValidation, Evaluation
from medres.config.images import GATES, PAIRED_LIMBS, Gate, Limits, Preprocessing, load_gate, own_gate
from medres.config.reading import Settings, apply_override, read_yaml, validated
from medres.config.training import (
    Architecture,
    Network,
    Stage,
    Tracking,
    Training,
)
from medres.errors import ConfigError

__all__ = [
    "GATES",
    "PAIRED_LIMBS",
    "Architecture",
    "Augmentation",
    "Config",
    "CrossValidation",
    "Evaluation",
    "Gate",
    "Limits",
    "Network",
    "Preprocessing",
    "Stage",
    "Tracking",
    "Training",
    "load_config",
    "load_gate",
    "recipe_names",
]


class Config(Settings):
    """All settings of a run."""

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
        if not isinstance(values, Mapping):
            return values
        if isinstance(gate := values.get("gate"), str):
            return {**values, "gate": load_gate(gate)}
        return {**values, "gate": own_gate(gate)} if isinstance(gate, Mapping) else values

    @field_validator("augmentation")
    @classmethod
    def _mirrors_no_heart(cls, augmentation: Augmentation, info: ValidationInfo) -> Augmentation:
        gate = info.data.get("gate", GATES["any"])
        others = ({part.upper() for part in gate.body_part} or {"any body part"}) - PAIRED_LIMBS
        if augmentation.horizontal_flip and others:
            raise ValueError(
                f"horizontal_flip would show hearts on the right, for the gate admits {', '.join(sorted(others))}: "
                "set horizontal_flip=0, or name a gate of limbs alone (a file with e.g. body_part: [KNEE])"
            )
        return augmentation

    @field_validator("training")
    @classmethod
    def _ends_at_the_size_of_use(cls, training: Training, info: ValidationInfo) -> Training:
        size = info.data.get("preprocessing", Preprocessing()).size
        sides = [stage.size or size for stage in training.stages]
        if sides[-1] != size or max(sides) > size:
            raise ValueError(
                f"stages of {', '.join(map(str, sides))} pixels, but the model is used at preprocessing.size {size}: "
                "no stage may be larger, and the last must have that size (leave its size out)"
            )
        return training


def recipe_names() -> tuple[str, ...]:
    """Names of the built-in recipes, sorted.

    >>> recipe_names()
    ('knee', 'quick', 'resnet101', 'resnet50')
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
    values = read_yaml(text, name)
    for override in overrides:
        apply_override(values, override)
    return validated(Config, values, name)
