"""Fits that a device and the processor do alike: what `tests.benchmarks.gpu` checks of training."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.nn import functional
from torchvision.models import resnet18

from medres.config import Augmentation, load_config
from medres.model.device import CPU
from medres.model.forward import forward_batches
from medres.model.weights import load_backbone
from medres.runs.device_checks import Figures, bright_images, fitted, steady
from medres.training.augmentation import BatchAugmentation
from medres.training.checkpoints import Checkpoints
from medres.training.distributed import Processes
from medres.training.engine import fit_network
from medres.training.linear_probe import LinearProbe
from medres.training.losses import MaskedLoss
from medres.training.optimiser import RunningAverage
from medres.training.state import FitPlan, FittedNetwork
from medres.training.steps import AccumulatedStep

LOSSES = 1e-4  # most that losses of the first steps in fp32 differ
ROUGHLY = 2e-2  # and in 8 or 11 bits
LEARNT = 0.95  # AUROC of a task so plain that every precision learns it
RICH = (  # everything at once that moves weights
    "training.ema_decay=0.9", "training.clip_norm=1", "augmentation.erasing=0.3", "augmentation.rotation=8",
    "augmentation.translation=0.05",
)  # fmt: skip


def augmentation_agrees(device: torch.device) -> tuple[bool, Figures]:
    """The same seed moves and changes images alike on both."""
    wanted = Augmentation(rotation=12, translation=0.1, scaling=0.2, horizontal_flip=0.5, erasing=0.5)
    images = functional.interpolate(torch.rand(32, 1, 16, 16), (96, 96), mode="bilinear")
    there, here = (BatchAugmentation(wanted, seed=3)(images.to(place)).cpu() for place in (device, CPU))
    share = float(((there - here).abs() > 1e-3).float().mean())
    return share < 1e-3, {"differing pixels": share}  # the edge of a blank may fall a pixel apart


def losses_agree(
    device: torch.device, precision: str = "fp32", *, small: bool, bound: float = LOSSES
) -> tuple[bool, Figures]:
    """Steps from the same start, at a rate that amplifies nothing, have the losses that the CPU has in fp32."""
    side = 32 if small else 64
    changes = (f"preprocessing.size={side}", "training.stages=[{epochs: 2}]", "training.batch_size=20")
    losses = []
    for place, chosen in ((device, precision), (CPU, "fp32")):
        config = steady(place, *changes, f"training.precision={chosen}", "training.learning_rate=1e-6")
        losses.append([entry["loss"] for entry in fitted(bright_images(96, side), config, held_out=16).history])
    largest = float(np.abs(np.subtract(*losses)).max())
    return largest <= bound, {"largest difference": largest}


def learns(device: torch.device, precision: str, *, small: bool) -> tuple[bool, Figures]:
    """Two stages from a folded stem, with a running average, erasing and clipping, learn images nobody showed."""
    side = 32 if small else 96
    stages = f"training.stages=[{{epochs: 3, size: 32}}, {{epochs: 3, size: {side}}}]"
    config = steady(device, *RICH, f"preprocessing.size={side}", stages, f"training.precision={precision}")
    config = load_config("quick", [*_changes(config), *_folded_weights()])
    data, held_out = bright_images(320, side), bright_images(128, side, seed=1)
    plan = FitPlan(range(256), range(256, 320), 0, "check")
    found = fit_network(data, plan, config, weights=load_backbone(config.network))
    value = _auroc(found, held_out.pixels, held_out.targets)
    finite = all(np.isfinite(entry["loss"]) for entry in found.history)
    return finite and value > LEARNT, {"held-out AUROC": value}


def overflow_is_left_out(device: torch.device) -> tuple[bool, Figures]:
    """A step whose fp16 gradients overflow moves neither weights nor their average, and the next one does."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1)).to(device)
    average = RunningAverage(network, 0.9)
    engine = _Engine(network, device, average)
    step = AccumulatedStep(MaskedLoss(), scaler=torch.amp.GradScaler(device.type, init_scale=1e38))
    before = [value.clone() for value in (*network.parameters(), *average.module.parameters())]
    batch = {"image": torch.full((4, 1, 4, 4), 1e4, device=device), "label": torch.ones(4, 1, device=device)}
    step(engine, batch)
    after = [*network.parameters(), *average.module.parameters()]
    kept = all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    AccumulatedStep(MaskedLoss(), scaler=torch.amp.GradScaler(device.type))(engine, batch)
    return kept and not torch.equal(before[0], after[0]) and average.steps == 1, {"scale": step.scaler.get_scale()}


