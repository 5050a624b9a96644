"""Whatever names, tables, models, runs and stores hold: nothing of it runs, is rendered, or ends in a traceback."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import logging
import os
import pickle
import re
import shutil
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medres import cli
from medres.report.run_page import write_report
from medres.safe_text import UNSAFE
from tests.support.payloads import MARK, PAYLOADS
from tests.support.phantoms import blob, write_cohort, write_radiograph
from tests.support.runs import write_run

Told = tuple[int, str, str]  # exit code, standard output, standard error
RAN: list[str] = []


class Code:
    """Unpickled, it runs."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return RAN.append, ("code of a file",)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Told]]:
    """The command line in this process: what it says, and the exit code."""
    handlers, level = logging.root.handlers[:], logging.root.level
    termination = signal.getsignal(signal.SIGTERM)

    def tell(*arguments: object) -> Told:
        output, errors = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["medres", *map(str, arguments)])
            patch.setattr(sys, "stdout", output)
            patch.setattr(sys, "stderr", errors)
            with pytest.raises(SystemExit) as ended:
                cli.main()
        return int(ended.value.code or 0), output.getvalue(), errors.getvalue()

    yield tell
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    for name in logging.root.manager.loggerDict:
        if name.startswith(("ignite", "monai", "pydicom", "torch", "matplotlib", "PIL")):
            logging.getLogger(name).setLevel(logging.NOTSET)
    signal.signal(signal.SIGTERM, termination)


def assert_said(told: Told, *codes: int) -> None:
    """One clear sentence, a documented exit code, and nothing that steers a terminal."""
    code, output, errors = told
    assert code in codes, (code, output, errors)
    assert "Traceback" not in output + errors
    assert "unexpected" not in errors, errors
    if code in {1, 2}:
        lines = [line for line in errors.splitlines() if line.startswith(("medres:", "Error:"))]
        assert len(lines) == 1, errors
        assert 10 < len(lines[0]) < 3000
    assert not UNSAFE.search((output + errors).replace("\n", " ").replace("\t", " "))
    assert RAN == []


