"""How fast medres reads a radiograph of 3000 × 2500 pixels and 12 bits, beside pydicom's default decoders.

Two ways: from encoded pixels to stored values, and the whole path from a file to the network's input, beside a plain
loop of pydicom, NumPy windowing and OpenCV's resize (which hashes nothing and checks nothing). And the whole path from
the smaller copies that images hold (`--decode reduced`), beside the same from all pixels.

    pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pylibjpeg-rle
    python -m tests.benchmarks.decode [--rounds 7]

pylibjpeg-libjpeg (GPLv3) is pydicom's decoder of JPEG lossless and JPEG-LS; medres does not need it, this comparison
does. Before anything is timed, both must return the same pixels, and inputs within two steps of 65535. JSON goes to
standard output; the exit code is 1 where a ratio that the project promises is not reached.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder

from medres.config import GATES, Limits, Preprocessing
from medres.imaging import codecs
from medres.imaging.isolation import Workers
from medres.imaging.preprocessing import prepare
from medres.records import Refusal
from tests.benchmarks.timing import finish, interleaved, versions
from tests.support.dicom_files import JPEG, RLE, compress, radiograph, write

ROWS, COLUMNS = 3000, 2500
PROMISED = {"JPEG lossless": 3.0, "JPEG-LS": 3.0, "HTJ2K": 1.8, "RLE": 1.0, "JPEG 2000": 1.0}
"""Peer's processor seconds as a multiple of medres's: what the project promises at least."""
WHOLE_PATH = {"raw": 1.3, "RLE": 1.3, "JPEG lossless": 2.0, "JPEG-LS": 2.0, "JPEG 2000": 1.0}
"""The same, from a file to the network's input."""
REDUCED = {"JPEG 2000": 5.0, "HTJ2K": 1.5, "JPEG": 1.3}
"""Processor seconds of all pixels as a multiple of a smaller copy's, from a file to the network's input."""
REDUCED_SIZE = 128  # side of that input: a quarter of the image suffices
APART = 0.02  # of the range from black to white: most that both inputs differ
SIZE = 320  # side of that input, pixels
SLACK = 0.05  # of a ratio of 1: the two sides may call the same decoder
WORKERS = 1.7  # two workers against one, wall seconds


def picture() -> NDArray[np.uint16]:
    """Smooth anatomy, an air border and quantum noise: as hard to compress as a radiograph."""
    down, across = np.mgrid[:ROWS, :COLUMNS].astype(np.float32)
    shade = 1800 + 700 * np.sin(down / 310) * np.cos(across / 240) + 300 * np.sin((down + across) / 41)
    noisy = shade + np.random.default_rng(0).normal(0, 9, shade.shape).astype(np.float32)
    noisy[:, :120] = noisy[:, -120:] = 4095
    return noisy.clip(0, 4095).astype(np.uint16)


def data_sets() -> dict[str, Dataset]:
    """The picture in each transfer syntax that is promised something."""
    stored = picture()
    lossless = imagecodecs.jpeg_encode(stored, lossless=True, predictor=1, bitspersample=12)
    rle = radiograph(stored)
    rle.compress(RLE, encoding_plugin="pydicom", generate_instance_uid=False)
    return {
        "JPEG lossless": compress(radiograph(stored), f"{JPEG}70", lossless),
        "JPEG-LS": compress(radiograph(stored), f"{JPEG}80", imagecodecs.jpegls_encode(stored, level=0)),
        "HTJ2K": compress(radiograph(stored), f"{JPEG}201", imagecodecs.htj2k_encode(stored, reversible=True)),
        "RLE": rle,
        "JPEG 2000": compress(
            radiograph(stored),
            f"{JPEG}90",
            imagecodecs.jpeg2k_encode(stored, level=0, codecformat="j2k", bitspersample=12),
        ),
    }


def by_medres(dataset: Dataset) -> NDArray[Any]:
    """The stored values, through every check that medres makes."""
    return codecs.decode(dataset, limits=Limits()).pixels


def by_pydicom(dataset: Dataset) -> NDArray[Any]:
    """The stored values, through the decoder that pydicom chooses."""
    return get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(dataset, index=0, raw=True)[0]


def input_by_medres(path: Path) -> NDArray[np.uint16]:
    """The network's input by the one path."""
    spec = Preprocessing(size=SIZE)
    return prepare(str(path), spec=spec, gate=GATES["any"], limits=Limits()).pixels


def input_by_a_plain_loop(path: Path) -> NDArray[np.uint16]:
    """The network's input as a script would make it: PS3.3's linear window in float64, then one resize, padded."""
    dataset = dcmread(path)
    stored = dataset.pixel_array.astype(np.float64)
    center, width = float(dataset.WindowCenter), float(dataset.WindowWidth)
    shown = np.clip((stored - (center - 0.5)) / (width - 1) + 0.5, 0, 1).astype(np.float32)
    scale = SIZE / max(shown.shape)
    height, across = (round(side * scale) for side in shown.shape)
    square = np.zeros((SIZE, SIZE), np.uint16)
    top, left = (SIZE - height) // 2, (SIZE - across) // 2
    small = cv2.resize(shown, (across, height), interpolation=cv2.INTER_AREA)
    square[top : top + height, left : left + across] = np.rint(small * 65535)
    return square


