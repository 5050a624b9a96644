"""Personal data stand where SECURITY.md says, and nowhere else: every verb, as it succeeds and as it fails.

The verbs are those of the command line: a new one without a recipe here fails the first test.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
import struct
import zipfile
import zlib
from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd
import pytest

from medres import cli
from medres.imaging.pictures import write_png
from medres.review.server import default_store
from medres.review.store import ReviewStore, Verdict
from medres.review.verdicts.record import Mark
from medres.review.verdicts.scored import read_scored
from tests.conftest import Medres
from tests.support import canaries
from tests.support.canaries import mark, marks_in, write_marked_cohort
from tests.support.recipes import TINY, TOKEN

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "SECURITY.md"
COST = (*TINY, *TOKEN)
LABEL = ("--label", "disc")
TWO = ("--architectures", "resnet18,resnet34", "--seeds", "1")


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the walk through the verbs."""

    verb: str
    arguments: tuple[object, ...]
    code: int = 0

    @property
    def made(self) -> bool:
        """Whether it trains, and its networks are made."""
        return self.verb in {"train", "crossval", "depth"} and self.code == 0


def steps(images: Path, out: Path) -> list[Step]:
    """Each verb as it succeeds, and as it fails over these files; in that order, for one needs what others wrote."""
    manifest, model, run = out / "index" / "manifest.csv", out / "train" / "model", out / "crossval" / "run"
    sound = images / f"{mark('file name', 0)} 0.dcm"
    cut = images / f"{mark('file name', 91)} cut.dcm"
    scores, said = out / "score" / "scores", out / "verdicts"
    again = ("--splits", run / "splits.json", "--set=seed=1")
    found = [
        Step("index", (images, "--labels", out / "labels.csv", "--out", manifest), 3),
        Step("index", (images, "--out", manifest), 2),
        Step("check", (manifest, "--out", out / "check" / "sound")),
        Step("check", (out / "twice.csv", "--out", out / "check" / "leaks"), 3),
        Step("split", (manifest, *LABEL, "--folds", 2, "--out", out / "split" / "splits.json")),
        Step("split", (out / "twice.csv", *LABEL, "--out", out / "split" / "no.json"), 2),
        Step("train", (manifest, *LABEL, "--out", model, *COST)),
        Step("train", (manifest, "--label", "no", "--out", out / "train" / "no", *COST), 2),
        Step("crossval", (manifest, *LABEL, "--out", run, *COST)),
        Step("crossval", (manifest, *LABEL, "--out", out / "crossval" / "other", *COST, *again)),
        Step("crossval", (manifest, *LABEL, "--splits", manifest, "--out", out / "no", *COST), 2),
        Step("heatmap-check", (model, "--run", run)),
        Step("heatmap-check", (model, manifest), 2),
        Step("accuracy-check", (model, manifest, "--precision", "bf16"), 2),
        Step("evaluate", (model, manifest, "--allow-overlap", "--out", out / "evaluate" / "external"), 3),
        Step("evaluate", (model, manifest, "--out", out / "evaluate" / "no"), 2),
        Step("compare", (run, out / "crossval" / "other", "--no-timing", "--out", out / "compare" / "comparison")),
        Step("compare", (run, images, "--out", out / "compare" / "no"), 2),
        Step("depth", (manifest, *LABEL, "--out", out / "depth" / "study", *TWO, *COST)),
        Step("depth", (manifest, *LABEL, "--out", out / "depth" / "no", "--architectures", "resnet18", *COST), 2),
        Step("report", (run,)),
        Step("report", (images,), 2),
        Step("inspect", (model,)),
        Step("inspect", (images,), 2),
        Step(
            "score",
            (model, images, "--heatmaps", "--deidentify", "--studies", "max", "--out", out / "score" / "scores"),
            3,
        ),
        Step("score", (model, images, "--out", images / "no"), 2),
        Step("render", (sound, "--out", out / "render" / "image.png")),
        Step("render", (cut, "--out", out / "render" / "no.png"), 3),
        Step("explain", (model, sound, *LABEL, "--show-anyway", "--out", out / "explain" / "heatmap.png")),
        Step("explain", (model, cut, *LABEL, "--out", out / "explain" / "no.png"), 3),
        Step("explain", (model, images, "--format", "npy", "--out", out / "explain" / "folder"), 3),
        Step("demo", ("--no-app", "--out", images), 2),
        Step("app", ("--model", model, "--scores", images), 2),
        Step("verdicts", ("backup", "--scores", scores, "--out", said / "backup.db")),
        Step("verdicts", ("verify", "--scores", scores, "--against", said / "backup.db")),
        Step("verdicts", ("export", "--scores", scores, "--manifest", "majority", "--out", said / "export")),
        Step("verdicts", ("export", "--scores", scores, "--manifest", "Nobody", "--out", said / "no"), 2),
        Step("verdicts", ("restore", said / "backup.db", "--scores", scores), 2),
        Step("doctor", ("--help",)),
        Step("export", (model, "--out", out / "export" / "model")),
        Step("export", (images, "--out", out / "export" / "no"), 2),
        Step("sign", (model, "--new-key", out / "sign" / "key.pem")),
        Step("sign", (images, "--key", out / "sign" / "key.pem"), 2),
    ]
    return [step for step in found if step.verb in cli.medres.commands]


