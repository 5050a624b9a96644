"""DICOM files made for one test: a sound radiograph, and whatever a test changes about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

ROWS, COLUMNS = 48, 40
JPEG = "1.2.840.10008.1.2.4."
RLE = "1.2.840.10008.1.2.5"

LOSSLESS = {
    f"{JPEG}57": lambda stored: imagecodecs.jpeg_encode(stored, lossless=True, predictor=2, bitspersample=12),
    f"{JPEG}70": lambda stored: imagecodecs.jpeg_encode(stored, lossless=True, predictor=1, bitspersample=12),
    f"{JPEG}80": lambda stored: imagecodecs.jpegls_encode(stored, level=0),
    f"{JPEG}90": lambda stored: imagecodecs.jpeg2k_encode(stored, level=0, codecformat="j2k", bitspersample=12),
    f"{JPEG}201": lambda stored: imagecodecs.htj2k_encode(stored, reversible=True),
}


def picture(rows: int = ROWS, columns: int = COLUMNS, *, seed: int = 0) -> NDArray[np.uint16]:
    """12-bit stored values with some structure and some noise."""
    down, across = np.mgrid[:rows, :columns]
    wave = 2000 + 900 * np.sin(down / 7) + 700 * np.cos(across / 5)
    return (wave + np.random.default_rng(seed).normal(0, 40, wave.shape)).clip(0, 4095).astype(np.uint16)


def radiograph(stored: NDArray[Any] | None = None, **changes: Any) -> Dataset:
    """A chest radiograph that the gate `frontal-chest` admits without a warning; None removes an attribute."""
    stored = picture() if stored is None else stored
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.101", "2.25.102", "2.25.103"
    dataset.Modality, dataset.PresentationIntentType = "DX", "FOR PRESENTATION"
    dataset.PatientID, dataset.PatientName = "PHANTOM-1", "Phantom"
    dataset.BodyPartExamined, dataset.ViewPosition, dataset.BurnedInAnnotation = "CHEST", "PA", "NO"
    dataset.PatientOrientation = ["L", "F"]
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * stored.dtype.itemsize, 12, 11
    if stored.dtype.itemsize == 1:
        dataset.BitsStored, dataset.HighBit = 8, 7
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    for keyword, value in changes.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    data = stored.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW"
    return dataset


def compress(dataset: Dataset, syntax: str, *frames: bytes) -> Dataset:
    """Put compressed frames in the place of the pixels."""
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.PixelData = encapsulate(list(frames))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def write(path: Path, dataset: Dataset) -> Path:
    """Write a data set in the transfer syntax that its file meta information names."""
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_in_every_encoding(folder: Path, **changes: Any) -> list[Path]:
    """The same 12-bit radiograph, native and in every compression that keeps its values."""
    made = []
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"):
        dataset = radiograph(**changes)
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        if syntax.endswith("2.2"):
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        made.append(write(folder / f"{syntax}.dcm", dataset))
    coded = radiograph(**changes)
    coded.compress(RLE, encoding_plugin="pydicom", generate_instance_uid=False)
    made.append(write(folder / f"{RLE}.dcm", coded))
    for syntax, encode in LOSSLESS.items():
        made.append(write(folder / f"{syntax}.dcm", compress(radiograph(**changes), syntax, encode(picture()))))
    return made
