"""The frozen values that travel between rooms; no logic lives here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Status = Literal["ok", "review", "refused", "duplicate"]
"""`ok`; `review`: usable, a human must look; `refused`: not used; `duplicate`: scored as another row."""

Precision = Literal["float32", "bf16", "fp16"]
"""What a network computes in; whoever says nothing gets float32."""

Decoding = Literal["full", "reduced"]
"""`full`: every stored value; `reduced`: a smaller copy that the compressed image holds, where it holds one."""

FULL = "full"
DECODED = (FULL, "1/2", "1/4", "1/8")
"""How a file was decoded: every pixel, or a smaller copy."""

DECODED_FOR = "decoded_for"
"""Of a Radiograph's provenance: the pixels that its shorter side had to keep; "" where it was decoded in full."""

TargetValue = Literal[0, 1] | None
"""1 present, 0 absent, None unknown."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One file that was not used, and why: a value, not a log line."""

    path: str  # as the caller gave it
    code: str  # a key of errors.REASONS
    detail: str  # one line for a human; holds no patient identifier
    sha256: str = ""  # of the bytes that were read, where the whole file was


@dataclass(frozen=True, slots=True)
class Shutter:
    """What a viewer is asked to hide: all that lies outside of every shape (PS3.3 C.7.6.11).

    Rows and columns are counted from 1, as the Standard counts them.
    """

    shapes: tuple[str, ...]  # RECTANGULAR, CIRCULAR, POLYGONAL, BITMAP
    rectangle: tuple[int, int, int, int] | None = None  # upper and lower row, left and right column
    circle: tuple[int, int, int] | None = None  # row and column of the centre, radius in rows
    polygon: tuple[tuple[int, int], ...] = ()  # (row, column) of each corner


def copy_name(kind: str, step: int) -> str:
    """What a kind of smaller copies is called.

    >>> copy_name("JPEG 2000", 4)
    'JPEG 2000 1/4'
    """
    return f"{kind} 1/{step}"


@dataclass(frozen=True, slots=True)
class Sampling:
    """Where the pixels of a smaller copy lie in the native image: number i of a line is centred on `first` + `step` i.

    Native points count from the centre of the first pixel. Low-pass samples of a wavelet transform lie on every second
    pixel (ISO 15444-1 F.3), so that `first` is 0; a DCT that is scaled averages pixels, and `first` is amid them.
    """

    rows: int  # native
    columns: int  # native
    step: int  # native pixels from one centre to the next: 2, 4 or 8
    first: float


@dataclass(frozen=True, slots=True)
class Radiograph:
    """One decoded radiograph, ready to be looked at or preprocessed.

    Identifiers are strings, stripped of padding; an absent value is "".
    """

    pixels: NDArray[np.float32]  # (rows, columns), [0, 1], higher = brighter on screen
    sop_instance_uid: str
    study_instance_uid: str
    patient_id: str  # with IssuerOfPatientID in front ("issuer/id") where the header has one
    view_position: str
    laterality: str  # ImageLaterality, else Laterality: "L", "R", "B", "U" or ""
    warnings: tuple[str, ...] = ()  # keys of errors.WARNINGS
    review: tuple[str, ...] = ()  # keys of errors.REASONS for which a human must look
    pixel_aspect_ratio: float = 1.0  # height ÷ width of one pixel
    shutter: Shutter | None = None  # for viewers; the pixels hold what it hides
    sampling: Sampling | None = None  # of pixels that are a smaller copy; None: they are the native ones
    attributes: Mapping[str, str] = field(default_factory=dict)  # other DICOM keywords, e.g. "PatientSex": "F"
    provenance: Mapping[str, str] = field(default_factory=dict)  # transfer_syntax, decoder, voi, aspect_source, …
    study_date: str = ""  # YYYYMMDD; no attribute, for caches and manifests hold none


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One radiograph of a cohort."""

    path: Path  # where the file lies
    patient_id: str
    study_instance_uid: str
    sop_instance_uid: str
    targets: Mapping[str, TargetValue]
    uncertain: frozenset[str] = frozenset()  # labels whose target is None because the reader could not decide (-1)


@dataclass(frozen=True, slots=True)
class Fold:
    """Which patients do what in one fold; the three sets never overlap."""

    index: int
    training: tuple[str, ...]  # patient ids; who has uncertain labels alone is here or nowhere
    validation: tuple[str, ...]  # chooses epoch (unless the last is kept), temperature, thresholds
    held_out: tuple[str, ...]  # chooses nothing
    repeat: int = 0  # of a repeated cross-validation: each repeat holds everybody out once
    name: str = ""  # what the manifest calls it, where a column gives the folds


@dataclass(frozen=True, slots=True)
class LabelScore:
    """What a model says of one label."""

    probability: float  # calibrated, [0, 1]
    threshold: float  # the frozen operating point
    positive: bool  # probability >= threshold


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one radiograph."""

    sop_instance_uid: str
    model_id: str
    scores: Mapping[str, LabelScore]
    status: Status
    reason: str  # a key of errors.REASONS, or ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where in the radiograph a label's logit comes from.

    Every value is in logit units, so two maps of one model can be compared: the mean of the network's own map
    (stride 32) over its input is the positive part of the logit's evidence, and a finer map adds the values between its
    cells. Never stretched per image. Other methods than `cam` say with `unit` whether they have that scale.
    """

    sop_instance_uid: str
    model_id: str
    label: str
    heatmap: NDArray[np.float32]  # native rows × columns, in `unit`; >= 0 of `cam`
    strength: float  # of the map's strongest cell, in `unit`
    method: str = "cam"  # the exact class-activation map, or a method of the grad-cam library
    unit: str = "logit"  # "" where a method has no logit scale: then strengths cannot be compared
    stride: int = 32  # network input pixels between neighbouring cells
    licence: str = "not validated"  # of the label's heatmaps: validated, not validated or failed
    licence_reasons: tuple[str, ...] = ()  # why, a sentence each
    spread: NDArray[np.float32] | None = None  # of an ensemble: standard deviation between its networks' maps, native


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its uncertainty. `value`, `low` and `high` are None where undefined."""

    value: float | None
    low: float | None
    high: float | None
    method: str
    n: int  # images
    n_patients: int


@dataclass(frozen=True, slots=True)
class Difference:
    """The second of two estimates minus the first, with its test against 0; None where undefined."""

    value: float | None
    low: float | None
    high: float | None
    z: float | None
    p: float | None  # two-sided
    method: str
    n: int  # images
    n_patients: int
