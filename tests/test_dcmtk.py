"""Another reader's opinion: what DCMTK displays, for every file of the corpus that it and medres both accept."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medres.config import Limits
from medres.imaging.isolation import Workers
from medres.imaging.reading import read_radiograph
from medres.records import Radiograph, Refusal
from tests.conftest import needs_shared
from tests.support.dicom_files import JPEG, radiograph, write, write_in_every_encoding
from tests.support.odd_files import ENHANCED_XA, RF, WHOLE_CELLS, XA, group, overlaid, table
from tests.test_dicom_corpus import CORPUS, ROWS

pytestmark = [
    needs_shared("dicom-corpus"),
    pytest.mark.skipif(shutil.which("dcm2pnm") is None, reason="the Debian package dcmtk is not installed"),
]
TOLERANCE = 2 / 65535
SLOW = ("jp2_zero_box", "deflate_bomb", "TextGBR")  # made to hang or to exhaust memory: test_dicom_corpus has them


@dataclass(frozen=True)
class Clause:
    """Why medres shows what it shows where DCMTK shows something else."""

    text: str
    bound: float  # largest difference of a display value in [0, 1] that it explains


UNWINDOWED = Clause(
    "PS3.3 C.11.2: without a VOI transformation the whole range of stored values is shown, its largest one as white. "
    "DCMTK divides by the number of codes, 2^n, and never reaches white.",
    1 / 256 + TOLERANCE,
)
IMAGES_OWN_RANGE = Clause(
    "PS3.3 C.11.2: the same, for CT of 16 signed bits. DCMTK takes the bits that this one image happens to need, so "
    "that its values are a straight line of medres's.",
    0.47,
)
FRACTIONS = Clause(
    "PS3.3 C.11.1.1.2: rescaling gives m × SV + b, which need not be a whole number. DCMTK cuts off the fraction.",
    0.0026,
)
LINEAR_EXACT = Clause(
    "PS3.3 C.11.2.1.3.2: LINEAR_EXACT spans exactly the window's width. DCMTK shows it as LINEAR, one code narrower.",
    0.5 / 1120 + TOLERANCE,
)
VOI_LUT = Clause(
    "PS3.3 C.11.2.1.1: a table of n bits runs from 0 to 2^n − 1. DCMTK divides its output by 2^n.", 1 / 4096 + TOLERANCE
)
POLARITY = Clause(
    "PS3.3 C.7.6.3.1.2: MONOCHROME1 shows the smallest value white. A PresentationLUTShape that says otherwise "
    "contradicts C.8.11.3 (DX Image Module), where the two must agree; DCMTK follows the shape, medres the photometric "
    "interpretation, and warns.",
    1.0,
)
DEPTH = Clause(
    "PS3.3 C.11.1.1.1, C.11.2.1.1: the third value of LUTDescriptor is the depth of the entries. DCMTK believes it "
    "where the entries say otherwise; medres shows the depth they have, for a human to look at.",
    1.0,
)
EXPLAINED = {
    "real/gate-modality__94f21a__XA1_JPLL": UNWINDOWED,
    "real/structure__0029eb__image_dfl.dcm": UNWINDOWED,
    "real/structure__a0521c__GH1301.dcm": UNWINDOWED,
    "real/charset__7020ec__chrArab.dcm": UNWINDOWED,
    "real/charset__ea01c2__chrFrenMulti.dcm": UNWINDOWED,
    "real/charset__de42af__chrH32.dcm": UNWINDOWED,
    "real/charset__5065bb__chrHbrw.dcm": UNWINDOWED,
    "real/charset__e82d88__chrRuss.dcm": UNWINDOWED,
    "real/charset__c626f3__chrX2.dcm": UNWINDOWED,
    "synthetic/15_window_width_zero.dcm": UNWINDOWED,
    "synthetic/16_no_window.dcm": UNWINDOWED,
    "real/encaps__b03f87__CT1_UNC.fragmented_bot_jpeg_ls.80.dcm": IMAGES_OWN_RANGE,
    "real/structure__68d36d__D_CLUNIE_CT1_RLE_FRAGS.dcm": IMAGES_OWN_RANGE,
    "real/xray-grayscale__aa4e9e__6154": FRACTIONS,
    "real/xray-grayscale__c0447f__6278": FRACTIONS,
    "real/codec-ladder__903381__CTImage.dcm_JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm": FRACTIONS,
    "real/structure__5680b7__MR-JPEGLosslessSV1.dcm": FRACTIONS,
    "real/structure__86a79b__GH184.dcm": FRACTIONS,
    "real/structure__963e0a__Issue94.dcm": FRACTIONS,
    "synthetic/11_rescale.dcm": FRACTIONS,
    "real/xray-grayscale__6fecb0__CR-ModalitySequenceLUT.dcm": DEPTH,
    "synthetic/05_linear_exact.dcm": LINEAR_EXACT,
    "synthetic/09_voi_lut_plus_window.dcm": VOI_LUT,
    "synthetic/03_mono1_identity_conflict.dcm": POLARITY,
    "synthetic/04_mono2_inverse_conflict.dcm": POLARITY,
}
"""Every file of the corpus that DCMTK 3.6.7 and medres show differently, and the clause that settles it."""


def displayed_by_dcmtk(path: str) -> NDArray[np.float64] | None:
    """DCMTK's display values in [0, 1], with the VOI that the header asks for and no overlay; None where it refuses."""
    for voi in (["+Wl", "1"], ["+Wi", "1"], []):  # PS3.3 C.11.2.1: a table is preferred to a window
        for tool in ("dcm2pnm", "dcmj2pnm", "dcml2pnm"):
            command = [tool, "-q", "+opw", "-O", *voi, path]
            done = subprocess.run(command, capture_output=True, timeout=60, check=False)
            found = re.match(rb"P2\s+(?:#[^\n]*\s+)?(\d+)\s+(\d+)\s+(\d+)\s", done.stdout)
            if done.returncode == 0 and found:
                columns, rows, white = map(int, found.groups())
                values = np.array(done.stdout[found.end() :].split(), dtype=np.float64)
                return values.reshape(rows, columns) / white
    return None


