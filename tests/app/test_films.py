"""What the page's canvas shows of films of every kind is what `medres render` writes of them, gray level by level."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from click.testing import CliRunner
from numpy.typing import NDArray
from playwright.sync_api import Page, expect
from pydicom import dcmread

from medres.cli import medres as command_line
from medres.imaging.grayscale import pixel_aspect_ratio
from medres.review.cases import Worklist
from medres.review.server import default_store
from medres.scoring.folder import score_folder
from tests.support.browsing import Open, needs_chromium, served
from tests.support.dicom_files import radiograph, write
from tests.support.odd_files import table

pytestmark = needs_chromium
MARGIN = 44  # pixels at a pane's edges, where letters stand
Gray = NDArray[np.float32]


class Film(NamedTuple):
    """One kind of film, and how many gray levels its canvas may be apart from the picture of `medres render`."""

    stored: NDArray[Any]
    attributes: dict[str, Any]
    at_one_to_one: int = 1
    fitted: int | None = 2  # None: too fine to be compared where it is shrunk


def waves(rows: int = 1200, columns: int = 900) -> NDArray[np.float64]:
    """A picture in [0, 1] that changes slowly, so that it may be interpolated before its window or after."""
    down, across = np.mgrid[:rows, :columns]
    return 0.5 + 0.24 * np.sin(down / 90) + 0.24 * np.cos(across / 70)


def films() -> dict[str, Film]:
    """Films by the name of what is odd about them."""
    slow = waves()
    bits12 = np.rint(slow * 4095).astype(np.uint16)
    window = {"WindowCenter": 1800, "WindowWidth": 2600}
    down, across = np.mgrid[:3520, :2800]
    fine = ((down * 7 + across * 3) % 4096).astype(np.uint16)
    rim = bits12.copy()
    rim[:, :200] = 0
    return {
        "8 bits": Film(np.rint(slow * 255).astype(np.uint8), {}),
        "16 bits": Film(np.rint(slow * 65535).astype(np.uint16), {"BitsStored": 16, "HighBit": 15}),
        "signed": Film(
            np.rint(slow * 3000 - 1500).astype(np.int16),
            {"BitsStored": 16, "HighBit": 15, "RescaleSlope": 2, "RescaleIntercept": -100}
            | {"WindowCenter": 100, "WindowWidth": 4000},
        ),
        "MONOCHROME1": Film(bits12, {"PhotometricInterpretation": "MONOCHROME1", **window}),
        "padding": Film(rim, {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 0, **window}, 1, None),
        "wide pixels": Film(bits12, {"ImagerPixelSpacing": [0.2, 0.3], **window}, 2),
        "tall pixels": Film(bits12, {"ImagerPixelSpacing": [0.3, 0.2], **window}, 2),
        "sigmoid": Film(bits12, {"VOILUTFunction": "SIGMOID", **window}),
        "table": Film(bits12, {"VOILUTSequence": [table(np.arange(4096) ** 2 // 256, bits=16)]}),
        "huge": Film(fine, window, 1, None),
    }


def test_every_kind_of_film_looks_as_medres_render_writes_it(visit: Open, format3_run: Path, tmp_path: Path) -> None:
    kinds = films()
    (tmp_path / "incoming").mkdir()
    for number, (name, film) in enumerate(kinds.items()):
        dataset = radiograph(film.stored, SOPInstanceUID=f"2.25.{number + 1}", PatientOrientation=None)
        for keyword, value in film.attributes.items():
            setattr(dataset, keyword, value)
        write(tmp_path / "incoming" / f"{name}.dcm", dataset)
    score_folder(format3_run, tmp_path / "incoming", out=tmp_path / "scored", device="cpu")
    apart = {}
    worklist = Worklist.open(tmp_path / "scored", format3_run)
    with served(
        format3_run, worklist.folders[0].scores, default_store(worklist.folders[0].scores), tmp_path / "log"
    ) as address:
        page = visit(address)
        for path, key in looked_through(page, worklist):
            apart[path.stem] = differences(page, path, tmp_path / f"{key}.png")
        page.close()
    allowed = {name: (film.at_one_to_one, film.fitted) for name, film in kinds.items()}
    assert apart.keys() == allowed.keys()
    for name, found in apart.items():
        for most, allow in zip(found, allowed[name], strict=True):
            assert allow is None or most <= allow, (name, found)


def looked_through(page: Page, worklist: Worklist) -> Iterator[tuple[Path, str]]:
    """Open case after case of a list that is shown; gives each as its file and key, when it is there."""
    page.locator("tr[data-key] button").first.click()
    for case in worklist.sorted_by(worklist.labels[0]):
        page.locator(f'.room[data-ready^="{case.key}"]').wait_for()
        yield worklist.folders[0].root / case.path, case.key
        page.keyboard.press("n")


def differences(page: Page, path: Path, out: Path) -> tuple[int, int]:
    """Most gray levels between the panes and the picture of `medres render`: at one to one, and fitted."""
    done = CliRunner().invoke(command_line, ["render", str(path), "--out", str(out)])
    assert done.exit_code == 0, done.output
    picture = cv2.imread(str(out), cv2.IMREAD_GRAYSCALE).astype(np.float32)
    aspect, _ = pixel_aspect_ratio(dcmread(path, stop_before_pixels=True))
    page.mouse.move(1, 1)
    page.locator("canvas.plain").press("e")  # no heatmap, which may come at any time
    page.locator("canvas.plain").press("0")
    one = most_apart(gray(page), picture, aspect, fits=False)
    page.locator("canvas.plain").press("=")
    return one, most_apart(gray(page), picture, aspect, fits=True)


def most_apart(shown: Gray, picture: Gray, aspect: float, *, fits: bool) -> int:
    """Most gray levels between what a pane shows and what it should: see `expected`; letters are left out."""
    wanted = expected(picture, shown.shape, aspect, fits=fits)
    height, width = shown.shape
    inner = np.s_[MARGIN : height - MARGIN, MARGIN : width // 2 - MARGIN]
    apart = np.abs(shown - wanted)[inner]
    assert np.isfinite(apart).sum() > 10_000
    return int(np.rint(np.nanmax(apart)))


def expected(picture: Gray, pane: tuple[int, ...], aspect: float, *, fits: bool) -> Gray:
    """A picture in the middle of a pane, pixels `aspect` times as high as wide; NaN within a pixel of its edge."""
    (rows, columns), (height, width) = picture.shape, pane
    zoom = min(width / columns, height / (rows * aspect)) if fits else 1.0
    left, top = width / 2 - zoom * columns / 2, height / 2 - zoom * rows * aspect / 2
    if not fits:
        left, top = np.floor(left + 0.5), np.floor(top + 0.5)  # no pixel lies between two of the screen's
    across = ((np.arange(width) + 0.5 - left) / zoom - 0.5).astype(np.float32)
    down = ((np.arange(height) + 0.5 - top) / (zoom * aspect) - 0.5).astype(np.float32)
    found = cv2.remap(picture, *np.meshgrid(across, down), cv2.INTER_LINEAR)
    outside = (across < 1) | (across > columns - 2)
    found[:, outside] = np.nan
    found[(down < 1) | (down > rows - 2)] = np.nan
    return np.asarray(found)


def gray(page: Page) -> Gray:
    """What both panes show, once they are painted: the same, while no heatmap is over the right one."""
    page.wait_for_timeout(300)
    expect(page.locator("canvas.plain")).to_be_visible()
    plain, overlay = page.locator(".panes").evaluate(
        "panes => ['plain', 'overlay'].map((name) => panes.querySelector(`canvas.${name}`).toDataURL('image/png'))"
    )
    assert plain == overlay
    data = np.frombuffer(base64.b64decode(plain.split(",")[1]), dtype=np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, 0]).astype(np.float32)
