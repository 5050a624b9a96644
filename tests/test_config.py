from __future__ import annotations

from pathlib import Path

import pytest

from medres.config import Config, load_config, load_gate, recipe_names
from medres.errors import ConfigError


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_valid_and_survives_a_round_trip_through_json(name: str) -> None:
    config = load_config(name)
    assert config.name == name
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_quick_and_knee_start_from_random_weights_and_the_others_from_imagenet() -> None:
    assert {name for name in recipe_names() if load_config(name).network.weights == "none"} == {"knee", "quick"}
    assert {load_config(name).network.weights for name in ("resnet50", "resnet101")} == {"IMAGENET1K_V2"}
    assert {load_config(name).preprocessing.size for name in ("resnet50", "resnet101")} == {320}


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("training.batchsize=3", "training.batchsize: unknown key"),
        ("nothing=1", "nothing: unknown key"),
        ("training.batch_size=one", "training.batch_size"),
        ("training.batch_size=1", "greater than or equal to 2"),
        ("training", "not KEY=VALUE"),
        ("training.batch_size.x=1", "no keys below"),
        ("network.architecture=vgg", "network.architecture"),
        ("training.stages=[]", "training.stages"),
        ("seed=[", "not valid YAML"),
        ("training.stages=[{epochs: 1, size: 64}]", "training: .*64 pixels, but .*preprocessing.size 128"),
        ("training.stages=[{epochs: 1, size: 256}, {epochs: 1}]", "training: .*no stage may be larger"),
        ("preprocessing.size=32", "training: .*stages of 64, 32 pixels"),
        ("augmentation.horizontal_flip=0.5", "augmentation: .*any body part: set horizontal_flip=0"),
        ("training={method: linear-probe, sampler: balanced, focusing: 2}", "training: .*no focusing, sampler: leave"),
        ("training={method: linear-probe, precision: bf16}", "training: .*computes in fp32: leave out precision=bf16"),
        ("network.input_range=[0, 0]", "network.input_range: .*two different values"),
    ],
)
def test_a_wrong_override_is_named(override: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint.replace("(", r"\(")):
        load_config("quick", [override])


def test_hearts_are_never_mirrored_in_training_and_limbs_may_be() -> None:
    flip = "augmentation.horizontal_flip=0.5"
    limbs = load_config("quick", [flip, "gate={body_part: [KNEE, hip]}"])
    assert limbs.augmentation.horizontal_flip == 0.5
    for gate in ("frontal-chest", "{body_part: [KNEE, CHEST]}"):
        with pytest.raises(ConfigError, match=r"admits CHEST.*gate of limbs alone"):
            load_config("quick", [flip, f"gate={gate}"])


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="quick, resnet101, resnet50"):
        load_config("resnet5O")


def test_a_gate_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "hands.yaml"
    path.write_text("modality: [DX]\nbody_part: [HAND]\n")
    assert load_gate(path).body_part == ("HAND",)
    assert load_config("quick", [f"gate={path}"]).gate.name == "hands"
    path.write_text("modalty: [DX]\n")
    with pytest.raises(ConfigError, match="modalty: unknown key"):
        load_gate(path)
