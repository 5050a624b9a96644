"""Which radiographs are let in, and what a header gives reason to doubt: decided before any pixel is decoded."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset
from pydicom.uid import UID

from medres.config import Gate
from medres.config.images import ABSENT
from medres.errors import Refused
from medres.imaging import header

FOR_PROCESSING_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.1.{number}.1" for number in (1, 2, 3))
"""SOP classes of digital X-ray, mammography and intra-oral images FOR PROCESSING."""

_STORAGE = "1.2.840.10008.5.1.4.1.1"
PROJECTION_CLASSES = frozenset(
    f"{_STORAGE}.{number}"
    for number in (
        *("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1"),  # CR, digital X-ray, mammography, intra-oral
        *("12.1", "12.1.1", "12.2", "12.2.1", "12.3"),  # XA, Enhanced XA, XRF, Enhanced XRF, biplane (retired)
        *("13.1.3", "13.1.4", "13.1.5"),  # breast tomosynthesis (one frame: a projection), breast projection
    )
)
"""Standard SOP classes (PS3.4 B.5) that hold projection radiographs."""

SECONDARY_CAPTURE_CLASSES = frozenset(f"{_STORAGE}.7{number}" for number in ("", ".1", ".2", ".3", ".4"))
"""Secondary captures: digitised films and vendors' copies of radiographs, but also screenshots and scanned letters."""

_STANDARD = "1.2.840.10008."  # SOP classes that DICOM defines; the others are private

_DESCRIPTIONS = ("SeriesDescription", "StudyDescription", "ProtocolName")
_TRUNK = frozenset(
    ("CHEST", "THORAX", "LUNG", "RIB", "RIBS", "ABDOMEN", "PELVIS", "SPINE", "CSPINE", "TSPINE", "LSPINE")
)
_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "PatientBirthDate")
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}


def admit(dataset: Dataset, gate: Gate) -> tuple[str, ...]:
    """Let a header through a gate.

    Returns:
        Reason codes for which a human must look: NO_MODALITY, SECONDARY_CAPTURE, MODALITY, BODY_PART, VIEW.

    Raises:
        Refused: MODALITY, FOR_PROCESSING, BODY_PART or VIEW.
    """
    doubts = _admit_modality(dataset, gate)
    processing = header.code(dataset, "PresentationIntentType") == "FOR PROCESSING"
    if gate.for_presentation and (processing or header.uid(dataset, "SOPClassUID") in FOR_PROCESSING_CLASSES):
        raise Refused("FOR_PROCESSING", "the image is FOR PROCESSING; export the FOR PRESENTATION image instead")
    return (*doubts, *_admit_body_part(dataset, gate), *_admit_view(dataset, gate))


def _admit_modality(dataset: Dataset, gate: Gate) -> tuple[str, ...]:
    """What kind of image it is: Modality says so, and where the gate asks for projections the SOP class must agree.

    A secondary capture that names a modality of the gate is taken at its word: vendors' copies of radiographs are
    such. One that names none (absent, or OT, other) may be a digitised film as well as a screenshot.
    """
    modality, kind = header.code(dataset, "Modality"), header.uid(dataset, "SOPClassUID") or ""
    admits = f"the gate {gate.name} admits {', '.join(gate.modality)}"
    doubted = _upper(gate.review_modality)
    if gate.modality and modality not in _upper(gate.modality) and (modality or ABSENT) not in doubted:
        raise Refused("MODALITY", f"Modality is {header.told(modality)}; {admits}")
    captured = kind in SECONDARY_CAPTURE_CLASSES
    if gate.projection and kind.startswith(_STANDARD) and kind not in PROJECTION_CLASSES and not captured:
        said = f"Modality {header.told(modality)}"
        raise Refused(
            "MODALITY",
            f"the SOP class is {UID(kind).name}, no projection radiograph ({said})",
        )
    if not gate.modality or modality in _upper(gate.modality):
        return ()
    if not modality:
        return ("NO_MODALITY", "SECONDARY_CAPTURE") if captured else ("NO_MODALITY",)
    return ("SECONDARY_CAPTURE",) if captured or modality in {"OT", "SC"} else ("MODALITY",)


