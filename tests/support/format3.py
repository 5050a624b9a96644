"""The model and the run of tests/fixtures/format3 with the tensors that are not committed: see `make_format3`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tests.support.drawn_tensors import drawn_network, made_space, safetensors_bytes

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "format3"
TENSORS = json.loads((FIXTURE / "tensors.json").read_text(encoding="utf-8"))
MODELS: tuple[str, ...] = tuple(TENSORS["models"])
"""Folders of models, relative to the fixture: one of its own, and those of the run's two folds."""


def write_format3(folder: Path) -> Path:
    """Write `model` and `run` into a folder, as `medres train` and `medres crossval` left them."""
    for name in ("model", "run"):
        shutil.copytree(FIXTURE / name, folder / name)
    layouts = TENSORS["layouts"]
    for name, made in TENSORS["models"].items():
        home = folder / name / "models"
        home.mkdir()
        network = drawn_network(layouts["network"], seed=made["seed"], bias=made["bias"])
        (home / "model.safetensors").write_bytes(safetensors_bytes(network))
        (home / "outliers.safetensors").write_bytes(safetensors_bytes(made_space(layouts["space"])))
    return folder


def linked_copy(folder: Path, copy: Path) -> Path:
    """A copy of a folder that costs no space: what is written into it must replace files, not change them."""
    return Path(shutil.copytree(folder, copy, copy_function=os.link))
