"""Cohorts in JPEG 2000, whose files hold smaller copies of themselves."""

from __future__ import annotations

from pathlib import Path

import cv2
import imagecodecs
import numpy as np

from tests.support.dicom_files import JPEG, compress, radiograph, write
from tests.support.phantoms import blob


def write_j2k(path: Path, number: int, *, bright: bool, side: int) -> Path:
    """A 12-bit radiograph of `blob` in JPEG 2000, `side` + 8 rows by `side` + 4 columns."""
    small = blob(number, bright=bright, rows=104, columns=86)
    large = cv2.resize(small, (side + 4, side + 8), interpolation=cv2.INTER_CUBIC)
    stored = large.clip(0, 4095).astype(np.uint16)
    made = radiograph(
        stored, SOPInstanceUID=f"2.25.{5000 + number}", PatientID=f"SECRET-{number}", WindowCenter=2048,
        WindowWidth=4096,
    )  # fmt: skip
    code = imagecodecs.jpeg2k_encode(stored, level=0, codecformat="j2k", bitspersample=12, reversible=True)
    return write(path, compress(made, f"{JPEG}90", code))


def write_j2k_cohort(folder: Path, *, count: int, side: int, label: str = "disc") -> Path:
    """A manifest of such files, every other one with the label."""
    (folder / "images").mkdir(parents=True)
    lines = [f"path,PatientID,label_{label}"]
    for number in range(count):
        write_j2k(folder / f"images/{number:03d}.dcm", number, bright=number % 2 == 0, side=side)
        lines.append(f"images/{number:03d}.dcm,SECRET-{number},{int(number % 2 == 0)}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "manifest.csv"
