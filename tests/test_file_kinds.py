"""A file that is not DICOM is told as what it is, and what to do."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.errors import Refused
from medres.imaging.file_kinds import file_kind
from medres.imaging.reading import read_radiograph

GRAY = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)


def archive(kind: str) -> bytes:
    """An archive that holds one small file."""
    found = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(found, "w") as whole:
            whole.writestr("a", "x")
    else:
        with tarfile.open(fileobj=found, mode="w") as whole:
            whole.addfile(tarfile.TarInfo("a"))
    return found.getvalue()


KINDS = {
    "a PNG picture": bytes(imagecodecs.png_encode(GRAY)),
    "a JPEG picture": bytes(imagecodecs.jpeg_encode(GRAY)),
    "a TIFF picture": cv2.imencode(".tiff", GRAY)[1].tobytes(),
    "a JPEG 2000 picture": bytes(imagecodecs.jpeg2k_encode(GRAY, codecformat="jp2")),
    "a JPEG 2000 codestream": bytes(imagecodecs.jpeg2k_encode(GRAY, codecformat="j2k")),
    "a WebP picture": b"RIFF\x10\0\0\0WEBPVP8 " + bytes(99),
    "a BMP picture": b"BM" + (200).to_bytes(4, "little") + bytes(194),
    "a ZIP archive or an office document": archive("zip"),
    "a tar archive": archive("tar"),
    "a gzip file": gzip.compress(b"x" * 999),
    "a NIfTI volume": (348).to_bytes(4, "little") + bytes(340) + b"n+1\0" + bytes(99),
    "a PDF document": b"%PDF-1.7\n" + bytes(99),
    "an HTML page": b"\n<!DOCTYPE HTML><html><title>Sign in</title>",
    "an XML file": b"\xef\xbb\xbf<?xml version='1.0'?><a/>",
    "a Git LFS pointer": b"version https://git-lfs.example/spec/v1\noid sha256:00\n",
    "an HL7 message": b"MSH|^~\\&|RIS\rPID|1\r",
    "a text file": "SOPInstanceUID,label_disc\n2.25.1,1\nKnöchel,0\n".encode(),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_file_that_is_not_dicom_is_told_as_what_it_is(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(KINDS[kind])
    with pytest.raises(Refused) as refusal:
        read_radiograph(tmp_path / "a")
    assert refusal.value.code == "NOT_DICOM"
    assert refusal.value.detail.startswith(f"the file is {kind}, not DICOM")
    if kind.endswith("picture"):
        assert "export the original from the archive as DICOM" in refusal.value.detail


@given(st.binary(max_size=600))
def test_any_bytes_have_a_kind_or_none(data: bytes) -> None:
    kind, remedy = file_kind(data)
    assert kind or not remedy


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), min_size=2000, max_size=3000))
def test_a_long_text_is_one_wherever_it_is_cut(text: str) -> None:
    assert file_kind(("x" + text * 3).encode())[0] == "a text file"
