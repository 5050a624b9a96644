"""What a file that is not DICOM is, by its first bytes, and what to do about it: people's folders hold all kinds."""

from __future__ import annotations

from medres.errors import Refused

_CONVERT = "medres reads DICOM only, for a picture file names no patient: export the original from the archive as DICOM"
_UNPACK = "unpack it and give the folder"
_VOLUME = "medres reads single radiographs, not volumes"

_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (  # where, what, its name, what to do
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture", _CONVERT),
    (0, b"\xff\xd8\xff", "a JPEG picture", _CONVERT),
    (0, b"II*\0", "a TIFF picture", _CONVERT),
    (0, b"MM\0*", "a TIFF picture", _CONVERT),
    (0, b"II+\0", "a TIFF picture", _CONVERT),
    (0, b"MM\0+", "a TIFF picture", _CONVERT),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture", _CONVERT),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 codestream", _CONVERT),
    (0, b"GIF8", "a GIF picture", _CONVERT),
    (8, b"WEBP", "a WebP picture", _CONVERT),
    (4, b"ftyphei", "a HEIC picture", _CONVERT),
    (4, b"ftypmif", "a HEIC picture", _CONVERT),
    (4, b"ftyp", "a video", "medres reads single radiographs"),
    (8, b"AVI ", "a video", "medres reads single radiographs"),
    (0, b"PK\x03\x04", "a ZIP archive or an office document", _UNPACK),
    (0, b"PK\x05\x06", "an empty ZIP archive", ""),
    (0, b"\x1f\x8b", "a gzip file", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (0, b"BZh", "a bzip2 file", _UNPACK),
    (0, b"\xfd7zXZ\0", "an xz file", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (344, b"n+1\0", "a NIfTI volume", _VOLUME),
    (344, b"ni1\0", "the header of a NIfTI volume", _VOLUME),
    (4, b"n+2\0\r\n\x1a\n", "a NIfTI volume", _VOLUME),
    (0, b"NRRD000", "an NRRD volume", _VOLUME),
    (0, b"ObjectType", "the header of a MetaImage volume", _VOLUME),
    (0, b"%PDF-", "a PDF document", ""),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", ""),
    (0, b"\x93NUMPY", "a NumPy array", ""),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old office document or thumbnail database", ""),
    (0, b"SQLite format 3\0", "an SQLite database", ""),
    (0, b"MZ", "a Windows program", ""),
    (0, b"\x7fELF", "a program", ""),
    (0, b"\0\x05\x16\x07", "a resource file of macOS", ""),
    (0, b"MSH|", "an HL7 message", ""),
)
_HTML = (b"<!doctype html", b"<html")
_LEAST_TEXT = 4  # bytes from which a file of letters is called text
_LOOKED_AT = 4096  # bytes


def foreign_refusal(data: bytes, otherwise: str) -> Refused:
    """The refusal NOT_DICOM of a file, which says what the file is, and what to do.

    Args:
        data: the file, or at least its first bytes.
        otherwise: what is said of a file whose kind is not known.

    >>> foreign_refusal(b"%PDF-1.7", "no DICM prefix").detail
    'the file is a PDF document, not DICOM'
    """
    kind, remedy = file_kind(data)
    return Refused(
        "NOT_DICOM", f"the file is {kind}, not DICOM" + (f"; {remedy}" if remedy else "") if kind else otherwise
    )


def file_kind(data: bytes) -> tuple[str, str]:
    """What a file is, by the bytes that every file of its kind begins with, and what to do; "" where it is not known.

    >>> file_kind(b"<!DOCTYPE html><title>404</title>")
    ('an HTML page', 'a download may have failed')
    """
    for place, signature, name, remedy in _SIGNATURES:
        if data[place : place + len(signature)] == signature:
            return name, remedy
    start = data[:_LOOKED_AT].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:20].lower().startswith(_HTML):
        return "an HTML page", "a download may have failed"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer", "fetch the file itself with git lfs pull"
    if start.startswith(b"<?xml"):
        return "an XML file", ""
    if data.startswith(b"BM") and len(data) >= 14 and int.from_bytes(data[2:6], "little") == len(data):
        return "a BMP picture", _CONVERT
    return ("a text file", "") if _is_text(data[:_LOOKED_AT]) else ("", "")


def _is_text(data: bytes) -> bool:
    """Letters, digits and white space alone, in UTF-8 (the last character may be cut off) or UTF-16 with its mark."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return len(data) >= 2 * _LEAST_TEXT
    if len(data) < _LEAST_TEXT or any(byte < 0x20 and byte not in b"\t\n\r\f" for byte in data):
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(data) - 4 and len(data) == _LOOKED_AT
    return True
