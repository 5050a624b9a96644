"""Radiographs whose every plausible attribute, file and folder name holds a mark of its own, and a search for marks.

A mark that is found where no table allows it is personal data on its way out. It is looked for as text in UTF-8 and
UTF-16, in base64 and in hexadecimal, in what zip, gzip, Parquet and PNG files hold, and as an unkeyed hash.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import logging
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pydicom
from pyarrow import parquet
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import UID

from tests.support.phantoms import blob, write_radiograph

STEM = "QZKANARI"  # each mark of text begins so
_ROOT = "2.25.7314159265"  # each mark of a UID begins so
_DIGITS = "7314159265"
PATIENTS = 16

TEXTS = (
    "PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName",
    "PatientAddress", "PatientTelephoneNumbers", "PatientComments", "AdditionalPatientHistory", "EthnicGroup",
    "Occupation", "MedicalRecordLocator", "MilitaryRank", "BranchOfService", "PatientReligiousPreference",
    "AccessionNumber", "StudyID", "AdmissionID", "CurrentPatientLocation", "ReferringPhysicianName",
    "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "PhysiciansOfRecord", "RequestingPhysician",
    "OperatorsName", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName",
    "DeviceSerialNumber", "DetectorID", "SoftwareVersions", "StudyDescription", "SeriesDescription", "ProtocolName",
    "ImageComments", "RequestedProcedureDescription", "AdmittingDiagnosesDescription", "ContrastBolusAgent",
    "Manufacturer", "ManufacturerModelName", "DerivationDescription", "AcquisitionComments", "TextComments",
    "RequestedProcedureID", "PerformedProcedureStepID", "PerformedProcedureStepDescription", "SpecialNeeds",
    "Allergies",    "MedicalAlerts", "ResponsiblePerson", "IssuerOfPatientID",
)  # fmt: skip
CODES = ("ViewPosition", "BodyPartExamined", "PatientSex", "ImageType", "AnatomicRegionCode")
UIDS = (
    "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "InstanceCreatorUID",
    "DeviceUID", "SynchronizationFrameOfReferenceUID",
)  # fmt: skip
DATES = {"PatientBirthDate": "19030407", "StudyDate": "19671013", "SeriesDate": "19671014", "ContentDate": "19671015"}
_SHORT = {name: f"{number:02d}" for number, name in enumerate((*TEXTS, *CODES, *UIDS))}
OTHERS = {
    "PrivateAttribute": "PR", "OverlayDescription": "OD", "OverlayLabel": "OL", "nested attribute": "NE",
    "preamble": "PA", "SourceApplicationEntityTitle": "AE", "file name": "FN", "folder name": "FD", "letter": "LE",
    "invalid code": "IV",
}  # fmt: skip
_NAMES = {short: name for name, short in (_SHORT | OTHERS).items()}


def mark(name: str, patient: int = 0) -> str:
    """The mark of an attribute (or of what OTHERS names) of one patient, at most 12 characters."""
    return f"{STEM}{(_SHORT | OTHERS)[name]}{patient:02d}"


def _uid(name: str, patient: int) -> str:
    return f"{_ROOT}{_SHORT[name]}{patient:02d}"


def write_marked_cohort(folder: Path) -> Path:
    """Files of PATIENTS patients, every one bright or not in turn; the folder they lie in.

    Beside the sound ones there is a copy, a file that ends early, one whose codes are none, and a letter.
    """
    images = folder / f"{mark('folder name')} ward"
    for patient in range(PATIENTS):
        path = images / f"{mark('file name', patient)} {patient}.dcm"
        tags = {name: mark(name, patient) for name in (*TEXTS, "ViewPosition", "PatientSex")}
        tags |= {name: _uid(name, patient) for name in UIDS if name not in {"SOPInstanceUID", "StudyInstanceUID"}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not every keyword is of this kind of image
            write_radiograph(
                path, blob(patient, bright=patient % 2 == 0), patient=tags.pop("PatientID"),
                uid=_uid("SOPInstanceUID", patient),
                **{**tags, **DATES, "StudyInstanceUID": _uid("StudyInstanceUID", patient), "PatientAge": "061Y"},
            )  # fmt: skip
            dataset = pydicom.dcmread(path)
            _mark_further(dataset, patient)
            dataset.save_as(path)
    first = next(iter(sorted(images.iterdir())))
    (images / f"{mark('file name', 90)} copy.dcm").write_bytes(first.read_bytes())
    (images / f"{mark('file name', 91)} cut.dcm").write_bytes(first.read_bytes()[:-3000])
    (images / f"{mark('file name', 92)} letter.txt").write_text(f"Dear {mark('letter')}", encoding="utf-8")
    _write_invalid(first, images / f"{mark('file name', 93)} code.dcm")
    return images


@contextmanager
def _quiet() -> Iterator[None]:
    """pydicom says of each invalid value that it is one."""
    log = logging.getLogger("pydicom")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _mark_further(dataset: FileDataset, patient: int) -> None:
    block = dataset.private_block(0x0011, "MAKER", create=True)
    block.add_new(0x01, "LO", mark("PrivateAttribute", patient))
    block.add_new(0x02, "UN", mark("PrivateAttribute", patient).encode())
    dataset.add_new(0x60000022, "LO", mark("OverlayDescription", patient))
    dataset.add_new(0x60001500, "LO", mark("OverlayLabel", patient))
    item = Dataset()
    item.ScheduledProcedureStepDescription = mark("nested attribute", patient)
    item.RequestedProcedureID = mark("nested attribute", patient)
    dataset.RequestAttributesSequence = [item]
    dataset.file_meta.SourceApplicationEntityTitle = mark("SourceApplicationEntityTitle", patient)
    dataset.preamble = mark("preamble", patient).encode().ljust(128, b"\0")


def _write_invalid(source: Path, path: Path) -> None:
    """A radiograph of a patient of its own whose coded attributes hold free text."""
    dataset = pydicom.dcmread(source)
    said = f"{mark('invalid code')} née^X"
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")  # that is the point
        for name in ("ViewPosition", "BodyPartExamined", "PatientSex", "PatientAge", "ImageLaterality"):
            setattr(dataset, name, said)
        dataset.PixelSpacing = None
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(_uid("SOPInstanceUID", 93))
        dataset.save_as(path)


_TEXT = re.compile(rf"{STEM}(..)", re.IGNORECASE)
_NUMBER = re.compile(rf"2?\.?(?:25)?\.?{_DIGITS}(\d\d)")


def _of_hash() -> dict[bytes, str]:
    identities = [mark("PatientID", patient) for patient in range(PATIENTS)]
    both = [*identities, *(f"{mark('IssuerOfPatientID', patient)}/{one}" for patient, one in enumerate(identities))]
    made = (kind(text.encode()).hexdigest() for text in both for kind in (hashlib.sha256, hashlib.sha1, hashlib.md5))
    return {digest[:16].encode(): "PatientID, unkeyed hash" for digest in made}


_HASHES = _of_hash()
_HEXADECIMAL = re.compile(rb"[0-9a-f]{32,}")
_LONG = 5_000_000  # bytes: what is longer holds weights or pixels
_EMBEDDED = re.compile(rb"base64,([A-Za-z0-9+/=]{40,})")


def _encoded(stem: str) -> tuple[bytes, ...]:
    """How a stem looks in base64 at each of three places, without what depends on neighbours; and in hexadecimal."""
    texts = [(8 * shift, base64.b64encode(bytes(shift) + stem.encode() + b"\0\0\0")) for shift in range(3)]
    found = [text[-(-bits // 6) : (bits + 8 * len(stem)) // 6] for bits, text in texts]
    found += [one.replace(b"+", b"-").replace(b"/", b"_") for one in found]
    return (*dict.fromkeys(found), stem.encode().hex().encode(), stem.encode().hex().upper().encode())


_ENCODED = {stem: _encoded(stem) for stem in (STEM, _DIGITS)}


def marks_in(content: bytes) -> set[str]:
    """What is marked in some bytes, by the names of attributes."""
    found: set[str] = set()
    if len(content) > _LONG and not any(stem.encode() in content for stem in (STEM, _DIGITS)):
        return found
    for text in _texts(content):
        found |= {_NAMES.get(match[1].upper(), match[0]) for match in _TEXT.finditer(text)}
        found |= {_NAMES[match[1]] for match in _NUMBER.finditer(text) if match[1] in _NAMES}
        found |= {name for name, date in DATES.items() if date in text or _with_dashes(date) in text}
    bare = _EMBEDDED.sub(b"", content)  # what is embedded is unpacked below
    for stem, forms in _ENCODED.items():
        if any(form in bare for form in forms):
            found.add(f"encoded: {stem}")
    if len(content) < _LONG:
        found |= {_HASHES[match[0][:16]] for match in _HEXADECIMAL.finditer(content) if match[0][:16] in _HASHES}
    for part in _within(content):
        found |= marks_in(part)
    return found


def _with_dashes(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:]}"


def _texts(content: bytes) -> Iterator[str]:
    """The surroundings of whatever looks like a stem, as text."""
    dates = [form.encode() for date in DATES.values() for form in (date, _with_dashes(date))]
    for stem in (STEM.encode(), STEM.lower().encode(), _DIGITS.encode(), *dates):
        for wide in (False, True):
            wanted = b"\0".join(bytes([one]) for one in stem) if wide else stem
            place = content.find(wanted)
            while place >= 0:
                part = content[max(0, place - 8) : place + 2 * len(wanted) + 16]
                yield part.replace(b"\0", b"").decode("latin-1") if wide else part.decode("latin-1")
                place = content.find(wanted, place + 1)


def _within(content: bytes) -> Iterator[bytes]:
    """What a container holds."""
    if content.startswith(b"PK"):
        with suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from (name.encode() for name in archive.namelist())
            yield from (archive.read(name) for name in archive.namelist())
    elif content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content)
    elif content.startswith(b"PAR1"):
        yield repr(parquet.read_table(io.BytesIO(content)).to_pydict()).encode()
    elif content.startswith(b"\x89PNG"):
        yield from _chunks(content)
    elif b"base64," in content:
        for match in _EMBEDDED.finditer(content):
            with suppress(ValueError):
                yield base64.b64decode(match[1])


def _chunks(picture: bytes) -> Iterator[bytes]:
    """The chunks of a PNG, compressed ones unpacked."""
    place, pixels = 8, b""
    while place + 8 <= len(picture):
        length, kind = struct.unpack(">I4s", picture[place : place + 8])
        chunk = picture[place + 8 : place + 8 + length]
        pixels += chunk if kind == b"IDAT" else b""
        yield chunk
        if kind in {b"zTXt", b"iTXt", b"iCCP"}:
            for start in range(len(chunk)):
                with suppress(zlib.error):
                    yield zlib.decompress(chunk[start:])
                    break
        place += 12 + length
    with suppress(zlib.error):
        yield zlib.decompress(pixels)