def _admit_body_part(dataset: Dataset, gate: Gate) -> tuple[str, ...]:
    part = header.code(dataset, "BodyPartExamined")
    admitted = _upper(gate.body_part)
    if not admitted or part in admitted:
        return ()
    words = _words(part).union(*(_words(header.text(dataset, keyword)[0]) for keyword in _DESCRIPTIONS))
    if not part or words & admitted:
        return ("BODY_PART",)
    admits = f"the gate {gate.name} admits {', '.join(gate.body_part)}"
    raise Refused("BODY_PART", f"BodyPartExamined is {header.told(part)}; {admits}")


def _admit_view(dataset: Dataset, gate: Gate) -> tuple[str, ...]:
    view = header.code(dataset, "ViewPosition")
    if not gate.view or view in _upper(gate.view):
        return ()
    if not view:
        return ("VIEW",)
    raise Refused("VIEW", f"ViewPosition is {header.told(view)}; the gate {gate.name} admits {', '.join(gate.view)}")


def header_warnings(dataset: Dataset) -> tuple[str, ...]:
    """Codes of what is doubtful in a header without making the image unusable."""
    found = []
    shape = header.code(dataset, "PresentationLUTShape")
    photometric = header.code(dataset, "PhotometricInterpretation")
    if (photometric, shape) in {("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")}:
        found.append("POLARITY_CONFLICT")
    if _is_oriented_oddly(dataset):
        found.append("ORIENTATION")
    burned_in = header.code(dataset, "BurnedInAnnotation")
    if burned_in != "NO":
        found.append("BURNED_IN" if burned_in == "YES" else "BURNED_IN_UNKNOWN")
    age = header.code(dataset, "PatientAge")
    if not header.is_valid_age(age) or not header.has_valid_dates(dataset, _DATES):
        found.append("BAD_DEMOGRAPHICS")
    return tuple(found)


def laterality(dataset: Dataset) -> str:
    """FrameLaterality (of enhanced objects), else ImageLaterality, else Laterality: "L", "R", "B", "U" or ""."""
    frame = header.functional_group(dataset, "FrameAnatomySequence", "FrameLaterality")
    value = (
        header.code(frame, "FrameLaterality")
        or header.code(dataset, "ImageLaterality")
        or header.code(dataset, "Laterality")
    )
    return value if value in {"L", "R", "B", "U"} else ""


def _is_oriented_oddly(dataset: Dataset) -> bool:
    """Does Patient Orientation (PS3.3 C.7.6.1.1.1) or laterality say something that radiographs seldom say?

    A frontal view of the trunk is shown with the patient's left on the viewer's right (rows run towards L) and the head
    up (columns run towards F). The image is never turned or mirrored to make it so.
    """
    sides = {header.code(dataset, keyword) for keyword in ("ImageLaterality", "Laterality")} - {""}
    if sides - {"L", "R", "B", "U"} or {"L", "R"} <= sides:
        return True
    found = header.values(dataset, "PatientOrientation")
    if not found:
        return found is None
    directions = tuple(str(value).strip().upper() for value in found)
    if len(directions) != 2 or not all(directions) or set("".join(directions)) - set(_OPPOSITE):
        return any(directions)
    row, column = directions[0][0], directions[1][0]
    if row == column or row == _OPPOSITE[column]:
        return True
    part, view = header.code(dataset, "BodyPartExamined"), header.code(dataset, "ViewPosition")
    if not (_words(part) & _TRUNK):
        return False
    return column != "F" or (row != "L" and view in {"AP", "PA", ""})


def _upper(terms: tuple[str, ...]) -> set[str]:
    return {term.upper() for term in terms}


def _words(description: str) -> set[str]:
    return set(re.findall(r"[A-Z]+", description.upper()))