def test_every_verb_of_the_command_line_has_a_recipe() -> None:
    assert {step.verb for step in steps(Path("a"), Path("b"))} == set(cli.medres.commands)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table of personal data in SECURITY.md."""

    names: frozenset[str]
    places: tuple[str, ...]

    def allows(self, name: str, place: str) -> bool:
        return name in self.names and any(fnmatch(place, pattern) for pattern in self.places)


def table() -> list[Row]:
    section = TABLE.read_text(encoding="utf-8").partition("## Where personal data stand\n")[2]
    lines = re.findall(r"^\| (.+?) \| (.+?) \| .+ \|$", section, re.MULTILINE)[2:]
    return [
        Row(frozenset(re.findall(r"`([^`]+)`", names)), tuple(re.findall(r"`([^`]+)`", places)))
        for names, places in lines
    ]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, medres: Medres) -> dict[str, set[str]]:
    """What is marked in each file, and on each stream of each verb, by its place."""
    folder = tmp_path_factory.mktemp("marked")
    images, out = write_marked_cohort(folder / "in"), folder / "out"
    out.mkdir()
    uids = [f"{canaries._uid('SOPInstanceUID', patient)},{(patient + 1) % 2}" for patient in range(canaries.PATIENTS)]
    (out / "labels.csv").write_text("\n".join(["SOPInstanceUID,label_disc", *uids]) + "\n", encoding="utf-8")
    said: dict[str, set[str]] = defaultdict(set)
    wrong: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("cache", "tmp", "home", "log"):
            (out / name).mkdir()
        patch.setenv("MEDRES_CACHE", str(out / "cache"))
        patch.setenv("TMPDIR", str(out / "tmp"))
        patch.setenv("HOME", str(out / "home"))
        for step in steps(images, out):
            if step.verb == "check" and not (out / "twice.csv").exists():
                known = pd.read_csv(out / "index" / "manifest.csv", dtype=str)
                pd.concat([known, known.head(2)]).to_csv(out / "twice.csv", index=False)
            if step.verb == "verdicts" and not (out / "verdicts").exists():
                _judge_all(out / "score" / "scores")
            (out / step.verb).mkdir(exist_ok=True)
            logged = ("--log-file", out / "log" / f"{step.verb}.log")
            done = medres("--debug", *logged, step.verb, *step.arguments, cwd=out, made="disc" if step.made else None)
            if done.returncode != step.code:
                wrong.append(f"{step}: {done.returncode}\n{done.stdout}{done.stderr[-3000:]}")
            said[f"{step.verb}: stdout"] |= marks_in(done.stdout.encode())
            said[f"{step.verb}: stderr"] |= marks_in(done.stderr.encode())
    assert not wrong, "\n\n".join(wrong)
    for path in sorted(out.rglob("*")):
        place = path.relative_to(out).as_posix()
        if path.is_file() and place not in {"labels.csv", "twice.csv"}:
            said[place] |= marks_in(path.read_bytes()) | marks_in(place.encode())
    return {place: names for place, names in said.items() if names}


def _judge_all(scores: Path) -> None:
    """A verdict on every scored image, with all that a reader can say."""
    scored = read_scored(scores)
    with ReviewStore.open(default_store(scores)) as store:
        for image in scored.images:
            said = Verdict(image, scored.model_id, "disc", "disagree", "Dr. A", "text", marks=(Mark("point", 1, 2),))
            store.save(said, expected_revision=0)


def test_personal_data_stand_where_the_table_says_and_nowhere_else(
    found: dict[str, set[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table()
    outside = {
        (name, place)
        for place, names in found.items()
        for name in names
        if not any(row.allows(name, place) for row in rows)
    }
    with capsys.disabled():
        print(f"\n{len(found)} places hold personal data of {canaries.PATIENTS} patients; {len(outside)} not allowed:")
        for row in rows:
            held = sorted({place for place, names in found.items() for name in names if row.allows(name, place)})
            print(f"  {', '.join(sorted(row.names))}: {', '.join(held)}")
        for name, place in sorted(outside):
            print(f"  NOT ALLOWED {name}: {place}")
    assert outside == set()


def test_the_table_promises_nothing_that_does_not_happen(found: dict[str, set[str]]) -> None:
    stale = [
        (name, pattern)
        for row in table()
        for name in row.names
        for pattern in row.places
        if not any(name in names and fnmatch(place, pattern) for place, names in found.items())
    ]
    assert stale == []


def test_the_readme_leads_to_the_table() -> None:
    assert "(SECURITY.md#where-personal-data-stand)" in (ROOT / "README.md").read_text(encoding="utf-8")


SECRET = mark("PatientName", 5)


def _zip(content: bytes) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x", content)
        return file.getvalue()


def _chunk(content: bytes) -> bytes:
    body = b"zTXtComment\0\0" + zlib.compress(content)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(body) - 4) + body + b"\0\0\0\0"


def _parquet(folder: Path) -> bytes:
    pd.DataFrame({"a": [SECRET]}).to_parquet(folder / "x.parquet", compression="zstd")
    return (folder / "x.parquet").read_bytes()


def test_a_mark_is_found_in_whatever_it_is_wrapped(tmp_path: Path) -> None:
    text = f"so says {SECRET}, "
    shapes = {
        "utf-8": text.encode(), "utf-16": text.encode("utf-16"), "big-endian": text.encode("utf-16-be"),
        "lower": text.lower().encode(), "zip": _zip(text.encode()), "nested": _zip(_zip(text.encode())),
        "gzip": gzip.compress(text.encode()), "chunk": _chunk(text.encode()), "parquet": _parquet(tmp_path),
        "page": b'<img src="data:x;base64,' + base64.b64encode(_chunk(text.encode() * 9)) + b'">',
    }  # fmt: skip
    assert {name: "PatientName" in marks_in(content) for name, content in shapes.items()} == dict.fromkeys(shapes, True)
    for shift in range(3):
        assert marks_in(base64.b64encode(b"x" * shift + text.encode())) == {f"encoded: {canaries.STEM}"}
    assert marks_in(text.encode().hex().encode()) == {f"encoded: {canaries.STEM}"}
    assert "PatientID, unkeyed hash" in marks_in(hashlib.sha256(mark("PatientID", 2).encode()).hexdigest().encode())
    assert marks_in(b"1903-04-07") == {"PatientBirthDate"}


def test_an_image_of_noise_holds_no_mark(tmp_path: Path) -> None:
    import numpy as np

    write_png(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (200, 200)).astype(np.uint8))
    assert marks_in((tmp_path / "a.png").read_bytes()) == set()
