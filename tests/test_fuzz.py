"""Damaged files: whatever the damage, each is read or refused in time, and the process that asked never notices.

By default a few hundred files with fixed seeds; `pytest -m fuzz` makes ten thousand with fresh ones.
"""

from __future__ import annotations

import resource
import struct
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from medres.config import Limits
from medres.errors import REASONS
from medres.imaging.codecs import SUPPORTED
from medres.imaging.isolation import Workers
from medres.imaging.reading import read_radiograph
from medres.records import Refusal
from tests.conftest import SHARED
from tests.support.dicom_files import write_in_every_encoding
from tests.support.odd_files import write_odd_files

CORPUS, FIELD = SHARED / "dicom-corpus", SHARED / "field"
SLOWEST = 10.0  # seconds, whatever the file is
MEMORY = 512 * 2**20  # bytes that the asking process may grow by
LENGTHS = (0, 1, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
VRS = (b"OB", b"OW", b"SQ", b"UN", b"US", b"UI", b"DS", b"UT", b"OF", b"XX", b"\0\0")
GRID = (0x00280002, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103)


def read(path: str, *, limits: Limits) -> tuple[float, str]:
    """Seconds that a read takes, and what is wrong with its result; run in a worker."""
    started = time.perf_counter()
    image = read_radiograph(path, limits=limits)
    seconds = time.perf_counter() - started
    if not np.isfinite(image.pixels).all():
        return seconds, "pixels that are no numbers"
    if image.pixels.min() < 0 or image.pixels.max() > 1 or np.ptp(image.pixels) == 0:
        return seconds, "pixels outside [0, 1] or all alike"
    return seconds, ""


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """A copy with one to five changes: bits, bytes, cuts and repeats anywhere, or one attribute's tag, VR or length."""
    data = bytearray(whole)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(min(128, len(data) - 1), max(len(data) - 8, 129)))
        match rng.integers(10):
            case 0:
                data[min(place, len(data) - 1)] ^= 1 << int(rng.integers(8))
            case 1:
                data[place : place + 4] = rng.bytes(4)
            case 2:
                del data[place : place + int(rng.integers(1, 30))]
            case 3:
                data[place:place] = data[place : place + int(rng.integers(1, 30))]
            case 4:
                data[place : place + 4] = struct.pack("<L", int(rng.choice(LENGTHS)))
            case 5 if rng.random() < 0.3:
                del data[place:]
            case 6:
                change_grid(data, rng)
            case 7:
                change_attribute(data, rng)
            case 8:
                change_transfer_syntax(data, rng)
            case _:
                nest(data, rng)
        if len(data) < 140:
            break
    return bytes(data)


def change_grid(data: bytearray, rng: np.random.Generator) -> None:
    """Another value of Rows, BitsStored or their like, in an explicit little-endian file."""
    tag = int(rng.choice(GRID))
    place = data.find(struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, b"US"))
    if place >= 0:
        data[place + 8 : place + 10] = struct.pack("<H", int(rng.choice([0, 1, 7, 8, 16, 31, 255, 4096, 65535])))


def change_attribute(data: bytearray, rng: np.random.Generator) -> None:
    """Another VR or length of one attribute."""
    names = [
        place for place in range(132, len(data) - 8) if data[place : place + 2] in VRS[:9] and data[place - 4] % 2 == 0
    ]
    if names:
        place = int(rng.choice(names[:200]))
        if rng.random() < 0.5:
            data[place : place + 2] = VRS[int(rng.integers(len(VRS)))]
        else:
            data[place + 2 : place + 4] = struct.pack("<H", int(rng.choice(LENGTHS)) & 0xFFFF)


def change_transfer_syntax(data: bytearray, rng: np.random.Generator) -> None:
    """The name of another transfer syntax, as long as the old one's field."""
    place = data.find(struct.pack("<HH2s", 2, 0x10, b"UI"))
    if place >= 0:
        length = struct.unpack_from("<H", data, place + 6)[0]
        data[place + 8 : place + 8 + length] = str(rng.choice(SUPPORTED)).encode().ljust(length, b"\0")[:length]


def nest(data: bytearray, rng: np.random.Generator) -> None:
    """Sequences within sequences, before the pixels."""
    place = data.find(struct.pack("<HH", 0x7FE0, 0x10))
    if place >= 0:
        one = struct.pack("<HH2sHLHHL", 0x40, 0x555, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
        data[place:place] = one * int(rng.choice([1, 10, 60, 2000]))


def fuzz(folder: Path, sources: list[Path], count: int, seed: int) -> Counter[str]:
    """Read `count` damaged copies of the sources; return how often each reason code came, and check every result."""
    rng = np.random.default_rng(seed)
    contents = [source.read_bytes() for source in sources]
    files = []
    for number in range(count):
        files.append(str(folder / f"{number}.dcm"))
        Path(files[-1]).write_bytes(damaged(contents[number % len(contents)], rng))
    limits = Limits(seconds=8.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    codes: Counter[str] = Counter()
    with Workers(2, limits=limits) as pool:
        results = pool.map(partial(read, limits=limits), files, ordered=True)
        for number, (name, result) in enumerate(results):
            told = f"seed {seed}, file {number}, a copy of {sources[number % len(sources)].name}: {result}"
            assert name == files[number], told
            if isinstance(result, Refusal):
                assert result.code in REASONS, told
                codes[result.code] += 1
            else:
                seconds, problem = result
                assert (problem, seconds < SLOWEST) == ("", True), told
                codes["read"] += 1
            Path(name).unlink()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert codes.total() == count
    assert grown < MEMORY, f"{grown / 2**20:.0f} MiB"
    return codes


def corpus_files() -> list[Path]:
    """The corpus without what is made to take all the time there is, and without the largest."""
    slow = ("jp2_zero_box", "bomb", "TextGBR")
    found = sorted(path for path in (*CORPUS.glob("*/*"), *FIELD.glob("*")) if path.is_file() and path.suffix != ".npy")
    sizes = range(140, 600_000)
    return [path for path in found if path.stat().st_size in sizes and not any(part in path.name for part in slow)]


def test_damaged_phantoms_of_every_transfer_syntax_are_read_or_refused(tmp_path: Path) -> None:
    codes = fuzz(tmp_path, [*write_in_every_encoding(tmp_path), *write_odd_files(tmp_path)], 300, seed=1)
    assert codes["read"] > 20  # some damage does not matter
    assert len(codes) >= 8


@pytest.mark.skipif(not CORPUS.exists(), reason="real data absent: ../shared/dicom-corpus")
def test_damaged_files_of_the_corpus_are_read_or_refused(tmp_path: Path) -> None:
    assert len(fuzz(tmp_path, corpus_files(), 200, seed=2)) >= 8


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
def test_ten_thousand_damaged_files_are_read_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(time.time())
    started = time.monotonic()
    codes = fuzz(
        tmp_path, [*write_in_every_encoding(tmp_path), *write_odd_files(tmp_path), *corpus_files()], 10_000, seed
    )
    with capsys.disabled():
        seconds = time.monotonic() - started
        print(f"\n{codes.total()} damaged files, seed {seed}, {seconds:.0f} s: {dict(codes.most_common())}")
