from __future__ import annotations

from collections import defaultdict

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from medres.errors import Refused
from medres.imaging import codecs, decoders, samples
from medres.imaging.samples import SAMPLES, EncodedSample, decode_sample, try_samples
from tests.support.dicom_files import JPEG


def test_every_supported_transfer_syntax_is_tried_at_every_depth() -> None:
    depths = defaultdict(set)
    for sample in SAMPLES:
        depths[sample.transfer_syntax].add(sample.bits)
    assert set(depths) == set(codecs.SUPPORTED)
    assert all({8, 12} <= found or found == {8} for found in depths.values())


def test_this_installation_decodes_every_sample() -> None:
    trials = list(try_samples())
    assert [trial.sample for trial in trials] == list(SAMPLES)
    assert {trial.problem for trial in trials} == {""}


def test_a_decoder_that_returns_other_pixels_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(codestream: bytes) -> NDArray[np.uint16]:
        return imagecodecs.jpegls_decode(codestream) + 1

    monkeypatch.setattr(decoders, "_decoders", lambda _: (shifted,))
    with pytest.raises(Refused, match="wrong by up to"):
        decode_sample(EncodedSample(f"{JPEG}80", 12))


def test_a_missing_encoder_is_a_failure_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> bytes:
        raise imagecodecs.DelayedImportError("htj2k_encode")

    monkeypatch.setitem(samples._ENCODERS, f"{JPEG}201", (missing, (12,), 0))
    with pytest.raises(Refused, match="no sample could be made"):
        decode_sample(EncodedSample(f"{JPEG}201", 12))
