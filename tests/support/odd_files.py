"""Headers and pixels that readers get wrong: lookup tables, functional groups, overlays in every encoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame

from tests.support.dicom_files import JPEG, RLE, compress, picture, radiograph, write

XA, ENHANCED_XA, RF = (f"1.2.840.10008.5.1.4.1.1.12.{number}" for number in ("1", "1.1", "2"))


def run_lengths(cells: NDArray[np.uint16]) -> bytes:
    dataset = radiograph(cells, BitsStored=16, HighBit=15)
    dataset.compress(RLE, encoding_plugin="pydicom", generate_instance_uid=False)
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


WHOLE_CELLS: dict[str, Callable[[NDArray[np.uint16]], bytes]] = {
    RLE: run_lengths,
    f"{JPEG}57": lambda cells: imagecodecs.jpeg_encode(cells, lossless=True, predictor=2, bitspersample=16),
    f"{JPEG}70": lambda cells: imagecodecs.jpeg_encode(cells, lossless=True, predictor=1, bitspersample=16),
    f"{JPEG}80": lambda cells: imagecodecs.jpegls_encode(cells, level=0),
    f"{JPEG}90": lambda cells: imagecodecs.jpeg2k_encode(cells, level=0, codecformat="j2k", bitspersample=16),
    f"{JPEG}201": lambda cells: imagecodecs.htj2k_encode(cells, reversible=True),
}
"""Encoders that code all 16 bits of a cell, whatever the header says of them."""


def table(values: Any, *, bits: int, first: int = 0) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values) % 65536, first, bits])
    item.add_new("LUTData", "OW", np.asarray(values, "<u2").tobytes())
    return item


def group(**macros: dict[str, Any]) -> Dataset:
    made = Dataset()
    for keyword, attributes in macros.items():
        item = Dataset()
        for name, value in attributes.items():
            setattr(item, name, value)
        setattr(made, keyword, [item])
    return made


def overlaid(syntax: str = "", *, bit: int = 12, **changes: Any) -> Dataset:
    """A radiograph of 12 bits with an overlay in a higher bit, its whole cells coded: native without a syntax."""
    marks = (picture(seed=9) % 2 << bit).astype(np.uint16)
    made = radiograph(picture() | marks, **changes)
    if syntax:
        made = compress(radiograph(**changes), syntax, WHOLE_CELLS[syntax](picture() | marks))
    for element, value in ((0x10, 48), (0x11, 40), (0x100, 16), (0x102, bit)):
        made.add_new(0x60000000 | element, "US", value)
    made.add_new(0x60000040, "CS", "G")
    made.add_new(0x60000050, "SS", [1, 1])
    return made


def write_odd_files(folder: Path) -> list[Path]:
    """Radiographs of every kind in this module, and one with a shutter."""
    window = {"WindowCenter": 2000, "WindowWidth": 700}
    shutter = {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [24, 20], "RadiusOfCircularShutter": 15}
    curve = np.arange(4096) ** 2 // 256
    macros = {"FrameVOILUTSequence": window, "FrameDisplayShutterSequence": shutter}
    made = {
        "shutter": radiograph(**shutter),
        "voi": radiograph(VOILUTSequence=[table(curve, bits=16)], **window),
        "narrow": radiograph(VOILUTSequence=[table(np.arange(4096), bits=16)]),
        "modality": radiograph(ModalityLUTSequence=[table(curve, bits=16)]),
        "angiography": radiograph(SOPClassUID=XA, Modality="XA", ModalityLUTSequence=[table(curve, bits=16)]),
        "shared": radiograph(NumberOfFrames=1, SharedFunctionalGroupsSequence=[group(**macros)]),
        "frame": radiograph(NumberOfFrames=1, PerFrameFunctionalGroupsSequence=[group(**macros)]),
        **{f"overlay-{syntax}": overlaid(syntax) for syntax in ("", *WHOLE_CELLS)},
    }
    return [write(folder / f"odd-{name}.dcm", dataset) for name, dataset in made.items()]
