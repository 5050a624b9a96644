"""Which decoder reads a codestream, and what comes after it when it cannot: imagecodecs, then pydicom's plugins."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from threading import Lock
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medres.errors import Refused
from medres.imaging.codestream import LOSSLESS_JPEG, CodestreamHeader

Shape = tuple[int, int]  # rows, columns

_PLUGINS = (  # what pydicom may decode with, by the names of the distributions
    *("pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle"),
    *("pillow", "pyjpegls", "python-gdcm"),
)


@cache
def versions() -> dict[str, str]:
    """The decoders of this installation: part of every cache key and of a model's provenance."""
    found = {}
    for name in ("imagecodecs", "pydicom", *_PLUGINS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def decode_compressed(dataset: Dataset, codestream: bytes, found: CodestreamHeader) -> tuple[NDArray[Any], str]:
    """Pixels (rows, columns) of a codestream, and the decoder's name and version.

    Args:
        dataset: what the codestream is from; only pydicom's fallbacks ask.
        codestream: one frame.
        found: its own header.

    Raises:
        Refused: DECODE_FAILED where no decoder can; DIMENSION_MISMATCH where one returns another shape.
    """
    shape = (found.rows, found.columns)
    for decoder in _decoders(found):
        try:
            return _guarded(partial(decoder, codestream), shape), _imagecodecs()
        except Refused:
            continue
    return decode_by_pydicom(dataset, shape)


def decode_reduced(codestream: bytes, found: CodestreamHeader, halvings: int) -> tuple[NDArray[Any], str, float] | None:
    """A smaller copy of an image, halved so often (rounded up), the decoder, and where its first pixel is centred.

    The centre counts in native pixels from the centre of the first: see `records.Sampling`. Fewer coefficients are
    decoded, so that damage beyond them is not seen.

    Args:
        codestream: one frame.
        found: its own header; it offers so many halvings.
        halvings: 1, 2 or 3.

    Returns:
        None where no decoder can: then there is only the whole image.
    """
    step = 2**halvings
    shape = (-(-found.rows // step), -(-found.columns // step))
    run, first = partial(_smaller_j2k, codestream, found, halvings), 0.0
    if found.kind == "JPEG":
        run, first = partial(_smaller_jpeg, codestream, found, halvings), (step - 1) / 2
    try:
        return _guarded(run, shape), f"pillow {versions()['pillow']}", first
    except Refused:
        return None


def _smaller_j2k(codestream: bytes, found: CodestreamHeader, halvings: int) -> NDArray[Any]:
    """Through Pillow and OpenJPEG, scaled up to 8 or 16 bits, which is undone here.

    A low-pass overshoots at edges, also without loss. OpenJPEG clips it; OpenJPH lets it wrap: white turns black.
    """
    from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

    image = Jpeg2KImageFile(BytesIO(codestream))
    image.reduce = halvings
    # Pillow rounds halves where OpenJPEG rounds up, and then fails: multiples of the step have nothing to round.
    image._size = (-(-image.width >> halvings) << halvings, -(-image.height >> halvings) << halvings)
    image.load()
    if image.mode not in {"L", "I;16"}:
        raise ValueError("no grayscale of up to 16 bits")
    scaled = np.asarray(image)
    up = 8 * scaled.dtype.itemsize - found.precision
    if int(np.bitwise_or.reduce(scaled, axis=None)) & (1 << up) - 1:
        raise ValueError("values that were not scaled as expected")
    return scaled >> up


def _smaller_jpeg(codestream: bytes, found: CodestreamHeader, halvings: int) -> NDArray[Any]:
    """Through Pillow and libjpeg-turbo's scaled DCT."""
    from PIL.JpegImagePlugin import JpegImageFile

    image = JpegImageFile(BytesIO(codestream))
    if image.mode != "L":
        raise ValueError("no grayscale")
    image.draft("L", (found.columns >> halvings, found.rows >> halvings))  # it has as many at least: rounded up
    image.load()
    return np.asarray(image)


def decode_by_pydicom(dataset: Dataset, shape: Shape) -> tuple[NDArray[Any], str]:
    """The same, through pydicom's decoders and their plugins."""
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    return _guarded(lambda: decoder.as_array(dataset, index=0, raw=True)[0], shape), f"pydicom {versions()['pydicom']}"


def decode_rle(codestream: bytes, shape: Shape, allocated: int) -> tuple[NDArray[Any], str]:
    """The same, of PS3.5 Annex G: one segment per byte of a sample, the most significant first."""
    if int.from_bytes(codestream[:4], "little") != allocated // 8:
        raise Refused("DECODE_FAILED", f"not {allocated // 8} RLE segments")
    kind = np.dtype(f"<u{allocated // 8}")

    def run() -> NDArray[Any]:
        decoded = imagecodecs.dicomrle_decode(codestream, dtype=kind)
        return np.frombuffer(decoded, kind, count=shape[0] * shape[1]).reshape(shape)

    return _guarded(run, shape), _imagecodecs()


def _decoders(found: CodestreamHeader) -> tuple[Callable[[bytes], NDArray[Any]], ...]:
    """imagecodecs' decoders of a codestream, the one that is tried first first."""
    if found.kind == "JPEG-LS":
        return (imagecodecs.jpegls_decode,)
    if found.kind == "HTJ2K" and not found.lossy:
        return (_decode_htj2k,)
    if found.kind in {"HTJ2K", "JPEG 2000"}:  # OpenJPH lets a lossy image's overshoot wrap: white turns black
        return (imagecodecs.jpeg2k_decode,)
    if found.process == LOSSLESS_JPEG:  # libjpeg-turbo takes half the time, and refuses some odd Huffman tables
        return imagecodecs.jpeg8_decode, imagecodecs.ljpeg_decode
    return (imagecodecs.jpeg8_decode,)


_hearing = Lock()


def _decode_htj2k(codestream: bytes) -> NDArray[Any]:
    """What OpenJPH cannot raise while it copies pixels ends in `sys.unraisablehook`, and the pixels are wrong."""
    heard: list[object] = []
    with _hearing:  # the hook is the whole process's
        before, sys.unraisablehook = sys.unraisablehook, heard.append
        try:
            pixels: NDArray[Any] = imagecodecs.htj2k_decode(codestream)
        finally:
            sys.unraisablehook = before
    if heard:
        raise ValueError("the codestream is damaged")
    return pixels


def _guarded(decoder: Callable[[], NDArray[Any]], shape: Shape) -> NDArray[Any]:
    """Run a native decoder; whatever it raises costs this one file.

    Raises:
        Refused: DECODE_FAILED, or DIMENSION_MISMATCH where it returns another shape.
    """
    try:
        pixels = np.asarray(decoder())
    except (KeyboardInterrupt, SystemExit, MemoryError, Refused):
        raise
    except BaseException as error:  # noqa: BLE001  decoders written in Rust panic with what is no Exception
        raise Refused("DECODE_FAILED", f"the decoder could not read the pixels ({type(error).__name__})") from None
    if pixels.shape != shape:
        raise Refused("DIMENSION_MISMATCH", f"decoded as {pixels.shape}, not {shape}")
    return pixels


def _imagecodecs() -> str:
    return f"imagecodecs {versions()['imagecodecs']}"
