"""Every odd, malformed and hostile file of the corpus ends as its index says."""

from __future__ import annotations

import csv
import hashlib
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from medres.cli import medres as command_line
from medres.config import GATES, Limits
from medres.imaging import codecs
from medres.imaging.isolation import Workers
from medres.imaging.preprocessing import Inspected, inspect
from medres.imaging.reading import read_dataset, read_radiograph
from medres.records import Refusal
from tests.conftest import SHARED, Medres, needs_shared

pytestmark = needs_shared("dicom-corpus")

CORPUS = SHARED / "dicom-corpus"
LIMITS = Limits(seconds=5.0)
HEADER_ONLY = {"JPEG2000-embedded-sequence-delimiter"}


def index() -> list[dict[str, str]]:
    if not CORPUS.exists():
        return []
    with (CORPUS / "index.csv").open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


ROWS = index()
JUDGED = [row for row in ROWS if row["expected_status"] and not row["expected_reason"].startswith("DUPLICATE")]
REAL = [row for row in ROWS if not row["expected_status"]]
LATER = {"HIGH_BITS"}  # warnings that the index, which is older, does not know
STATUS = {(False, False): "accept", (False, True): "accept_warn", (True, False): "review", (True, True): "review"}


def inspected(rows: list[dict[str, str]], gate: str) -> dict[str, Inspected | Refusal]:
    paths = [str(CORPUS / row["file"]) for row in rows]
    with Workers(2, limits=LIMITS) as pool:
        results = pool.map(partial(inspect, gate=GATES[gate], limits=LIMITS), paths, ordered=True)
        return {row["file"]: result for row, (_, result) in zip(rows, results, strict=True)}


@pytest.fixture(scope="module")
def judged() -> dict[str, Inspected | Refusal]:
    return inspected(JUDGED, "frontal-chest")


@pytest.fixture(scope="module")
def real() -> dict[str, Inspected | Refusal]:
    return inspected(REAL, "grayscale")


@pytest.mark.parametrize("row", JUDGED, ids=lambda row: Path(row["file"]).stem)
def test_status_and_reason_are_those_of_the_index(row: dict[str, str], judged: dict[str, Inspected | Refusal]) -> None:
    result = judged[row["file"]]
    if isinstance(result, Refusal):
        assert ("reject", result.code) == (row["expected_status"], row["expected_reason"]), result.detail
    else:
        assert ("HIGH_BITS" in result.warnings) == ("garbage high bits" in row["what_is_odd"])
        warnings = [code for code in result.warnings if code not in LATER]
        assert STATUS[bool(result.review), bool(warnings)] == row["expected_status"], result.warnings
        assert " ".join((*result.review, *warnings)) == row["expected_reason"]


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row["expected_display_u16"]], ids=lambda row: Path(row["file"]).stem
)
def test_what_is_shown_is_what_the_standard_says(row: dict[str, str]) -> None:
    expected = np.load(CORPUS / "synthetic" / row["expected_display_u16"])
    shown = np.rint(read_radiograph(CORPUS / row["file"]).pixels.astype(np.float64) * 65535)
    assert shown.shape == expected.shape
    assert np.abs(shown - expected.astype(np.float64)).max() <= 2


def test_every_real_file_is_accepted_or_refused_and_ends_no_process(real: dict[str, Inspected | Refusal]) -> None:
    assert len(real) == len(REAL)
    for name, result in real.items():
        crashed = isinstance(result, Refusal) and result.code in {"DECODER_CRASH", "DECODER_TIMEOUT", "DECODER_STALLED"}
        assert not crashed or "security" in name, name
    assert sum(isinstance(result, Inspected) for result in real.values()) > len(REAL) // 3


@pytest.mark.parametrize(
    ("row", "code"),
    [
        pytest.param(row, match[1], id=Path(row["file"]).name[:40])
        for row in REAL
        if (match := re.search(r"(?:^|-> |; )reject ([A-Z_]+)\b", row["correct_reader_must"]))
        and "gate XA" not in row["correct_reader_must"]
        and "/" not in row["correct_reader_must"]
    ],
)
def test_a_real_file_that_must_be_refused_is_refused_for_that_reason(
    row: dict[str, str], code: str, real: dict[str, Inspected | Refusal]
) -> None:
    result = real[row["file"]]
    assert isinstance(result, Refusal)
    assert result.code == code, result.detail


