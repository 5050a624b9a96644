"""Several folders of scores are one list: each image once, each verdict under the name that it had."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medres.errors import UsageError
from medres.review.cases import Worklist
from medres.review.recomputing import Recomputation
from medres.review.scored_folders import folder_names
from medres.review.server import default_store, store_of
from medres.scoring.folder import score_folder
from medres.tables import write_json
from tests.support.phantoms import blob, write_radiograph


@pytest.fixture(scope="module")
def nights(format3_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two nights: the second has a copy of an image of the first, and another image under a name that the first has."""
    home = tmp_path_factory.mktemp("nights")
    for number in range(3):
        _write(home / "in" / "monday" / f"{number}.dcm", number, uid=f"2.25.{number + 1}")
    _write(home / "in" / "tuesday" / "new.dcm", 7, uid="2.25.7", ImageLaterality="L", StudyDate="20261127")
    _write(home / "in" / "tuesday" / "other.dcm", 8, uid="2.25.2")
    shutil.copy(home / "in" / "monday" / "0.dcm", home / "in" / "tuesday" / "copy.dcm")
    for name in ("monday", "tuesday"):
        score_folder(format3_model, home / "in" / name, out=home / name, workers=1)
    return home / "monday", home / "tuesday"


def _write(path: Path, seed: int, *, uid: str, **tags: str) -> None:
    write_radiograph(path, blob(seed, bright=True), patient="1", uid=uid, **tags)


@pytest.fixture
def altered(nights: tuple[Path, Path], tmp_path: Path) -> Callable[..., Path]:
    """The second night's folder with another record."""

    def alter(**said: object) -> Path:
        shutil.copytree(nights[1], tmp_path / "altered")
        record = json.loads((nights[1] / "run.json").read_text(encoding="utf-8"))
        write_json(tmp_path / "altered" / "run.json", {**record, **said})
        return tmp_path / "altered"

    return alter


def test_an_image_of_two_folders_is_listed_once_as_the_first_one_says(
    nights: tuple[Path, Path], format3_model: Path
) -> None:
    both, second = Worklist.open(nights, format3_model), Worklist.open(nights[1], format3_model)
    assert [folder.name for folder in both.folders] == ["monday", "tuesday"]
    assert [(case.folder, case.path) for case in both.cases] == [
        (0, "0.dcm"), (0, "1.dcm"), (0, "2.dcm"), (1, "new.dcm"), (1, "other.dcm"),
    ]  # fmt: skip
    (repeated,) = both.unscored
    assert (repeated.folder, repeated.row, repeated.status) == (1, 2, "duplicate")
    assert repeated.reason == "The same image as row 2 of monday, which is listed."
    copy = next(case for case in second.cases if case.path == "copy.dcm")
    assert both.find(copy.key) == both.cases[0] and both.locate(both.cases[3]) == both.folders[1].root / "new.dcm"
    assert [(case.image, case.images) for case in both.cases] == [(number, 5) for number in range(1, 6)]  # one patient
    assert [(case.study_date, case.laterality) for case in both.cases[2:4]] == [("", ""), ("20261127", "L")]
    again = Recomputation.open(nights, format3_model, device="cpu")
    assert again.open_case(both.cases[3]).case == both.cases[3]


def test_verdicts_keep_their_names_unless_two_images_share_one(nights: tuple[Path, Path], format3_model: Path) -> None:
    both, alone = Worklist.open(nights, format3_model), Worklist.open(nights[0], format3_model)
    names = {case.path: case.verdict_key for case in alone.cases}
    first, clash, third, new, other = both.cases
    assert (first.verdict_key, third.verdict_key) == (names["0.dcm"], names["2.dcm"]) == ("2.25.1", "2.25.3")
    assert new.verdict_key == "2.25.7"
    assert (clash.verdict_key, other.verdict_key) == (clash.sha256, other.sha256)
    assert clash.status == other.status == "review" and clash.review[0] == other.review[0]


def test_folders_that_are_not_alike_are_refused_by_name(
    nights: tuple[Path, Path], format3_model: Path, altered: Callable[..., Path]
) -> None:
    with pytest.raises(UsageError, match=r"monday is named twice"):
        Worklist.open([nights[0], nights[0]], format3_model)
    forward = json.loads((nights[1] / "run.json").read_text(encoding="utf-8"))["forward"]
    for said, complaint in (
        ({"model_id": "resnet18-0"}, "altered was scored by model resnet18-0"),
        ({"pseudonym_key": "0" * 8}, "altered and .*monday hold pseudonyms of different keys"),
        ({"forward": {**forward, "precision": "bf16"}}, "altered was scored in bf16, and .*monday in float32"),
        ({"decode": "reduced"}, "altered was scored decoding reduced"),
    ):
        folder = altered(**said)
        with pytest.raises(UsageError, match=complaint):
            Worklist.open([nights[0], folder], format3_model)
        shutil.rmtree(folder)


def test_folders_are_told_apart_by_as_little_as_suffices() -> None:
    assert folder_names([Path("/a/x"), Path("/b/x"), Path("/b/y")]) == ("a/x", "b/x", "b/y")
    assert folder_names([Path("/a")]) == ("a",)


def test_verdicts_of_a_list_are_the_first_folder_s_and_another_one_s_are_not_passed_over(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    assert store_of([one]) == store_of([one, other]) == default_store(one)
    (other / "reviews.db").touch()
    assert store_of([other]) == store_of([other, one]) == default_store(other)
    with pytest.raises(UsageError, match="other has verdicts of its own"):
        store_of([one, other])
