"""What medres does on a GPU: right first, then fast. One command, a few minutes, JSON.

    python -m tests.benchmarks.gpu [--small]

It runs where only torch, torchvision, numpy and scikit-learn are installed, if what else training and models import is
carried along in a folder that PYTHONPATH names (about 55 MB; wheels of that machine's Python):

    pip install --no-deps --target carried monai pytorch-ignite pydantic pydantic-core annotated-types \\
        typing-inspection typing-extensions pyyaml psutil pydicom safetensors

OpenCV and imagecodecs would be three times as much: where they are absent, torch resizes, and no file is decoded.

`--small` is the same on small images with a small network, on whatever device there is: the tests run it, so that it
still works when a GPU is at hand. The exit code is 1 where something is wrong, or a promised figure is not reached.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from medres.config import Augmentation, Config, load_config
from medres.errors import ModelError
from medres.training.augmentation import BatchAugmentation
from medres.training.batches import Pixels, TrainingData
from medres.training.device import choose_compute
from medres.training.engine import fit_network
from medres.training.state import FitPlan
from tests.benchmarks.steps import bare_step
from tests.benchmarks.timing import finish, in_turn, medians, ratio, versions

STEP_PART = 0.97  # of the bare step's images/s
FASTEST_CARDS = ("H200", "H100", "B200", "GB200")
IMAGES_PER_SECOND = 3000.0  # ResNet-50, 224 pixels, bf16, on one of them


def main() -> None:
    """Check, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="small images and network, any device")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type != "cuda" and not arguments.small:
        raise SystemExit("no GPU is here; --small runs on any device")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    unmet: list[str] = []
    checks = {
        "cache": cache_is_exact(device),
        "augmentation": augmentation_agrees(device),
        "training": training_agrees(device),
        "saved model": saved_model_agrees(device, small=arguments.small),
    }
    if device.type == "cuda":
        checks["out of memory"] = memory_runs_out(device)
    unmet += [check for check, passed in checks.items() if not passed]
    speed = throughput(small=arguments.small, rounds=arguments.rounds)
    if not arguments.small and speed["part_of_bare_step"] < STEP_PART:
        unmet.append("part_of_bare_step")
    if not arguments.small and any(card in name for card in FASTEST_CARDS):
        unmet += ["images_per_second"] if speed["images_per_second"]["medres"] < IMAGES_PER_SECOND else []
    result = {"device": name, "versions": versions("torch", "torchvision", "monai"), "checks": checks, "speed": speed}
    finish(result, unmet)


def cache_is_exact(device: torch.device) -> bool:
    """All 65,536 values become the same floats on the device as on the CPU."""
    values = np.arange(2**16, dtype=np.uint16).reshape(1, 256, 256)
    return torch.equal(Pixels(values, device)[[0]].cpu(), torch.from_numpy(values.astype(np.float32) / 65535)[:, None])


def augmentation_agrees(device: torch.device) -> bool:
    """The same seed moves and changes images alike on both."""
    wanted = Augmentation(rotation=12, translation=0.1, scaling=0.2, horizontal_flip=0.5, erasing=0.5)
    images = functional.interpolate(torch.rand(32, 1, 16, 16), (96, 96), mode="bilinear")
    there, here = (BatchAugmentation(wanted, seed=3)(images.to(place)).cpu() for place in (device, "cpu"))
    return bool(((there - here).abs() > 1e-3).float().mean() < 1e-3)  # the edge of a blank may fall a pixel apart


def _recipe(device: torch.device, *changes: str) -> Config:
    steady = ("training.saturation=1", "training.patience=99", "training.ema_decay=0", "augmentation.translation=0")
    return load_config("quick", [*steady, f"training.device={device.type}", *changes])


def _cohort(count: int, side: int) -> tuple[Any, Any]:
    """Images whose brightness tells their class."""
    rng = np.random.default_rng(0)
    answers = rng.integers(0, 2, (count, 1))
    shades = rng.integers(0, 2**15, (count, side, side)) + 2**14 * answers[:, :, None]
    return shades.astype(np.uint16), answers.astype(np.float32)


def training_agrees(device: torch.device) -> bool:
    """Eight steps from the same start give nearly the same loss on the device and on the CPU, in full precision."""
    pixels, answers = _cohort(96, 64)
    losses = []
    for place in (device, torch.device("cpu")):
        changes = ("preprocessing.size=64", "training.stages=[{epochs: 4}]", "training.precision=fp32")
        config = _recipe(place, *changes, "training.learning_rate=1e-4")
        fitted = fit_network(
            TrainingData(pixels, answers, answers), FitPlan(range(80), range(80, 96), 0, "check"), config, weights=None
        )
        losses.append([entry["loss"] for entry in fitted.history])
    return bool(np.allclose(*losses, atol=2e-2))


def memory_runs_out(device: torch.device) -> bool:
    """A batch that cannot fit is done in parts, and the training goes on."""
    pixels, answers = _cohort(544, 224)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved(device) + 6e9) / total), device)
    try:
        changes = ("network.architecture=resnet50", "preprocessing.size=224", "training.stages=[{epochs: 1}]")
        config = _recipe(device, *changes, "training.batch_size=512")
        fitted = fit_network(
            TrainingData(pixels, answers, answers),
            FitPlan(range(512), range(512, 544), 0, "check"),
            config,
            weights=None,
        )
        return bool(np.isfinite(fitted.history[0]["loss"]))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        torch.cuda.empty_cache()


