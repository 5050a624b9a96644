"""Does a device compute what the processor does? Values, a saved model, memory that runs out: each is tried."""

from __future__ import annotations

import gc
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medres.cohort.profile import CohortProfile
from medres.cohort.tasks import Task
from medres.config import Config, load_config
from medres.model.calibration import RULES, OperatingPoint
from medres.model.card import BackboneOrigin, Provenance, TrainedFacts
from medres.model.classifier import Classifier, Scores
from medres.model.device import CPU, float32_as
from medres.model.forward import as_images, forward_batches
from medres.model.network import RadiographNetwork
from medres.model.outliers import distances, fit_feature_space
from medres.model.saving import save_model
from medres.training.batches import Pixels, TrainingData
from medres.training.engine import fit_network
from medres.training.state import FitPlan, FittedNetwork

LOGITS = 1e-4
"""Most that logits, maps and distances of a device may differ from the processor's, where logits are about 1."""

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried on a device."""

    name: str
    passed: bool
    figures: Figures = field(default_factory=dict)
    error: str = ""  # where it did not come to an end
    seconds: float = 0.0


def tried(name: str, check: Callable[[], tuple[bool, Figures]]) -> Check:
    """Try one thing; an error is part of the result."""
    started = time.monotonic()
    gc.collect()  # what the check before left
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        passed, figures = check()
    except Exception as error:  # noqa: BLE001  the next thing is tried all the same
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        return Check(name, passed=False, error=said, seconds=round(time.monotonic() - started, 1))
    return Check(name, passed, figures, seconds=round(time.monotonic() - started, 1))


def core_checks(device: torch.device, *, architecture: str = "resnet18", side: int = 128) -> Iterator[Check]:
    """What a user's card must do: about a minute.

    Args:
        device: that is tried.
        architecture: of the network that is trained for it.
        side: of its images, pixels.
    """
    yield tried("every stored value becomes the same float", lambda: values_are_exact(device))
    yield tried("a saved model scores alike", lambda: saved_model_agrees(device, architecture=architecture, side=side))
    if device.type == "cuda":
        yield tried("a batch that does not fit is done in parts", lambda: memory_runs_out(device))


def bright_images(count: int, side: int, *, seed: int = 0) -> TrainingData:
    """Images whose brightness tells their class, uint16 (count, side, side), and their answers."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(0, 2, (count, 1))
    shades = rng.integers(0, 2**15, (count, side, side)) + 2**14 * answers[:, :, None]
    targets = answers.astype(np.float32)
    return TrainingData(shades.astype(np.uint16), targets, targets)


def steady(device: torch.device, *changes: str) -> Config:
    """A recipe on a device that ends no stage early."""
    fixed = ("training.saturation=1", "training.patience=99", "training.ema_decay=0", "augmentation.translation=0")
    return load_config("quick", [*fixed, f"training.device={device}", *changes])


def fitted(data: TrainingData, config: Config, *, held_out: int, seed: int = 0) -> FittedNetwork:
    """A network that was fitted on all but the last images, by which it was validated."""
    count = len(data.pixels)
    plan = FitPlan(range(count - held_out), range(count - held_out, count), seed, "check")
    return fit_network(data, plan, config, weights=None)


def values_are_exact(device: torch.device) -> tuple[bool, Figures]:
    """All 65,536 values become the same floats on the device as on the CPU, from a resident cache and from another."""
    values = np.arange(2**16, dtype=np.uint16).reshape(1, 256, 256)
    values.flags.writeable = False  # as a memory map is
    expected = torch.from_numpy(values.astype(np.float32) / 65535)[:, None]
    resident, fetched = Pixels(values, device), Pixels(values, device)
    fetched.resident = None
    found = {
        "resident": resident[[0]],
        "fetched": fetched[[0]],
        "scoring": as_images(values, device),
    }
    differing = {name: float((images.cpu() != expected).sum()) for name, images in found.items()}
    return not any(differing.values()), differing


