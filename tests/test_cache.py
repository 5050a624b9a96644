"""The pixel cache: built once, gone on with after an interruption, never half of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medres.cohort import cache
from medres.cohort.cache import PixelCache, cached_pixels
from medres.cohort.manifest import read_manifest
from medres.config import GATES, Limits, Preprocessing
from medres.imaging import decoders
from medres.imaging.isolation import Workers
from medres.records import ManifestRow
from medres.unfinished import lock
from tests.phantoms import write_cohort


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
    decode = cache.Workers.map

    def counted(pool: Workers, job: Any, items: Iterable[str]) -> Any:
        asked.append(list(items))
        return decode(pool, job, asked[-1])

    def cached(chosen: Sequence[ManifestRow], folder: Path, size: int = 32) -> PixelCache:
        return cached_pixels(chosen, Preprocessing(size=size), gate=GATES["any"], limits=Limits(), folder=folder)

    monkeypatch.setattr(cache.Workers, "map", counted)
    cached(rows[:5], tmp_path)
    grown = [*rows[7:], *rows[:6]]
    found = cached(grown, tmp_path)
    assert [Path(path).name for path in asked[1]] == [row.path.name for row in (*rows[7:], rows[3], rows[5])]
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
