"""The report is one inert page that says what its tables say, and says so when they do not agree."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from medres.cohort.tasks import Task
from medres.config import load_config
from medres.documents import write_document
from medres.errors import OutputExists, UsageError
from medres.evaluation.performance import summarise
from medres.evaluation.shortcuts.summary import summarise_shortcuts
from medres.evaluation.table import read_table
from medres.report import run_page
from medres.report.run_context import RunContext
from medres.report.run_page import write_report
from medres.tables import read_csv, read_json, write_csv, write_json
from tests import test_shortcuts
from tests.support.runs import FOLDS, write_gallery_files, write_run
from tests.test_summary import out_of_fold


class _Page(HTMLParser):
    """Elements, attributes and ids of a page, and whether its elements close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def visible(page: str) -> str:
    """The page's words, tags left out, spaces collapsed."""
    body = re.sub(r"<style>.*?</style>|<svg.*?</svg>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with a gallery."""
    folder = write_run(tmp_path_factory.mktemp("pictured") / "run")
    write_gallery_files(folder, "effusion")
    return folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A run of one's own to change."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture
def changed(copy: Path) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    def change(edit: Callable[[dict[str, Any]], object]) -> Path:
        record = read_json(copy / "run.json")
        edit(record)
        write_json(copy / "run.json", record)
        return copy

    return change


def test_the_page_loads_nothing_runs_nothing_and_is_well_formed(pictured: Path) -> None:
    page = page_of(pictured)
    found = _Page(page)
    tags = {tag for tag, _ in found.tags}
    assert not tags & {"script", "iframe", "object", "form", "base"}
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    targets = [str(a[key]) for _, a in found.tags for key in ("href", "src", "xlink:href") if key in a]
    assert targets
    kinds = ("#", "data:,", "data:text/csv;charset=utf-8;base64,", "data:image/png;base64,", "tables/")
    assert [target for target in targets if not target.startswith(kinds)] == []
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "default-src 'none'" in page


def test_ids_are_unique_and_every_inner_link_has_its_target(run: Path) -> None:
    page = page_of(run)
    found = _Page(page)
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for _, a in found.tags if (a.get("href") or "").startswith("#")]
    assert links
    assert {str(link)[1:] for link in links} <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)


def test_the_pictures_are_named_scalable_and_take_their_colours_from_the_page(run: Path) -> None:
    page = page_of(run)
    pictures = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    drawn = [picture for picture in pictures if 'aria-hidden="true"' not in picture[: picture.index(">")]]
    assert len(drawn) == 10  # three of squares, five of the label, two of learning
    for picture in pictures:
        opening = picture[: picture.index(">")]
        assert "viewBox" in opening
        assert "width=" not in opening
        assert "#0d0d0" not in picture
        assert not re.search(r"(fill|stroke): #", picture)
        assert "<style" not in picture
    for picture in drawn:
        assert 'role="img"' in picture[: picture.index(">")]
        assert "<title" in picture
        assert "<desc" in picture
    assert len(page) < 500_000


def test_colours_that_tell_things_apart_do_so_in_grey_and_can_be_read(run: Path) -> None:
    page = page_of(run)
    schemes = re.findall(r"--paper: (#\w+);.*?--first: (#\w+); --second: (#\w+);", page, flags=re.DOTALL)
    assert len(schemes) == 3
    for paper, first, second in schemes:
        assert _contrast(first, second) > 1.4
        assert min(_contrast(first, paper), _contrast(second, paper)) > 4.5


