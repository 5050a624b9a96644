"""Broken and foreign files, as every real folder holds them: each must end as one row with a reason."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    MediaStorageDirectoryStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from medres.errors import OutputExists
from medres.imaging.phantom_dicom import (
    Identity,
    Person,
    Site,
    deterministic_uid,
    radiograph_dataset,
    set_pixels,
    write_dataset,
)
from medres.imaging.phantoms import Phantom, phantom

FOREIGN_FILES: Mapping[str, str] = MappingProxyType(
    {
        "DICOMDIR": "DICOMDIR",
        "colour-capture.dcm": "PHOTOMETRIC",
        "constant.dcm": "NO_CONTRAST",
        "copy.dcm": "DUPLICATE_IDENTICAL",
        "ct-slice.dcm": "MODALITY",
        "empty.dcm": "NOT_DICOM",
        "no-pixels.dcm": "NO_PIXEL_DATA",
        "notes.txt": "NOT_DICOM",
        "original.dcm": "",
        "photograph.png": "NOT_DICOM",
        "report.dcm": "MODALITY",
        "short-pixels.dcm": "LENGTH_MISMATCH",
        "three-frames.dcm": "MULTIFRAME",
        "truncated.dcm": "TRUNCATED",
        "wrong-transfer-syntax.dcm": "TRANSFER_SYNTAX",
    }
)
"""What `synthesise_foreign_files` writes, and the reason code (a key of errors.REASONS) that each deserves from the
gate `any`; "" is sound."""

_SITE = Site("Site C", "Phantom Imaging", "Analytic 1")


def synthesise_foreign_files(folder: Path, *, seed: int = 0) -> int:
    """Write FOREIGN_FILES: fourteen files that are not usable radiographs, and the sound one that one of them copies.

    Args:
        folder: where to write; created when missing.
        seed: of the pictures and identifiers.

    Returns:
        How many files were written.

    Raises:
        OutputExists: one of them is already there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in FOREIGN_FILES:
        if (folder / name).exists():
            raise OutputExists(f"{folder / name} already exists; choose another folder")
    picture = phantom(np.random.default_rng(seed), rows=224, columns=192)

    write_dataset(_radiograph(picture, seed, "original"), folder / "original.dcm")
    shutil.copyfile(folder / "original.dcm", folder / "copy.dcm")
    write_dataset(_radiograph(picture, seed, "truncated"), folder / "truncated.dcm")
    whole = (folder / "truncated.dcm").read_bytes()
    (folder / "truncated.dcm").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "notes.txt").write_bytes(b"Films of the afternoon list; please sort by patient.\n")
    display = (picture.stored >> 4).astype(np.uint8)
    (folder / "photograph.png").write_bytes(bytes(imagecodecs.png_encode(display, level=6)))

    for name, dataset in (
        ("DICOMDIR", _directory(seed)),
        ("colour-capture.dcm", _colour_capture(picture, seed)),
        ("constant.dcm", _constant(picture, seed)),
        ("ct-slice.dcm", _ct_slice(picture, seed)),
        ("no-pixels.dcm", _without_pixels(picture, seed)),
        ("report.dcm", _report(seed)),
        ("short-pixels.dcm", _short(picture, seed)),
        ("three-frames.dcm", _three_frames(picture, seed)),
        ("wrong-transfer-syntax.dcm", _mislabelled(picture, seed)),
    ):
        write_dataset(dataset, folder / name)
    return len(FOREIGN_FILES)


def _radiograph(picture: Phantom, seed: int, name: str) -> Dataset:
    """A sound radiograph of a patient of its own."""
    study, series, image = (deterministic_uid(seed, "foreign", name, level) for level in range(3))
    person = Person(f"PHANTOM-{name.upper()}", "M", 50, _SITE)
    return radiograph_dataset(picture, Identity(person, "PA", "20240101", study, series, image))


def _constant(picture: Phantom, seed: int) -> Dataset:
    """An exposure that shows nothing."""
    dataset = _radiograph(picture, seed, "constant")
    set_pixels(dataset, np.full_like(picture.stored, 1000))
    return dataset


