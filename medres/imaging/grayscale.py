"""What a header says about gray, read once and checked, so that rendering is pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medres.errors import Refused
from medres.imaging import header
from medres.imaging.rendering import WINDOW_FUNCTIONS, Grayscale, LookupTable, Window, WindowFunction

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_DEPTHS_APART = 2  # bits by which a table claims more than its entries need where it is doubted
_ASPECT_LIMIT = 16.0  # beyond 16:1 a spacing is a typing error, not a detector


_STORED_VALUES_ARE_SHOWN = frozenset(
    (
        "1.2.840.10008.5.1.4.1.1.12.1",  # X-Ray Angiographic
        "1.2.840.10008.5.1.4.1.1.12.1.1",  # Enhanced XA
        "1.2.840.10008.5.1.4.1.1.12.2",  # X-Ray Radiofluoroscopic
        "1.2.840.10008.5.1.4.1.1.12.2.1",  # Enhanced XRF
        "1.2.840.10008.5.1.4.1.1.12.3",  # X-Ray Angiographic Bi-Plane (retired)
    )
)
"""SOP classes whose Modality LUT and rescale tell of the X-ray intensity and are no part of the display (PS3.4 N.2)."""


@dataclass(frozen=True, slots=True)
class GrayscaleReading:
    """The rendering chain of one header, what was doubtful in it, and where its steps come from."""

    grayscale: Grayscale
    warnings: tuple[str, ...]  # keys of errors.WARNINGS
    modality_source: str
    voi_source: str
    window: Window | None  # the header's first window, which is the alternative to a VOI LUT (PS3.3 C.11.2)
    window_source: str


def read_grayscale(dataset: Dataset, *, precision: int, signed: bool) -> GrayscaleReading:
    """Read the grayscale pipeline's parameters.

    Args:
        dataset: the header.
        precision: bits that a stored value has, as decoded.
        signed: whether stored values are signed, as decoded.

    Raises:
        Refused: BAD_GRAYSCALE where a rescale value or lookup table cannot be applied.
    """
    warnings: list[str] = []
    little = dataset.original_encoding[1] is not False
    modality_lut, slope, intercept, modality_source = None, 1.0, 0.0, "identity"
    if header.uid(dataset, "SOPClassUID") not in _STORED_VALUES_ARE_SHOWN:
        modality_lut = _first_lookup_table(dataset, "ModalityLUTSequence", signed=signed, little=little)
        modality_source = "ModalityLUTSequence"
        if modality_lut is None:
            transformation = header.functional_group(
                dataset, "PixelValueTransformationSequence", "RescaleSlope", "RescaleIntercept"
            )
            slope, intercept, modality_source = _rescale(transformation, warnings)
    signed_input = signed if modality_lut is None else False
    voi, voi_source, window, window_source = _voi(
        header.functional_group(dataset, "FrameVOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTSequence"),
        warnings,
        signed=signed_input or intercept < 0,
        little=little,
    )
    low, high = (-(2 ** (precision - 1)), 2 ** (precision - 1) - 1) if signed else (0, 2**precision - 1)
    grayscale = Grayscale(
        stored_range=(low, high),
        inverted=header.code(dataset, "PhotometricInterpretation") == "MONOCHROME1",
        slope=slope,
        intercept=intercept,
        modality_lut=modality_lut,
        padding=_padding(dataset, signed=signed),
        voi=voi,
    )
    return GrayscaleReading(
        grayscale,
        tuple(warnings),
        modality_source=modality_source,
        voi_source=voi_source,
        window=window,
        window_source=window_source,
    )


def _voi(
    dataset: Dataset, warnings: list[str], *, signed: bool, little: bool
) -> tuple[LookupTable | Window | None, str, Window | None, str]:
    """The VOI LUT or else the window, where it comes from; and the window with its source, used or not."""
    try:
        table = _first_lookup_table(dataset, "VOILUTSequence", signed=signed, little=little)
    except Refused:
        window, source = _window(dataset, warnings)
        if window is None:
            raise
        warnings.append("VOI_LUT_UNUSABLE")
        return window, source, window, source
    if table is None:
        window, source = _window(dataset, warnings)
        return window, source, window, source
    window, source = _window(dataset, [])  # it is not used, so that nobody need hear of what is wrong with it
    return table, "VOILUTSequence", window, source


def pixel_aspect_ratio(dataset: Dataset) -> tuple[float, str]:
    """Height ÷ width of one pixel, and the attribute that says so ("none": taken as square).

    Physical spacing goes before PixelAspectRatio, which the Standard allows only where there is no spacing
    (PS3.3 C.7.6.3.1.7); both give the vertical value first (PS3.3 10.7.1.3).
    """
    for keyword in (*_SPACINGS, "PixelAspectRatio"):
        found = header.numbers(header.functional_group(dataset, "PixelMeasuresSequence", keyword), keyword)
        if len(found) == 2 and all(math.isfinite(value) and value > 0 for value in found):
            ratio = found[0] / found[1]
            if 1 / _ASPECT_LIMIT <= ratio <= _ASPECT_LIMIT:
                return ratio, keyword
    return 1.0, "none"


def _rescale(dataset: Dataset, warnings: list[str]) -> tuple[float, float, str]:
    slopes, intercepts = header.numbers(dataset, "RescaleSlope"), header.numbers(dataset, "RescaleIntercept")
    if len(slopes) != len(intercepts) and not (slopes and intercepts):
        warnings.append("RESCALE_INCOMPLETE")
        return 1.0, 0.0, "identity"
    if not slopes:
        return 1.0, 0.0, "identity"
    slope, intercept = slopes[0], intercepts[0]
    if len(slopes) != 1 or len(intercepts) != 1 or not math.isfinite(slope + intercept) or slope == 0:
        raise Refused(
            "BAD_GRAYSCALE", "RescaleSlope and RescaleIntercept must be finite numbers, and the slope not zero"
        )
    return slope, intercept, "RescaleSlope, RescaleIntercept"


def _window(dataset: Dataset, warnings: list[str]) -> tuple[Window | None, str]:
    centers, widths = header.numbers(dataset, "WindowCenter"), header.numbers(dataset, "WindowWidth")
    if not centers and not widths:
        return None, "full"
    if len(centers) != len(widths):
        warnings.append("WINDOW_VM_MISMATCH")
        if not centers or not widths:
            return None, "full"
    function = header.code(dataset, "VOILUTFunction") or "LINEAR"
    valid = math.isfinite(centers[0]) and math.isfinite(widths[0]) and function in WINDOW_FUNCTIONS
    if not valid or widths[0] <= 0 or (function == "LINEAR" and widths[0] < 1):
        warnings.append("BAD_WINDOW")
        return None, "full"
    source = f"window 1 of {max(len(centers), len(widths))}, {function}"
    return Window(centers[0], widths[0], cast(WindowFunction, function)), source


def _padding(dataset: Dataset, *, signed: bool) -> tuple[int, int] | None:
    """Stored values that are no part of the image (PS3.3 C.7.5.1.1.2), both ends included."""
    value = header.integer(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = header.integer(dataset, "PixelPaddingRangeLimit")
    ends = [_as_stored(end, signed=signed) for end in (value, value if limit is None else limit)]
    return min(ends), max(ends)


def _as_stored(value: int, *, signed: bool) -> int:
    """A 16-bit value whose sign the header's VR may have got wrong."""
    if signed:
        return value - 0x10000 if value > 0x7FFF else value
    return value + 0x10000 if value < 0 else value


