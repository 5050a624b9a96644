"""What scoring a folder costs, beside the two scripts that it replaces, with the same weights.

    pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pylibjpeg-rle
    python -m tests.benchmarks.score [--rounds 3] [--syntaxes raw RLE …]

Radiographs of 3000 × 2500 pixels and 12 bits, a ResNet-18 at 128 px. The peers: a loop over files as TorchXRayVision's
`process_batch.py` has it (pydicom, one image at a time), and pydicom within a MONAI dataset and DataLoader (two
processes, batches of 16). Neither hashes, checks, isolates, or survives anything.

Each side scores few files and many; what is reported is the difference divided by the number of images, so that
start-up falls out: processor seconds of the process and its children, and wall seconds. Probabilities are compared
before anything is timed. JSON goes to standard output; the exit code is 1 where a promise is not kept.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from medres.config import Limits
from medres.imaging.preprocessing import prepare
from medres.model.accuracy import MOST_PROBABILITY
from medres.model.classifier import Classifier
from medres.model.device import CPU
from medres.records import Decoding
from medres.runs.device_checks import bright_images, fitted, save_fitted, steady
from medres.scoring.folder import score_folder
from tests.benchmarks.decode import data_sets, picture
from tests.benchmarks.timing import finish, versions
from tests.support.dicom_files import radiograph, write

SIDE = 128
FEW, MANY = 8, 40
REDUCED = "JPEG 2000, a smaller copy"
"""The same files and a model that was trained to take a quarter of them; the peers decode all pixels."""
LOOP = {"JPEG lossless": 2.0, "JPEG-LS": 2.0, "raw": 1.3, "RLE": 1.3, "JPEG 2000": 1.0, REDUCED: 6.0}
"""The loop's processor seconds as a multiple of medres's: what the project promises at least."""
DATALOADER = dict.fromkeys(("JPEG lossless", "JPEG-LS"), 2.0)
OVERLAP = 1.15
"""Most wall seconds as a multiple of the processor seconds of decoding and network, divided by the processors."""
CLOSE = 2e-3  # two ways to the same picture differ by two steps of 65535
CLOSE_REDUCED = MOST_PROBABILITY
SLACK = 0.05  # of a ratio of 1


def saved_model(home: Path, *, decode: Decoding = "full") -> Path:
    """A ResNet-18 that has seen a few images: its probabilities are neither 0 nor 1."""
    data = bright_images(64, SIDE)
    size = (
        "network.architecture=resnet18",
        f"preprocessing.size={SIDE}",
        f"preprocessing.decode={decode}",
        "training.stages=[{epochs: 1}]",
    )
    config = steady(CPU, *size, "training.batch_size=16")
    save_fitted(home, fitted(data, config, held_out=32), data.pixels[:32], config)
    return home


def folders(home: Path, dataset: Dataset) -> dict[int, Path]:
    """Folders of so many radiographs, each with identifiers and bytes of its own."""
    found = {count: home / str(count) for count in (FEW, MANY)}
    dataset.WindowCenter, dataset.WindowWidth = 2000, 3000
    for count, folder in found.items():
        folder.mkdir(parents=True)
        for number in range(count):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.{count}{number:03d}"
            write(folder / f"{number:03d}.dcm", dataset)
    return found


def displayed(path: Path) -> NDArray[np.float32]:
    """A radiograph as a script reads it: PS3.3's linear window, the whole in [0, 1]."""
    dataset = dcmread(path)
    stored = dataset.pixel_array.astype(np.float32)
    center, width = float(dataset.WindowCenter), float(dataset.WindowWidth)
    return np.clip((stored - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def squared(shown: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shrunk and padded with black to the network's square."""
    scale = SIDE / max(shown.shape)
    height, across = (round(side * scale) for side in shown.shape)
    square = np.zeros((SIDE, SIDE), np.float32)
    top, left = (SIDE - height) // 2, (SIDE - across) // 2
    square[top : top + height, left : left + across] = cv2.resize(shown, (across, height), interpolation=cv2.INTER_AREA)
    return square


def calibrated(model: Classifier, logits: torch.Tensor) -> NDArray[np.float64]:
    """Probabilities of a model whose only label has a temperature."""
    return (logits.double() / model.card.temperatures[model.labels[0]]).sigmoid().numpy()[:, 0]


@torch.inference_mode()
def by_a_loop(model: Classifier, folder: Path) -> NDArray[np.float64]:
    """One image after the other."""
    network = model.members[0].network
    found = [
        calibrated(model, network(torch.from_numpy(squared(displayed(path)))[None, None]))
        for path in sorted(folder.iterdir())
    ]
    return np.concatenate(found)


@torch.inference_mode()
def by_a_dataloader(model: Classifier, folder: Path) -> NDArray[np.float64]:
    """MONAI's dataset and loader, with two processes."""
    from monai.data import DataLoader
    from monai.data import Dataset as Files

    files = Files(sorted(folder.iterdir()), transform=_loaded)
    loader = DataLoader(files, batch_size=16, num_workers=os.cpu_count() or 1)
    network = model.members[0].network
    return np.concatenate([calibrated(model, network(images)) for images in loader])


def _loaded(path: Path) -> NDArray[np.float32]:
    cv2.setNumThreads(1)
    return squared(displayed(path))[None]


def by_medres(home: Path, model: Path, folder: Path) -> NDArray[np.float64]:
    """`medres score`, with rows, tables and records."""
    import csv

    out = Path(tempfile.mkdtemp(dir=home))
    score_folder(model, folder, out=out / "scores")
    with (out / "scores" / "predictions.csv").open(encoding="utf-8") as file:
        return np.array([float(row["prob_bright"]) for row in csv.DictReader(file)])


def used() -> tuple[float, float]:
    """Processor seconds of this process and of children that have ended; wall seconds."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage), time.perf_counter()


def an_image(score: Callable[[Path], Any], folders: dict[int, Path]) -> tuple[float, float]:
    """Processor and wall seconds of one more image."""
    spent = {}
    for count in (FEW, MANY):
        before = used()
        score(folders[count])
        spent[count] = tuple(after - start for after, start in zip(used(), before, strict=True))
    return tuple((spent[MANY][kind] - spent[FEW][kind]) / (MANY - FEW) for kind in (0, 1))  # type: ignore[return-value]


def bound(model: Classifier, path: Path) -> float:
    """Processor seconds of decoding one image and of its part of a batch, each alone."""
    job = partial(prepare, spec=model.preprocessing, gate=model.gate, limits=Limits(), decode=model.decode)
    pixels = np.stack([job(str(path)).pixels] * model.batch)
    spent = []
    for _ in range(3):
        started = time.process_time()
        job(str(path))
        decoded = time.process_time()
        model.score_whole_batch(pixels)
        spent.append(decoded - started + (time.process_time() - decoded) / model.batch)
    return statistics.median(spent)


def compared(home: Path, saved: Path, dataset: Dataset, *, rounds: int, close: float) -> dict[str, Any]:
    """All sides on one transfer syntax, in turn, where their probabilities are so close."""
    model = Classifier.load(saved, device="cpu")
    made = folders(home / "files", dataset)
    sides: dict[str, Callable[[Path], NDArray[np.float64]]] = {
        "medres": partial(by_medres, home, saved),
        "loop": partial(by_a_loop, model),
        "DataLoader": partial(by_a_dataloader, model),
    }
    reference = sides["medres"](made[FEW])
    for name, side in sides.items():
        assert np.abs(side(made[FEW]) - reference).max() < close, f"{name}: other probabilities"
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            spent[name].append(an_image(side, made))
    decoding_and_network = bound(model, next(made[FEW].iterdir()))
    wall = statistics.median(wall for _, wall in spent["medres"])

    def ratio(name: str) -> float:
        return statistics.median(a[0] / b[0] for a, b in zip(spent[name], spent["medres"], strict=True))

    return {
        "processor_s": {name: statistics.median(one for one, _ in values) for name, values in spent.items()},
        "wall_s": {name: statistics.median(one for _, one in values) for name, values in spent.items()},
        "loop ÷ medres": ratio("loop"),
        "DataLoader ÷ medres": ratio("DataLoader"),
        "decoding and network alone, processor_s": decoding_and_network,
        "wall ÷ bound": wall * (os.cpu_count() or 1) / decoding_and_network,
    }


def unmet(name: str, found: dict[str, Any]) -> list[str]:
    """Which promises are not kept."""
    missed = []
    for peer, promised in (("loop", LOOP), ("DataLoader", DATALOADER)):
        least = promised.get(name, 0.0)
        ratio = found[f"{peer} ÷ medres"]
        if ratio < least * (1 - SLACK if least == 1 else 1):
            missed.append(f"{name}, {peer}: {ratio:.2f} × of {least} ×")
    if found["wall ÷ bound"] > OVERLAP:
        missed.append(f"{name}: {found['wall ÷ bound']:.2f} times the bound of {OVERLAP}")
    return missed


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Scoring a folder, beside the scripts that it replaces.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--syntaxes", nargs="+", default=["raw", *data_sets(), REDUCED])
    given = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    result: dict[str, Any] = {
        "image": "3000 × 2500, 12 bit; ResNet-18, 128 px",
        "versions": versions("medres", "pydicom", "monai", "torch", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg"),
        "processors": os.cpu_count(),
    }
    missed = []
    everything = {"raw": radiograph(picture()), **data_sets()}
    everything[REDUCED] = everything["JPEG 2000"]
    for name in given.syntaxes:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            model = saved_model(home / "model", decode="reduced" if name == REDUCED else "full")
            close = CLOSE_REDUCED if name == REDUCED else CLOSE
            result[name] = compared(home, model, everything[name], rounds=given.rounds, close=close)
        missed += unmet(name, result[name])
    finish(result, missed)


if __name__ == "__main__":
    main()
