"""A radiograph as a viewer needs it: stored values in at most 16 bits, and every way the header knows to show them.

Nothing is clipped here: the viewer windows the stored values itself. Read in a decoding process; plain data leave it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medres.config import Gate, Limits
from medres.errors import Refused
from medres.imaging import codecs, display, gating, grayscale, header
from medres.imaging.preprocessing import is_paired_limb
from medres.imaging.reading import read_dataset
from medres.imaging.rendering import (
    WINDOW_FUNCTIONS,
    Histogram,
    LookupTable,
    Voi,
    Window,
    apply_modality,
    display_values,
)
from medres.imaging.viewing.records import NamedWindow, Presentation, Spacing

LEVELS = 2**16
"""Most different values that are kept of an image."""

VOI_LUT, FULL, NETWORK = "VOI LUT", "Full range", "As the network sees it"
"""Names of tables."""

_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}
_FIRST_ROW_AND_COLUMN = 2  # values of PatientOrientation and of a spacing


def present(
    path: str,
    *,
    gate: Gate,
    voi: Voi,
    percentiles: tuple[float, float],
    limits: Limits,
    sha256: str = "",
    shorter_side: int | None = None,
) -> Presentation:
    """Read one file for a viewer: the job of a decoding process.

    Args:
        path: a DICOM file.
        gate: which radiographs the model admits.
        voi: what the model's preprocessing takes for black and white.
        percentiles: of `voi="percentile"`.
        limits: budgets.
        sha256: of the bytes that were scored; the file is CHANGED where it has others.
        shorter_side: pixels that suffice for a first look, see `codecs.decode`; all without.

    Raises:
        Refused: as `read_radiograph`.
    """
    reading = read_dataset(path, gate=gate, limits=limits)
    if sha256 not in {"", reading.sha256}:
        raise Refused("CHANGED", "the file has changed since it was scored", path=path)
    dataset = reading.dataset
    decoded = codecs.decode(dataset, limits=limits, shorter_side=shorter_side)
    chain = grayscale.read_grayscale(dataset, precision=decoded.precision, signed=decoded.signed)
    levels, first, step, count = _as_levels(decoded.pixels, chain.grayscale.stored_range)
    stored = np.rint(first + step * np.arange(count)).astype(np.int64)
    windows, histogram = _windows(dataset), Histogram.of(decoded.pixels)
    tables = _tables(histogram, stored, chain, voi, percentiles)
    shown = display.shown_levels(histogram, chain, voi="header", percentiles=(0, 100))
    used = shown.grayscale.voi if shown.voi == "header" else None
    named = VOI_LUT if isinstance(used, LookupTable) else FULL if FULL in tables else NETWORK
    ratio, _ = grayscale.pixel_aspect_ratio(dataset)
    sampling = decoded.sampling
    return Presentation(
        levels=levels,
        rows=sampling.rows if sampling else levels.shape[0],
        columns=sampling.columns if sampling else levels.shape[1],
        first=first,
        step=step,
        count=count,
        modality=apply_modality(stored, chain.grayscale).astype(np.float32)[None],
        inverted=chain.grayscale.inverted,
        padding=_level_range(chain.grayscale.padding, first, step, count),
        windows=windows,
        table_names=tuple(tables),
        tables=np.stack(list(tables.values())),
        chosen=0 if isinstance(used, Window) and windows else len(windows) + list(tables).index(named),
        spacing=read_spacing(dataset),
        pixel_aspect_ratio=ratio,
        edges=_edges(dataset),
        shutter=display.read_shutter(dataset),
        left_limb=gating.laterality(dataset) == "L" and is_paired_limb(header.term(dataset, "BodyPartExamined")[0]),
    )


def _as_levels(
    stored: NDArray[np.integer[Any]], stored_range: tuple[int, int]
) -> tuple[NDArray[np.uint16], float, float, int]:
    """An image's levels, the stored value of level 0, the step between two, and how many there may be.

    Up to 16 bits levels are stored values, shifted to begin at 0; of more bits the occurring range is divided.
    """
    low, high = stored_range
    if high - low < LEVELS:
        shifted = stored.astype(np.int32) - low if low else stored
        return shifted.astype(np.uint16), float(low), 1.0, high - low + 1
    low, high = int(stored.min()), int(stored.max())
    step = max(1.0, (high - low) / (LEVELS - 1))
    return np.rint((stored.astype(np.float64) - low) / step).astype(np.uint16), float(low), step, LEVELS


def _level_range(padding: tuple[int, int] | None, first: float, step: float, count: int) -> tuple[int, int] | None:
    if padding is None:
        return None
    low, high = (round((end - first) / step) for end in padding)
    return (max(low, 0), min(high, count - 1)) if high >= 0 and low < count else None


def _windows(dataset: Dataset) -> tuple[NamedWindow, ...]:
    """Every window of the header that can be used; the first is the one that is meant (PS3.3 C.11.2.1.2)."""
    where = header.functional_group(dataset, "FrameVOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTSequence")
    centers, widths = header.numbers(where, "WindowCenter"), header.numbers(where, "WindowWidth")
    function = header.code(where, "VOILUTFunction") or "LINEAR"
    said = [str(text).strip().upper() for text in header.values(where, "WindowCenterWidthExplanation") or ()]
    found = []
    for number, (center, width) in enumerate(zip(centers, widths, strict=False)):
        usable = math.isfinite(center) and math.isfinite(width) and width > 0 and function in WINDOW_FUNCTIONS
        if usable and not (function == "LINEAR" and width < 1):
            told = number < len(said) and header.is_code(said[number])  # free text may name a person
            name = said[number] if told else f"Window {number + 1}"
            found.append(NamedWindow(name, center, width, function))
    return tuple(found)


def _tables(
    histogram: Histogram,
    stored: NDArray[np.int64],
    chain: grayscale.GrayscaleReading,
    voi: Voi,
    percentiles: tuple[float, float],
) -> dict[str, NDArray[np.uint16]]:
    """The header's VOI LUT where there is one, the full range, percentiles, and last what the network was given."""
    ways: list[tuple[str, Voi]] = [(FULL, "full"), ("Percentiles 0.5 to 99.5", "percentile")]
    if isinstance(chain.grayscale.voi, LookupTable):
        ways.insert(0, (VOI_LUT, "header"))
    found = {}
    for name, which in ways:
        try:
            shown = display_values(histogram, chain.grayscale, voi=which)
        except Refused:  # it shows one shade of gray
            continue
        found[name] = _between(shown, histogram, stored)
    network = display.shown_levels(histogram, chain, voi=voi, percentiles=percentiles).values
    return {**found, NETWORK: _between(network, histogram, stored)}


