"""What is written is as private as what it holds, under any umask, and no planted link leads it astray."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from medres import cli
from medres.cohort.cache import cached_pixels
from medres.cohort.manifest import read_manifest
from medres.cohort.pseudonyms import pseudonym_key
from medres.config import Gate, Limits, Preprocessing
from medres.errors import MedresError, OutputExists, StoreError
from medres.files import (
    GROUP_READABLE,
    ensure_file,
    group_readable,
    make_folder,
    new_folder,
    refuse_links,
    remove_leftovers,
    replaced,
    write_bytes,
    write_new,
)
from medres.imaging.pictures import write_png
from medres.model.attachments import attach
from medres.model.card import CARD_FILE
from medres.model.inspection import inspect_folder, read_card
from medres.review.store import ReviewStore
from medres.scoring.ledger import Ledger
from medres.tables import read_csv, read_json, write_csv, write_json
from medres.unfinished import IDENTITY, lock, resumable_folder, unfinished_folder
from tests.support.format3 import linked_copy
from tests.support.made import made_networks
from tests.support.models import saved_again
from tests.support.recipes import MADE, TINY, TOKEN

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and links")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


MASKS = [0o000, 0o022, 0o027, 0o077]


@pytest.mark.parametrize("mask", MASKS, ids=oct)
@pytest.mark.parametrize("group", [False, True], ids=["owner", "group"])
def test_private_is_the_rule_and_the_umask_takes_from_what_is_asked(tmp_path: Path, mask: int, group: bool) -> None:
    with umask(mask), group_readable(group):
        write_bytes(tmp_path / "file", b"x")
        write_bytes(tmp_path / "model", b"x", private=False)
        ensure_file(tmp_path / "database")
        write_new(tmp_path / "key", b"x")
        make_folder(tmp_path / "folder")
        make_folder(tmp_path / "bundle", private=False)
        building = new_folder(tmp_path, "building-")
    wanted = {"file": 0o640, "database": 0o640} if group else {"file": 0o600, "database": 0o600}
    wanted |= {"folder": 0o750 if group else 0o700, building.name: 0o750 if group else 0o700}
    wanted |= {"model": 0o666, "bundle": 0o777, "key": 0o600}
    assert {name: mode(tmp_path / name) for name in wanted} == {name: bits & ~mask for name, bits in wanted.items()}
    assert GROUP_READABLE not in os.environ


def test_what_replaces_a_wide_file_is_private(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o644)
    write_bytes(tmp_path / "file", b"x")
    assert mode(tmp_path / "file") == 0o600


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"old")
    with pytest.raises(ZeroDivisionError), replaced(tmp_path / "file") as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


def test_leftovers_of_a_killed_write_are_swept_away_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for name in (".oof.csv.0123456789abcdef.partial", "models/.x.0123456789abcdef.partial", "oof.csv", ".x.partial"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".x.partial", "models", "oof.csv"]


def run(*arguments: object) -> None:
    """A verb in this process, so that its umask is ours; exit codes 0 and 3 pass."""
    try:
        cli.medres.main([*map(str, arguments)], standalone_mode=False)
    except SystemExit as done:
        assert done.code in (0, 3)


def other_seed(run: Path, copy: Path) -> None:
    """A run as another seed would have made it."""
    shutil.copytree(run, copy)
    record = read_json(copy / "run.json")
    write_json(copy / "run.json", record | {"seed": 1, "config": record["config"] | {"seed": 1}})
    table = read_csv(copy / "oof.csv")
    table["prob_disc"] = table["prob_disc"].astype(float) * 0.5 + 0.25 * table["label_disc"].astype(float)
    write_csv(copy / "oof.csv", table)


def cohort_verbs(cohort: Path, out: Path, *more: str) -> set[str]:
    """Every verb that needs a cohort, once; names that must be among the files."""
    manifest, model = out / "manifest.csv", out / "model"
    run("index", cohort.parent / "images", "--out", manifest, "--labels", cohort, *more)
    run("check", manifest, "--out", out / "leaks", *more)
    asked = (manifest, "--label", "disc")
    run("split", *asked, "--folds", 2, "--out", out / "splits.json", *more)
    small = (*TINY, *TOKEN, *MADE, "--set=training.patience=1", *more)
    run("train", *asked, "--out", model, "--tensorboard", *small)
    run("crossval", *asked, "--out", out / "run", *small)
    run("report", out / "run", *more)
    with group_readable(bool(more)):
        other_seed(out / "run", out / "run-1")
    run("compare", out / "run", out / "run-1", "--no-timing", "--out", out / "compared", *more)
    run("evaluate", model, manifest, "--allow-overlap", "--out", out / "external", *more)
    return {
        "manifest.csv", "refused.csv", "splits.json", "oof.csv", "report.html", "gallery.csv", "leaks.csv",
        "recalibrated.csv", "comparison.csv", "history.jsonl", "run.json",
    }  # fmt: skip


def file_verbs(model: Path, images: Path, out: Path, *more: str) -> set[str]:
    """Every verb that needs a model and files, once; names that must be among the files."""
    scored, one = out / "scored", images / "0000.dcm"
    run("score", model, images, "--out", scored, "--heatmaps", "--allow-burned-in", "--deidentify", *more)
    run("render", one, "--out", out / "one.png", "--allow-burned-in", *more)
    run("render", one, "--out", out / "one.npy", *more)
    asked = ("--label", "disc", "--show-anyway", "--allow-burned-in")
    run("explain", model, one, *asked, "--out", out / "map.png", *more)
    with group_readable(bool(more)):
        ReviewStore.open(f"sqlite:///{scored / 'reviews.db'}").close()
    run("export", model, "--out", out / "exported")
    run("sign", out / "exported", "--new-key", out / "key.pem")
    assert list((scored / "heatmaps").glob("*.png"))
    return {
        "predictions.csv", "predictions.parquet", "predictions.deidentified.csv", "000000.parquet", "reviews.db",
        "pseudonym.key", "key.pem", "one.png", "one.npy", "map.png",
    }  # fmt: skip


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for outputs, the cache and the user's key."""
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setenv("MEDRES_CACHE", str(folder / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.delenv("MEDRES_PSEUDONYM_KEY")
    return folder


WIDE = ("exported", "key.pub.pem")
"""What is for everybody; and in a model's folder what its card covers."""


def wide(out: Path) -> set[Path]:
    """Files and folders that hold no identifiers, pixels or keys: the umask decides."""
    found = {path for name in WIDE for path in (out / name, *(out / name).rglob("*")) if path.exists()}
    found |= {path for folder in out.rglob("attachments") for path in (folder, *folder.iterdir())}
    for card in [path for path in out.rglob(CARD_FILE) if path.parent not in found]:
        home = card.parent
        covered = {home / one.path for one in inspect_folder(home, read_card(home)) if one.state == "covered"}
        found |= covered | {path.parent for path in covered if path.parent != home}
        found |= {home / "tensorboard", *(home / "tensorboard").glob("*")}
        found |= {home.parent} if home.parent.name == "models" else set()  # of a run, which is private itself
    return found


def judge(out: Path, *, mask: int, group: bool = False, among: set[str]) -> None:
    """Print the table of all modes below a folder, and make sure that each is what it should be."""
    public, above = wide(out), {out / "cache", out / "config"}  # above what is private the umask decides, too
    wrong = []
    for path in sorted(out.rglob("*")):
        if path in public | above:
            wanted = (0o777 if path.is_dir() else 0o666) & ~mask
        elif path.is_dir():
            wanted = 0o750 if group else 0o700
        else:
            wanted = 0o640 if group and path.name not in {"key.pem", "pseudonym.key"} else 0o600
        line = f"{mask:03o} {mode(path):03o} {path.relative_to(out)}"
        print(line)
        if mode(path) != wanted:
            wrong.append(f"{line}: should be {wanted:03o}")
    assert not wrong, "\n".join(wrong)
    assert among <= {path.name for path in out.rglob("*")}


@pytest.mark.parametrize("mask", [0o022, 0o077], ids=["022", "077"])
def test_what_scoring_writes_is_for_its_owner(
    format3_model: Path, small_cohort: Path, out: Path, mask: int, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(2):
        shutil.copy(small_cohort.parent / "images" / f"{number:04d}.dcm", images)
    with umask(mask):
        names = file_verbs(format3_model, images, out)
    judge(out, mask=mask, among=names)


def test_what_training_writes_is_for_its_owner(small_model: Path, small_run: Path) -> None:
    os.umask(mask := os.umask(0))  # they were made with ours
    for folder, names in ((small_model, {"splits.json", "refused.csv"}), (small_run, {"oof.csv", "gallery.csv"})):
        assert mode(folder) == 0o700
        judge(folder, mask=mask, among=names)


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("mask", "more"),
    [(0o022, ()), (0o077, ()), (0o022, ("--group-readable",))],
    ids=["022", "077", "022-group"],
)
def test_no_verb_writes_anything_personal_that_others_can_read(
    small_cohort: Path, out: Path, mask: int, more: tuple[str, ...]
) -> None:
    """The whole table: `pytest -n0 -s -m sweep tests/test_files.py` prints it."""
    with umask(mask), made_networks():
        names = cohort_verbs(small_cohort, out, *more)
        names |= file_verbs(out / "model", small_cohort.parent / "images", out, *more)
    judge(out, mask=mask, group=bool(more), among=names | {"pixels.npy", "index.json"})


def test_every_verb_that_writes_offers_to_let_the_group_read() -> None:
    for name, verb in cli.medres.commands.items():
        options = {option for parameter in verb.params for option in parameter.opts}
        if ("--out" in options and name != "export") or name in {"app", "report"}:
            assert "--group-readable" in options, name


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder that nothing may touch, with a file that looks like medres's in every respect."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("000000.csv", "x.png", "precious.txt", "checkpoint.pt", "reviews.db", "medres.json"):
        (folder / name).write_text("precious")
    write_json(folder / IDENTITY, {})
    before = {path: (path.read_bytes(), path.lstat().st_mtime_ns) for path in folder.rglob("*")}
    yield folder
    assert {path: (path.read_bytes(), path.lstat().st_mtime_ns) for path in folder.rglob("*")} == before


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("inside", ["", "models", "models/fold-0", "splits.json", ".lock", ".lock.holder", IDENTITY])
def test_an_unfinished_folder_leads_nowhere_else(
    tmp_path: Path, elsewhere: Path, inside: str, resume: bool, force: bool
) -> None:
    out = tmp_path / "run"
    building = unfinished_folder(out)
    if inside:
        building.mkdir()
        write_json(building / IDENTITY, {})
        place = building / inside
        place.parent.mkdir(exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(elsewhere if "." not in inside else elsewhere / "precious.txt")
    else:
        building.symlink_to(elsewhere)
    with (
        pytest.raises(OutputExists, match="is a link"),
        resumable_folder(out, identity={}, resume=resume, force=force) as folder,
    ):
        (folder / "x").touch()
    assert not out.exists()


def _lock(home: Path, elsewhere: Path) -> None:
    (home / ".lock").symlink_to(elsewhere / "precious.txt")
    lock(home)


def _parts(home: Path, elsewhere: Path) -> None:
    write_json(home / "run.json", {})
    (home / "parts").symlink_to(elsewhere)
    with Ledger(home, ["path"], resume=False, force=True) as ledger:
        ledger.append([{"path": "x"}])


def _heatmaps(home: Path, elsewhere: Path) -> None:
    write_json(home / "run.json", {})
    (home / "heatmaps").symlink_to(elsewhere)
    with Ledger(home, ["path"], resume=False, force=True):
        pass


def _store(home: Path, elsewhere: Path) -> None:
    (home / "reviews.db").symlink_to(home / "nowhere.db")
    ReviewStore.open(f"sqlite:///{home / 'reviews.db'}").close()


def _folder(home: Path, elsewhere: Path) -> None:
    (home / "tables").symlink_to(elsewhere)
    make_folder(home / "tables")


def _tree(home: Path, elsewhere: Path) -> None:
    (home / "deep").mkdir()
    (home / "deep" / "link").symlink_to(elsewhere)
    refuse_links(home)


def _file(home: Path, elsewhere: Path) -> None:
    (home / "pixels.npy").symlink_to(elsewhere / "precious.txt")
    ensure_file(home / "pixels.npy")


@pytest.mark.parametrize("plant", [_lock, _parts, _heatmaps, _store, _folder, _tree, _file])
def test_a_planted_link_is_refused_by_its_name(
    tmp_path: Path, elsewhere: Path, plant: Callable[[Path, Path], None]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with pytest.raises((OutputExists, StoreError), match="is a link"):
        plant(home, elsewhere)
    assert not (home / "nowhere.db").exists()


def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path, elsewhere: Path) -> None:
    for write in (lambda path: write_bytes(path, b"x"), lambda path: write_png(path, np.zeros((4, 4), np.uint8))):
        place = tmp_path / "file.png"
        place.symlink_to(elsewhere / "x.png")
        write(place)
        assert not place.is_symlink()
        place.unlink()


def test_a_cache_that_is_built_leads_nowhere_else(small_cohort: Path, tmp_path: Path, elsewhere: Path) -> None:
    """The place where a cache is built can be foreseen by whoever has the images."""
    rows = read_manifest(small_cohort, ["disc"]).rows[:2]
    made = tmp_path / "made"
    spec = Preprocessing(size=32)
    cached_pixels(rows, spec, gate=Gate(name="any"), limits=Limits(), folder=made)
    [home] = [path for path in (made / "pixels").iterdir() if path.is_dir()]
    caches = tmp_path / "caches"
    (caches / "pixels").mkdir(parents=True)
    (caches / "pixels" / f"{home.name}.building").symlink_to(elsewhere)
    with pytest.raises(MedresError, match="is a link"):
        cached_pixels(rows, spec, gate=Gate(name="any"), limits=Limits(), folder=caches)


def test_an_attachment_and_a_key_do_not_follow_a_link(
    format3_model: Path, tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = linked_copy(format3_model, tmp_path / "model")
    (model / "attachments").symlink_to(elsewhere)
    with pytest.raises(OutputExists, match="is a link"):
        attach(model, "licence", {})
    monkeypatch.delenv("MEDRES_PSEUDONYM_KEY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "medres").symlink_to(elsewhere / "none")
    with pytest.raises(OutputExists, match="is a link"):
        pseudonym_key()


def test_a_model_is_not_saved_through_a_link(format3_model: Path, tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "configs").symlink_to(elsewhere)
    with pytest.raises(OutputExists, match="is a link"):
        saved_again(format3_model, tmp_path / "model")
