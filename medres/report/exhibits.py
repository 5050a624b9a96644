"""Mistakes as a page shows them: with the pictures that the run kept, or with why there are none."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path

from medres.evaluation.mistakes import Mistake
from medres.runs.gallery import GALLERY, Kept

_LARGEST = 400_000  # bytes of one picture: a picture of 256 × 256 pixels has at most 200 kB
_NAME = re.compile(r"[a-z0-9-]+\.png")
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A mistake with its pictures, as `data:` addresses; or why there are none."""

    mistake: Mistake
    patient_key: str  # pseudonym; "" where the run kept no gallery
    picture: str
    heatmap: str
    withheld: str


def exhibit(run: Path, label: str, mistake: Mistake, kept: Kept) -> Exhibit:
    """A mistake with what the run kept of it."""
    row = kept.get((label, mistake.line))
    if row is None:
        return Exhibit(mistake, "", "", "", "no picture was kept" if kept else "")
    pictures = [_embedded(run, row[name]) for name in ("picture", "heatmap")]
    withheld = row["withheld"] or ("" if all(pictures) else "the picture is not in the run's folder")
    picture, heatmap = ("", "") if withheld else pictures
    return Exhibit(mistake, row["PatientKey"], picture, heatmap, withheld)


def _embedded(run: Path, name: str) -> str:
    """A picture as a `data:` address; "" for anything that is not a small PNG file of the gallery."""
    path = run / GALLERY / name
    if not _NAME.fullmatch(name) or not path.is_file() or path.stat().st_size > _LARGEST:
        return ""
    data = path.read_bytes()
    return f"data:image/png;base64,{base64.b64encode(data).decode()}" if data.startswith(_PNG) else ""
