"""The pixel cache: built once, gone on with after an interruption, never half of one."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medres.cohort import cache, cohort_files
from medres.cohort.cache import PixelCache, cached_pixels
from medres.cohort.manifest import read_manifest
from medres.config import GATES, Limits, Preprocessing
from medres.errors import Refused, UsageError
from medres.imaging import decoders
from medres.imaging.isolation import Workers
from medres.records import ManifestRow, Refusal
from medres.unfinished import lock
from tests.support.phantoms import write_cohort


class StoppedError(Exception):
    """What a test ends a build with."""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_cohort(tmp_path_factory.mktemp("cohort"), patients=6)
    (path.parent / "images" / "0003.dcm").write_text("no radiograph")
    return path


def build(manifest: Path, folder: Path, *, stop_at: int | None = None) -> tuple[PixelCache, list[int]]:
    """The cache of a cohort, and the numbers of the rows that were decoded for it."""
    seen: list[int] = []

    def progress(done: int, _: int) -> None:
        seen.append(done)
        if done == stop_at:
            raise StoppedError

    rows = read_manifest(manifest, ["disc"]).rows
    spec = Preprocessing(size=32)
    return cached_pixels(rows, spec, gate=GATES["any"], limits=Limits(), folder=folder, progress=progress), seen


def assert_same(one: PixelCache, other: PixelCache) -> None:
    assert one.images == other.images
    assert one.refusals == other.refusals
    np.testing.assert_array_equal(one.pixels[: len(one.images)], other.pixels[: len(other.images)])


def test_a_cache_is_built_once(manifest: Path, tmp_path: Path) -> None:
    first, decoded = build(manifest, tmp_path)
    again, decoded_again = build(manifest, tmp_path)
    assert (decoded, decoded_again) == (list(range(1, 13)), [])
    assert [row for row, _ in first.refusals] == [3]
    assert_same(first, again)
    assert [path.name for path in (tmp_path / "pixels").iterdir() if "building" in path.name] == []


@pytest.mark.parametrize("stop_at", [1, 4, 5, 11])
def test_an_interrupted_build_is_gone_on_with(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    monkeypatch.setattr(cache, "_KEPT_TOGETHER", 2)
    with pytest.raises(StoppedError):
        build(manifest, tmp_path, stop_at=stop_at)
    found, decoded = build(manifest, tmp_path)
    kept = stop_at - stop_at % 2
    assert decoded == list(range(kept + 1, 13))
    assert_same(found, build(manifest, tmp_path / "other")[0])


def test_a_line_that_was_cut_off_is_decoded_again(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_KEPT_TOGETHER", 1)
    with pytest.raises(StoppedError):
        build(manifest, tmp_path, stop_at=6)
    (journal,) = tmp_path.glob("pixels/*.building/done.jsonl")
    journal.write_bytes(journal.read_bytes()[:-20])
    found, decoded = build(manifest, tmp_path)
    assert decoded == list(range(6, 13))
    assert_same(found, build(manifest, tmp_path / "other")[0])


def test_two_runs_at_once_do_not_disturb_each_other(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_KEPT_TOGETHER", 1)
    with pytest.raises(StoppedError):
        build(manifest, tmp_path, stop_at=5)
    (building,) = tmp_path.glob("pixels/*.building")
    lock(building)  # as a run that is still at work would
    found, decoded = build(manifest, tmp_path)
    assert decoded == list(range(1, 13))
    assert_same(found, build(manifest, tmp_path / "other")[0])
    assert (building / "done.jsonl").is_file()


def test_another_selection_of_the_same_files_is_copied_and_only_new_files_are_decoded(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = read_manifest(manifest, ["disc"]).rows
    asked: list[list[str]] = []
    decode = cohort_files.Workers.map

    def counted(pool: Workers, job: Any, items: Iterable[str], *, ordered: bool) -> Any:
        asked.append(list(items))
        return decode(pool, job, asked[-1], ordered=ordered)

    def cached(chosen: Sequence[ManifestRow], folder: Path, size: int = 32) -> PixelCache:
        return cached_pixels(chosen, Preprocessing(size=size), gate=GATES["any"], limits=Limits(), folder=folder)

    monkeypatch.setattr(cohort_files.Workers, "map", counted)
    cached(rows[:5], tmp_path)
    grown = [*rows[7:], *rows[:6]]
    found = cached(grown, tmp_path)
    assert [Path(path).name for path in asked[1]] == [row.path.name for row in (*rows[7:], rows[5])]
    assert_same(found, cached(grown, tmp_path / "other"))
    assert [grown[image.row].path for image in found.images] == [row.path for row in grown if row != rows[3]]
    cached(rows[:5], tmp_path, size=48)
    assert len(asked[-1]) == 5  # of another size: nothing could be copied


def test_another_opencv_or_pillow_makes_another_cache(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(manifest, tmp_path)
    monkeypatch.setattr("cv2.__version__", "0")
    assert build(manifest, tmp_path)[1] == list(range(1, 13))
    versions = decoders.versions()
    assert version("pillow") == versions["pillow"]
    monkeypatch.setattr(decoders, "versions", lambda: versions | {"pillow": "0"})
    assert build(manifest, tmp_path)[1] == list(range(1, 13))
    assert len(list((tmp_path / "pixels").iterdir())) == 3


class Decoding:
    """Decodes in this process, and tells what was asked for; a test says what happens to which file."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refused: dict[str, tuple[str, str]] = {}
        self.before: Callable[[], object] = lambda: None

    def map(self, job: Any, items: Iterable[str]) -> Iterator[tuple[str, Any]]:
        self.before()
        for path in items:
            name = Path(path).name
            self.asked.append(name)
            try:
                yield path, Refusal(path, *self.refused[name]) if name in self.refused else job(path)
            except Refused as refused:
                yield path, Refusal(path, refused.code, refused.detail)


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> Decoding:
    found = Decoding()
    monkeypatch.setattr(cohort_files.Workers, "map", lambda _, job, items, ordered: found.map(job, items))
    return found


