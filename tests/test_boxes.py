"""Boxes come from a table or a COCO file, lie where they were drawn, and are refused where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medres.cohort.boxes import Box, Boxes, read_boxes
from medres.cohort.manifest import Manifest, read_manifest
from medres.errors import ManifestError, UsageError
from medres.imaging.preprocessing import place

HEADER = "path,label,x,y,width,height\n"


def cohort(folder: Path) -> Manifest:
    for name in ("a.dcm", "b.dcm"):
        (folder / name).touch()
    path = folder / "manifest.csv"
    path.write_text("path,PatientID,label_nodule\na.dcm,1,1\nb.dcm,2,0\n", encoding="utf-8")
    return read_manifest(path, ["nodule"])


def table(folder: Path, *lines: str) -> Path:
    path = folder / "boxes.csv"
    path.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def coco(folder: Path, **changes: object) -> Path:
    content = {
        "info": {"year": 2026},
        "images": [{"id": 7, "file_name": "a.dcm", "width": 80, "height": 96}],
        "categories": [{"id": 1, "name": "nodule"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 20, 5, 6], "area": 30}],
    }
    path = folder / "boxes.json"
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")
    return path


def test_a_table_and_a_coco_file_say_the_same(tmp_path: Path) -> None:
    manifest = cohort(tmp_path)
    found = [read_boxes(path, manifest) for path in (table(tmp_path, "a.dcm,nodule,10,20,5,6"), coco(tmp_path))]
    assert found[0].found == found[1].found == {(0, "nodule"): (Box(10, 20, 5, 6),)}
    assert found[0].of(1, "nodule") == ()
    assert len(found[0].sha256) == 64


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("c.dcm,nodule,1,1,2,2", "c.dcm is no path of manifest.csv"),
        ("a.dcm,effusion,1,1,2,2", "'effusion' is none of the labels nodule"),
        ("a.dcm,nodule,1,1,0,2", "the others above 0"),
        ("a.dcm,nodule,-1,1,2,2", "0 or more"),
        ("a.dcm,nodule,nan,1,2,2", "are nan, 1, 2, 2"),
        ("a.dcm,nodule,one,1,2,2", "line 2: could not convert"),
        ("b.dcm,nodule,1,1,2,2", "label_nodule says that it is absent"),
    ],
)
def test_a_box_that_does_not_fit_is_refused_by_name(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(ManifestError, match=r"boxes\.csv") as refused:
        read_boxes(table(tmp_path, line), cohort(tmp_path))
    assert complaint in str(refused.value)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    manifest = cohort(tmp_path)
    with pytest.raises(UsageError, match=r"is no COCO file: categories is missing"):
        read_boxes(_without(coco(tmp_path), "categories"), manifest)
    with pytest.raises(ManifestError, match="annotation 1 names an image that is not there"):
        read_boxes(coco(tmp_path, images=[]), manifest)
    with pytest.raises(ManifestError, match="holds no box"):
        read_boxes(coco(tmp_path, annotations=[]), manifest)
    path = tmp_path / "boxes.csv"
    path.write_text("path,label,x,y\na.dcm,nodule,1,1\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="lacks the column width"):
        read_boxes(path, manifest)
    lines = [f"{number}.dcm,nodule,1,1,2,2" for number in range(9)]
    with pytest.raises(ManifestError, match="and 4 more"):
        read_boxes(table(tmp_path, *lines), manifest)


def _without(path: Path, key: str) -> Path:
    content = json.loads(path.read_text(encoding="utf-8"))
    del content[key]
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_box_outside_of_its_image_is_refused(tmp_path: Path) -> None:
    boxes = Boxes(tmp_path / "boxes.csv", "", ("nodule",), {(0, "nodule"): (Box(70, 20, 20, 6),)})
    boxes.refuse_outside(0, rows=96, columns=100)
    boxes.refuse_outside(1, rows=1, columns=1)
    with pytest.raises(ManifestError, match="does not lie on its image of 80 × 96 pixels"):
        boxes.refuse_outside(0, rows=96, columns=80)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("aspect", [1.0, 0.5])
def test_a_box_covers_the_same_pixels_of_the_square_as_what_it_was_drawn_on(mirrored: bool, aspect: float) -> None:
    placement = place(100, 60, size=64, pixel_aspect_ratio=aspect, mirrored=mirrored)
    top, left, bottom, right = Box(x=10, y=20, width=12, height=30).input_edges(placement)
    ends = np.array([[20, 10], [49, 21]])  # the first and the last pixel of the box
    inside = placement.to_input(ends)
    assert top < bottom and left < right
    assert ((inside[:, 0] > top) & (inside[:, 0] < bottom)).all()
    assert ((inside[:, 1] > left) & (inside[:, 1] < right)).all()
    beyond = placement.to_input(np.array([[19, 10], [50, 10], [20, 9], [20, 22]]))
    assert not ((beyond[:, 0] > top) & (beyond[:, 0] < bottom) & (beyond[:, 1] > left) & (beyond[:, 1] < right)).any()