def _short(picture: Phantom, seed: int) -> Dataset:
    """Pixel data of a quarter of the rows that the header promises."""
    dataset = _radiograph(picture, seed, "short")
    set_pixels(dataset, picture.stored[: picture.stored.shape[0] // 4])
    return dataset


def _mislabelled(picture: Phantom, seed: int) -> Dataset:
    """A JPEG Lossless codestream that the file meta information calls JPEG 2000."""
    dataset = _radiograph(picture, seed, "mislabelled")
    frame = imagecodecs.jpeg_encode(picture.stored, lossless=True, predictor=1, bitspersample=12)
    dataset.PixelData = encapsulate([bytes(frame)])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    return dataset


def _colour_capture(picture: Phantom, seed: int) -> Dataset:
    """A screenshot: RGB, 8 bit."""
    dataset = _secondary_capture(picture, seed, "capture")
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    gray = (picture.stored >> 4).astype(np.uint8)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = np.stack([gray, gray // 2, gray // 3], axis=-1).tobytes()
    dataset["PixelData"].VR = "OB"
    return dataset


def _three_frames(picture: Phantom, seed: int) -> Dataset:
    """A short series of frames in one object."""
    dataset = _secondary_capture(picture, seed, "frames")
    dataset.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    dataset.NumberOfFrames = "3"
    dataset.PixelData = picture.stored.astype("<u2").tobytes() * 3
    dataset["PixelData"].VR = "OW"
    return dataset


def _secondary_capture(picture: Phantom, seed: int, name: str) -> Dataset:
    """A radiograph's header without the attributes that only X-ray equipment writes."""
    dataset = _other_equipment(picture, seed, name)
    dataset.ConversionType, dataset.Modality = "WSD", "OT"
    return dataset


def _ct_slice(picture: Phantom, seed: int) -> Dataset:
    """A slice of a volume: grayscale and of one frame, but no projection radiograph."""
    dataset = _other_equipment(picture, seed, "slice")
    dataset.SOPClassUID, dataset.Modality = CTImageStorage, "CT"
    return dataset


def _other_equipment(picture: Phantom, seed: int, name: str) -> Dataset:
    dataset = _radiograph(picture, seed, name)
    for keyword in (
        "PresentationIntentType",
        "AcquisitionContextSequence",
        "DetectorType",
        "PositionerType",
        "PixelIntensityRelationship",
        "PixelIntensityRelationshipSign",
    ):
        delattr(dataset, keyword)
    return dataset


def _without_pixels(picture: Phantom, seed: int) -> Dataset:
    """A radiograph whose pixels were left behind, as some exports do."""
    dataset = _radiograph(picture, seed, "pixels")
    del dataset.PixelData
    return dataset


def _report(seed: int) -> Dataset:
    """A structured report, which has no pixels."""
    dataset = Dataset()
    dataset.file_meta = _meta()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.Modality = BasicTextSRStorage, "SR"
    for level, keyword in enumerate(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")):
        setattr(dataset, keyword, deterministic_uid(seed, "foreign", "report", level))
    dataset.PatientName, dataset.PatientID, dataset.PatientSex = "", "PHANTOM-REPORT", "O"
    dataset.StudyDate = dataset.ContentDate = "20240101"
    dataset.CompletionFlag, dataset.VerificationFlag, dataset.ValueType = "COMPLETE", "UNVERIFIED", "CONTAINER"
    return dataset


def _directory(seed: int) -> Dataset:
    """An empty index of a medium (PS3.3 F.3)."""
    dataset = Dataset()
    dataset.file_meta = _meta()
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(deterministic_uid(seed, "foreign", "directory"))
    dataset.FileSetID = "PHANTOM"
    dataset.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    dataset.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    dataset.FileSetConsistencyFlag = 0
    dataset.DirectoryRecordSequence = []
    return dataset


def _meta() -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta
