"""Which images the gates let in, by Modality and SOP class."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import (
    BreastTomosynthesisImageStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedXAImageStorage,
    MRImageStorage,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    VLPhotographicImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

from medres.config import GATES, Gate, load_config, load_gate
from medres.config.images import ABSENT, PROJECTION_MODALITIES
from medres.config.versions import SavedAs, hashed_content
from medres.errors import REASONS, Refused
from medres.imaging.gating import admit
from medres.imaging.reading import read_radiograph
from medres.model.classifier import read_card
from medres.tables import read_csv
from tests.conftest import ROOT, SHARED, Medres, needs_shared
from tests.support.dicom_files import radiograph, write

ANY, GRAYSCALE, CHEST = GATES["any"], GATES["grayscale"], GATES["frontal-chest"]
PROJECTIONS = (
    *(ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation, XRayAngiographicImageStorage),
    *(XRayRadiofluoroscopicImageStorage, EnhancedXAImageStorage, BreastTomosynthesisImageStorage),
)
OTHERS = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "US": UltrasoundImageStorage,
    "NM": NuclearMedicineImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
    "XC": VLPhotographicImageStorage,
}
PRIVATE = "1.3.12.2.1107.5.9.1"


def outcome(gate: Gate, modality: str | None, sop_class: str | None) -> str:
    """What a gate says of a header: "ok", the codes of a review, or "refused" with the code."""
    try:
        return " ".join(admit(radiograph(Modality=modality, SOPClassUID=sop_class), gate)) or "ok"
    except Refused as refusal:
        assert refusal.code in REASONS
        return f"refused {refusal.code}"


@given(st.sampled_from(PROJECTION_MODALITIES), st.sampled_from((*PROJECTIONS, SecondaryCaptureImageStorage, PRIVATE)))
def test_any_projection_radiograph_is_admitted_whatever_object_holds_it(modality: str, sop_class: str) -> None:
    assert outcome(ANY, modality, sop_class) == "ok"


@given(
    st.sampled_from(sorted(OTHERS)),
    st.sampled_from((*PROJECTIONS, *OTHERS.values(), SecondaryCaptureImageStorage, PRIVATE, None)),
)
def test_other_modalities_are_refused_whatever_object_holds_them(modality: str, sop_class: str | None) -> None:
    assert outcome(ANY, modality, sop_class) == "refused MODALITY"
    assert outcome(GRAYSCALE, modality, sop_class) == "ok"


@given(st.sampled_from(("DX", "OT", "SC", None)), st.sampled_from(sorted(OTHERS)))
def test_a_slice_does_not_become_a_radiograph_by_what_its_modality_says(modality: str | None, kind: str) -> None:
    assert outcome(ANY, modality, OTHERS[kind]) == "refused MODALITY"


@pytest.mark.parametrize(
    ("modality", "sop_class", "expected"),
    [
        ("OT", SecondaryCaptureImageStorage, "SECONDARY_CAPTURE"),
        ("SC", SecondaryCaptureImageStorage, "SECONDARY_CAPTURE"),
        ("OT", DigitalXRayImageStorageForPresentation, "SECONDARY_CAPTURE"),
        (None, SecondaryCaptureImageStorage, "NO_MODALITY SECONDARY_CAPTURE"),
        (None, DigitalXRayImageStorageForPresentation, "NO_MODALITY"),
        ("", ComputedRadiographyImageStorage, "NO_MODALITY"),
        (None, PRIVATE, "NO_MODALITY"),
        ("DOC", SecondaryCaptureImageStorage, "refused MODALITY"),
    ],
)
def test_what_may_be_a_radiograph_goes_to_review_and_never_past_frontal_chest(
    modality: str | None, sop_class: str, expected: str
) -> None:
    assert outcome(ANY, modality, sop_class) == expected
    assert outcome(CHEST, modality, sop_class) == "refused MODALITY"
    assert outcome(GRAYSCALE, modality, sop_class) == "ok"


def test_the_default_of_reading_or_rendering_one_file_is_any_grayscale_image(tmp_path: Path, medres: Medres) -> None:
    (tmp_path / "in").mkdir()
    path = write(tmp_path / "in" / "a.dcm", radiograph(Modality="CT", SOPClassUID=CTImageStorage))
    assert read_radiograph(path).pixels.shape == (48, 40)
    assert medres("render", path, "--out", tmp_path / "a.npy").returncode == 0
    for gate, found, code in (("grayscale", ["CT"], 0), ("any", [], 3)):
        done = medres("index", tmp_path / "in", "--gate", gate, "--out", tmp_path / gate / "m.csv")
        assert (done.returncode, read_csv(tmp_path / gate / "m.csv")["Modality"].tolist()) == (code, found)


def test_a_gate_that_was_saved_admits_what_it_admitted() -> None:
    """Models of format 3 hold a gate of five fields; that named `any` admitted everything."""
    content: dict[str, Any] = {"name": "any", "modality": [], "body_part": [], "view": [], "for_presentation": False}
    context = SavedAs(3)
    saved = Gate.model_validate(content, context=context)
    assert hashed_content(saved) == content
    for modality, sop_class in [*OTHERS.items(), ("DX", CTImageStorage), (None, SecondaryCaptureImageStorage)]:
        assert outcome(saved, modality, sop_class) == "ok"
    chest = {name: value for name, value in CHEST.model_dump(mode="json").items() if name in content}
    assert Gate.model_validate(chest, context=context) == CHEST == Gate.model_validate(chest)
    assert hashed_content(CHEST) == chest
    old = load_config("quick").model_dump(mode="json") | {"gate": content}
    assert type(load_config("quick")).model_validate(old).gate == saved


@given(
    st.sampled_from((*PROJECTION_MODALITIES, *OTHERS, "OT", "SR", "", None)), st.sampled_from((*PROJECTIONS, PRIVATE))
)
def test_a_gate_of_ones_own_without_modality_admits_those_of_any(modality: str | None, sop_class: str) -> None:
    own = load_config("quick", ["gate={body_part: [CHEST]}"]).gate
    assert (own.name, own.body_part) == ("custom", ("CHEST",))
    assert outcome(own, modality, sop_class) == outcome(ANY, modality, sop_class)
    every = load_config("quick", ["gate={modality: [], body_part: [CHEST]}"]).gate
    assert outcome(every, modality, sop_class) == "ok"


def test_a_model_of_format_3_scores_what_it_scored(format3_model: Path) -> None:
    gate = read_card(format3_model).gate
    assert (gate.name, gate.modality, outcome(gate, "CT", CTImageStorage)) == ("any", (), "ok")


def test_a_gate_of_ones_own_says_what_goes_to_review() -> None:
    gate = Gate(name="portal", modality=("DX",), review_modality=("rtimage", ABSENT))
    found = [outcome(gate, modality, None) for modality in ("DX", "RTIMAGE", None, "CT")]
    assert found == ["ok", "MODALITY", "NO_MODALITY", "refused MODALITY"]


def test_the_gate_of_the_readme_admits_knees_and_no_mr(tmp_path: Path, medres: Medres) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```yaml\n(# knees\.yaml.*?)```", text, re.DOTALL)
    (tmp_path / "knees.yaml").write_text(example)
    gate = load_gate(tmp_path / "knees.yaml")
    assert (gate.name, gate.modality) == ("knees", ("CR", "DX"))
    images = tmp_path / "images"
    images.mkdir()
    files: dict[str, dict[str, Any]] = {
        "ap": {},
        "lateral": {"ViewPosition": "LL"},
        "chest": {"BodyPartExamined": "CHEST"},
        "mr": {"Modality": "MR", "SOPClassUID": MRImageStorage},
        "unknown": {"Modality": None},
    }
    for number, (name, changes) in enumerate(files.items(), start=1):
        knee = {"BodyPartExamined": "KNEE", "ViewPosition": "AP", "SOPInstanceUID": f"2.25.{number}"}
        write(images / f"{name}.dcm", radiograph(**{**knee, **changes}))
    done = medres("index", images, "--gate", tmp_path / "knees.yaml", "--out", tmp_path / "m.csv")
    assert done.returncode == 3, done.stderr
    manifest, refused = read_csv(tmp_path / "m.csv"), read_csv(tmp_path / "refused.csv")
    usable = zip(manifest["path"], manifest["status"], manifest["warnings"], strict=True)
    assert {Path(path).stem: (status, codes) for path, status, codes in usable} == {
        "ap": ("ok", ""),
        "unknown": ("review", "NO_MODALITY"),
    }
    assert {Path(path).stem: code for path, code in zip(refused["path"], refused["reason"], strict=True)} == {
        "lateral": "VIEW",
        "chest": "BODY_PART",
        "mr": "MODALITY",
    }


@needs_shared("field")
def test_the_gate_any_lets_every_file_of_the_field_through() -> None:
    from medres.imaging.reading import read_dataset

    files = sorted((SHARED / "field").glob("*.dcm"))
    assert len(files) == 15
    for path in files:
        assert not {"MODALITY", "NO_MODALITY", "SECONDARY_CAPTURE"} & set(read_dataset(path, gate=ANY).review)
