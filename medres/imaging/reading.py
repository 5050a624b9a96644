"""DICOM files become Radiographs here, and nowhere else."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import warnings as python_warnings
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset as parse_dataset
from pydicom.uid import UID

from medres.config import GATES, Gate, Limits
from medres.errors import Refused
from medres.imaging import codecs, display, gating, grayscale, header, structure
from medres.imaging.rendering import Voi
from medres.records import DECODED_FOR, Radiograph

Path = str | os.PathLike[str]

ANY = GATES["grayscale"]
DEFAULT_LIMITS = Limits()
_DICOMDIR = "1.2.840.10008.1.3.10"
_TEXTS = ("Manufacturer", "ManufacturerModelName", "InstitutionName")
_CODES = ("BodyPartExamined", "Modality", "PatientSex", "BurnedInAnnotation", "PhotometricInterpretation")
_DECIMALS = ("PixelSpacing", "ImagerPixelSpacing")
_KEPT: Mapping[str, Callable[[Dataset, str], tuple[str, bool]]] = {
    **dict.fromkeys(_TEXTS, header.long_text),
    **dict.fromkeys(_CODES, header.term),
    **dict.fromkeys(_DECIMALS, header.decimals),
}
"""Attributes that travel with a radiograph, each by what its value representation allows."""
_UNPARSABLE = (
    *(ValueError, TypeError, AttributeError, LookupError, OverflowError, NotImplementedError, EOFError, OSError),
    *(InvalidDicomError, BytesLengthException, AssertionError, struct.error),
)
"""What pydicom raises on a data set that is none."""


@dataclass(frozen=True, slots=True)
class HeaderReading:
    """A DICOM file that was parsed and let through the gate; its pixels are still encoded."""

    dataset: Dataset  # with file_meta.TransferSyntaxUID, and PixelData where the file has any
    warnings: tuple[str, ...]  # keys of errors.WARNINGS
    review: tuple[str, ...]  # keys of errors.REASONS for which a human must look
    path: str
    sha256: str  # of the file's bytes


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading; a FIFO or device is refused without being waited for.

    Raises:
        Refused: UNREADABLE.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  (takes paths that are not text, too)
            raise Refused("UNREADABLE", "not a regular file", path=path)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        with os.fdopen(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Refused("UNREADABLE", "not a regular file", path=path)
            yield file
    except OSError as error:
        raise Refused("UNREADABLE", error.strerror or type(error).__name__, path=path) from None
    except ValueError:
        raise Refused("UNREADABLE", "the name cannot be a file's", path=os.fspath(path).replace("\0", "?")) from None


@contextmanager
def _refusing(sha256: str) -> Iterator[None]:
    """Refusals raised in the block carry the SHA-256 of the bytes that were read."""
    try:
        yield
    except Refused as refusal:
        refusal.sha256 = sha256
        raise


def read_dataset(path: Path, *, gate: Gate = ANY, limits: Limits = DEFAULT_LIMITS) -> HeaderReading:
    """Parse a DICOM file and let it through a gate; no pixel is decoded.

    Raises:
        Refused: UNREADABLE, LIMIT, NOT_DICOM, TRUNCATED, CORRUPT, DEPTH_LIMIT, DICOMDIR, BAD_UID, or the gate's code.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size  # before a byte of it is read; a file may grow meanwhile
        data = file.read(limits.file_bytes + 1) if size <= limits.file_bytes else b""
    if max(size, len(data)) > limits.file_bytes:
        raise Refused("LIMIT", f"the file is larger than {limits.file_bytes} bytes", path=path)
    return parse(data, path=path, gate=gate, limits=limits)


