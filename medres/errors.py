"""Every way medres says no.

::

    MedresError                  exit code, stable reason code
    ├── UsageError          2    what was asked cannot be done: a missing folder, a bad option
    │   ├── ConfigError     2    a configuration key or value is wrong
    │   ├── ManifestError   2    the table of images cannot be used as it is
    │   └── OutputExists    2    an output is already there, and neither --force nor --resume was given
    ├── WeightsError        1    pretrained weights are missing, damaged or of another architecture
    ├── ModelError          1    a saved model is incomplete, altered or no longer computes what it did
    ├── TrainingError       1    training cannot go on (loss not finite, nothing to learn)
    ├── GoneError           1    many files that were scored are not there any more: a mount may be missing
    ├── DeviceError         1    a GPU is busy, too full or not usable
    ├── StoreError          1    the review store cannot be opened or written
    └── Refused             3    one input file is refused, with a code from REASONS

A *reason code* is upper-case, never changes its meaning, and is what scripts may depend on.
"""

from __future__ import annotations

from os import PathLike
from typing import ClassVar

REASONS: dict[str, str] = {
    # the file
    "NOT_DICOM": "the file is not DICOM, or is empty",
    "UNREADABLE": "the file cannot be opened (permission, vanished, not a regular file)",
    "TRUNCATED": "the file ends before its header or its pixels do",
    "CORRUPT": "the DICOM structure cannot be parsed",
    "DICOMDIR": "a DICOMDIR is an index of files, not an image",
    "LIMIT": "the file exceeds a size, pixel or inflation budget",
    "OUT_OF_MEMORY": "memory ran out while the file was read",
    "LENGTH_MISMATCH": "the pixel data are far shorter than rows × columns needs",
    "DEPTH_LIMIT": "sequences are nested deeper than any radiograph needs",
    "BAD_UID": "SOPInstanceUID is missing or not a UID",
    "OUTSIDE_ROOT": "a link leads out of the folder that was given",
    # the gate
    "MODALITY": "Modality, or the SOP class, is not, or perhaps not, one the gate admits",
    "NO_MODALITY": "Modality is absent, so a human must say whether the image is a radiograph",
    "SECONDARY_CAPTURE": "a secondary capture that names no modality: a digitised film, or a screenshot",
    "BODY_PART": "BodyPartExamined is not, or perhaps not, one the gate admits",
    "VIEW": "ViewPosition is not, or perhaps not, one the gate admits",
    "FOR_PROCESSING": "the image is FOR PROCESSING; medres reads FOR PRESENTATION",
    # the pixels
    "NO_PIXEL_DATA": "there are no pixels (an icon does not count)",
    "MULTIFRAME": "more than one frame; medres reads single radiographs",
    "PHOTOMETRIC": "not a grayscale image (MONOCHROME1 or MONOCHROME2)",
    "BAD_BITS": "BitsAllocated, BitsStored and HighBit contradict each other or the Standard",
    "BAD_GRAYSCALE": "rescale values or lookup tables cannot be applied",
    "LUT_DEPTH": "a lookup table's entries have another depth than it says; shown by the depth they have",
    "LOW_CONTRAST": "the display shows nearly all pixels in almost the same gray",
    "TOO_SMALL": "the image is too small to be a radiograph",
    "NO_CONTRAST": "all pixels have the same value",
    "TRANSFER_SYNTAX": "the pixels are not encoded as the transfer syntax says",
    "UNSUPPORTED_TRANSFER_SYNTAX": "this installation cannot decode the transfer syntax",
    "DIMENSION_MISMATCH": "the compressed image has other dimensions than the header",
    "DECODE_FAILED": "the decoder could not read the pixels",
    "DECODER_TIMEOUT": "decoding took more processor time than the limit; its process was ended",
    "DECODER_STALLED": "decoding did not end within the limit by the clock, alone as well; its process was ended",
    "DECODER_CRASH": "decoding ended its process; the batch went on",
    # identity
    "NO_PATIENT_ID": "PatientID is empty, so the image cannot be kept apart by patient",
    "DUPLICATE_IDENTICAL": "the same image as another file; scored once",
    "DUPLICATE_CONFLICT": "the same SOPInstanceUID as another file, with other content",
    "PATIENT_CONFLICT": "images of one StudyInstanceUID name several patients",
    "CHANGED": "the file is not, or no longer, the one that was scored, or another took its place while it was read",
    # the label
    "UNLABELLED": "no label that the model knows is given for the image, so nothing can be judged",
    "EXCLUDED": "the manifest itself says, by its status, that the image is not used",
    # the training cohort
    "VIEW_UNSEEN": "no image of the training cohort has this ViewPosition",
    "LATERALITY_UNSEEN": "no image of the training cohort has this ImageLaterality",
    "POLARITY_UNLIKELY": "the image is more like a negative of the training images than like them",
    # the score
    "OUTLIER": "the image is unlike the images the model was trained on",
    "NOT_FINITE": "the network's output is not a finite number",
    "NOT_REPRODUCED": "the model does not give the saved score again",
}
"""Reason codes of refused or doubtful files, each with what it means."""

