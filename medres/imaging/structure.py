"""The bytes of a DICOM file are walked here before any library parses them: without recursion, without trust.

What this module finds decides whether pydicom sees the file at all: is it DICOM, how is it encoded, how deep are its
sequences, where do its pixels lie, and does the file really go that far.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

from pydicom.datadict import dictionary_VR

from medres.config import Limits
from medres.errors import Refused
from medres.imaging.file_kinds import foreign_refusal

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

UNDEFINED = 0xFFFFFFFF
_INFLATED_AT_ONCE = 32 * 2**20  # bytes; below this no ratio is suspicious
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double float, integer
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_MACH_O = tuple(bytes.fromhex(magic) for magic in ("feedface", "feedfacf", "cefaedfe", "cffaedfe", "cafebabe"))
_EXECUTABLES = (b"MZ", b"\x7fELF", b"#!", *_MACH_O)


class Element(NamedTuple):
    """One data element's header: its tag, VR (b"" where implicit), value position and declared length."""

    tag: int
    vr: bytes
    position: int
    length: int


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a file's data set is encoded, and its bytes (inflated where they were deflated)."""

    transfer_syntax: str  # "" where the file does not say
    media_storage_sop_class_uid: str
    body: bytes
    start: int  # where the data set begins in `body`
    implicit: bool
    little: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a walk over the data set found."""

    header_end: int  # where the header ends: at the pixel data element, or with the data set
    pixels: Element | None
    lost: bool  # the structure is damaged: only a tolerant parser may go on


def find_encoding(data: bytes, limits: Limits) -> Encoding:
    """Sniff a file strictly (PS3.10 7.1) and read its file meta information.

    Raises:
        Refused: NOT_DICOM, TRUNCATED, CORRUPT, or LIMIT where a deflated data set inflates beyond its budget.
    """
    warnings: list[str] = []
    if data[128:132] == b"DICM":
        position = 132
        if data.startswith(_EXECUTABLES):
            warnings.append("PREAMBLE_EXECUTABLE")
        if len(data) < position + 8:
            raise Refused("NOT_DICOM", "nothing follows the DICM prefix")
    else:
        position = 0
        if not _plausible_start(data):
            raise foreign_refusal(data, "no DICM prefix, and the first elements are not those of a DICOM data set")
        warnings.append("NO_FILE_META")
    meta, start = _read_meta(data, position)
    if not meta and not warnings.count("NO_FILE_META"):
        warnings.append("NO_FILE_META")
    syntax = meta.get(0x00020010, "")
    body = data
    if syntax == DEFLATED:
        body, start = _inflate(data[start:], limits), 0
    if len(body) < start + 8:
        raise Refused("TRUNCATED", "the file ends before its data set begins")
    little = syntax != EXPLICIT_BIG if syntax else not _is_big_endian(body, start)
    implicit = not body[start + 4 : start + 6].isalpha()
    return Encoding(syntax, meta.get(0x00020002, ""), body, start, implicit, little, tuple(warnings))


def element_at(data: bytes, position: int, *, implicit: bool, little: bool) -> Element | None:
    """Read one element header, as PS3.5 7.1 lays it out; None where the data end first."""
    if position + 8 > len(data):
        return None
    order = "<" if little else ">"
    group, number = struct.unpack_from(f"{order}HH", data, position)
    tag = group << 16 | number
    vr = data[position + 4 : position + 6]
    if implicit or group == 0xFFFE or not vr.isalpha():
        return Element(tag, b"", position + 8, struct.unpack_from(f"{order}L", data, position + 4)[0])
    if vr not in _LONG:
        return Element(tag, vr, position + 8, struct.unpack_from(f"{order}H", data, position + 6)[0])
    if position + 12 > len(data):
        return None
    return Element(tag, vr, position + 12, struct.unpack_from(f"{order}L", data, position + 8)[0])


def walk(encoding: Encoding, *, depth: int) -> Layout:
    """Walk over the data set up to its pixel data, keeping count of how deep its sequences go.

    Raises:
        Refused: DEPTH_LIMIT where sequences are nested deeper than `depth`; TRUNCATED where the file ends within an
            element before the pixel data.
    """
    body = encoding.body
    position = encoding.start
    # One entry an open sequence or item: (its end or None, is it a sequence, is its content implicit VR).
    opened: list[tuple[int | None, bool, bool]] = []
    while True:
        while opened and opened[-1][0] is not None and position >= opened[-1][0]:
            opened.pop()
        implicit = opened[-1][2] if opened else encoding.implicit
        element = element_at(body, position, implicit=implicit, little=encoding.little)
        if element is None:
            if opened or any(body[position:]):
                raise Refused("TRUNCATED", "the file ends within an element of its header")
            return Layout(position, None, lost=False)
        if not opened and element.tag in _PIXELS:
            return Layout(position, element, lost=False)
        if element.tag in (_ITEM_END, _SEQUENCE_END):
            if not opened:
                return Layout(position, None, lost=True)
            opened.pop()
            position = element.position
            continue
        if opened and opened[-1][1] != (element.tag == _ITEM):
            return Layout(position, None, lost=True)
        end = None if element.length == UNDEFINED else element.position + element.length
        if end is not None and end > len(body):
            raise Refused("TRUNCATED", "the file ends within an element of its header")
        if element.tag == _ITEM:
            opened.append((end, False, implicit))
        elif _is_sequence(element, body, encoding.little):
            opened.append((end, True, implicit or (element.vr == b"UN" and end is None)))
        elif end is None:
            position = _after_fragments(body, element.position, encoding.little)
            continue
        else:
            position = end
            continue
        position = element.position
        if sum(is_sequence for _, is_sequence, _ in opened) > depth:
            raise Refused("DEPTH_LIMIT", f"sequences are nested deeper than {depth} levels")


def fragments(body: bytes, position: int, little: bool) -> tuple[list[tuple[int, int]], int]:
    """The items of encapsulated pixel data (PS3.5 A.4): (start, end) of each, and where the last one ends.

    Lengths are followed, never delimiters searched for: a fragment may hold any bytes. A missing delimiter at the end
    of the file is tolerated.

    Raises:
        Refused: TRUNCATED where an item runs past the end; DECODE_FAILED where something else stands between items.
    """
    found: list[tuple[int, int]] = []
    while position < len(body):
        element = element_at(body, position, implicit=True, little=little)
        if element is None:
            raise Refused("TRUNCATED", "the file ends within the pixel data")
        if element.tag == _SEQUENCE_END:
            break
        if element.tag != _ITEM or element.length == UNDEFINED:
            raise Refused("DECODE_FAILED", "the encapsulated pixel data are not a sequence of items")
        if element.position + element.length > len(body):
            raise Refused("TRUNCATED", "the file ends within the pixel data")
        position = element.position + element.length
        found.append((element.position, position))
    return found, position


def _after_fragments(body: bytes, position: int, little: bool) -> int:
    _, end = fragments(body, position, little)
    return min(end + 8, len(body))


def _is_sequence(element: Element, body: bytes, little: bool) -> bool:
    if element.vr:
        return element.vr == b"SQ" or (element.vr == b"UN" and element.length == UNDEFINED)
    try:
        if dictionary_VR(element.tag) == "SQ":
            return True
    except KeyError:
        pass  # a private or unknown tag: only its content can tell
    if element.length != UNDEFINED:
        return False
    first = element_at(body, element.position, implicit=True, little=little)
    return first is not None and first.tag in (_ITEM, _SEQUENCE_END) and element.tag not in _PIXELS


def _read_meta(data: bytes, position: int) -> tuple[dict[int, str], int]:
    found: dict[int, str] = {}
    while (element := element_at(data, position, implicit=False, little=True)) and element.tag >> 16 == 2:
        position = element.position + element.length
        if position > len(data):
            raise Refused("TRUNCATED", "the file ends within its file meta information")
        if element.vr == b"UI" or not element.vr:
            found[element.tag] = data[element.position : position].decode("latin-1").strip(" \0")
        else:
            found.setdefault(element.tag, "")
    return found, position


def _inflate(data: bytes, limits: Limits) -> bytes:
    """Inflate a data set (PS3.5 A.5) piece by piece, until it is whole or exceeds its budgets."""
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces: list[bytes] = []
    size = 0
    rest = data
    while not engine.eof:
        try:
            piece = engine.decompress(rest, _INFLATED_AT_ONCE)
        except zlib.error:
            raise Refused("CORRUPT", "the deflated data set cannot be inflated") from None
        rest = engine.unconsumed_tail
        if not piece and not rest:
            raise Refused("TRUNCATED", "the deflated data set ends early")
        pieces.append(piece)
        size += len(piece)
        if size > limits.inflated_bytes:
            raise Refused("LIMIT", f"the deflated data set inflates to more than {limits.inflated_bytes} bytes")
        if size > _INFLATED_AT_ONCE and size > limits.inflation_ratio * len(data):
            raise Refused(
                "LIMIT", f"the deflated data set inflates to more than {limits.inflation_ratio:g} times its size"
            )
    return b"".join(pieces)


def _is_big_endian(body: bytes, start: int) -> bool:
    return body[start] == 0 and body[start + 1] != 0


def _plausible_start(data: bytes) -> bool:
    """Are the first two elements those of a DICOM data set that lost its preamble?"""
    for implicit, little, groups in ((False, True, (2, 8)), (True, True, (8,)), (False, False, (8,))):
        position, last = 0, 0
        for number in range(2):
            element = element_at(data, position, implicit=implicit, little=little)
            if element is None or element.tag <= last or (number == 0 and element.tag >> 16 not in groups):
                break
            if not implicit and element.vr not in _LONG | _SHORT:
                break
            if element.length == UNDEFINED or element.position + element.length > len(data):
                break
            position, last = element.position + element.length, element.tag
        else:
            return True
    return False
