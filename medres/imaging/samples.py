"""A tiny file in every transfer syntax and bit depth: what an installation decodes is found by reading it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, generate_uid

from medres.config import Limits
from medres.errors import Refused
from medres.imaging import codecs
from medres.imaging.isolation import Workers
from medres.imaging.phantom_dicom import write_dataset
from medres.imaging.reading import parse
from medres.records import Refusal

_SIDE = 32
_JPEG = "1.2.840.10008.1.2.4."
_ANY_DEPTH = (8, 10, 12, 14, 16)
_Encode = Callable[[NDArray[Any], int], Any]


def _lossless_jpeg(predictor: int) -> _Encode:
    return lambda stored, bits: imagecodecs.jpeg_encode(stored, lossless=True, predictor=predictor, bitspersample=bits)


def _jpeg(stored: NDArray[Any], bits: int) -> Any:
    return imagecodecs.jpeg8_encode(stored, level=95, bitspersample=bits)


def _jpeg_2000(reversible: bool, level: int) -> _Encode:
    return lambda stored, bits: imagecodecs.jpeg2k_encode(
        stored, level=level, reversible=reversible, codecformat="j2k", bitspersample=bits
    )


_ENCODERS: dict[str, tuple[_Encode, tuple[int, ...], int]] = {  # how, at which depths, and the error allowed at 8 bits
    _JPEG + "50": (_jpeg, (8,), 4),
    _JPEG + "51": (_jpeg, (8, 12), 4),
    _JPEG + "57": (_lossless_jpeg(4), _ANY_DEPTH, 0),
    _JPEG + "70": (_lossless_jpeg(1), _ANY_DEPTH, 0),
    _JPEG + "80": (lambda stored, _: imagecodecs.jpegls_encode(stored, level=0), _ANY_DEPTH, 0),
    _JPEG + "81": (lambda stored, _: imagecodecs.jpegls_encode(stored, level=2), _ANY_DEPTH, 2),
    _JPEG + "90": (_jpeg_2000(True, 0), _ANY_DEPTH, 0),
    _JPEG + "91": (_jpeg_2000(False, 60), _ANY_DEPTH, 8),
    _JPEG + "201": (lambda stored, _: imagecodecs.htj2k_encode(stored, reversible=True), _ANY_DEPTH, 0),
    _JPEG + "202": (lambda stored, _: imagecodecs.htj2k_encode(stored, reversible=True), _ANY_DEPTH, 0),
    _JPEG + "203": (lambda stored, _: imagecodecs.htj2k_encode(stored, reversible=False), _ANY_DEPTH, 4),
}


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """One image to try: a transfer syntax and a bit depth."""

    transfer_syntax: str
    bits: int

    def __str__(self) -> str:
        return f"{self.transfer_syntax} {self.bits} bit"

    @property
    def name(self) -> str:
        """The transfer syntax in a few words."""
        return UID(self.transfer_syntax).name.replace(" Image Compression", "").split(" (Process")[0]


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of a sample."""

    sample: EncodedSample
    decoder: str  # its name and version; empty where it failed
    problem: str  # empty where the pixels came back


SAMPLES: tuple[EncodedSample, ...] = tuple(
    EncodedSample(syntax, bits)
    for syntax in codecs.SUPPORTED
    for bits in (_ENCODERS[syntax][1] if syntax in _ENCODERS else _ANY_DEPTH)
)
"""Every transfer syntax that medres knows, at every bit depth that radiographs have in it."""


def try_samples() -> Iterator[Trial]:
    """Encode and decode every sample, in processes of their own, so that a decoder that crashes costs one line."""
    with Workers(count=1) as workers:
        for sample, result in workers.map(decode_sample, SAMPLES, ordered=True):
            if isinstance(result, Refusal):
                yield Trial(sample, "", f"{result.code}: {result.detail}")
            else:
                yield Trial(sample, result, "")


def decode_sample(sample: EncodedSample) -> str:
    """Decode one sample, and return the decoder's name and version.

    Raises:
        Refused: as `medres.imaging.codecs.decode`; DECODE_FAILED too where it cannot be encoded, or comes back wrong.
    """
    stored = _picture(sample.bits)
    file = BytesIO()  # a decoding process writes no files
    try:
        write_dataset(_dataset(stored, sample), file)
    except Exception as error:  # noqa: BLE001  whatever the missing or broken encoder raises
        raise Refused("DECODE_FAILED", f"no sample could be made ({type(error).__name__})") from None
    decoded = codecs.decode(parse(file.getvalue()).dataset, limits=Limits())
    allowed = _ENCODERS[sample.transfer_syntax][2] if sample.transfer_syntax in _ENCODERS else 0
    wrong = int(np.abs(decoded.pixels - stored.astype(np.int32)).max())
    if wrong > allowed << (sample.bits - 8):
        raise Refused("DECODE_FAILED", f"the pixels came back wrong by up to {wrong}")
    return decoded.decoder


def _picture(bits: int) -> NDArray[Any]:
    """A smooth picture that uses the whole range, with one sharp edge."""
    down, across = np.mgrid[:_SIDE, :_SIDE] / (_SIDE - 1)
    shade = (down + across) / 2
    shade[: _SIDE // 4, : _SIDE // 4] = 1
    stored: NDArray[Any] = np.round(shade * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    return stored


def _dataset(stored: NDArray[Any], sample: EncodedSample) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(sample.transfer_syntax)
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = sample.bits, sample.bits - 1, 0
    if sample.transfer_syntax in _ENCODERS:
        dataset.PixelData = encapsulate([bytes(_ENCODERS[sample.transfer_syntax][0](stored, sample.bits))])
        dataset["PixelData"].is_undefined_length = True
    elif sample.transfer_syntax == "1.2.840.10008.1.2.5":
        dataset.compress(UID(sample.transfer_syntax), stored, encoding_plugin="pydicom", generate_instance_uid=False)
    else:
        big_endian = sample.transfer_syntax == "1.2.840.10008.1.2.2"
        dataset.PixelData = stored.astype(stored.dtype.newbyteorder(">" if big_endian else "<")).tobytes()
    dataset["PixelData"].VR = "OB" if stored.dtype.itemsize == 1 else "OW"
    return dataset