@pytest.fixture(scope="module")
def accepted() -> dict[str, Radiograph]:
    """The corpus files that medres accepts, by their name in the index."""
    names = {str(CORPUS / row["file"]): row["file"] for row in ROWS if not any(part in row["file"] for part in SLOW)}
    with Workers(2, limits=Limits(seconds=5.0)) as pool:
        results = list(pool.map(read_radiograph, names))
    return {names[path]: result for path, result in results if not isinstance(result, Refusal)}


def test_every_disagreement_with_dcmtk_is_settled_by_a_clause_of_the_standard(accepted: dict[str, Radiograph]) -> None:
    compared, differing = 0, {}
    for name, image in accepted.items():
        theirs = displayed_by_dcmtk(str(CORPUS / name))
        if theirs is None:
            continue
        compared += 1
        assert theirs.shape == image.pixels.shape, name
        difference = float(np.abs(theirs - image.pixels).max())
        if difference > TOLERANCE:
            differing[name] = difference
        if EXPLAINED.get(name) is POLARITY:
            assert np.abs(1 - theirs - image.pixels).max() <= TOLERANCE
        if EXPLAINED.get(name) is IMAGES_OWN_RANGE:
            shown = image.pixels > 0  # the padding is black
            line = np.polynomial.Polynomial.fit(image.pixels[shown].astype(np.float64), theirs[shown], 1)
            assert np.abs(line(image.pixels[shown]) - theirs[shown]).max() <= 1 / 4096
    assert compared >= 95
    assert sorted(differing) == sorted(EXPLAINED)
    assert {name: value for name, value in differing.items() if value > EXPLAINED[name].bound} == {}