def _between(shown: NDArray[np.float32], histogram: Histogram, stored: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Display values of levels that occur, and between them straight lines: a viewer interpolates pixels."""
    every = np.interp(stored.astype(np.float64), histogram.levels.astype(np.float64), shown.astype(np.float64))
    return np.rint(65535 * every).astype(np.uint16)


def read_spacing(dataset: Dataset) -> Spacing | None:
    """How large a pixel is, and where: at the body only where the header says that it was calibrated (PS3.3 10.7.1)."""
    measures = header.functional_group(dataset, "PixelMeasuresSequence", "PixelSpacing")
    pixel, imager = _pair(measures, "PixelSpacing"), _pair(dataset, "ImagerPixelSpacing")
    if pixel is not None:
        kind = header.code(dataset, "PixelSpacingCalibrationType")
        if kind in {"FIDUCIAL", "GEOMETRY"}:
            how = "an object of known size" if kind == "FIDUCIAL" else "the geometry of the beam"
            return Spacing(*pixel, "PixelSpacing", f"in the body, calibrated by {how}")
        if imager is not None and not np.allclose(pixel, imager, rtol=1e-4):
            return Spacing(*pixel, "PixelSpacing", "corrected for magnification, the header does not say how")
        where = "at the detector" if imager is not None else "where it is one, the header does not say"
        return Spacing(*pixel, "PixelSpacing", where)
    if imager is not None:
        return Spacing(*imager, "ImagerPixelSpacing", "at the detector; the body lies magnified on it")
    scanned = _pair(dataset, "NominalScannedPixelSpacing")
    return Spacing(*scanned, "NominalScannedPixelSpacing", "on the film that was scanned") if scanned else None


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    found = header.numbers(dataset, keyword)
    valid = len(found) == _FIRST_ROW_AND_COLUMN and all(math.isfinite(value) and value > 0 for value in found)
    return (found[0], found[1]) if valid else None


def _edges(dataset: Dataset) -> tuple[str, str, str, str]:
    """Which side of the patient each edge shows, by PatientOrientation: left, right, above, below."""
    said = [str(value).strip().upper() for value in header.values(dataset, "PatientOrientation") or ()]
    if len(said) != _FIRST_ROW_AND_COLUMN or not all(said) or set("".join(said)) - set(_OPPOSITE):
        return "", "", "", ""
    right, below = said
    left, above = ("".join(_OPPOSITE[letter] for letter in text) for text in said)
    return left, right, above, below