def parse(data: bytes, *, path: Path = "", gate: Gate = ANY, limits: Limits = DEFAULT_LIMITS) -> HeaderReading:
    """The same of the bytes of a file.

    Raises:
        Refused: as `read_dataset`, but UNREADABLE.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    with _refusing(sha256), _silence():
        if not data:
            raise Refused("NOT_DICOM", "the file is empty", path=path)
        encoding = structure.find_encoding(data, limits)
        if encoding.media_storage_sop_class_uid == _DICOMDIR:
            raise Refused("DICOMDIR", "an index of files, not an image", path=path)
        layout = structure.walk(encoding, depth=limits.sequence_depth)
        dataset = _parse(encoding, layout)
        _set_file_meta(dataset, encoding)
        if header.uid(dataset, "SOPClassUID") == _DICOMDIR:
            raise Refused("DICOMDIR", "an index of files, not an image", path=path)
        if not header.uid(dataset, "SOPInstanceUID"):
            raise Refused("BAD_UID", "SOPInstanceUID is missing or not a UID", path=path)
        review = [*gating.admit(dataset, gate)]
        _attach_pixels(dataset, encoding, layout)
        if not header.text(dataset, "PatientID")[0]:
            review.append("NO_PATIENT_ID")
        if None in (header.uid(dataset, "StudyInstanceUID"), header.uid(dataset, "SeriesInstanceUID")):
            review.append("BAD_UID")
        found = [*encoding.warnings, *gating.header_warnings(dataset)]
        changed = [read(dataset, name)[1] for name, read in _KEPT.items()]
        changed += [header.text(dataset, name)[1] for name in ("PatientID", "IssuerOfPatientID", "PatientAge")]
        if any(changed) or header.term(dataset, "ViewPosition")[1]:
            found.append("TEXT")
    return HeaderReading(dataset, tuple(found), tuple(review), os.fspath(path), sha256)


def read_radiograph(
    path: Path,
    *,
    gate: Gate = ANY,
    voi: Voi = "header",
    percentiles: tuple[float, float] = (0.5, 99.5),
    limits: Limits = DEFAULT_LIMITS,
    sha256: str = "",
    shorter_side: int | None = None,
    smaller: Set[str] | None = None,
) -> Radiograph:
    """Read, decode and render one file in this process.

    ::

        radiograph = read_radiograph("0001.dcm")
        radiograph.pixels.shape, radiograph.view_position, radiograph.warnings

    A hostile file can hang or end the process it is read in; `isolation.read_isolated` is the door for files that you
    do not trust.

    Args:
        path: a DICOM file.
        gate: which radiographs are admitted; any grayscale image of one frame by default.
        voi: what spans black to white, see `config.Preprocessing.voi`.
        percentiles: of `voi="percentile"`.
        limits: budgets, checked before anything is allocated (time and memory limits need a process of their own).
        sha256: of the bytes that the file must hold, if given; else it is CHANGED.
        shorter_side: pixels that suffice in rows and in columns, see `codecs.decode`; `Classifier.shorter_side` is what
            a model needs, which is None for most: all pixels.
        smaller: of which copies that may be one, see `codecs.decode`; any by default.

    Raises:
        Refused: with a code of errors.REASONS.
    """
    reading = read_dataset(path, gate=gate, limits=limits)
    if sha256 not in {"", reading.sha256}:
        raise Refused("CHANGED", "the file has changed since it was scored", path=path)
    return decode_radiograph(
        reading, voi=voi, percentiles=percentiles, limits=limits, shorter_side=shorter_side, smaller=smaller
    )[0]


def decode_radiograph(
    reading: HeaderReading,
    *,
    voi: Voi,
    percentiles: tuple[float, float],
    limits: Limits,
    shorter_side: int | None = None,
    smaller: Set[str] | None = None,
) -> tuple[Radiograph, codecs.Decoded]:
    """Decode and render a parsed file: the Radiograph, and the stored pixels it was rendered from.

    With `shorter_side` and `smaller`, that may be a smaller copy: see `codecs.decode`.

    Raises:
        Refused: with a code of errors.REASONS.
    """
    dataset = reading.dataset
    with _refusing(reading.sha256), _silence():
        decoded = codecs.decode(dataset, limits=limits, shorter_side=shorter_side, smaller=smaller)
        chain = grayscale.read_grayscale(dataset, precision=decoded.precision, signed=decoded.signed)
        shown = display.show(decoded.pixels, chain, voi=voi, percentiles=percentiles)
        hidden = display.read_shutter(dataset)
        warnings = (
            *(*reading.warnings, *decoded.warnings, *chain.warnings, *shown.warnings),
            *(("SHUTTER",) if hidden is not None else ()),
        )
        ratio, source = grayscale.pixel_aspect_ratio(dataset)
        radiograph = Radiograph(
            pixels=shown.pixels,
            sop_instance_uid=header.uid(dataset, "SOPInstanceUID") or "",
            study_instance_uid=header.uid(dataset, "StudyInstanceUID") or "",
            patient_id=_patient_id(dataset),
            view_position=header.term(dataset, "ViewPosition")[0],
            laterality=gating.laterality(dataset),
            study_date=header.date(dataset, "StudyDate"),
            warnings=tuple(dict.fromkeys(warnings)),
            review=tuple(dict.fromkeys((*reading.review, *shown.review))),
            pixel_aspect_ratio=ratio,
            shutter=hidden,
            sampling=decoded.sampling,
            attributes=_attributes(dataset),
            provenance={
                "transfer_syntax": str(dataset.file_meta.TransferSyntaxUID),
                "decoder": decoded.decoder,
                "lossy": "yes" if decoded.lossy else "no",
                "voi": shown.voi,
                "modality_transform": chain.modality_source,
                "aspect_source": source,
                DECODED_FOR: str(shorter_side or ""),
            },
        )
    return radiograph, decoded


def _parse(encoding: structure.Encoding, layout: structure.Layout) -> Dataset:
    # Where the walk lost its way, pydicom, which is more tolerant, reads the whole; else it never sees the pixels.
    end = len(encoding.body) if layout.lost else layout.header_end
    try:
        dataset = parse_dataset(BytesIO(encoding.body[encoding.start : end]), encoding.implicit, encoding.little)
    except RecursionError:
        raise Refused("DEPTH_LIMIT", "sequences are nested too deeply") from None
    except _UNPARSABLE as error:
        raise Refused("CORRUPT", f"the data set cannot be parsed ({type(error).__name__})") from None
    return dataset


def _set_file_meta(dataset: Dataset, encoding: structure.Encoding) -> None:
    syntax = encoding.transfer_syntax
    if not syntax:
        guessed = structure.EXPLICIT_LITTLE if encoding.little else structure.EXPLICIT_BIG
        syntax = structure.IMPLICIT_LITTLE if encoding.implicit else guessed
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.set_original_encoding(encoding.implicit, encoding.little)


def _attach_pixels(dataset: Dataset, encoding: structure.Encoding, layout: structure.Layout) -> None:
    element = layout.pixels
    if element is None:
        return
    if element.length == structure.UNDEFINED:
        _, end = structure.fragments(encoding.body, element.position, encoding.little)
    else:
        end = element.position + element.length
        if end > len(encoding.body):
            raise Refused("TRUNCATED", "the file ends within the pixel data")
    vr = element.vr.decode() if element.vr in (b"OB", b"OW", b"OF", b"OD") else "OW"
    undefined = element.length == structure.UNDEFINED
    dataset[element.tag] = DataElement(
        element.tag, vr, encoding.body[element.position : end], is_undefined_length=undefined
    )


def _patient_id(dataset: Dataset) -> str:
    number, issuer = (header.text(dataset, keyword)[0] for keyword in ("PatientID", "IssuerOfPatientID"))
    return f"{issuer}/{number}" if issuer and number else number


def _attributes(dataset: Dataset) -> dict[str, str]:
    found = {name: read(dataset, name)[0] for name, read in _KEPT.items()}
    age = header.code(dataset, "PatientAge")
    found["PatientAge"] = age if header.is_valid_age(age) else ""
    found["SeriesInstanceUID"] = header.uid(dataset, "SeriesInstanceUID") or ""
    for name in ("Rows", "Columns", "BitsStored"):
        found[name] = str(header.integer(dataset, name) or "")
    return found


@contextmanager
def _silence() -> Iterator[None]:
    """Keep pydicom's warnings, which may quote patient text, out of the log; what matters is checked by medres."""
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        yield