def _contrast(one: str, other: str) -> float:
    """Of two colours, after WCAG 2.2."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_first_screen_says_what_how_well_on_whom_and_what_that_means(run: Path) -> None:
    words = visible(page_of(run)).replace("&#39;", "'")
    first = words[: words.index("Results 1")]
    content = read_json(run / "metrics.json")["labels"]["effusion"]
    pooled = content["pooled"]
    auroc, found, cleared, ppv = (pooled[name] for name in ("auroc", "sensitivity", "specificity", "ppv"))
    assert f"{auroc['value']:.3f} 95 % interval {auroc['low']:.3f} to {auroc['high']:.3f}" in first
    shares = [round(100 * found[key]) for key in ("value", "low", "high")]
    assert "“effusion” it finds {} ({} to {}) and misses".format(*shares) in first
    alarms = [round(100 * (1 - cleared[key])) for key in ("value", "high", "low")]
    assert "it calls {} ({} to {}) wrongly".format(*alarms) in first
    right = [round(100 * ppv[key]) for key in ("value", "low", "high")]
    assert "calls, {} ({} to {}) have it".format(*right) in first
    assert f"where {round(100 * content['prevalence'])} of 100 have it as here" in first
    table = read_table(run / "oof.csv")
    assert f"{len(table)} radiographs of {table['PatientID'].nunique()} patients" in first
    for text in ("effusion", "a ResNet-18", "128 × 128 pixels", "started from random weights, not pretrained",
                 "Not for diagnostic use", "from other patients", "Verified", "What speaks against it",
                 "not tested on another hospital's images", "Where it must not be used"):  # fmt: skip
        assert text in first


def bare_figures(page: str) -> tuple[list[str], int]:
    """Figures in the tables of a page that stand without interval and without n, and how many were looked at."""
    bare, seen = [], 0
    for row in re.findall(r"<tr\b.*?</tr>", page, flags=re.DOTALL):
        cells = re.findall(r"<td\b[^>]*>.*?</td>", row, flags=re.DOTALL)
        counted = any(re.search(r'class="number n">\d', other) for other in cells)
        for cell in cells:
            if not re.match(r"[−+<>]? ?\d*\.\d", visible(cell)) or re.search(r'class="[^"]*(setting|bar)', cell):
                continue
            seen += 1
            words = visible(cell)
            if 'class="number metric"' not in cell or not (re.search(r"\d\.\d+ to .?\d+\.\d|n = \d", words) or counted):
                bare.append(words)
    return bare, seen


def test_every_figure_stands_with_its_interval_or_its_n(pictured: Path) -> None:
    page = page_of(pictured)
    bare, seen = bare_figures(page)
    assert bare == []
    assert seen > 20
    for words in re.findall(r'<p class="value">.*?</section>', page, flags=re.DOTALL):
        assert re.search(r"interval \d\.\d{3} to \d\.\d{3}", visible(words))
    said = re.search(r"Of 1000 radiographs as in this cohort: ([^<]*)<small>(.*?)</small>", page, flags=re.DOTALL)
    assert said is not None
    assert len(re.findall(r"\d+ \(\d+ to \d+\) (?:found|missed|false alarms|rightly)", said[1])) == 4
    assert "n = " in said[2]


def test_figures_of_grades_and_of_shortcut_probes_stand_with_their_interval_or_their_n(copy: Path) -> None:
    config = load_config("quick", ["evaluation.replicates=100"])
    read = read_table(copy / "oof.csv")
    probed = test_shortcuts.probed(read, survives=0.3)
    write_document(
        copy / "shortcuts.json",
        summarise_shortcuts(read, probed, labels=["effusion"], evaluation=config.evaluation, seed=0),
    )
    task = Task("grade", "ordinal", ("0", "1", "2"))
    truth = np.random.default_rng(0).integers(0, 3, len(read))
    for place, label in enumerate(task.labels):
        noise = np.random.default_rng(place).normal(0, 1, len(read))
        read[f"label_{label}"] = (truth > place).astype(int)
        read[f"logit_{label}"], read[f"prob_{label}"] = noise, expit(truth - place - 1 + noise)
        read[f"positive_{label}"] = (read[f"prob_{label}"] >= 0.5).astype(int)
    write_csv(copy / "oof.csv", read)
    content = summarise(read_table(copy / "oof.csv"), labels=["effusion", task], evaluation=config.evaluation, seed=0)
    write_document(copy / "metrics.json", content)
    page = page_of(copy)
    bare, seen = bare_figures(page)
    assert "Shortcut probes" in page
    assert "Quadratic weighted kappa" in page
    assert bare == []
    assert seen > 40


@pytest.mark.parametrize(
    ("leaks", "said"),
    [
        ({"similar PatientID": 0, "same SOPInstanceUID": 0, "near-duplicate": 0}, ": yes"),
        ({"similar PatientID": 0, "same SOPInstanceUID": 0, "near-duplicate": None}, ": yes"),
        ({"similar PatientID": 2, "same SOPInstanceUID": 0, "near-duplicate": None}, ": not verified"),
        ({"similar PatientID": 0, "same SOPInstanceUID": 0, "near-duplicate": 1}, ": not verified"),
    ],
)
def test_what_was_looked_for_among_patients_is_said_and_suspicions_are_no_plain_yes(
    changed: Callable[..., Path], leaks: dict[str, int | None], said: str
) -> None:
    words = visible(page_of(changed(lambda record: record.update(leaks=leaks))))
    check = words[words.index("Patients were kept apart") :][:400]
    assert check.startswith(f"Patients were kept apart {said}")
    assert f"PatientIDs that likely name one person: {leaks['similar PatientID']}" in check
    near = leaks["near-duplicate"]
    looked = "not looked for" if near is None else near
    assert f"near-duplicate images under two PatientIDs: {looked}" in check
    assert ("run `medres check`" in check) == (near is None or "not verified" in said)
    assert ("Verified from the run" in words) == (said == ": yes")


def test_folds_with_names_are_called_by_them(changed: Callable[..., Path]) -> None:
    def name(record: dict[str, Any]) -> None:
        for fold, site in zip(record["folds"], ("North", "South", "West"), strict=True):
            fold["name"] = site

    folder = changed(name)
    words = visible(page_of(folder))
    assert words.count("South (fold 1)") >= 4  # its images, its training, its thresholds, its figures
    assert not re.search(r"(?<!\()fold 1\b(?!\))", words)
    assert "South (fold 1)" in read_csv(folder / "tables" / "folds-effusion.csv")["group"].tolist()
    assert "South (fold 1)" in read_csv(folder / "tables" / "flow.csv")["stage"].tolist()


def test_one_division_is_no_cross_validation_and_says_nothing_of_folds(tmp_path: Path) -> None:
    table = out_of_fold(folds=FOLDS)
    folder = write_run(tmp_path / "run", table=table[table["fold"] == 0].reset_index(drop=True))
    record = read_json(folder / "run.json")
    record["folds"] = record["folds"][:1]
    write_json(folder / "run.json", record)
    page = page_of(folder)
    words = visible(page)
    assert "held-out test report" in words
    assert "Every held-out image was scored once" in words
    assert "folds" not in visible(page[: page.index("<nav")])
    assert "several networks" not in words


@pytest.mark.slow
def test_thresholds_stand_beside_their_rules_from_the_lowest_fold_to_the_highest(tmp_path: Path) -> None:
    table = out_of_fold(folds=FOLDS).assign(positive_effusion_at_youden=lambda rows: rows["positive_effusion"])
    folder = write_run(tmp_path / "run", table=table)
    assert "best Youden index the model decides by it not recorded" in visible(page_of(folder))
    record = read_json(folder / "run.json")
    for fold, value in zip(record["folds"], (0.42, 0.31, 0.5), strict=True):
        fold["thresholds"] = {"effusion": {"youden": value}}
    write_json(folder / "run.json", record)
    assert "best Youden index the model decides by it 0.310 to 0.500" in visible(page_of(folder))


def test_every_figure_has_its_table_beside_the_page_and_in_it(run: Path) -> None:
    page = page_of(run)
    links = dict(re.findall(r'<a href="(tables/[^"]+)">.*?href="data:text/csv;charset=utf-8;base64,([^"]+)"', page))
    names = {"roc", "precision-recall", "calibration", "scores", "decision", "folds", "subgroups", "groups"}
    assert set(links) == {*(f"tables/{name}-effusion.csv" for name in names), "tables/learning.csv", "tables/flow.csv"}
    for path, address in links.items():
        assert base64.b64decode(address) == (run / path).read_bytes()
        assert len(read_csv(run / path)) > 2
    assert page.count('<p class="source">') == len(links) + 1  # learning has two figures
    assert page.count("<figure") == len(links)  # groups are a table


@pytest.mark.slow
def test_the_same_tables_give_the_same_page_and_nothing_else_is_needed(pictured: Path, tmp_path: Path) -> None:
    page = page_of(pictured)
    tables = {path.name: path.read_bytes() for path in (pictured / "tables").iterdir()}
    assert page_of(pictured) == page
    bare = Path(shutil.copytree(pictured, tmp_path / "elsewhere"))
    shutil.rmtree(bare / "tables")
    (bare / "report.html").unlink()
    assert not list(bare.rglob("*.safetensors"))
    assert not list(bare.rglob("*.dcm"))
    assert page_of(bare) == page
    assert {path.name: path.read_bytes() for path in (bare / "tables").iterdir()} == tables
    assert str(tmp_path) not in page


def test_an_existing_report_is_replaced_only_when_told(run: Path) -> None:
    write_report(run)
    with pytest.raises(OutputExists):
        write_report(run, force=False)


def test_texts_from_files_are_inert(tmp_path: Path) -> None:
    label = 'x"><script>alert(1)</script>'
    table = out_of_fold(label=label, folds=FOLDS)
    table["path"] = [f"<img src=x onerror=alert({number})>\u202e.dcm" for number in range(len(table))]
    table["Manufacturer"] = "</style><script>alert(2)</script>{{ 7 * 7 }}"
    folder = write_run(tmp_path / "run", label=label, table=table)
    write_gallery_files(folder, label)
    page = page_of(folder)
    found = _Page(page)
    assert not {tag for tag, _ in found.tags} & {"script"}
    assert all(str(attributes["src"]).startswith("data:image/png") for tag, attributes in found.tags if tag == "img")
    assert {path.parent for path in (folder / "tables").glob("*")} == {folder / "tables"}
    assert "&lt;script&gt;alert(1)" in page
    assert "{{ 7 * 7 }}" in page
    assert "\u202e" not in page


def test_all_checks_pass_on_a_whole_run(run: Path) -> None:
    page = page_of(run)
    assert page.count('<li class="passed">') == 5
    assert "does not hold together" not in page


def test_a_figure_that_does_not_follow_from_the_table_is_announced(copy: Path) -> None:
    content = read_json(copy / "metrics.json")
    content["labels"]["effusion"]["pooled"]["auroc"]["value"] = 0.99
    write_json(copy / "metrics.json", content)
    words = visible(page_of(copy))
    assert "This report does not hold together." in words
    assert "auroc of effusion: recorded 0.99, recomputed" in words


def test_a_figure_of_an_operating_point_that_does_not_follow_from_the_table_is_announced(tmp_path: Path) -> None:
    table = out_of_fold(folds=FOLDS).assign(positive_effusion_at_youden=lambda rows: rows["positive_effusion"])
    folder = write_run(tmp_path / "run", table=table)
    assert "does not hold together" not in page_of(folder)
    content = read_json(folder / "metrics.json")
    content["labels"]["effusion"]["operating_points"]["youden"]["specificity"]["value"] = 1.0
    write_json(folder / "metrics.json", content)
    assert "youden specificity of effusion: recorded 1.0, recomputed 0." in visible(page_of(folder))


def test_a_patient_scored_in_the_wrong_fold_is_announced(copy: Path) -> None:
    table = read_table(copy / "oof.csv")
    table.loc[0, "fold"] = (table.loc[0, "fold"] + 1) % FOLDS
    write_csv(copy / "oof.csv", table)
    assert "1 images were scored in a fold that did not hold them out" in (words := visible(page_of(copy)))
    assert "The files contradict that" in words


def test_altered_splits_and_repeated_images_are_announced(copy: Path) -> None:
    document = read_json(copy / "splits.json")
    document["seed"] = 99
    (copy / "splits.json").write_text(json.dumps(document), encoding="utf-8")
    table = out_of_fold(folds=FOLDS)
    table.loc[1, "SOPInstanceUID"] = table.loc[0, "SOPInstanceUID"]
    write_csv(copy / "oof.csv", table)
    words = visible(page_of(copy))
    assert "splits.json was altered after it was written" in words
    assert "1 rows of oof.csv repeat a path or a SOPInstanceUID" in words


def test_files_that_are_not_accounted_for_are_announced(changed: Callable[..., Path]) -> None:
    folder = changed(lambda record: record["flow"].update(used=1))
    assert "This report does not hold together." in visible(page_of(folder))


OPTIONAL = [
    "medres", "created", "command", "recipe", "config", "seed", "manifest", "splits", "flow", "network", "device",
    "seconds", "environment", "git_commit", "folds", "labels",
]  # fmt: skip


@pytest.mark.parametrize("value", ["absent", None])
def test_what_was_not_recorded_is_said_and_stops_nothing(changed: Callable[..., Path], value: str | None) -> None:
    folder = changed(lambda record: [record.pop(key) if value else record.update({key: None}) for key in OPTIONAL])
    for path in (folder / "splits.json", folder / "refused.csv", *folder.glob("models/*/history.jsonl")):
        path.unlink()
    words = visible(page_of(folder))
    assert words.count("not recorded") > 15
    assert "splits.json is not in the run" in words
    assert "This could not be verified here" in words


@pytest.mark.parametrize("key", ["manifest", "splits", "flow", "network", "environment"])
def test_an_empty_part_of_the_record_stops_nothing(changed: Callable[..., Path], key: str) -> None:
    assert "not recorded" in visible(page_of(changed(lambda record: record.update({key: {}}))))


def test_a_fold_record_may_lack_everything(changed: Callable[..., Path]) -> None:
    assert "not recorded of not recorded" in visible(page_of(changed(lambda record: record.update(folds=[{}, {}]))))


@pytest.mark.parametrize(
    ("training", "chose", "column"),
    [
        ({"keep": "best", "method": "fine-tune"}, "epoch, ", "Best epoch"),
        ({"keep": "last", "method": "fine-tune"}, "", "Epoch kept"),
        ({"keep": "best", "method": "linear-probe"}, "regularisation, ", "Regularisation"),
    ],
)
def test_the_page_says_what_validation_patients_chose_and_no_more(
    changed: Callable[..., Path], training: dict[str, str], chose: str, column: str
) -> None:
    words = visible(page_of(changed(lambda record: record["config"]["training"].update(training))))
    assert words.count(f"chose {chose}temperature and thresholds") == FOLDS
    assert f"Fold {column} Time" in words
    first = re.search(r"by a network that had learned from other patients: in each of 3 folds (.*?) were chosen", words)
    assert first
    assert first[1].startswith(f"the {chose}the temperature" if chose else "the temperature")


def test_pretrained_weights_are_named_and_not_called_random(changed: Callable[..., Path]) -> None:
    weights = {"weights": "torchvision resnet18 IMAGENET1K_V1", "weights_sha256": "cd" * 32}
    words = visible(page_of(changed(lambda record: record["network"].update(weights))))
    assert "started from torchvision resnet18 IMAGENET1K_V1" in words
    assert "random" not in words.split("Results")[0]
    assert "cd" * 32 in words


def test_an_undefined_label_is_shown_as_undefined(tmp_path: Path) -> None:
    table = out_of_fold(folds=FOLDS)
    table["label_effusion"] = "0"
    words = visible(page_of(write_run(tmp_path / "run", table=table)))
    assert "undefined: only one class" in words
    assert "In 3 of 3 folds the AUROC is undefined" in words
    table["label_effusion"] = ""
    assert "undefined: no images" in visible(page_of(write_run(tmp_path / "blank", table=table)))


def test_many_labels_have_a_table_on_the_first_screen_and_a_section_each(copy: Path) -> None:
    table = read_table(copy / "oof.csv")
    labels = ["effusion", "mass", "nodule", "edema"]
    for label in labels[1:]:
        for kind in ("label", "logit", "prob", "positive"):
            table[f"{kind}_{label}"] = table[f"{kind}_effusion"].sample(frac=1, random_state=len(label)).to_numpy()
    write_csv(copy / "oof.csv", table)
    config = load_config("quick", ["evaluation.replicates=100"])
    content = summarise(read_table(copy / "oof.csv"), labels=labels, evaluation=config.evaluation, seed=0)
    write_document(copy / "metrics.json", content)
    page = page_of(copy)
    words = visible(page)
    first = words[: words.index("Results:")]
    for label in labels:
        assert f"{content[label].auroc.value:.3f}" in first
        assert f"Results: {label}" in words
    found = _Page(page)
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_an_external_validation_says_what_it_is(tmp_path: Path) -> None:
    table = out_of_fold()
    table["fold"] = 0
    folder = tmp_path / "external"
    folder.mkdir()
    write_csv(folder / "oof.csv", table)
    config = load_config("quick", ["evaluation.replicates=100"])
    content = summarise(read_table(folder / "oof.csv"), labels=["effusion"], evaluation=config.evaluation, seed=0)
    write_document(folder / "metrics.json", content)
    write_json(folder / "run.json", {"kind": "external validation", "labels": ["effusion"], "model_id": "resnet18-1"})
    words = visible(page_of(folder))
    assert "shares patients with the training cohort could not be verified" in words
    assert "resnet18-1" in words
    assert "Fold by fold" not in words
    assert "The model was not tested on another hospital" not in words
    assert "interval, level not recorded" in words


def test_what_was_not_done_depends_on_what_the_table_knows(run: Path, tmp_path: Path) -> None:
    words = visible(page_of(run)).replace("&#39;", "'")
    assert "Test on another hospital's images not met" in words
    assert "No figures by institution:" in words
    table = out_of_fold(folds=FOLDS)
    table["InstitutionName"] = ["North" if int(owner) % 2 else "South" for owner in table["PatientID"]]
    more = visible(page_of(write_run(tmp_path / "run", table=table)))
    assert "No figures by" not in more
    assert "Several sites met 2 institutions" in more
    assert re.search("Institution (North|South)", more)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"run\.json cannot be read"):
        write_report(tmp_path)
    write_json(tmp_path / "run.json", {})
    write_json(tmp_path / "metrics.json", [])
    with pytest.raises(UsageError, match=r"metrics\.json: the file: input should be a valid dictionary"):
        write_report(tmp_path)
    write_json(tmp_path / "run.json", {"kind": "comparison"})
    with pytest.raises(UsageError, match="is not a run"):
        write_report(tmp_path)


Edit = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda content: content["labels"].update(effusion={}), "labels.effusion.pooled is missing; the file is damag"),
        (lambda content: content["labels"]["effusion"].update(pooled=None), "labels.effusion.pooled: input should be"),
        (lambda content: content["labels"]["effusion"].update(roses=1), "roses is not known to medres .* newer"),
        (lambda content: content["labels"]["effusion"]["pooled"].pop("auroc"), "labels.effusion.pooled has no auroc"),
        (lambda content: content["labels"].update(absent=content["labels"]["effusion"]), "lacks the columns label_abs"),
    ],
)
def test_figures_of_another_shape_are_refused_by_name(copy: Path, edit: Edit, said: str) -> None:
    content = read_json(copy / "metrics.json")
    edit(content)
    write_json(copy / "metrics.json", content)
    with pytest.raises(UsageError, match=said):
        write_report(copy)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda record: record.update(roses=1), r"run\.json: roses is not known to medres .* newer version"),
        (lambda record: record["manifest"].pop("rows"), r"run\.json: manifest\.rows is missing; the file is damaged"),
        (lambda record: record.update(seed="many"), r"run\.json: seed: input should be a valid integer"),
        (lambda record: record["config"].update(evaluation={"replicates": -1}), r"run\.json: config\.evaluation: "),
        (lambda record: record.update(recalibration={"mass": {"reason": "", "metrics": {}}}), None),
    ],
)
def test_a_record_of_another_shape_is_refused_by_name(
    changed: Callable[..., Path], edit: Edit, said: str | None
) -> None:
    folder = changed(edit)
    if said is None:
        write_report(folder)
    else:
        with pytest.raises(UsageError, match=said):
            write_report(folder)


def test_our_own_bug_is_not_called_a_damaged_file(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(context: RunContext) -> list[str]:
        raise KeyError("a bug of ours")

    monkeypatch.setattr(run_page, "first_screen", stumble)
    with pytest.raises(KeyError, match="a bug of ours"):
        write_report(run)


def test_what_one_file_has_and_another_needs_is_named(copy: Path) -> None:
    record = read_json(copy / "run.json")
    interval = read_json(copy / "metrics.json")["labels"]["effusion"]["pooled"]["brier"]
    record["recalibration"] = {"mass": {"reason": "", "metrics": {"brier": interval}}}
    write_json(copy / "run.json", record)
    with pytest.raises(UsageError, match=r"labels\.mass has no brier, of which run\.json has the recalib"):
        write_report(copy)
    table = read_table(copy / "oof.csv").drop(columns="path")
    write_json(copy / "run.json", record | {"recalibration": {}})
    write_csv(copy / "oof.csv", table)
    with pytest.raises(UsageError, match="lacks the column path"):
        write_report(copy)


def test_a_metric_that_the_list_does_not_know_is_shown_by_its_name(copy: Path) -> None:
    content = read_json(copy / "metrics.json")
    pooled = content["labels"]["effusion"]["pooled"]
    pooled["sharpness"] = pooled["brier"] | {"value": 0.4321}
    write_json(copy / "metrics.json", content)
    assert "sharpness 0.432" in visible(page_of(copy))


def test_a_split_file_that_cannot_be_read_is_announced(copy: Path) -> None:
    (copy / "splits.json").write_text("{", encoding="utf-8")
    assert "is not valid JSON" in visible(page_of(copy))


def test_the_intervals_of_an_earlier_version_are_computed_anew_and_that_is_said(copy: Path) -> None:
    today = page_of(copy)
    content = read_json(copy / "metrics.json")
    brier = content["labels"]["effusion"]["pooled"]["brier"]
    now = f"{brier['low']:.3f} to {brier['high']:.3f}"
    for fold in content["labels"]["effusion"]["folds"]:
        del fold["intervals"]
    brier |= {"low": 0.001, "high": 0.999, "method": "patient-clustered bootstrap, percentile, 100 replicates, seed 0"}
    write_json(copy / "metrics.json", content)
    words = visible(page_of(copy))
    assert "their intervals were computed anew" in words
    assert "their intervals were computed anew" not in visible(today)
    assert now in words
    assert "0.001 to 0.999" not in words
