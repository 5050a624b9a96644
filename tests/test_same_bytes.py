"""Copies of a file are decoded once, and say what the file itself would say."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.records import Refusal
from medres.scoring import run as scoring_run
from medres.scoring.folder import score_folder
from medres.scoring.known import stamp
from medres.scoring.same_bytes import Copies, same_bytes
from medres.scoring.stages import Results
from tests.support.phantoms import blob, write_radiograph
from tests.test_replies import PREPARED


@given(
    contents=st.lists(st.sampled_from([b"", b"a", b"b", b"ab", b"x" * 5000 + b"1", b"x" * 5000 + b"2"]), max_size=12)
)
def test_groups_are_those_of_equal_bytes_and_the_first_by_path_speaks(
    contents: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("files")
    names = [f"{number:02d}" for number in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        (folder / name).write_bytes(content)
    found = same_bytes(folder, names[::-1], workers=2)
    wanted: dict[bytes, list[str]] = {}
    for name, content in zip(names, contents, strict=True):
        wanted.setdefault(content, []).append(name)
    assert found.stamps == {path: stamp(folder / path) for others in found.of.values() for path in others}
    assert found.of == {first: tuple(others) for first, *others in wanted.values() if others}


def test_a_file_that_cannot_be_read_is_nobodys_copy(tmp_path: Path) -> None:
    for name in "ab":
        os.mkfifo(tmp_path / name)
    assert same_bytes(tmp_path, ["a", "b", "c"], workers=1) == Copies()


def test_copies_follow_their_original_and_are_read_where_it_cannot_speak_for_them() -> None:
    sha256 = PREPARED.sha256
    copies = Copies({"a": ("b",), "c": ("d", "e"), "f": ("g",)}, {"a": sha256, "c": sha256, "f": "another one"})
    asked: list[Sequence[str]] = []

    def read(paths: Sequence[str]) -> Results:
        asked.append(list(paths))
        passing = Refusal("", "OUT_OF_MEMORY", "", sha256=sha256)
        return iter([(path, passing if path == "c" else replace(PREPARED, path=path)) for path in paths])

    found = list(copies.with_copies(list("abcdefg"), read))
    assert asked == [["a", "c", "f"], ["d", "e", "g"]]  # c may be read another time, and f changed meanwhile
    assert sorted(path for path, _ in found) == list("abcdefg")
    assert [path for path, _ in found[:2]] == ["a", "b"]
    assert all(result.path == path for path, result in found if path != "c")


def test_a_folder_that_was_copied_is_decoded_once_and_scored_as_before(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    for number in range(3):
        pixels = blob(number, bright=bool(number % 2))
        write_radiograph(folder / "first" / f"{number}.dcm", pixels, patient=str(number), uid=f"2.25.{number + 1}")
    (folder / "first" / "cut.dcm").write_bytes((folder / "first" / "0.dcm").read_bytes()[:900])
    shutil.copytree(folder / "first", folder / "second")
    decoded: list[str] = []

    class Counting(scoring_run.Workers):
        def map(self, job: Any, items: Iterable[Any], *, ordered: bool = False) -> Any:
            paths = list(items)
            decoded.extend(paths)
            return super().map(job, paths, ordered=ordered)

    monkeypatch.setattr(scoring_run, "Workers", Counting)
    score_folder(small_model, folder, out=tmp_path / "once", workers=1)
    assert len(decoded) == 4
    monkeypatch.setattr(scoring_run, "same_bytes", lambda *_, **__: Copies())
    score_folder(small_model, folder, out=tmp_path / "each", workers=1)
    assert len(decoded) == 4 + 8
    once, each = (pd.read_csv(tmp_path / name / "predictions.csv") for name in ("once", "each"))
    assert once.equals(each)
    assert once["status"].value_counts().to_dict() == {"ok": 3, "duplicate": 3, "refused": 2}