def _stand_in() -> None:
    """Put in what this benchmark needs of packages that are not installed: resizing, and a name."""
    if importlib.util.find_spec("cv2") is None:
        opencv: Any = ModuleType("cv2")
        opencv.INTER_AREA, opencv.INTER_LINEAR = "area", "bilinear"

        def resize(pixels: NDArray[np.float32], shape: tuple[int, int], *, interpolation: str) -> NDArray[np.float32]:
            width, height = shape
            resized = functional.interpolate(torch.from_numpy(pixels)[None, None], (height, width), mode=interpolation)
            return resized[0, 0].numpy()

        opencv.resize = resize
        sys.modules["cv2"] = opencv
    if importlib.util.find_spec("imagecodecs") is None:
        sys.modules["imagecodecs"] = ModuleType("imagecodecs")


def saved_model_agrees(device: torch.device, *, small: bool) -> bool:
    """A fitted network, saved, passes its self-check on the device and scores there as on the CPU."""
    _stand_in()
    from medres.cohort.profile import CohortProfile
    from medres.cohort.tasks import Task
    from medres.model.calibration import RULES, OperatingPoint
    from medres.model.card import BackboneOrigin, Provenance, TrainedFacts
    from medres.model.classifier import Classifier
    from medres.model.outliers import fit_feature_space
    from medres.model.saving import save_model

    architecture, side = ("resnet18", 64) if small else ("resnet50", 224)
    pixels, answers = _cohort(96, side)
    sizes = (f"network.architecture={architecture}", f"preprocessing.size={side}", "training.stages=[{epochs: 1}]")
    config = _recipe(device, *sizes)
    fitted = fit_network(
        TrainingData(pixels, answers, answers), FitPlan(range(80), range(80, 96), 0, "check"), config, weights=None
    )
    with torch.inference_mode():
        images = torch.from_numpy(pixels[:32].astype(np.float32) / 65535)[:, None]
        features = fitted.network.features(images).numpy()
    point = OperatingPoint(threshold=0.5, rule="of this benchmark", sensitivity=None, specificity=None, n=0)
    origin = Provenance(
        created="", recipe=config.name, config=config.model_dump(mode="json"), seed=0, manifest_sha256="",
        splits_sha256="", fold=None, training_images=80, training_patients=80, validation_images=16,
        validation_patients=16, epochs=1, best_epoch=1, device=fitted.device,
        backbone=BackboneOrigin(name="none: a random start", sha256=None), packages={}, git_commit=None,
    )  # fmt: skip
    facts = TrainedFacts(
        architecture=architecture, folded=False, tasks=(Task("bright", "binary"),), labels=("bright",),
        preprocessing=config.preprocessing, gate=config.gate, temperatures={"bright": 1.0},
        operating_points={"bright": point}, points_by_rule={"bright": dict.fromkeys(RULES, point)},
        heatmap_scale={"bright": 1.0}, provenance=origin, metrics={}, metrics_split="none",
        cohort_profile=CohortProfile(images=0, patients=0, categories={}, numbers={}, intensities={}),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        space = fit_feature_space(features)
        save_model(home, network=fitted.network, space=space, outlier_cut=1.0, outlier_quantile=0.99, facts=facts)
        try:
            there, here = (Classifier.load(home, device=place).score(pixels, maps=True) for place in ("auto", "cpu"))
        except ModelError as error:
            print(error, file=sys.stderr)
            return False
    assert there.maps is not None
    assert here.maps is not None
    pairs = ((there.logits, here.logits), (there.probabilities, here.probabilities), (there.maps, here.maps))
    return all(np.allclose(*pair, atol=1e-2, rtol=1e-3) for pair in pairs)


def throughput(*, small: bool, rounds: int) -> dict[str, Any]:
    """images/s of medres's whole loop and of the bare step on one fixed batch, run in turn.

    `fit_network` asks cuDNN for deterministic algorithms, so the bare step does too; another says what that costs.
    Recipes from a random start keep a running average of the weights, which the bare step does not have.
    """
    architecture, side, batch, steps = ("resnet18", 64, 16, 4) if small else ("resnet50", 224, 256, 40)
    pixels, answers = _cohort(batch * steps + 32, side)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    changes = (f"network.architecture={architecture}", f"preprocessing.size={side}", f"training.batch_size={batch}")
    changes += ("training.stages=[{epochs: 2}]", "augmentation.translation=0.06")
    config, with_average = _recipe(device, *changes), _recipe(device, *changes, "training.ema_decay=0.99")
    training, validation = range(batch * steps), range(batch * steps, batch * steps + 32)

    def medres(config: Config) -> float:
        fitted = fit_network(
            TrainingData(pixels, answers, answers), FitPlan(training, validation, 0, "speed"), config, weights=None
        )
        return float(fitted.history[-1]["images_per_second"])

    found = in_turn(
        {
            "medres": lambda: medres(config),
            "medres, average of weights": lambda: medres(with_average),
            "bare step": lambda: bare_step(config, side=side, steps=steps),
            "bare step, not deterministic": lambda: bare_step(config, side=side, steps=steps, deterministic=False),
        },
        rounds=rounds,
    )
    return {
        "what": f"{architecture}, {side} pixels, batches of {batch}, {choose_compute(config.training)}",
        "images_per_second": medians(found),
        "part_of_bare_step": ratio(found, "medres", "bare step"),
        "part_with_average": ratio(found, "medres, average of weights", "bare step"),
        "part_of_bare_step_not_deterministic": ratio(found, "medres", "bare step, not deterministic"),
    }


if __name__ == "__main__":
    main()
