"""What one label's model was most wrong about: with the pictures that the run kept, or with why there are none."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medres.evaluation.mistakes import MISSED, Mistake
from medres.report.page import Content
from medres.report.run_context import RunContext
from medres.runs.gallery import GALLERY, Gallery

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
    withheld: str  # why there is no picture
    unmapped: str = ""  # why there is a picture without a heatmap


@dataclass(frozen=True, slots=True)
class ShownExhibit:
    """A mistake as it stands in the page."""

    kind: str  # missed, or false alarm
    probability: float
    line: int  # of oof.csv
    fold: str  # whose network judged it; "" for a saved model
    exhibit: Exhibit


@dataclass(frozen=True, slots=True)
class MistakesGallery(Content):
    """The part of a label's results that shows its worst mistakes."""

    pictured: bool  # the run kept pictures
    licence: str  # what is known of the label's heatmaps: "heatmap not validated" and the like
    exhibits: Sequence[ShownExhibit]


def mistakes_gallery(context: RunContext, label: str) -> MistakesGallery | None:
    """The worst mistakes of one label; None where no call was wrong."""
    measured = context.files.heatmaps
    maps = measured.labels.get(label) if measured else None
    failed = maps.reasons[0] if maps and maps.state == "failed" else ""
    found = [
        ShownExhibit(
            kind=mistake.kind,
            probability=mistake.probability,
            line=mistake.line,
            fold="" if context.run.external else context.fold_name(mistake.fold),
            exhibit=exhibit(context.folder, label, mistake, context.files.gallery, failed=failed),
        )
        for mistake in context.mistakes[label]
    ]
    licence = f"heatmap {maps.state if maps else 'not validated'}"
    return MistakesGallery(context.pictured, licence, found) if found else None


def exhibit(run: Path, label: str, mistake: Mistake, kept: Gallery, *, failed: str = "") -> Exhibit:
    """A mistake with what the run kept of it; no map of a label whose heatmaps have failed, for the reason given."""
    row = kept.get((label, mistake.line))
    if row is None:
        return Exhibit(mistake, "", "", "", "no picture was kept" if kept else "")
    unmapped = f"its heatmaps failed ({failed.rstrip('.')})" if failed else ""
    if mistake.kind == MISSED:  # runs of earlier versions kept a map
        unmapped = "below the operating point"
    picture, heatmap = _embedded(run, row.picture), "" if unmapped else _embedded(run, row.heatmap)
    withheld = row.withheld or ("" if picture and (heatmap or unmapped) else "the picture is not in the run's folder")
    if withheld:
        return Exhibit(mistake, row.patient_key, "", "", withheld)
    return Exhibit(mistake, row.patient_key, picture, heatmap, "", unmapped)


def _embedded(run: Path, name: str) -> str:
    """A picture as a `data:` address; "" for anything that is not a small PNG file of the gallery."""
    path = run / GALLERY / name
    if not _NAME.fullmatch(name) or not path.is_file() or path.stat().st_size > _LARGEST:
        return ""
    data = path.read_bytes()
    return f"data:image/png;base64,{base64.b64encode(data).decode()}" if data.startswith(_PNG) else ""
