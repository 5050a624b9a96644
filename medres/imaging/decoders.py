"""Which decoder reads a codestream, and what comes after it when it cannot: imagecodecs, then pydicom's plugins."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
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
        return (imagecodecs.htj2k_decode,)
    if found.kind in {"HTJ2K", "JPEG 2000"}:  # OpenJPH lets a lossy image's overshoot wrap: white turns black
        return (imagecodecs.jpeg2k_decode,)
    if found.process == LOSSLESS_JPEG:  # libjpeg-turbo takes half the time, and refuses some odd Huffman tables
        return imagecodecs.jpeg8_decode, imagecodecs.ljpeg_decode
    return (imagecodecs.jpeg8_decode,)


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
