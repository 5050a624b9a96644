"""Small DICOM files with known pixels, made by pydicom alone: what tests put into folders."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from tests.support.recipes import fixture_seed


def write_radiograph(
    path: Path, pixels: np.ndarray, *, patient: str, uid: str, burned_in: str | None = "NO", **tags: object
) -> Path:
    """Write 12-bit pixels (rows, columns) as a DX image; tags are DICOM keywords."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = uid
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{uid}.1", f"{uid}.2"
    dataset.PatientID, dataset.PatientName, dataset.Modality = patient, "", "DX"
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    if burned_in is not None:
        dataset.BurnedInAnnotation = burned_in
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = pixels.astype(np.uint16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def _seeds(*seeds: int) -> list[int]:
    """Seeds of a generator, others under `pytest --fixture-seed`."""
    return [*seeds, fixture_seed()] if fixture_seed() else list(seeds)


def blob(seed: int, *, bright: bool, rows: int = 96, columns: int = 80) -> np.ndarray:
    """Noise with, if `bright`, a disc at a random place: a task that a small network learns in a minute."""
    rng = np.random.default_rng(_seeds(seed))
    pixels = rng.normal(1500, 150, (rows, columns))
    if bright:
        row, column = disc_place(seed, rows=rows, columns=columns)
        y, x = np.mgrid[:rows, :columns]
        pixels += 1400 * np.exp(-(((y - row) ** 2 + (x - column) ** 2) / (2 * 9.0**2)))
    return np.clip(pixels, 0, 4095)


def disc_place(seed: int, *, rows: int = 96, columns: int = 80) -> tuple[int, int]:
    """Row and column of the disc of `blob(seed, bright=True)`."""
    rng = np.random.default_rng(_seeds(seed, 1))
    return int(rng.integers(15, rows - 15)), int(rng.integers(15, columns - 15))


def write_cohort(folder: Path, *, patients: int = 40, images: int = 2, mislabelled: Collection[int] = ()) -> Path:
    """A folder of files with a manifest `manifest.csv` and the label `disc`, wrong of some patients."""
    lines = ["path,PatientID,SOPInstanceUID,label_disc"]
    for patient in range(patients):
        for image in range(images):
            number = patient * images + image
            name, uid = f"images/{number:04d}.dcm", f"2.25.{1000 + number}"
            write_radiograph(folder / name, blob(number, bright=patient % 2 == 0), patient=f"{patient:04d}", uid=uid)
            lines.append(f"{name},{patient:04d},{uid},{int((patient % 2 == 0) != (patient in mislabelled))}")
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