def validation_runs_out(device: torch.device) -> tuple[bool, Figures]:
    """Validation images that do not fit at once are judged in parts."""
    data = bright_images(200, 512)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    before = torch.cuda.get_per_process_memory_fraction(device)
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + 3e9) / total, device)
    short = torch.cuda.memory_stats(device).get("num_ooms", 0)
    try:
        changes = ("network.architecture=resnet50", "preprocessing.size=512", "training.stages=[{epochs: 1}]")
        found = fitted(data, steady(device, *changes, "training.batch_size=8"), held_out=160)
    finally:
        torch.cuda.set_per_process_memory_fraction(before, device)
        torch.cuda.empty_cache()
    loss, times = found.history[0]["validation_loss"], torch.cuda.memory_stats(device).get("num_ooms", 0) - short
    return bool(np.isfinite(loss)) and times > 0, {"validation loss": loss, "times that memory ran out": float(times)}


def compiled(device: torch.device) -> tuple[bool, Figures]:
    """A compiled network learns in two sizes."""
    stages = "training.stages=[{epochs: 2, size: 64}, {epochs: 2}]"
    config = steady(device, "preprocessing.size=96", stages, "training.compile=true")
    held_out = bright_images(128, 96, seed=1)
    value = _auroc(fitted(bright_images(320, 96), config, held_out=64), held_out.pixels, held_out.targets)
    return value > LEARNT, {"held-out AUROC": value}