@pytest.mark.parametrize(
    "row",
    [row for row in REAL if row["correct_reader_must"].startswith("accept")],
    ids=lambda row: Path(row["file"]).name[:40],
)
def test_a_real_radiograph_that_must_be_accepted_is(row: dict[str, str], real: dict[str, Inspected | Refusal]) -> None:
    result = real[row["file"]]
    assert isinstance(result, Inspected), result
    if "lossy" in row["correct_reader_must"]:
        assert "LOSSY" in result.warnings


def lossless_and_known() -> list[dict[str, str]]:
    """Accepted by pydicom as grayscale of one frame: its array's hash is in the index."""
    return [
        row
        for row in REAL
        if re.match(r"ok >?u?int\d+\(\d+, \d+\)", row["pydicom_3_0_2_result"])
        and row["photometric"].startswith("MONOCHROME")
        and row["category"] != "security"
    ]


@pytest.mark.parametrize("row", lossless_and_known(), ids=lambda row: Path(row["file"]).name[:40])
def test_lossless_pixels_are_bit_exact(row: dict[str, str], real: dict[str, Inspected | Refusal]) -> None:
    if isinstance(real[row["file"]], Refusal):
        assert real[row["file"]].code in {"NO_CONTRAST", "TOO_SMALL", "BAD_UID"}
        return
    decoded = codecs.decode(read_dataset(CORPUS / row["file"]).dataset, limits=LIMITS)
    if decoded.lossy:
        return  # decoders may differ by a code or two
    dtype, digest = re.findall(r"ok (>?u?int\d+)\(.* sha ([0-9a-f]{16})", row["pydicom_3_0_2_result"])[0]
    exact = decoded.pixels.astype(np.dtype(dtype.replace(">int", ">i").replace("16", "2")) if ">" in dtype else dtype)
    assert hashlib.sha256(exact.tobytes()).hexdigest()[:16] == digest


def test_the_same_radiograph_in_three_lossless_encodings_has_one_hash(real: dict[str, Inspected | Refusal]) -> None:
    twins = [real[row["file"]] for row in REAL if row["file"].endswith(("RG2_J2KR", "RG2_JLSL", "RG2_JPLL"))]
    assert len(twins) == 3
    assert len({twin.pixels_sha256 for twin in twins if isinstance(twin, Inspected)}) == 1


def test_index_gives_every_file_the_status_and_reason_of_the_corpus_index(medres: Medres, tmp_path: Path) -> None:
    """What the command line writes: one row a file, in the manifest or beside it."""
    done = medres("index", CORPUS / "synthetic", "--gate", "frontal-chest", "--out", tmp_path / "manifest.csv")
    assert done.returncode == 3, done.stderr  # finished, some inputs refused
    found = {}
    for name in ("manifest.csv", "refused.csv"):
        with (tmp_path / name).open(encoding="utf-8", newline="") as table:
            for row in csv.DictReader(table):
                codes = (row["warnings"] if "warnings" in row else row["reason"]).split()
                status, reason = row["status"], " ".join(code for code in codes if code not in LATER)
                if status == "ok":
                    status = "accept_warn" if reason else "accept"
                found[Path(row["path"]).name] = ("reject" if status == "refused" else status, reason)
    files = [path for path in (CORPUS / "synthetic").rglob("*") if path.is_file()]
    assert len(found) == len(files)
    judged = {row["file"]: row for row in ROWS if row["expected_status"]}
    assert len(judged) == 81
    expected = {name: (row["expected_status"], row["expected_reason"]) for name, row in judged.items()}
    assert {name: found[Path(name).name] for name in judged} == expected


def test_render_writes_every_oracle(tmp_path: Path) -> None:
    runner = CliRunner()
    shown = [row for row in ROWS if row["expected_display_u16"]]
    assert len(shown) >= 40
    for number, row in enumerate(shown):
        out = tmp_path / f"{number}.npy"
        done = runner.invoke(command_line, ["render", str(CORPUS / row["file"]), "--out", str(out)])
        assert done.exit_code == 0, (row["file"], done.output)
        expected = np.load(CORPUS / "synthetic" / row["expected_display_u16"]).astype(np.float64)
        assert np.abs(np.rint(np.load(out).astype(np.float64) * 65535) - expected).max() <= 2, row["file"]