@pytest.fixture
def own(manifest: Path, tmp_path: Path) -> Path:
    """A cohort that a test may change."""
    shutil.copytree(manifest.parent, tmp_path / "own")
    return tmp_path / "own" / manifest.name


def reasons(found: PixelCache) -> dict[int, str]:
    return {row: refusal.code for row, refusal in found.refusals}


def test_a_file_that_is_replaced_after_it_was_hashed_is_refused_and_kept_under_no_hash(
    own: Path, tmp_path: Path, decoding: Decoding
) -> None:
    one, broken = own.parent / "images" / "0001.dcm", own.parent / "images" / "0002.dcm"
    content = {path: path.read_bytes() for path in (one, broken)}

    def replace() -> None:
        one.write_bytes((own.parent / "images" / "0005.dcm").read_bytes())
        broken.write_bytes(b"half of it")

    decoding.before = replace
    assert reasons(build(own, tmp_path)[0]) == {1: "CHANGED", 2: "CHANGED", 3: "NOT_DICOM"}
    decoding.before = lambda: None
    one.write_bytes(content[one])
    broken.write_bytes(content[broken])
    found, _ = build(own, tmp_path)
    assert reasons(found) == {3: "NOT_DICOM"}
    assert_same(found, build(own, tmp_path / "other")[0])


