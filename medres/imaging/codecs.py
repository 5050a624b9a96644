"""From encoded pixel data to stored values: every check that can be made before and after a decoder runs."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medres.config import Limits
from medres.errors import Refused
from medres.imaging import decoders, header, structure
from medres.imaging.codestream import LOSSLESS_JPEG, CodestreamHeader, read_codestream_header, starts_codestream
from medres.records import Sampling, copy_name

_NATIVE = {
    "1.2.840.10008.1.2": "<",  # implicit little endian
    "1.2.840.10008.1.2.1": "<",  # explicit little endian
    "1.2.840.10008.1.2.1.99": "<",  # deflated explicit little endian
    "1.2.840.10008.1.2.2": ">",  # explicit big endian
}
_RLE = "1.2.840.10008.1.2.5"
_COMPRESSED = {
    "1.2.840.10008.1.2.4.50": ("JPEG",),  # baseline, 8 bit
    "1.2.840.10008.1.2.4.51": ("JPEG",),  # extended, 12 bit
    "1.2.840.10008.1.2.4.57": ("JPEG",),  # lossless
    "1.2.840.10008.1.2.4.70": ("JPEG",),  # lossless, first-order prediction
    "1.2.840.10008.1.2.4.80": ("JPEG-LS",),
    "1.2.840.10008.1.2.4.81": ("JPEG-LS",),
    "1.2.840.10008.1.2.4.90": ("JPEG 2000", "HTJ2K"),
    "1.2.840.10008.1.2.4.91": ("JPEG 2000", "HTJ2K"),
    "1.2.840.10008.1.2.4.201": ("HTJ2K", "JPEG 2000"),
    "1.2.840.10008.1.2.4.202": ("HTJ2K", "JPEG 2000"),
    "1.2.840.10008.1.2.4.203": ("HTJ2K", "JPEG 2000"),
}
SUPPORTED: tuple[str, ...] = (*_NATIVE, _RLE, *_COMPRESSED)
"""Transfer syntaxes that medres decodes."""

_PROCESSES = {  # the number of the SOF marker that an image of this transfer syntax may have
    "1.2.840.10008.1.2.4.50": {0, 1},
    "1.2.840.10008.1.2.4.51": {0, 1},
    "1.2.840.10008.1.2.4.57": {LOSSLESS_JPEG},
    "1.2.840.10008.1.2.4.70": {LOSSLESS_JPEG},
}
_OTHERWISE_LOSSY = {
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.203",
}
_NAMES = {
    "1.2.840.10008.1.2.4.53": "JPEG spectral selection (retired)",
    "1.2.840.10008.1.2.4.55": "JPEG full progression (retired)",
    "1.2.840.10008.1.2.4.110": "JPEG XL lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)
_MOST_HALVINGS = 3
_SHORT = 0.5  # with less than this part of its bytes an image is not cut off, but its header is wrong


@dataclass(frozen=True, slots=True)
class Decoded:
    """Stored values of one frame, with bits and sign resolved."""

    pixels: NDArray[np.integer[Any]]  # (rows, columns), of the cells' size; read-only where nothing was changed
    precision: int  # bits of a stored value
    signed: bool
    decoder: str  # name and version
    lossy: bool
    warnings: tuple[str, ...]
    sampling: Sampling | None = None  # where pixels of a smaller copy lie; None: these are all
    smaller: str = ""  # which kind of copy that is: see `copy_name`


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the header says of the pixels."""

    rows: int
    columns: int
    allocated: int
    stored: int
    signed: bool
    overlays: int  # the bits of a cell in which the header declares overlays
    warnings: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.columns

    @property
    def bytes(self) -> int:
        return self.rows * self.columns * (self.allocated // 8)


def decode(
    dataset: Dataset, *, limits: Limits, shorter_side: int | None = None, smaller: Set[str] | None = None
) -> Decoded:
    """Decode the one frame of a data set whose `file_meta` names the transfer syntax.

    Args:
        dataset: the frame, with its header.
        limits: budgets.
        shorter_side: pixels that suffice in rows and in columns: the smallest copy that has as many is decoded, at
            most to an eighth, where the compressed image holds one whose values are stored values. None: all pixels.
        smaller: of which copies that may be one, each as `copy_name` names it; None: any.

    Raises:
        Refused: NO_PIXEL_DATA, MULTIFRAME, PHOTOMETRIC, BAD_BITS, TOO_SMALL, LIMIT, LENGTH_MISMATCH, TRUNCATED,
            TRANSFER_SYNTAX, UNSUPPORTED_TRANSFER_SYNTAX, DIMENSION_MISMATCH or DECODE_FAILED.
    """
    if "PixelData" not in dataset:
        raise Refused("NO_PIXEL_DATA", "the data set has no PixelData")
    element = dataset["PixelData"]
    data = bytes(element.value or b"")
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax not in SUPPORTED:
        said = f"{syntax} ({_NAMES.get(syntax, 'unknown')})" if header.is_uid(syntax) else "that is not a UID"
        raise Refused("UNSUPPORTED_TRANSFER_SYNTAX", f"no decoder for transfer syntax {said}")
    frame = _read_frame(dataset, limits)
    if syntax in _NATIVE:
        if element.is_undefined_length or (len(data) < frame.bytes and starts_codestream(data)):
            raise Refused("TRANSFER_SYNTAX", "compressed pixel data under a transfer syntax for uncompressed ones")
        order = _NATIVE[syntax]
        if order == ">" and element.VR == "OW" and frame.allocated == 8:
            data = _swapped(data)
        stored, warnings = _native(data, frame, order, limits)
        return _resolve(stored, frame, decoder="numpy", lossy=_was_lossy(dataset), warnings=warnings)
    if not element.is_undefined_length and not data.startswith(b"\xfe\xff\x00\xe0"):
        raise Refused("TRANSFER_SYNTAX", "uncompressed pixel data under a transfer syntax for compressed ones")
    _within_budget(frame, limits)
    codestream, warnings = _codestream(data)
    if syntax == _RLE:
        stored, decoder = decoders.decode_rle(codestream, frame.shape, frame.allocated)
        return _resolve(stored, frame, decoder=decoder, lossy=_was_lossy(dataset), warnings=warnings)
    return _compressed(dataset, syntax, codestream, frame, warnings, shorter_side, smaller)


def _read_frame(dataset: Dataset, limits: Limits) -> _Frame:
    frames, given = header.integer(dataset, "NumberOfFrames"), header.values(dataset, "NumberOfFrames") != ()
    if frames is not None and frames > 1:
        raise Refused("MULTIFRAME", f"{frames} frames; medres reads single radiographs")
    warnings = ("NUMBER_OF_FRAMES",) if given and frames != 1 else ()
    photometric = header.code(dataset, "PhotometricInterpretation")
    if photometric not in {"MONOCHROME1", "MONOCHROME2"} or header.integer(dataset, "SamplesPerPixel") not in {1, None}:
        said = header.told(photometric) if photometric else "nothing"
        raise Refused("PHOTOMETRIC", f"{said}; medres reads MONOCHROME1 and MONOCHROME2")
    rows, columns = header.integer(dataset, "Rows") or 0, header.integer(dataset, "Columns") or 0
    allocated, stored = header.integer(dataset, "BitsAllocated") or 0, header.integer(dataset, "BitsStored") or 0
    high, sign = header.integer(dataset, "HighBit"), header.integer(dataset, "PixelRepresentation")
    if allocated not in {8, 16, 32} or not 1 <= stored <= allocated or high not in {stored - 1, None}:
        raise Refused("BAD_BITS", f"BitsAllocated {allocated}, BitsStored {stored}, HighBit {high} (PS3.5 8.1.1)")
    if sign not in {0, 1, None}:
        raise Refused("BAD_BITS", f"PixelRepresentation {sign} is neither 0 nor 1")
    if min(rows, columns) < limits.smallest_side:
        raise Refused("TOO_SMALL", f"{rows} × {columns} pixels; each side needs at least {limits.smallest_side}")
    return _Frame(rows, columns, allocated, stored, sign == 1, _overlay_bits(dataset), warnings)


def _overlay_bits(dataset: Dataset) -> int:
    """The bits in which overlays lie among the pixels: OverlayBitPosition without OverlayData (PS3.5 8.1.2)."""
    found = 0
    for group in _OVERLAY_GROUPS:
        position = header.integer(dataset, group << 16 | 0x0102)
        if position is not None and 0 < position < 32 and group << 16 | 0x3000 not in dataset:
            found |= 1 << position
    return found


def _within_budget(frame: _Frame, limits: Limits) -> None:
    if frame.rows * frame.columns > limits.pixels:
        raise Refused("LIMIT", f"{frame.rows} × {frame.columns} pixels; the budget is {limits.pixels}")


def _native(data: bytes, frame: _Frame, order: str, limits: Limits) -> tuple[NDArray[Any], tuple[str, ...]]:
    if len(data) < frame.bytes:
        found = f"{len(data)} bytes of pixel data; {frame.rows} × {frame.columns} needs {frame.bytes}"
        raise Refused("LENGTH_MISMATCH" if len(data) < _SHORT * frame.bytes else "TRUNCATED", found)
    _within_budget(frame, limits)
    warnings = ("TRAILING_BYTES",) if len(data) > frame.bytes + frame.bytes % 2 else ()
    kind = np.dtype(f"{order}u{frame.allocated // 8}")
    return np.frombuffer(data, kind, count=frame.rows * frame.columns).reshape(frame.rows, frame.columns), warnings


def _swapped(data: bytes) -> bytes:
    """Single bytes that lie in big-endian 16-bit words (PS3.5 8.1.1), in their order."""
    return np.frombuffer(data + b"\0" * (len(data) % 2), "<u2").byteswap().tobytes()


def _codestream(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The one frame of encapsulated pixel data: every fragment after the offset table, joined (PS3.5 A.4).

    Frames that the header does not count are left out, as trailing bytes of native pixel data are.
    """
    items, _ = structure.fragments(data, 0, True)
    pieces = [data[start:end] for start, end in items[1:]]
    if not any(pieces):
        raise Refused("DECODE_FAILED", "the encapsulated pixel data hold no fragment")
    further = [place for place, piece in enumerate(pieces) if place and starts_codestream(piece)]
    if further:
        return b"".join(pieces[: further[0]]), ("TRAILING_BYTES",)
    return b"".join(pieces), ()


def _compressed(
    dataset: Dataset,
    syntax: str,
    codestream: bytes,
    frame: _Frame,
    warnings: tuple[str, ...],
    shorter_side: int | None,
    allowed: Set[str] | None,
) -> Decoded:
    found = read_codestream_header(codestream)
    if found is None:
        if starts_codestream(codestream):  # a codestream whose header is damaged: only the decoder can tell
            stored, decoder = decoders.decode_by_pydicom(dataset, frame.shape)
            return _resolve(stored, frame, decoder=decoder, lossy=syntax in _OTHERWISE_LOSSY, warnings=())
        raise Refused("TRANSFER_SYNTAX", f"the pixel data are no {_COMPRESSED[syntax][0]} image")
    if found.kind not in _COMPRESSED[syntax] or found.process not in _PROCESSES.get(syntax, {found.process}):
        other = f"the pixel data are {found.kind} (process {found.process}), not what the transfer syntax says"
        raise Refused("TRANSFER_SYNTAX", other)
    if (found.rows, found.columns) != (frame.rows, frame.columns):
        sizes = f"{found.rows} × {found.columns}, not {frame.rows} × {frame.columns}"
        raise Refused("DIMENSION_MISMATCH", f"the compressed image is {sizes}")
    if found.components != 1:
        raise Refused("PHOTOMETRIC", f"the compressed image has {found.components} components")
    if not found.complete:
        raise Refused("TRUNCATED", "the compressed image ends early")
    halvings = 0 if shorter_side is None else _halvings(dataset, found, frame, shorter_side)
    if allowed is not None and copy_name(found.kind, 2**halvings) not in allowed:
        halvings = 0
    smaller = decoders.decode_reduced(codestream, found, halvings) if halvings else None
    sampling = None
    if smaller:
        stored, decoder, first = smaller
        sampling = Sampling(frame.rows, frame.columns, 2**halvings, first)
    else:
        stored, decoder = decoders.decode_compressed(dataset, codestream, found)
    lossy = (syntax in _OTHERWISE_LOSSY if found.lossy is None else found.lossy) or _was_lossy(dataset)
    followed, conflict = _follow(found, frame, stored, lossy)
    if conflict:
        warnings = (*warnings, "CODESTREAM_PRECISION")
    found_values = _resolve(stored, followed, decoder=decoder, lossy=lossy, warnings=warnings)
    return replace(found_values, sampling=sampling, smaller=copy_name(found.kind, 2**halvings) if sampling else "")


def _halvings(dataset: Dataset, found: CodestreamHeader, frame: _Frame, shorter_side: int) -> int:
    """How often an image may be halved while it is decoded; 0: not at all.

    The values of a smaller copy are averages. They are stored values only where nothing but an unsigned value lies in
    a cell: no overlay, no padding value, no bits above it.
    """
    mixed = (
        found.precision != frame.stored or found.signed or frame.signed or frame.overlays
        or header.values(dataset, "PixelPaddingValue") != () or header.values(dataset, "PixelPaddingRangeLimit") != ()
    )  # fmt: skip
    if mixed or found.precision > 16:
        return 0
    most = min(found.halvings, _MOST_HALVINGS)
    shorter = min(frame.rows, frame.columns)
    return max((count for count in range(1, most + 1) if -(-shorter >> count) >= shorter_side), default=0)


def _follow(found: CodestreamHeader, frame: _Frame, stored: NDArray[Any], lossy: bool) -> tuple[_Frame, bool]:
    """The bits and sign to read decoded values by, and whether codestream and header contradict each other.

    The codestream's precision is followed. JPEG and JPEG-LS cannot say that values are signed, and encoders of signed
    values forget to say so in JPEG 2000: PixelRepresentation 1 then means two's complement of the codestream's
    precision. An encoder may also code whole cells, with whatever lies above the stored bits: without loss these are
    the cells of an uncompressed file, and are read as such (PS3.5 8.1.1, 8.2). Where it coded a few bits more than the
    header says, nothing differs while the values fit the header's bits, or an overlay lies in the further ones.
    """
    signed = frame.signed or bool(found.signed)
    conflict = found.precision != frame.stored or (found.signed is not None and found.signed != frame.signed)
    bits = found.precision
    if bits > frame.stored and signed == frame.signed:
        whole_cells = found.precision == frame.allocated
        further_bits = _bits_used(stored) & (1 << bits) - 1 & -1 << frame.stored
        if (whole_cells and not lossy) or further_bits & ~frame.overlays == 0 or _fits(stored, frame, bits):
            bits, conflict = frame.stored, conflict and not whole_cells
    return replace(frame, stored=bits), conflict


def _fits(stored: NDArray[Any], frame: _Frame, bits: int) -> bool:
    """Are decoded values of so many bits values of the header's bits?"""
    return frame.signed and np.array_equal(_values(stored, frame.stored, True), _values(stored, bits, True))


def _resolve(stored: NDArray[Any], frame: _Frame, *, decoder: str, lossy: bool, warnings: tuple[str, ...]) -> Decoded:
    """Bits above the stored ones are dropped; the sign is the highest stored bit (PS3.5 8.1.1)."""
    if frame.stored - frame.signed > 31:
        raise Refused("BAD_BITS", f"{frame.stored} unsigned bits are more than any radiograph has")
    cells = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    values = _values(cells, frame.stored, frame.signed)
    found = [*frame.warnings, *warnings]
    # Overlays are seldom where their headers say (bits 8 and 9 declared, 13 used): any of them explains such bits.
    changed = values is not cells and not np.array_equal(cells, values.view(cells.dtype))  # signs may go on upwards
    if changed and not frame.overlays and _bits_used(cells) >> frame.stored:
        found.append("HIGH_BITS")
    if lossy:
        found.append("LOSSY")
    return Decoded(values, frame.stored, frame.signed, decoder, lossy, tuple(found))


def _bits_used(cells: NDArray[Any]) -> int:
    """Every bit that is set in some cell, negative values in two's complement of the cell."""
    return int(np.bitwise_or.reduce(cells, axis=None)) & (1 << 8 * cells.dtype.itemsize) - 1


def _values(cells: NDArray[Any], bits: int, signed: bool) -> NDArray[np.integer[Any]]:
    """The values of so many bits that lie in cells, as integers of the cells' size; the cells where nothing changes."""
    size = 8 * cells.dtype.itemsize
    kind = np.dtype(f"{'i' if signed else 'u'}{size // 8}")
    values: NDArray[np.integer[Any]] = cells if cells.dtype == kind else cells.view(kind)
    if signed:
        return values if bits >= size else (values << (size - bits)) >> (size - bits)
    return values if _bits_used(values) >> bits == 0 else values & kind.type((1 << bits) - 1)


def _was_lossy(dataset: Dataset) -> bool:
    return header.code(dataset, "LossyImageCompression") == "01"