def interruption_goes_on(device: torch.device, *, small: bool) -> tuple[bool, Figures]:
    """A signal in mid-epoch keeps the state, dropout included; what goes on becomes what it would have become."""
    side = 32 if small else 96
    changes = (f"preprocessing.size={side}", "training.stages=[{epochs: 2}]", "network.dropout=0.5")
    config = steady(device, *changes, "training.precision=fp32", "training.deterministic=true")
    data, whole = bright_images(112, side), None
    whole = fitted(data, config, held_out=16)
    steps, change = 0, BatchAugmentation.__call__

    def signalled(self: BatchAugmentation, images: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 2:
            signal.raise_signal(signal.SIGTERM)
        return change(self, images)

    with tempfile.TemporaryDirectory() as folder:
        plan, kept = FitPlan(range(96), range(96, 112), 0, "check"), Checkpoints(Path(folder), share=1)
        BatchAugmentation.__call__ = signalled  # type: ignore[method-assign]
        try:
            fit_network(data, plan, config, weights=None, checkpoints=kept)
            return False, {}
        except KeyboardInterrupt:
            again = fit_network(data, plan, config, weights=None, checkpoints=kept)
        finally:
            BatchAugmentation.__call__ = change  # type: ignore[method-assign]
    pairs = zip(whole.network.parameters(), again.network.parameters(), strict=True)
    largest = max(float((one - other).detach().abs().max()) for one, other in pairs)
    return largest <= (0 if device.type == "cpu" else 1e-3), {"largest difference of a weight": largest}


def probe_learns(device: torch.device, *, small: bool) -> tuple[bool, Figures]:
    """A linear probe finds brightness in the features of a network of random weights."""
    side = 32 if small else 96
    changes = (f"preprocessing.size={side}", "training.stages=[{epochs: 1}]", f"training.device={device}")
    changes += ("training.method=linear-probe",)
    config = load_config("quick", [*changes, *_folded_weights()])
    data, held_out = bright_images(192, side), bright_images(128, side, seed=1)
    probe = LinearProbe(data, config, load_backbone(config.network))
    value = _auroc(probe.fit(FitPlan(range(128), range(128, 192), 0, "p")), held_out.pixels, held_out.targets)
    return value > LEARNT, {"held-out AUROC": value}


def processes_agree(device: torch.device) -> tuple[bool, Figures]:
    """Two processes on one device that exchange through the CPU have the losses of one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "losses.pt"
        command = [sys.executable, "-m", "tests.benchmarks.gpu_fits", str(device), str(path), str(port)]
        running = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
        try:
            alone = _shared_fit(device, Processes())
            if max(process.wait(180) for process in running):
                raise RuntimeError("a process failed")
        finally:
            for process in running:
                process.kill()
                process.wait()
        largest = float(np.abs(np.subtract(alone, torch.load(path, weights_only=True))).max())
    return largest <= 1e-3, {"largest difference of a loss": largest}


def _shared_fit(device: torch.device, processes: Processes) -> list[float]:
    """The losses of a training that processes may share."""
    changes = ("preprocessing.size=32", "training.stages=[{epochs: 3}]", "training.batch_size=16")
    config = steady(device, *changes, "training.precision=fp32", "training.learning_rate=1e-4")
    plan = FitPlan(range(64), range(64, 80), 0, "check")
    found = fit_network(bright_images(80, 32), plan, config, weights=None, processes=processes)
    return [entry["loss"] for entry in found.history]


def _one_of_two(device: str, path: str, port: str, rank: str) -> None:
    """One of two processes of a training, the first of which writes the losses."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=int(rank), world_size=2)
    losses = _shared_fit(torch.device(device), Processes(int(rank), 2))
    if rank == "0":
        torch.save(losses, path)
    distributed.destroy_process_group()


def folds_side_by_side(device: torch.device) -> tuple[bool, Figures]:
    """Several folds at once on one GPU end, each within its share of the memory."""
    with tempfile.TemporaryDirectory() as folder:
        home = _phantoms(Path(folder), patients=45)
        changes = ("crossval.folds=3", "crossval.folds_at_once=3", "training.stages=[{epochs: 2}]")
        _medres(
            "crossval", home / "manifest.csv", "--label", "nodule", "--out", home / "run", f"--device={device}",
            *(f"--set={change}" for change in (*changes, "evaluation.replicates=100")),
        )  # fmt: skip
        return (home / "run" / "oof.csv").is_file(), {}


def command_line(device: torch.device) -> tuple[bool, Figures]:
    """`train`, `score`, `explain` and `evaluate` on sixty phantoms."""
    with tempfile.TemporaryDirectory() as folder:
        home = _phantoms(Path(folder), patients=60)
        where, label = f"--device={device}", ("--label", "nodule")
        stages = "--set=training.stages=[{epochs: 3}]"
        _medres("train", home / "manifest.csv", *label, "--out", home / "model", where, stages)
        _medres("score", home / "model", home / "images", "--out", home / "scored", "--heatmaps", where)
        file = sorted((home / "images").rglob("*.dcm"))[0]
        _medres("explain", home / "model", file, *label, "--out", home / "a.npy", where, "--allow-burned-in")
        _medres("evaluate", home / "model", home / "manifest.csv", "--out", home / "e", where, "--allow-overlap")
        names = ("scored/predictions.csv", "a.npy", "e/metrics.json")
        return all((home / name).is_file() for name in names), {}


def _phantoms(folder: Path, *, patients: int) -> Path:
    """A cohort of phantoms; `images` and `manifest.csv`."""
    from medres.imaging.synthesis import synthesise_cohort

    synthesise_cohort(folder / "images", patients=patients, seed=1)
    labels = folder / "images" / "labels.csv"
    _medres("index", folder / "images", "--out", folder / "manifest.csv", "--labels", labels)
    return folder


def _medres(verb: str, *arguments: object) -> None:
    command = [sys.executable, "-m", "medres.cli", verb, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode not in (0, 3):
        raise RuntimeError(f"medres {verb}: {done.stderr.strip().splitlines()[-1] if done.stderr else done.returncode}")


def _folded_weights() -> tuple[str, str]:
    """Settings of a start from a checkpoint of three channels, whose stem is folded into one."""
    path = Path(tempfile.gettempdir()) / f"medres-check-{os.getpid()}.pth"
    if not path.is_file():
        torch.manual_seed(0)
        torch.save(resnet18(weights=None).state_dict(), path)
    return "network.weights=file", f"network.weights_file={path}"


def _changes(config: Any) -> list[str]:
    """What a made recipe sets, as texts."""
    import json

    sections = config.model_dump(mode="json")
    wanted = {name: sections[name] for name in ("training", "augmentation")} | {
        "preprocessing": {"size": config.preprocessing.size}
    }
    return [
        f"{section}.{key}={json.dumps(value)}" for section, values in wanted.items() for key, value in values.items()
    ]


def _auroc(found: FittedNetwork, pixels: Any, targets: Any) -> float:
    from sklearn.metrics import roc_auc_score

    batches = forward_batches(found.network, pixels, range(len(pixels)), device=CPU, batch=32)
    logits = np.concatenate([batch.logits.numpy() for batch in batches])
    return float(roc_auc_score(targets[:, 0], logits[:, 0]))


@dataclasses.dataclass
class _State:
    device: torch.device


class _Engine:
    """As much of MONAI's trainer as a step needs."""

    non_blocking, to_kwargs = False, {}

    def __init__(self, network: torch.nn.Module, device: torch.device, average: RunningAverage) -> None:
        self.network, self.state, self.average = network, _State(device), average
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, fused=True)

    def prepare_batch(self, batch: dict[str, torch.Tensor], *_: object, **__: object) -> tuple[torch.Tensor, ...]:
        return batch["image"], batch["label"]

    def inferer(self, images: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
        return network(images)  # type: ignore[no-any-return]

    def fire_event(self, event: object) -> None:
        if str(event).endswith("model_completed") or "MODEL_COMPLETED" in str(event):
            self.average.update()


if __name__ == "__main__":
    _one_of_two(*sys.argv[1:5])
