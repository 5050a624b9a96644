"""The headers of compressed images, read without decoding: what a decoder would allocate is known before it does."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from medres.errors import Refused

CodestreamKind = Literal["JPEG", "JPEG-LS", "JPEG 2000", "HTJ2K"]
_DCT_HALVINGS = 3  # of blocks of 8 × 8 coefficients, of which the lowest 4 × 4, 2 × 2 or 1 are a smaller image
_LARGEST_SIDE = 0xFFFF  # of any DICOM image: Rows and Columns have 16 bits


LOSSLESS_JPEG = 3
"""The process (number of the SOF marker) of Huffman-coded lossless JPEG."""


@dataclass(frozen=True, slots=True)
class CodestreamHeader:
    """What a compressed image says of itself."""

    kind: CodestreamKind
    process: int  # the number of the SOF marker (JPEG, JPEG-LS); 0 for JPEG 2000
    rows: int
    columns: int
    components: int
    precision: int  # bits of one value
    signed: bool | None  # None: the format cannot say
    lossy: bool | None  # None: the format cannot say
    complete: bool  # the codestream ends as it should
    halvings: int = 0  # how often it can be halved while it is decoded


def read_codestream_header(frame: bytes) -> CodestreamHeader | None:
    """The header of a JPEG, JPEG-LS, JPEG 2000 or HTJ2K image; None where there is none to be found.

    Raises:
        Refused: DECODE_FAILED where the header claims a size that no DICOM image can have.
    """
    if frame.startswith(b"\xff\xd8"):
        return _read_jpeg(frame)
    start = _find_codestream(frame)
    return None if start is None else _read_j2k(frame, start)


def starts_codestream(data: bytes) -> bool:
    """Do these bytes begin a compressed image?"""
    return data.startswith((b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "))


def _read_jpeg(frame: bytes) -> CodestreamHeader | None:
    """ITU-T T.81 B.2.2 (frame header), T.87 C.2.2; the scan header holds NEAR and the point transform."""
    position = 2
    found: tuple[int, int, int, int, int] | None = None
    while position + 4 <= len(frame):
        if frame[position] != 0xFF:
            return None
        marker = frame[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a segment
            position += 2
            continue
        (length,) = struct.unpack_from(">H", frame, position + 2)
        if length < 2 or position + 2 + length > len(frame):
            break
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            if length < 8:
                return None
            precision, rows, columns, components = struct.unpack_from(">BHHB", frame, position + 4)
            found = (marker, rows, columns, components, precision)
        elif marker == 0xDA and found:
            return _jpeg_header(frame, position, found)
        position += 2 + length
    return None


def _jpeg_header(frame: bytes, scan: int, found: tuple[int, int, int, int, int]) -> CodestreamHeader:
    marker, rows, columns, components, precision = found
    after = scan + 5 + 2 * frame[scan + 4]
    first, third = frame[after : after + 1], frame[after + 2 : after + 3]
    lossless_process = marker in (0xC3, 0xC7, 0xCB, 0xCF)
    lossy = first != b"\0" if marker == 0xF7 else not lossless_process or third[:1] not in (b"\0", b"")
    ends = frame.rstrip(b"\0").endswith(b"\xff\xd9") or b"\xff\xd9" in frame[-64:]
    kind: CodestreamKind = "JPEG-LS" if marker == 0xF7 else "JPEG"
    halvings = _DCT_HALVINGS if marker in (0xC0, 0xC1) and precision == 8 else 0
    return CodestreamHeader(kind, marker - 0xC0, rows, columns, components, precision, None, lossy, ends, halvings)


def _find_codestream(frame: bytes) -> int | None:
    """Where the codestream begins: at once, or in the jp2c box of a JP2 file (ISO 15444-1 Annex I)."""
    if frame.startswith(b"\xff\x4f\xff\x51"):
        return 0
    if not frame.startswith(b"\0\0\0\x0cjP  "):
        return None
    position = 0
    while position + 8 <= len(frame):
        length, kind = struct.unpack_from(">I4s", frame, position)
        content = position + 8
        if length == 1 and position + 16 <= len(frame):
            (length,) = struct.unpack_from(">Q", frame, content)
            content += 8
        if kind == b"jp2c":
            return content if frame[content : content + 4] == b"\xff\x4f\xff\x51" else None
        if length < content - position:  # 0 means "to the end": no codestream can follow
            return None
        position += length
    return None


def _read_j2k(frame: bytes, start: int) -> CodestreamHeader | None:
    """ISO 15444-1 Annex A: SIZ (A.5.1), CAP (15444-15 A.3), COD, COC (A.6.1, A.6.2), tile-parts' lengths (A.4.2)."""
    position = start + 2
    size: tuple[int, ...] | None = None
    high_throughput = False
    lossy: bool | None = None
    levels: list[int] = []  # of the wavelet decomposition
    while position + 4 <= len(frame):
        marker, length = struct.unpack_from(">HH", frame, position)
        if marker == 0xFF90:  # the first tile-part: the main header is over
            break
        if marker < 0xFF00 or length < 2 or position + 2 + length > len(frame):
            return None
        if marker == 0xFF51 and length >= 41:
            size = struct.unpack_from(">8IH3B", frame, position + 6)
        elif marker == 0xFF50:
            high_throughput = True
        elif marker == 0xFF52 and length >= 12:
            lossy = frame[position + 13] == 0  # 9-7 irreversible
            levels.append(frame[position + 9])
        elif marker == 0xFF53 and length >= 9:
            levels.append(frame[position + 6])
        position += 2 + length
    if size is None or size[10] == 0 or size[11] == 0:
        return None
    right, bottom, left, top = size[:4]
    columns = -(-right // size[10]) - -(-left // size[10])
    rows = -(-bottom // size[11]) - -(-top // size[11])
    if max(rows, columns) > _LARGEST_SIDE:
        raise Refused("DECODE_FAILED", "the header of the compressed image is damaged")
    kind: CodestreamKind = "HTJ2K" if high_throughput else "JPEG 2000"
    complete = _tile_parts_fit(frame, position)
    halvings = min(levels, default=0) if left == top == 0 else 0  # from an offset, samples lie on other pixels
    precision, signed = (size[9] & 0x7F) + 1, bool(size[9] & 0x80)
    return CodestreamHeader(kind, 0, rows, columns, size[8], precision, signed, lossy, complete, halvings)


def _tile_parts_fit(frame: bytes, position: int) -> bool:
    while position + 12 <= len(frame):
        marker, _, _, length = struct.unpack_from(">HHHI", frame, position)
        if marker != 0xFF90 or length == 0:  # 0: the last tile-part goes on to the end
            return True
        if length < 14 or position + length > len(frame):
            return False
        position += length
    return True
