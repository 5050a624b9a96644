"""Which radiographs are let in, and what a header gives reason to doubt: decided before any pixel is decoded."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from medres.config import Gate
from medres.errors import Refused
from medres.imaging import header

FOR_PROCESSING_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.1.{number}.1" for number in (1, 2, 3))
"""SOP classes of digital X-ray, mammography and intra-oral images FOR PROCESSING."""

_DESCRIPTIONS = ("SeriesDescription", "StudyDescription", "ProtocolName")
_TRUNK = frozenset(
    ("CHEST", "THORAX", "LUNG", "RIB", "RIBS", "ABDOMEN", "PELVIS", "SPINE", "CSPINE", "TSPINE", "LSPINE")
)
_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "PatientBirthDate")
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}


def admit(dataset: Dataset, gate: Gate) -> tuple[str, ...]:
    """Let a header through a gate.

    Returns:
        Reason codes for which a human must look: BODY_PART, VIEW.

    Raises:
        Refused: MODALITY, FOR_PROCESSING, BODY_PART or VIEW.
    """
    modality = header.code(dataset, "Modality")
    if gate.modality and modality not in _upper(gate.modality):
        raise Refused(
            "MODALITY", f"Modality is {modality or 'absent'}; the gate {gate.name} admits {', '.join(gate.modality)}"
        )
    processing = header.code(dataset, "PresentationIntentType") == "FOR PROCESSING"
    if gate.for_presentation and (processing or header.uid(dataset, "SOPClassUID") in FOR_PROCESSING_CLASSES):
        raise Refused("FOR_PROCESSING", "the image is FOR PROCESSING; export the FOR PRESENTATION image instead")
    return (*_admit_body_part(dataset, gate), *_admit_view(dataset, gate))


def _admit_body_part(dataset: Dataset, gate: Gate) -> tuple[str, ...]:
    part = header.code(dataset, "BodyPartExamined")
    admitted = _upper(gate.body_part)
    if not admitted or part in admitted:
        return ()
    words = _words(part).union(*(_words(header.text(dataset, keyword)[0]) for keyword in _DESCRIPTIONS))
    if not part or words & admitted:
        return ("BODY_PART",)
    raise Refused("BODY_PART", f"BodyPartExamined is {part}; the gate {gate.name} admits {', '.join(gate.body_part)}")


def _admit_view(dataset: Dataset, gate: Gate) -> tuple[str, ...]:
    view = header.code(dataset, "ViewPosition")
    if not gate.view or view in _upper(gate.view):
        return ()
    if not view:
        return ("VIEW",)
    raise Refused("VIEW", f"ViewPosition is {view}; the gate {gate.name} admits {', '.join(gate.view)}")


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