class Structure(html.parser.HTMLParser):
    """Which elements a page has, each with the names of its attributes; and where the mark stands."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: Counter[str] = Counter()
        self.marked: Counter[str] = Counter()
        self.inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements[f"{tag} {' '.join(sorted(name for name, _ in attributes))}"] += 1
        self.inside = tag
        for name, value in ((tag, tag), *attributes):
            if MARK in name.lower():
                self.marked["a name"] += 1
            if MARK in str(value).lower() and name in {"href", "src", "style", "action", "srcdoc", "xlink:href"}:
                self.marked[f"the attribute {name}"] += 1
            if name.startswith("on"):
                self.marked[f"the attribute {name}"] += 1

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside in {"script", "style"} and MARK in data:
            self.marked[f"the element {self.inside}"] += 1

    def handle_comment(self, data: str) -> None:
        if MARK in data:
            self.marked["a comment"] += 1


def harmless(payload: str) -> str:
    return f"plain {PAYLOADS.index(payload)}"


def _run_of(folder: Path, say: Callable[[str], str]) -> str:
    """The page of a run that says something hostile wherever a text of others can stand."""
    from tests.test_summary import out_of_fold

    table = out_of_fold(label="effusion", folds=3)
    texts = [say(payload) for payload in PAYLOADS if "\0" not in payload]
    several = (texts * (len(table) // len(texts) + 1))[: len(table)]
    table["InstitutionName"], table["Manufacturer"] = several, [say(PAYLOADS[0])] * len(table)
    table["ViewPosition"] = [say(PAYLOADS[place % 3]) for place in range(len(table))]
    run = write_run(folder / "run", table=table)
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    everything = " ".join(texts)
    record |= {"command": everything, "recipe": everything, "device": everything, "git_commit": everything}
    record["manifest"]["name"] = everything
    record["network"] |= {"weights": everything, "architecture": everything, "input": everything}
    record["environment"] = {text: text for text in texts}
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    refused = {"path": texts, "status": "refused", "reason": "TRUNCATED", "detail": texts}
    pd.DataFrame(refused).to_csv(run / "refused.csv", index=False)
    return write_report(run).read_text(encoding="utf-8")


def test_no_payload_becomes_an_element_or_an_attribute_of_a_run_s_page(tmp_path: Path) -> None:
    assert len(PAYLOADS) > 100
    page, plain = (Structure(_run_of(tmp_path / name, say)) for name, say in (("a", str), ("b", harmless)))
    assert not page.marked
    assert page.elements == plain.elements


@pytest.fixture(scope="module")
def hostile_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest in which a payload is a PatientID, a file's name (where one can be) and a label's column."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = []
    for number, payload in enumerate(PAYLOADS):
        name = re.sub(r"[/\0]", "_", payload).encode()[:240].decode(errors="ignore").strip(".") or "x"
        source = number // 2  # two patients share an image
        path = write_radiograph(
            folder / "images" / f"{number:03d} {name}", blob(source, bright=source % 2 == 0), patient="P",
            uid=f"2.25.{number + 1}",
        )  # fmt: skip
        rows.append({"path": f"images/{path.name}", "PatientID": f"{payload} {number}", f"label_{payload[:40]}": "1"})
    table = pd.DataFrame(rows).fillna("0").rename(columns=lambda name: name.replace("\0", "0"))
    table["path"] = [f"images/{name}" for name in sorted(path.name for path in (folder / "images").iterdir())]
    table.to_csv(folder / "manifest.csv", index=False, quoting=csv.QUOTE_ALL)
    return folder / "manifest.csv"


def cells(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            yield from row


def assert_inert(path: Path) -> None:
    bad = [cell for cell in cells(path) if cell.startswith(("=", "+", "-", "@", "\t", "\r")) and not _number(cell)]
    assert bad == []


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_payloads_as_patients_names_of_files_and_labels_stay_text(
    hostile_cohort: Path, tmp_path: Path, told: Callable[..., Told]
) -> None:
    assert_said(told("check", hostile_cohort, "--out", tmp_path / "leaks"), 3)
    page = Structure((tmp_path / "leaks" / "leaks.html").read_text(encoding="utf-8"))
    assert not page.marked
    assert_inert(tmp_path / "leaks" / "leaks.csv")
    assert_said(told("index", hostile_cohort.parent / "images", "--out", tmp_path / "manifest.csv"), 0, 3)
    assert_inert(tmp_path / "manifest.csv")
    assert_inert(tmp_path / "refused.csv")
    assert len(list(cells(tmp_path / "manifest.csv"))) > len(PAYLOADS)


@pytest.mark.parametrize(
    "payload", ["../../escape", "<b>x", "=1+1", "\x1b[31mred", "a\u202eb", "x" * 255, "", "..", "a\0b"]
)
def test_a_hostile_label_stays_in_its_folder(payload: str, tmp_path: Path, told: Callable[..., Told]) -> None:
    manifest = write_cohort(tmp_path / "cohort", patients=12, images=1)
    text = manifest.read_text(encoding="utf-8").replace("label_disc", f"label_{payload}")
    manifest.write_text(text, encoding="utf-8")
    out = tmp_path / "out" / "splits.json"
    assert_said(told("split", manifest, "--label", payload, "--folds", 2, "--out", out), 0, 2)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {
        "manifest.csv", "splits.json", *(f"{number:04d}.dcm" for number in range(12)),
    }  # fmt: skip
    if payload and "\0" not in payload:
        run = write_run(tmp_path / "run", label=payload)
        page = Structure(write_report(run).read_text(encoding="utf-8"))
        assert not page.elements["b "] - Structure(write_report(write_run(tmp_path / "r2")).read_text()).elements["b "]
        assert {path.name for path in tmp_path.iterdir()} <= {"cohort", "out", "run", "r2"}


PLACES = (
    "/etc/passwd",
    "\\\\host\\share\\a.dcm",
    "//host/share/a.dcm",
    "http://127.0.0.1:9/a.dcm",
    "file:///etc/passwd",
    "\\\\?\\C:\\a.dcm",
    "C:\\a.dcm",
    "../../../../etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/mem",
    "fifo",
    "link",
    "a" * 5000,
    "loop/x",
    "~/a.dcm",
    "$HOME/a.dcm",
    "data:x",
    "s3://bucket/a.dcm",
    ".",
    "",
)


@pytest.mark.skipif(os.name != "posix", reason="devices and FIFOs")
def test_a_manifest_may_name_any_place_and_gets_a_reason(tmp_path: Path, told: Callable[..., Told]) -> None:
    write_radiograph(tmp_path / "a.dcm", blob(1, bright=True), patient="1", uid="2.25.1")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    rows = "".join(f"{place},P{number}\n" for number, place in enumerate(("a.dcm", *PLACES)))
    (tmp_path / "manifest.csv").write_text(f"path,PatientID\n{rows}", encoding="utf-8")
    said = told("check", tmp_path / "manifest.csv")
    assert_said(said, 3)
    assert "root:" not in said[1] + said[2]


TABLES = {
    "nothing": b"",
    "one byte": b"\0",
    "no UTF-8": b"path,PatientID\n\xff\xfe,1\n",
    "NUL": b"path,PatientID\na\0b,1\n",
    "a quote": b'path,PatientID\n"a,1\n',
    "no columns": b"\n\n",
    "twice": b"path,path,PatientID\na,b,1\n",
    "UTF-16": "path,PatientID\na,1\n".encode("utf-16"),
    "wide": b"path," * 500 + b"PatientID\n" + b"a," * 500 + b"1\n",
    "long": b"path,PatientID\n" + b"a" * 2_000_000 + b",1\n",
    "more cells": b"path,PatientID\na,1,2,3\n",
    "zip": b"PK\x03\x04" + b"\0" * 99,
    "pickle": pickle.dumps([Code()]),
    "html": b"<html><script>x</script>",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_hostile_table_ends_in_one_sentence(name: str, tmp_path: Path, told: Callable[..., Told]) -> None:
    (tmp_path / "m.csv").write_bytes(TABLES[name])
    assert_said(told("check", tmp_path / "m.csv"), 2, 3)
    assert_said(told("split", tmp_path / "m.csv", "--label", "x", "--out", tmp_path / "s.json"), 2)
    assert not (tmp_path / "s.json").exists()


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
YAMLS = {
    "object": "!!python/object/apply:os.system ['touch ran']",
    "new": "!!python/object/new:os.system ['x']",
    "name": "x: !!python/name:os.system",
    "laughs": LAUGHS,
    "deep": "[" * 5000,
    "list": "- 1",
    "number": "1",
    "empty": "",
    "NUL": "a: \0",
    "no UTF-8": b"\xff\xfe".decode("latin-1"),
    "merge": "<<: *x",
    "binary": "a: !!binary x",
    "twice": "seed: 1\nseed: 2",
    "own key": "modality: [CR]\n__class__: x",
    "date": "2026-01-01: x",
    "inf": "seed: .inf",
    "tag": "!<tag:yaml.org,2002:python/tuple> []",
    "set": "? a",
    "documents": "a: 1\n---\nb: 2",
}


@pytest.mark.parametrize("name", YAMLS)
@pytest.mark.parametrize("verb", ["gate", "config", "source"])
def test_hostile_yaml_ends_in_one_sentence(
    name: str, verb: str, tmp_path: Path, told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(YAMLS[name], encoding="utf-8")
    write_radiograph(tmp_path / "in" / "a.dcm", blob(1, bright=True), patient="1", uid="2.25.1")
    (tmp_path / "m.csv").write_text("path,PatientID,label_x\nin/a.dcm,1,1\nin/a.dcm,2,0\n", encoding="utf-8")
    commands = {
        "gate": ("index", "in", "--out", "o.csv", "--gate", "x.yaml"),
        "config": ("train", "m.csv", "--label", "x", "--config", "x.yaml", "--out", "o"),
        "source": ("index", "in", "--out", "o.csv", "--source", "x.yaml"),
    }
    harmless = (0,) if verb == "gate" and name in {"empty"} else ()
    assert_said(told(*commands[verb]), 2, *harmless)
    assert not (tmp_path / "ran").exists()


DOCUMENTS = {
    "empty": b"",
    "no JSON": b"{",
    "list": b"[]",
    "number": b"1",
    "null": b"null",
    "object": b"{}",
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000,
    "NaN": b'{"labels": NaN}',
    "no UTF-8": b"\xff",
    "huge number": b'{"format": 1' + b"0" * 5000 + b"}",
    "texts": b'{"format": "x", "labels": "x", "model_id": 7}',
    "way out": b'{"labels": ["../../x"], "model_id": "../../x"}',
    "pickle": pickle.dumps(Code()),
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "surrogate": b'{"labels": ["\\ud800"]}',
}


@pytest.fixture(scope="module")
def some_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("some") / "run")


def test_hostile_models_runs_and_split_files_end_in_one_sentence(
    tmp_path: Path, told: Callable[..., Told], some_run: Path
) -> None:
    from medres.cohort.splits import read_splits
    from medres.errors import MedresError

    model, run = tmp_path / "model", shutil.copytree(some_run, tmp_path / "run")
    model.mkdir()
    for name, content in DOCUMENTS.items():
        (model / "medres.json").write_bytes(content)
        assert_said(told("inspect", model), 1, 2)
        for file in ("run.json", "metrics.json"):
            sound = (run / file).read_bytes()
            (run / file).write_bytes(content)
            assert_said(told("report", run), 0, 1, 2)  # 0: what is missing there is said on the page
            (run / file).write_bytes(sound)
        (tmp_path / "splits.json").write_bytes(content)
        with pytest.raises(MedresError) as refused:
            read_splits(tmp_path / "splits.json")
        assert 10 < len(str(refused.value)) < 3000, name


WEIGHTS = {
    "empty": b"",
    "a pickle": pickle.dumps({"x": Code()}),
    "a header without end": (2**63 - 1).to_bytes(8, "little") + b"{}",
    "no header": b"\xff" * 64,
    "offsets": None,
    "a link": None,
    "a folder": None,
    "a FIFO": None,
}


@pytest.mark.skipif(os.name != "posix", reason="links and FIFOs")
@pytest.mark.parametrize("name", WEIGHTS)
def test_hostile_weights_of_a_model_end_in_one_sentence(
    name: str, tmp_path: Path, told: Callable[..., Told], format3_model: Path
) -> None:
    model = shutil.copytree(format3_model, tmp_path / "model")
    (weights,) = model.glob("models/model.safetensors")
    content = WEIGHTS[name]
    weights.unlink()
    if name == "a link":
        weights.symlink_to("/etc/passwd")
    elif name == "a folder":
        weights.mkdir()
    elif name == "a FIFO":
        os.mkfifo(weights)
    elif name == "offsets":
        header = json.dumps({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
        weights.write_bytes(len(header).to_bytes(8, "little") + header)
    else:
        weights.write_bytes(content or b"")
    assert_said(told("inspect", model), 1, 2)


TABLES_OF_A_RUN = {name: content for name, content in TABLES.items() if name not in {"wide", "long"}}


def test_hostile_out_of_fold_tables_end_in_one_sentence(
    tmp_path: Path, told: Callable[..., Told], some_run: Path
) -> None:
    run = shutil.copytree(some_run, tmp_path / "run")
    for content in TABLES_OF_A_RUN.values():
        (run / "oof.csv").write_bytes(content)
        assert_said(told("report", run), 1, 2)


def _store(path: Path, *statements: str) -> str:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return f"sqlite:///{path}"


STORES: dict[str, Callable[[Path], str]] = {
    "a text": lambda path: f"sqlite:///{path}" if path.write_text("x" * 5000) else "",
    "noise": lambda path: f"sqlite:///{path}" if path.write_bytes(b"SQLite format 3\0" + os.urandom(5000)) else "",
    "a view": lambda path: _store(path, "create view verdicts as select 1"),
    "another schema": lambda path: _store(path, "create table verdicts (x)", "create table alembic_version (y)"),
    "a newer one": lambda path: _store(
        path, "create table alembic_version (version_num text)", "insert into alembic_version values ('v9999')"
    ),
    "many versions": lambda path: _store(
        path,
        "create table alembic_version (version_num text)",
        "insert into alembic_version values ('../x'), (x'00ff')",
    ),
    "a folder": lambda path: path.mkdir() or f"sqlite:///{path}",  # type: ignore[func-returns-value]
    "no place": lambda path: f"sqlite:///{path}/in/no/folder.db",
    "an address": lambda path: "http://127.0.0.1:9/x",
    "a driver": lambda path: "mysql+os://x",
    "nothing": lambda path: "://",
    "markup": lambda path: "<script>://\x1b[31m",
}


@pytest.mark.parametrize("name", STORES)
def test_a_hostile_store_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    from medres.errors import StoreError
    from medres.review.store import ReviewStore

    with pytest.raises(StoreError) as refused, ReviewStore.open(STORES[name](tmp_path / "reviews.db")) as store:
        store.latest("m")
    assert 10 < len(str(refused.value)) < 500
    assert "\n" not in str(refused.value)


SCORES = {
    "predictions.csv": TABLES_OF_A_RUN,
    "run.json": DOCUMENTS,
}


@pytest.mark.parametrize("file", SCORES)
def test_a_hostile_folder_of_scores_is_refused_by_the_app(file: str, tmp_path: Path, format3_model: Path) -> None:
    from medres.errors import MedresError
    from medres.review.cases import Worklist

    for name, content in SCORES[file].items():
        scores = tmp_path / name.replace(" ", "-")
        scores.mkdir()
        (scores / "predictions.csv").write_text("path,sha256,status,reason\n", encoding="utf-8")
        (scores / "run.json").write_text("{}", encoding="utf-8")
        (scores / file).write_bytes(content)
        try:
            Worklist.open(scores, format3_model)
        except MedresError as error:
            assert 10 < len(str(error)) < 2000, name
        else:
            pytest.fail(f"{name} was taken for a folder of scores")
    assert RAN == []


def test_results_to_resume_that_are_hostile_are_refused_or_made_anew(
    tmp_path: Path, told: Callable[..., Told], format3_model: Path
) -> None:
    write_radiograph(tmp_path / "in" / "a.dcm", blob(1, bright=True), patient="1", uid="2.25.1")
    for number, content in enumerate(DOCUMENTS.values()):
        out = tmp_path / f"out{number}"
        (out / "parts").mkdir(parents=True)
        (out / "run.json").write_bytes(content)
        (out / "parts" / "00000.csv").write_bytes(content)
        assert_said(told("score", format3_model, tmp_path / "in", "--out", out, "--resume"), 0, 1, 2)


OPTIONS = (
    ("index", "@", "--out", "o.csv", "--gate", "../../etc/passwd"),
    ("index", "@", "--out", "o.csv", "--source", "../../etc/passwd"),
    ("index", "@", "--out", "o.csv", "--limit", "seconds=nan"),
    ("index", "@", "--out", "o.csv", "--limit", "seconds=" + "9" * 400),
    ("index", "@", "--out", "o.csv", "--limit", "__class__=1"),
    ("index", "@", "--out", "o" * 300),
    ("index", "@", "--out", "o.csv", "--labels", "/dev/null"),
    ("index", "@", "--out", "/proc/x/o.csv"),
    ("render", "@/a.dcm", "--out", "../" * 60 + "dev/null/x.png"),
    ("render", "@/a.dcm", "--out", "o\x1b[31m.exe"),
    ("render", "http://127.0.0.1:9/a.dcm", "--out", "o.png"),
    ("explain", "@", "@/a.dcm", "--label", "<b>", "--out", "o.png"),
    ("inspect", "http://127.0.0.1:9/"),
    ("inspect", "m" * 5000),
    ("score", "m\x1b]0;x\x07", "@", "--out", "o"),
    ("app", "--model", "<script>", "--scores", "$(touch ran)"),
    ("app", "--model", "@", "--scores", "@", "--store", "x\x1b[2J"),
    ("compare", "../..", "/", "--out", "o"),
    ("report", "/etc"),
    ("\x1b[31mverb",),
    ("--log-format", "<b>", "index"),
)


@pytest.mark.parametrize("arguments", OPTIONS, ids=lambda arguments: " ".join(arguments)[:40].encode().hex()[:24])
def test_a_hostile_argument_ends_in_one_sentence(
    arguments: tuple[str, ...], tmp_path: Path, told: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_radiograph(tmp_path / "in" / "a.dcm", blob(1, bright=True), patient="1", uid="2.25.1")
    assert_said(told(*(argument.replace("@", "in") for argument in arguments)), 1, 2, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_noise_for_names_of_files_is_listed_and_nothing_is_lost(tmp_path: Path, told: Callable[..., Told]) -> None:
    rng = np.random.default_rng(0)
    folder = os.fsencode(tmp_path) + b"/in"
    os.mkdir(folder)  # noqa: PTH102  names are bytes here
    for _ in range(60):
        name = bytes(rng.integers(1, 256, int(rng.integers(1, 60))).astype(np.uint8)).replace(b"/", b"~")
        if name not in {b".", b".."}:
            with open(folder + b"/" + name, "wb") as file:  # noqa: PTH123
                file.write(b"not an image")
    assert_said(told("index", tmp_path / "in", "--out", tmp_path / "m.csv"), 3)
    assert_inert(tmp_path / "refused.csv")
    assert len(pd.read_csv(tmp_path / "refused.csv")) == len(os.listdir(folder))  # noqa: PTH208  names are bytes here