def test_dcmtk_shows_the_same_in_every_encoding(tmp_path: Path) -> None:
    """JPEG 2000 aside, which DCMTK 3.6.7 lacks."""
    compared = 0
    for path in write_in_every_encoding(tmp_path, WindowCenter=2000, WindowWidth=3000):
        theirs = displayed_by_dcmtk(str(path))
        if theirs is not None:
            compared += 1
            assert np.abs(theirs - read_radiograph(path).pixels).max() <= TOLERANCE, path
    assert compared >= 7


TABLE = "PS3.3 C.11.1.1.1, C.11.2.1.1: a table of n bits runs from 0 to 2^n − 1. DCMTK divides its output by 2^n."
GROUPS = Clause(
    "PS3.3 C.7.6.16.2: the window of an enhanced object stands in its functional groups. DCMTK 3.6.7 looks for it at "
    "the top only.",
    0.43,
)
ENHANCED = Clause(
    "PS3.4 N.2: in XA and XRF objects the Modality LUT is no part of the display, also where they are enhanced. DCMTK "
    "knows this of the older SOP classes alone.",
    1.0,
)
WINDOW = {"WindowCenter": 2000, "WindowWidth": 3000}


def objects() -> Iterator[tuple[str, Dataset, Clause | None]]:
    """Radiographs by kind of object, and the clause that settles what DCMTK shows otherwise."""
    curve, lines = [table(np.arange(4096)[::-1] ** 2 // 256, bits=16)], {"RescaleSlope": 2, "RescaleIntercept": -100}
    for window in ({}, WINDOW):
        for modality in ({"ModalityLUTSequence": curve}, lines):
            for sop_class in (XA, RF):
                yield (
                    f"{sop_class} {window} {[*modality]}",
                    radiograph(SOPClassUID=sop_class, Modality="XA", **modality, **window),
                    None if window else UNWINDOWED,
                )
            yield (
                f"{ENHANCED_XA} {window} {[*modality]}",
                radiograph(SOPClassUID=ENHANCED_XA, Modality="XA", **modality, **window),
                ENHANCED,
            )
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        made = radiograph(NumberOfFrames=1, **{groups: [group(FrameVOILUTSequence=WINDOW)]})
        yield groups, made, GROUPS
    for bits in range(8, 17):
        made = table(np.linspace(0, 2**bits - 1, 4096).astype(np.uint16), bits=bits)
        divided = Clause(TABLE, 1 / 2**bits + TOLERANCE)
        yield f"VOI LUT of {bits} bits", radiograph(VOILUTSequence=[made]), divided
        yield f"Modality LUT of {bits} bits", radiograph(ModalityLUTSequence=[made]), divided
        window = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}
        yield f"Modality LUT of {bits} bits and window", radiograph(ModalityLUTSequence=[made], **window), None
    yield "a table deeper than its entries", radiograph(VOILUTSequence=[table(np.arange(4096), bits=16)]), DEPTH
    yield "entries deeper than their table", radiograph(VOILUTSequence=[table(np.arange(4096) * 16, bits=12)]), DEPTH
    for syntax in ("", *WHOLE_CELLS):
        yield f"overlay {syntax}", overlaid(syntax, **WINDOW), None


def test_dcmtk_shows_the_same_of_every_kind_of_object_or_a_clause_settles_it(tmp_path: Path) -> None:
    """DCMTK 3.6.7 cannot read JPEG 2000."""
    refused, wrong = [], {}
    for name, dataset, clause in objects():
        path = write(tmp_path / "a.dcm", dataset)
        theirs = displayed_by_dcmtk(str(path))
        if theirs is None:
            refused.append(name)
            continue
        difference = float(np.abs(theirs - read_radiograph(path).pixels).max())
        if difference > (clause.bound if clause else TOLERANCE):
            wrong[name] = difference
    assert refused == [f"overlay {JPEG}90", f"overlay {JPEG}201"]
    assert wrong == {}
