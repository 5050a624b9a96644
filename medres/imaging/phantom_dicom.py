"""A phantom becomes a DICOM file here: a Digital X-Ray Image as a hospital archives it, with no patient behind it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medres.imaging.anatomy import Sex
from medres.imaging.phantoms import Phantom
from medres.imaging.projection import View

TRANSFER_SYNTAXES: tuple[str, ...] = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
)
"""The transfer syntaxes that a cohort mixes; all are lossless."""

_ORIENTATION = {"PA": ["L", "F"], "AP": ["L", "F"], "LL": ["P", "F"]}
_VIEW_CODES = {  # PS3.16 CID 4010
    "PA": ("272479007", "postero-anterior"),
    "AP": ("399348003", "antero-posterior"),
    "LL": ("399173006", "left lateral"),
}


@dataclass(frozen=True, slots=True)
class Site:
    """One hospital's installation."""

    name: str
    manufacturer: str
    model: str


@dataclass(frozen=True, slots=True)
class Person:
    """The part of a header that stays the same through a patient's studies."""

    patient_id: str
    sex: Sex
    age: int  # years
    site: Site


@dataclass(frozen=True, slots=True)
class Identity:
    """The part of a header that says who, when and from where."""

    person: Person
    view: View
    study_date: str  # YYYYMMDD
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


def radiograph_dataset(
    phantom: Phantom,
    identity: Identity,
    *,
    transfer_syntax: str = ExplicitVRLittleEndian,
    negative: bool = False,
) -> Dataset:
    """A phantom as a Digital X-Ray Image for presentation (PS3.3 A.26), ready to be written.

    Args:
        phantom: what was exposed.
        identity: who, where and when.
        transfer_syntax: one of TRANSFER_SYNTAXES.
        negative: MONOCHROME1, which displays the same picture.
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = identity.sop_instance_uid
    _describe_patient_and_study(dataset, identity)
    _describe_acquisition(dataset, identity, phantom)
    stored, center = phantom.stored, phantom.window_center
    if negative:
        stored, center = 4095 - stored, 4096 - center  # PS3.3 C.11.2.1.2.1: the mirror image of the window
    dataset.PhotometricInterpretation = "MONOCHROME1" if negative else "MONOCHROME2"
    dataset.PresentationLUTShape = "INVERSE" if negative else "IDENTITY"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if negative else -1
    dataset.WindowCenter, dataset.WindowWidth = str(center), str(phantom.window_width)
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.SamplesPerPixel = 1
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = 16
    # The encoders of JPEG-LS and HTJ2K that are at hand write 16 bit, so that is what the header must say.
    dataset.BitsStored = 16 if transfer_syntax in (JPEGLSLossless, HTJ2KLossless) else 12
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    set_pixels(dataset, stored)
    return dataset


def set_pixels(dataset: Dataset, stored: NDArray[np.uint16]) -> None:
    """Encode (rows, columns) 12-bit values into PixelData as the data set's transfer syntax says."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == RLELossless:
        dataset.compress(RLELossless, stored, encoding_plugin="pydicom", generate_instance_uid=False)
    elif syntax in _ENCODERS:
        dataset.PixelData = encapsulate([bytes(_ENCODERS[syntax](stored))])
        dataset["PixelData"].VR = "OB"
    else:
        dataset.PixelData = stored.astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"


def write_dataset(dataset: Dataset, path: Path | BytesIO) -> None:
    """Write a DICOM file (PS3.10): preamble, file meta information, data set."""
    dataset.save_as(path, enforce_file_format=True)


def deterministic_uid(*parts: object) -> str:
    """A UID of the root 2.25 (PS3.5 B.2) that depends on the parts alone.

    >>> deterministic_uid(0, "a") == deterministic_uid(0, "a") != deterministic_uid(1, "a")
    True
    """
    name = "/".join(["medres phantom", *(str(part) for part in parts)])
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"


_ENCODERS: dict[str, Callable[[NDArray[np.uint16]], Any]] = {
    JPEGLosslessSV1: lambda stored: imagecodecs.jpeg_encode(stored, lossless=True, predictor=1, bitspersample=12),
    JPEGLSLossless: lambda stored: imagecodecs.jpegls_encode(stored, level=0),
    JPEG2000Lossless: lambda stored: imagecodecs.jpeg2k_encode(
        stored, level=0, reversible=True, codecformat="j2k", bitspersample=12
    ),
    HTJ2KLossless: lambda stored: imagecodecs.htj2k_encode(stored, reversible=True),
}


def _describe_patient_and_study(dataset: Dataset, identity: Identity) -> None:
    person, site = identity.person, identity.person.site
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "", person.patient_id, ""
    dataset.PatientSex, dataset.PatientAge = person.sex, f"{person.age:03d}Y"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = identity.study_instance_uid, identity.series_instance_uid
    dataset.StudyDate = dataset.ContentDate = dataset.AcquisitionDate = identity.study_date
    dataset.StudyTime = dataset.ContentTime = dataset.AcquisitionTime = "120000"
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", "", ""
    dataset.StudyDescription = "Synthetic chest phantom"
    dataset.SeriesNumber, dataset.InstanceNumber = "1", "1"
    dataset.Manufacturer, dataset.ManufacturerModelName = site.manufacturer, site.model
    dataset.InstitutionName, dataset.DeviceSerialNumber, dataset.SoftwareVersions = site.name, "0", "1"


def _describe_acquisition(dataset: Dataset, identity: Identity, phantom: Phantom) -> None:
    dataset.Modality, dataset.PresentationIntentType = "DX", "FOR PRESENTATION"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", identity.view
    dataset.ViewCodeSequence = [_code(*_VIEW_CODES[identity.view])]
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []
    dataset.AnatomicRegionSequence = [_code("51185008", "Chest")]
    dataset.ImageLaterality, dataset.PatientOrientation = "U", _ORIENTATION[identity.view]
    dataset.AcquisitionContextSequence = []
    dataset.KVP, dataset.DetectorType, dataset.PositionerType = "120", "DIRECT", "NONE"
    spacing = f"{phantom.pixel_spacing:.6f}"
    dataset.ImagerPixelSpacing = [spacing, spacing]


def _code(value: str, meaning: str) -> Dataset:
    """A code of SNOMED CT."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item