def _first_lookup_table(dataset: Dataset, keyword: str, *, signed: bool, little: bool) -> LookupTable | None:
    """The sequence's first table (PS3.3 C.11.1.1.1 and C.11.2.1.1); None where the sequence is absent or empty.

    What the table says of its depth is held against its entries. Where they need more bits, or fewer by two or more,
    the table has the depth that its entries need, and is doubtful.
    """
    items = header.values(dataset, keyword)
    if items == ():
        return None
    item = items[0] if items else None
    if not isinstance(item, Dataset):
        raise Refused("BAD_GRAYSCALE", f"{keyword} cannot be read")
    descriptor = header.numbers(item, "LUTDescriptor")
    if len(descriptor) != 3 or not all(math.isfinite(value) for value in descriptor):
        raise Refused("BAD_GRAYSCALE", f"LUTDescriptor of {keyword} must be three numbers")
    entries, first, bits = (int(value) for value in descriptor)
    entries = (entries & 0xFFFF) or 0x10000
    if not 1 <= bits <= 16:
        raise Refused("BAD_GRAYSCALE", f"{keyword} claims entries of {bits} bits")
    table = _table_values(item, entries, little=little)
    if table is None:
        raise Refused("BAD_GRAYSCALE", f"{keyword} claims {entries} entries, but holds another number")
    needed = max(1, int(table.max()).bit_length())
    doubtful = needed > bits or needed <= bits - _DEPTHS_APART
    highest = 2 ** (needed if doubtful else bits) - 1
    first = _as_stored(first, signed=signed) if first < 0 or signed else first
    return LookupTable(first=first, values=table.astype(np.float64), highest=highest, doubtful=doubtful)


def _table_values(item: Dataset, entries: int, *, little: bool) -> NDArray[np.integer] | None:
    found = header.values(item, "LUTData")
    if not found:
        return None
    if len(found) == 1 and isinstance(found[0], bytes):
        data = found[0]
        if len(data) == 2 * entries:
            return np.frombuffer(data, "<u2" if little else ">u2")
        if len(data) == entries + entries % 2:
            return np.frombuffer(data, "u1")[:entries]
        return None
    if len(found) != entries or not all(isinstance(value, int) for value in found):
        return None
    return np.array(found, dtype=np.int64) & 0xFFFF