def saved_model_agrees(
    device: torch.device, *, architecture: str, side: int, sharp: bool = False
) -> tuple[bool, Figures]:
    """A network that really learned, saved, scores on the device as on the CPU.

    Args:
        device: that is tried.
        architecture: of the network.
        side: of the images, pixels.
        sharp: also find that the same would not hold with TF32, so that the bound tells them apart.
    """
    data = bright_images(112, side)
    changes = (f"network.architecture={architecture}", f"preprocessing.size={side}", "training.stages=[{epochs: 8}]")
    config = steady(device, *changes, "training.batch_size=16")
    network = fitted(data, config, held_out=32)
    with tempfile.TemporaryDirectory() as folder:
        save_fitted(Path(folder), network, data.pixels[:80], config)
        there, here = (Classifier.load(folder, device=str(place)) for place in (device, CPU))
        asked = bright_images(48, side, seed=1).pixels
        one, other = there.score(asked, maps=True), here.score(asked, maps=True)
        figures = {
            "logits": _largest(one.logits, other.logits),
            "maps": _largest(one.maps, other.maps),
            "distances": _largest(one.distances, other.distances),
            "largest logit": float(np.abs(other.logits).max()),
            "statuses": float((_statuses(one, there) != _statuses(other, here)).sum()),
        }
        if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
            figures["logits with TF32"] = _largest(_with_tf32(there.members[0].network, asked, device), other.logits)
    bound = LOGITS * max(1.0, figures["largest logit"])  # float32 has so many digits, whatever the number's size
    small = all(figures[name] <= bound for name in ("logits", "maps", "distances"))
    told_apart = not sharp or figures.get("logits with TF32", np.inf) > bound
    return small and told_apart and not figures["statuses"], figures


def memory_runs_out(device: torch.device, *, most: float = 6e9) -> tuple[bool, Figures]:
    """A batch of 512 that cannot fit into 6 GB is done in parts, in training and in validation, which go on."""
    data = bright_images(544, 224)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    before = torch.cuda.get_per_process_memory_fraction(device)
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved(device) + most) / total), device)
    try:
        changes = ("network.architecture=resnet50", "preprocessing.size=224", "training.stages=[{epochs: 1}]")
        found = fitted(data, steady(device, *changes, "training.batch_size=512"), held_out=32)
    finally:
        torch.cuda.set_per_process_memory_fraction(before, device)
        torch.cuda.empty_cache()
    part, loss = found.history[0]["smallest_part"], found.history[0]["loss"]
    return part < 512 and bool(np.isfinite(loss)), {"images at a time": float(part), "loss": loss}


def _largest(one: NDArray[np.floating] | None, other: NDArray[np.floating] | None) -> float:
    assert one is not None
    assert other is not None
    return float(np.abs(one - other).max())


def _statuses(scores: Scores, model: Classifier) -> NDArray[np.str_]:
    every = range(len(scores.logits))
    return np.array([model.prediction("2.25.1", scores, place, review=()).status for place in every])


@torch.inference_mode()
def _with_tf32(network: RadiographNetwork, pixels: NDArray[np.uint16], device: torch.device) -> NDArray[np.float64]:
    with float32_as("tf32"):
        logits, _ = network.logits_and_features(as_images(pixels, device))
    return logits.double().cpu().numpy()


def save_fitted(home: Path, fitted: FittedNetwork, pixels: NDArray[np.uint16], config: Config) -> None:
    """Save a network as `medres train` does, with facts that nobody asks for."""
    batches = forward_batches(fitted.network, pixels, range(len(pixels)), device=CPU, batch=16)
    features = np.concatenate([batch.features.numpy() for batch in batches])
    space = fit_feature_space(features)
    point = OperatingPoint(threshold=0.5, rule="of this check", sensitivity=None, specificity=None, n=0)
    origin = Provenance(
        created="", recipe=config.name, config=config.model_dump(mode="json"), seed=0, manifest_sha256="",
        splits_sha256="", fold=None, training_images=len(pixels), training_patients=len(pixels), validation_images=0,
        validation_patients=0, epochs=len(fitted.history), best_epoch=fitted.best_epoch, device=fitted.device,
        backbone=BackboneOrigin(name="none: a random start", sha256=None), packages={}, git_commit=None,
    )  # fmt: skip
    facts = TrainedFacts(
        architecture=config.network.architecture, folded=False, tasks=(Task("bright", "binary"),), labels=("bright",),
        preprocessing=config.preprocessing, gate=config.gate, temperatures={"bright": 1.0},
        operating_points={"bright": point}, points_by_rule={"bright": dict.fromkeys(RULES, point)},
        heatmap_scale={"bright": 1.0}, provenance=origin, metrics={}, metrics_split="none",
        cohort_profile=CohortProfile(images=0, patients=0, categories={}, numbers={}, intensities={}),
    )  # fmt: skip
    cut = float(np.quantile(distances(space, features), 0.99))
    save_model(home, network=fitted.network, space=space, outlier_cut=cut, outlier_quantile=0.99, facts=facts)