def test_a_file_that_appears_after_it_was_looked_for_stands_for_no_other_missing_file(
    own: Path, tmp_path: Path, decoding: Decoding
) -> None:
    late, never = own.parent / "images" / "0001.dcm", own.parent / "images" / "0004.dcm"
    content = late.read_bytes()
    late.unlink()
    never.unlink()
    decoding.before = lambda: late.write_bytes(content)
    assert reasons(build(own, tmp_path)[0]) == {1: "UNREADABLE", 3: "NOT_DICOM", 4: "UNREADABLE"}
    assert reasons(build(own, tmp_path)[0]) == {3: "NOT_DICOM", 4: "UNREADABLE"}


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_file_that_cannot_be_opened_costs_one_row(
    manifest: Path, tmp_path: Path, decoding: Decoding, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    opened = os.open

    def refusing(path: Any, *more: Any, **options: Any) -> int:
        if os.fspath(path).endswith("0001.dcm"):
            raise error
        return opened(path, *more, **options)

    monkeypatch.setattr(os, "open", refusing)
    found, _ = build(manifest, tmp_path)
    assert reasons(found) == {1: "UNREADABLE", 3: "NOT_DICOM"}
    assert found.refusals[0][1].detail == error.strerror


@pytest.mark.parametrize(
    "reason",
    [("DECODER_STALLED", ""), ("DECODER_CRASH", ""), ("UNREADABLE", ""), ("OUT_OF_MEMORY", "")],
)
def test_a_refusal_of_the_moment_is_tried_again_by_the_next_run(
    manifest: Path, tmp_path: Path, decoding: Decoding, reason: tuple[str, str]
) -> None:
    decoding.refused = {"0001.dcm": reason, "0007.dcm": reason}
    first, _ = build(manifest, tmp_path)
    assert reasons(first) == {1: reason[0], 3: "NOT_DICOM", 7: reason[0]}
    decoding.asked.clear()
    again, decoded = build(manifest, tmp_path)
    assert (decoding.asked, decoded) == (["0001.dcm", "0007.dcm"], [])  # nothing was built for it
    assert_same(first, again)
    decoding.refused = {}
    settled, _ = build(manifest, tmp_path)
    assert set(decoding.asked) == {"0001.dcm", "0007.dcm"}
    assert_same(settled, build(manifest, tmp_path / "other")[0])


@pytest.mark.parametrize("code", ["LIMIT", "DECODER_TIMEOUT"])
def test_a_file_that_is_over_its_budget_is_refused_for_good(
    manifest: Path, tmp_path: Path, decoding: Decoding, code: str
) -> None:
    decoding.refused = {"0001.dcm": (code, "more than the limit")}
    first, _ = build(manifest, tmp_path)
    decoding.asked.clear()
    assert_same(first, build(manifest, tmp_path)[0])
    assert decoding.asked == []


@pytest.mark.parametrize("settled", [False, True])
def test_what_an_interrupted_build_was_refused_for_the_moment_is_tried_again(
    manifest: Path, tmp_path: Path, decoding: Decoding, monkeypatch: pytest.MonkeyPatch, *, settled: bool
) -> None:
    monkeypatch.setattr(cache, "_KEPT_TOGETHER", 1)
    decoding.refused = {"0001.dcm": ("DECODER_STALLED", "")}
    with pytest.raises(StoppedError):
        build(manifest, tmp_path, stop_at=6)
    if settled:
        decoding.refused = {}
    decoding.asked.clear()
    found, decoded = build(manifest, tmp_path)
    assert decoding.asked[0] == "0001.dcm"
    assert decoded == list(range(2 if settled else 7, 13))
    assert_same(found, build(manifest, tmp_path / "other")[0])


def test_rows_that_a_run_leaves_out_are_not_tried(manifest: Path, tmp_path: Path, decoding: Decoding) -> None:
    rows = read_manifest(manifest, ["disc"]).rows
    left_out = {1: Refusal(str(rows[1].path), "DECODER_STALLED", "late")}
    spec = Preprocessing(size=32)
    options: Any = {"gate": GATES["any"], "limits": Limits(), "folder": tmp_path}
    found = cached_pixels(rows, spec, left_out=left_out, **options)
    assert found.refusals[0] == (1, left_out[1])
    assert "0001.dcm" not in decoding.asked
    assert reasons(cached_pixels(rows, spec, **options)) == {3: "NOT_DICOM"}


@pytest.mark.parametrize("gone", ["index.json", "pixels.npy"])
@pytest.mark.parametrize("emptied", [False, True])
def test_a_damaged_cache_is_built_again(
    manifest: Path, tmp_path: Path, decoding: Decoding, gone: str, *, emptied: bool
) -> None:
    first, _ = build(manifest, tmp_path)
    (home,) = (tmp_path / "pixels").iterdir()
    (home / gone).unlink()
    if emptied:
        (home / gone).touch()
    rows = read_manifest(manifest, ["disc"]).rows[:5]
    other = cached_pixels(rows, Preprocessing(size=32), gate=GATES["any"], limits=Limits(), folder=tmp_path)
    assert len(other.images) == 4  # another cohort is not troubled by it
    assert_same(first, build(manifest, tmp_path)[0])
    assert build(manifest, tmp_path)[1] == []
    assert len(list((tmp_path / "pixels").iterdir())) == 2


@pytest.mark.parametrize("name", ["pixels.npy", "done.jsonl"])
def test_an_interrupted_build_that_is_damaged_is_begun_again(
    manifest: Path, tmp_path: Path, decoding: Decoding, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(cache, "_KEPT_TOGETHER", 1)
    with pytest.raises(StoppedError):
        build(manifest, tmp_path, stop_at=5)
    (building,) = tmp_path.glob("pixels/*.building")
    (building / name).write_bytes(b"" if name == "pixels.npy" else bytes(50) + b"\n")
    found, decoded = build(manifest, tmp_path)
    assert decoded == list(range(1, 13))
    assert_same(found, build(manifest, tmp_path / "other")[0])


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no way to reserve room")
def test_a_full_disk_is_told_before_anything_is_decoded(
    manifest: Path, tmp_path: Path, decoding: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(UsageError, match=r"\(0 MB\) cannot be written to .*pixels: No space left.*MEDRES_CACHE"):
            build(manifest, tmp_path)
    assert decoding.asked == []
    assert not list(tmp_path.rglob("pixels.npy"))
    build(manifest, tmp_path)
    (file,) = tmp_path.glob("pixels/*/pixels.npy")
    assert file.stat().st_blocks * 512 >= file.stat().st_size  # and not sparse