MAY_PASS = frozenset({"UNREADABLE", "CHANGED", "OUT_OF_MEMORY", "DECODER_STALLED", "DECODER_CRASH"})
"""Refusals of the moment or the machine, not of a file's bytes: another run may read the file."""

BY_LIMITS = frozenset({"LIMIT", "DEPTH_LIMIT", "TOO_SMALL", "DECODER_TIMEOUT"})
"""Refusals that hold for a file's bytes under some limits (`config.Limits`): under others the file may be read."""

WARNINGS: dict[str, str] = {
    "POLARITY_CONFLICT": "PresentationLUTShape contradicts PhotometricInterpretation, which was followed",
    "RESCALE_INCOMPLETE": "RescaleSlope or RescaleIntercept is missing; taken as identity",
    "WINDOW_VM_MISMATCH": "unequal numbers of WindowCenter and WindowWidth; the first pair was used",
    "BAD_WINDOW": "the window is not valid; the full stored range was used",
    "VOI_LUT_UNUSABLE": "the VOI LUT cannot be used; the window, its alternative, was",
    "HIGH_BITS": "bits above HighBit were set where no overlay is declared; they were masked",
    "SHUTTER": "a display shutter hides a part of the image from viewers; the network sees it",
    "TRAILING_BYTES": "the pixel data hold more bytes than one frame; the rest was ignored",
    "NUMBER_OF_FRAMES": "NumberOfFrames is not valid; one frame was found and read",
    "ORIENTATION": "PatientOrientation or laterality is unusual; the image was left as it is",
    "NO_FILE_META": "preamble or file meta information is missing",
    "PREAMBLE_EXECUTABLE": "the preamble holds an executable's signature",
    "BURNED_IN": "BurnedInAnnotation is YES: the pixels may identify the patient",
    "BURNED_IN_UNKNOWN": "BurnedInAnnotation is absent: the pixels may identify the patient",
    "BAD_DEMOGRAPHICS": "a date or age in the header is not valid",
    "TEXT": "text in the header held control characters or could not be decoded",
    "CODESTREAM_PRECISION": "the compressed image has another precision or sign than the header; it was followed",
    "LOSSY": "the pixels were compressed with loss",
    "BATCH_SPLIT": "memory did not suffice for a whole batch: the last digits of the score may differ",
}
"""Codes of warnings that travel with an accepted file, each with what it means."""


class MedresError(Exception):
    """Anything medres refuses to do, with a reason code and the exit code of the command line."""

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "FAILED"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code


class UsageError(MedresError):
    """What was asked cannot be done as asked."""

    exit_code = 2
    default_code = "USAGE"


class ConfigError(UsageError):
    """A configuration key or value is wrong."""

    default_code = "CONFIG"


class ManifestError(UsageError):
    """The manifest cannot be used as it is; the message lists every problem found."""

    default_code = "MANIFEST"


class OutputExists(UsageError):  # noqa: N818  reads as what it says: the output exists
    """An output is already there; nothing is overwritten without being told."""

    default_code = "OUTPUT_EXISTS"


class UncheckedError(UsageError):
    """A model is to compute otherwise than it was trained, and no recorded check says that it then scores alike."""

    default_code = "UNCHECKED"


class WeightsError(MedresError):
    """Pretrained weights are missing, damaged or of another architecture."""

    default_code = "WEIGHTS"


class ModelError(MedresError):
    """A saved model is incomplete, altered, or no longer computes what it did."""

    default_code = "MODEL"


class TrainingError(MedresError):
    """Training cannot go on."""

    default_code = "TRAINING"


class GoneError(MedresError):
    """Many files that were scored are not there any more."""

    default_code = "GONE"


class DeviceError(MedresError):
    """A GPU is busy, too full or not usable; the message says what can be done."""

    default_code = "DEVICE"


class StoreError(MedresError):
    """The review store cannot be opened or written."""

    default_code = "STORE"


class Refused(MedresError):  # noqa: N818  a refusal is a result, not an error of the program
    """One input file is refused; `code` is a key of REASONS.

    >>> str(Refused("PHOTOMETRIC", "RGB image; medres reads MONOCHROME1 and MONOCHROME2"))
    'PHOTOMETRIC: RGB image; medres reads MONOCHROME1 and MONOCHROME2'
    """

    exit_code = 3

    sha256 = ""  # of the bytes that were read, where the whole file was

    def __init__(self, code: str, detail: str, *, path: str | PathLike[str] | None = None) -> None:
        if code not in REASONS:
            raise ValueError(f"{code} is not a reason code of medres.errors.REASONS")
        super().__init__(f"{code}: {detail}", code=code)
        self.detail = detail
        self.path = path

    def __reduce__(self) -> tuple[type[Refused], tuple[str, str]]:
        """Refusals travel between processes by their code and detail."""
        return (type(self), (self.code, self.detail))