def whole_path(folder: Path, *, rounds: int) -> dict[str, Any]:
    """Processor seconds from file to input of both sides, by transfer syntax, parity first."""
    found: dict[str, Any] = {}
    for name, made in {"raw": radiograph(picture()), **data_sets()}.items():
        if name not in WHOLE_PATH:
            continue
        made.WindowCenter, made.WindowWidth = 2000, 3000
        path = write(folder / f"{name}.dcm", made)
        ours, theirs = input_by_medres(path).astype(int), input_by_a_plain_loop(path).astype(int)
        assert np.abs(ours - theirs).max() <= 2, f"{name}: the inputs differ"
        sides = {"medres": partial(input_by_medres, path), "plain loop": partial(input_by_a_plain_loop, path)}
        times = interleaved(sides, rounds=rounds)
        ratio = times["plain loop"]["processor_s"] / times["medres"]["processor_s"]
        found[name] = {**times, "ratio": ratio, "promised": WHOLE_PATH[name]}
    return found


def reduced(folder: Path, *, rounds: int) -> dict[str, Any]:
    """Processor seconds from file to input, of all pixels and of a smaller copy, by transfer syntax, parity first."""
    small = (picture() >> 4).astype(np.uint8)
    jpeg = compress(radiograph(small), f"{JPEG}50", imagecodecs.jpeg8_encode(small, level=92))
    htj2k = imagecodecs.htj2k_encode(picture() << 4, reversible=True)
    whole = compress(radiograph(picture() << 4, BitsStored=16, HighBit=15), f"{JPEG}201", htj2k)
    found: dict[str, Any] = {}
    for name, made in {"JPEG 2000": data_sets()["JPEG 2000"], "HTJ2K": whole, "JPEG": jpeg}.items():
        path = write(folder / f"{name} reduced.dcm", made)
        job = partial(prepare, str(path), spec=Preprocessing(size=REDUCED_SIZE), gate=GATES["any"], limits=Limits())
        sides = {decode: partial(job, decode=decode) for decode in ("full", "reduced")}
        one, other = (side() for side in sides.values())
        assert (one.decode, other.decode) == ("full", "1/4")
        apart = float(np.abs(one.pixels.astype(int) - other.pixels.astype(int)).max()) / 65535
        assert apart <= APART, f"{name}: the inputs differ by {apart:.4f}"
        times = interleaved(sides, rounds=rounds)
        ratio = times["full"]["processor_s"] / times["reduced"]["processor_s"]
        found[name] = {**times, "ratio": ratio, "promised": REDUCED[name], "apart": apart}
    return found


def two_workers(path: Path, *, rounds: int, files: int = 16) -> float:
    """Wall seconds of one worker as a multiple of two workers', over the whole path from file to small image."""
    job = partial(prepare, spec=Preprocessing(size=320), gate=GATES["any"], limits=Limits())
    with Workers(1) as one, Workers(2) as two:

        def run(pool: Workers) -> float:
            started = time.perf_counter()
            results = [result for _, result in pool.map(job, [str(path)] * files)]
            assert not any(isinstance(result, Refusal) for result in results)
            return time.perf_counter() - started

        run(one), run(two)
        return statistics.median(run(one) / run(two) for _ in range(rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description="Decoding, beside pydicom's default decoders.")
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    cv2.setNumThreads(1)  # as in medres's decoding processes
    result: dict[str, Any] = {
        "image": f"{ROWS} × {COLUMNS}, 12 bit",
        "versions": versions(
            "medres",
            "imagecodecs",
            "pydicom",
            "pylibjpeg-libjpeg",
            "pylibjpeg-openjpeg",
            "pylibjpeg-rle",
            "python-gdcm",
        ),
        "processors": os.cpu_count(),
        "decode": {},
    }
    unmet = []
    with tempfile.TemporaryDirectory() as folder:
        for name, made in data_sets().items():
            path = write(Path(folder) / "image.dcm", made)
            dataset = dcmread(path)
            assert np.array_equal(by_medres(dataset), by_pydicom(dataset)), f"{name}: the pixels differ"
            times = interleaved(
                {"medres": partial(by_medres, dataset), "pydicom": partial(by_pydicom, dataset)}, rounds=rounds
            )
            ratios = {kind: times["pydicom"][kind] / times["medres"][kind] for kind in ("wall_s", "processor_s")}
            result["decode"][name] = {**times, "ratio": ratios, "promised": PROMISED[name]}
            if ratios["processor_s"] < PROMISED[name] * (1 - SLACK if PROMISED[name] == 1 else 1):
                unmet.append(f"{name}: {ratios['processor_s']:.2f} × of {PROMISED[name]} ×")
        result["whole_path"] = whole_path(Path(folder), rounds=rounds)
        for name, row in result["whole_path"].items():
            if row["ratio"] < row["promised"] * (1 - SLACK if row["promised"] == 1 else 1):
                unmet.append(f"whole path, {name}: {row['ratio']:.2f} × of {row['promised']} ×")
        result["reduced"] = reduced(Path(folder), rounds=rounds)
        for name, row in result["reduced"].items():
            if row["ratio"] < row["promised"]:
                unmet.append(f"reduced, {name}: {row['ratio']:.2f} × of {row['promised']} ×")
        path = write(Path(folder) / "image.dcm", data_sets()["JPEG lossless"])
        result["two_workers"] = {"wall_ratio": two_workers(path, rounds=3), "promised": WORKERS}
    if result["two_workers"]["wall_ratio"] < WORKERS:
        unmet.append(f"two workers: {result['two_workers']['wall_ratio']:.2f} × of {WORKERS} ×")
    finish(result, unmet)


if __name__ == "__main__":
    main()
