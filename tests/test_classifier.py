from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medres import Classifier, read_radiograph
from medres.config import load_config
from medres.errors import ModelError, UsageError
from medres.evaluation.table import read_table
from medres.imaging.preprocessing import preprocess
from medres.model.bundle import card_text
from medres.model.card import ModelCard, identify
from medres.model.classifier import read_card
from medres.model.ensemble import ensemble_card
from medres.model.network import RadiographNetwork, full_precision
from medres.records import Fold, Interval
from medres.review.about import card_facts
from medres.runs import folds
from medres.runs.fitting import NetworkFitter, RunSetup
from medres.runs.validation_choices import outputs
from medres.tables import sha256_file, write_json
from medres.training.distributed import ALONE
from tests.conftest import Medres
from tests.support.phantoms import blob, write_radiograph


@pytest.fixture
def copy(small_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_model, tmp_path / "copy"))


def _flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["models/model.safetensors", "models/outliers.safetensors"])
@pytest.mark.parametrize("place", [-1, 200])
def test_one_flipped_byte_of_the_tensors_is_refused(copy: Path, name: str, place: int) -> None:
    _flip(copy / name, place)
    with pytest.raises(ModelError, match="altered or damaged"):
        Classifier.load(copy)


def test_a_flipped_byte_is_one_clear_line_on_the_command_line(copy: Path, medres: Medres) -> None:
    _flip(copy / "models/model.safetensors", -1)
    done = medres("inspect", copy)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "altered or damaged" in done.stderr


@pytest.mark.parametrize(
    "change", [("temperatures", {"disc": 2.0}), ("architecture", "resnet34"), ("labels", ["other"])]
)
def test_an_altered_card_is_refused(copy: Path, change: tuple[str, object]) -> None:
    card = json.loads((copy / "medres.json").read_text())
    card[change[0]] = change[1]
    (copy / "medres.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="was altered"):
        Classifier.load(copy)


def test_weights_that_compute_something_else_fail_the_self_check(copy: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(copy / "models/model.safetensors")
    save_file({**tensors, "head.bias": tensors["head.bias"] + 0.5}, copy / "models/model.safetensors")
    card = ModelCard.model_validate_json((copy / "medres.json").read_text())
    forged = card.model_copy(update={"weights_sha256": sha256_file(copy / "models/model.safetensors")})
    write_json(copy / "medres.json", forged.content() | {"model_id": identify(forged.content())})
    with pytest.raises(ModelError, match="self-check"):
        Classifier.load(copy)


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[1]", "\x00", '{"format": true}', '{"format": 3}', '{"format": 3, "cut": NaN}', "[" * 100_000],
)
def test_a_damaged_card_is_refused(copy: Path, content: str) -> None:
    (copy / "medres.json").write_text(content)
    with pytest.raises(ModelError, match=r"medres\.json is damaged"):
        Classifier.load(copy)


@pytest.mark.parametrize("name", ["models/model.safetensors", "models/outliers.safetensors"])
def test_a_missing_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match="missing"):
        Classifier.load(copy)


def test_a_folder_without_a_model_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no model"):
        Classifier.load(tmp_path)


def test_everything_on_the_card_is_filled(small_model: Path) -> None:
    card = json.loads((small_model / "medres.json").read_text())
    optional = {
        "git_commit",
        "fold",
        "weights_file",
        "size",
        "sha256",
        "weights_sha256",
        "input_range",
        "negative_focusing",
        "mlflow",
        "exported_from",  # of a model that is in-house
        "layout",  # of a cohort too small to tell negatives
        "low",  # no interval from a handful of patients
        "high",
    }
    assert card["weights_sha256"]  # of the model's own tensors; that of a checkpoint to start from is optional

    def empty(value: object, name: str = "") -> list[str]:
        if isinstance(value, dict):
            return [found for key, item in value.items() for found in empty(item, key)]
        return [name] if value in (None, "") and name not in optional else []

    assert empty(card) == []
    assert card["provenance"]["backbone"]["name"].startswith("none: a random start")


def test_inspect_shows_the_card_in_words_and_as_json(small_model: Path, medres: Medres) -> None:
    words = medres("inspect", small_model)
    assert words.returncode == 0
    assert "Not for diagnostic use" in words.stdout
    assert "random start" in words.stdout
    assert json.loads(medres("inspect", small_model, "--json").stdout)["labels"] == ["disc"]


def test_the_folds_of_a_run_score_as_an_ensemble_of_calibrated_probabilities(
    small_run: Path, small_cohort: Path
) -> None:
    ensemble = Classifier.load(small_run)
    members = [Classifier.load(folder) for folder in sorted((small_run / "models").iterdir())]
    radiograph = read_radiograph(small_cohort.parent / "images" / "0003.dcm")
    mean = np.mean([member.predict(radiograph).scores["disc"].probability for member in members])
    assert ensemble.predict(radiograph).scores["disc"].probability == pytest.approx(mean, abs=1e-12)
    assert ensemble.card.members == len(members) == 2
    assert ensemble.model_id not in {member.model_id for member in members}
    assert ensemble.card.metrics == {}


def test_out_of_fold_rows_are_those_of_their_own_fold_and_never_the_ensemble_s(
    small_run: Path, small_cohort: Path
) -> None:
    ensemble = Classifier.load(small_run)
    table = read_table(small_run / "oof.csv")
    differing = 0
    for folder in sorted((small_run / "models").iterdir()):
        member = Classifier.load(folder)
        rows = table[table["fold"] == member.card.provenance.fold].iloc[:3]
        for _, row in rows.iterrows():
            radiograph = read_radiograph(small_cohort.parent / row["path"])
            own, mixed = (model.predict(radiograph).scores["disc"].probability for model in (member, ensemble))
            assert row["prob_disc"] == pytest.approx(own, abs=1e-6)
            differing += abs(own - mixed) > 1e-5
    assert differing  # or nothing was told apart
    recorded = json.loads((small_run / "run.json").read_text())["folds"]
    assert ensemble.model_id not in (small_run / "report.html").read_text()
    assert ensemble.model_id not in {fold["model_id"] for fold in recorded}


def test_every_rule_s_threshold_is_frozen_in_the_card_the_run_and_the_table(small_run: Path) -> None:
    table = read_table(small_run / "oof.csv")
    run, metrics = (json.loads((small_run / name).read_text()) for name in ("run.json", "metrics.json"))
    cards = [Classifier.load(folder).card for folder in sorted((small_run / "models").iterdir())]
    for fold, card in zip(run["folds"], cards, strict=True):
        rows = table[table["fold"] == fold["fold"]]
        assert fold["thresholds"] == {
            "disc": {rule: point.threshold for rule, point in card.points_by_rule["disc"].items()}
        }
        assert card.points_by_rule["disc"]["youden"] == card.operating_points["disc"]
        for rule, threshold in fold["thresholds"]["disc"].items():
            assert ((rows["prob_disc"] >= threshold) == rows[f"positive_disc_at_{rule}"]).all()
    found = metrics["labels"]["disc"]["operating_points"]
    assert list(found) == ["sensitivity", "specificity", "youden"]
    for rule, point in Classifier.load(small_run).card.points_by_rule["disc"].items():
        each = [card.points_by_rule["disc"][rule].threshold for card in cards]
        assert point.threshold == pytest.approx(np.mean(each))
        assert (point.sensitivity, point.specificity) == (None, None)


def test_an_ensemble_s_threshold_is_the_mean_of_those_that_were_chosen(small_model: Path) -> None:
    card = read_card(small_model)

    def fold(rule: str, threshold: float, sensitivity: float | None = 0.9) -> ModelCard:
        update = {"rule": rule, "threshold": threshold, "sensitivity": sensitivity}
        point = card.operating_points["disc"].model_copy(update=update)
        return card.model_copy(update={"operating_points": {"disc": point}})

    nothing = fold("0.5: a class is missing in validation", 0.5, None)
    chosen = [fold("sensitivity ≥ 0.9", 0.1), fold("sensitivity ≥ 0.9, reached only by all", 0.2)]

    def point(*cards: ModelCard) -> tuple[float, str]:
        found = ensemble_card(cards).operating_points["disc"]
        return pytest.approx(found.threshold), found.rule

    words = "folds' thresholds, each: sensitivity ≥ 0.9"
    assert point(nothing, *chosen) == (0.15, f"mean of 2 of 3 {words}; or sensitivity ≥ 0.9, reached only by all")
    assert point(chosen[0], chosen[0]) == (0.1, f"mean of 2 {words}")
    assert point(nothing, nothing) == (0.5, "0.5: a class is missing in validation")


def test_an_image_unlike_the_training_images_is_for_review(small_model: Path, tmp_path: Path) -> None:
    y, x = np.mgrid[:96, :80]
    path = write_radiograph(tmp_path / "x.dcm", ((x // 4 + y // 4) % 2) * 4095, patient="1", uid="2.25.9")
    prediction = Classifier.load(small_model).predict(read_radiograph(path))
    assert (prediction.status, prediction.reason) == ("review", "OUTLIER")
    assert 0 <= prediction.scores["disc"].probability <= 1


def test_a_heatmap_is_the_class_activation_map_put_back_on_native_pixels(small_model: Path, tmp_path: Path) -> None:
    model = Classifier.load(small_model)
    pixels = blob(200, bright=True, rows=210, columns=160)
    radiograph = read_radiograph(write_radiograph(tmp_path / "x.dcm", pixels, patient="1", uid="2.25.200"))
    prepared = preprocess(radiograph, model.preprocessing)
    maps = model.score(prepared.pixels[None], maps=True).maps
    assert maps is not None
    explained = model.explain(radiograph, label="disc", stride=32)
    np.testing.assert_array_equal(explained.heatmap, model.native_heatmap(prepared.placement, maps[0, 0]))
    assert explained.heatmap.shape == (210, 160)
    assert explained.strength == maps[0, 0].max()


def test_an_unknown_label_names_the_known_ones(small_model: Path, small_cohort: Path) -> None:
    radiograph = read_radiograph(small_cohort.parent / "images" / "0003.dcm")
    with pytest.raises(UsageError, match="it has disc"):
        Classifier.load(small_model).explain(radiograph, label="dics")


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"keep": "best", "method": "fine-tune"}, "epoch 5 of 8, temperature, thresholds chosen on"),
        ({"keep": "last", "method": "fine-tune"}, "all 8 epochs; temperature, thresholds chosen on"),
        ({"keep": "best", "method": "linear-probe"}, "regularisation 5 of 8, temperature, thresholds chosen on"),
    ],
)
def test_a_card_says_what_validation_patients_chose_and_no_more(
    small_model: Path, training: dict[str, str], said: str
) -> None:
    card = read_card(small_model)
    config = {**card.provenance.config, "training": {**card.provenance.config["training"], **training}}
    told = card.provenance.model_copy(update={"config": config, "epochs": 8, "best_epoch": 5})
    other = card.model_copy(update={"provenance": told})
    assert f"patients; {said}" in card_text(other)
    assert ("chose epoch" in dict(card_facts(other))["Trained on"]) == (said.startswith("epoch"))


def test_an_ensemble_is_not_described_by_its_first_fold(small_run: Path, medres: Medres) -> None:
    card = Classifier.load(small_run).card
    several = "2 networks, the folds of one cross-validation; each has its own card"
    told = dict(card_facts(card))
    origin = card.provenance
    for words in (medres("inspect", small_run).stdout, " ".join(told.values())):
        assert several in words
        for own in (f"{origin.training_images} images", origin.created, "other patients", "temperature", "undefined"):
            assert own not in words, own
    assert told["Trained on"] == several
    for folder in (small_run / "models").iterdir():
        assert "validation images | temperature |" in card_text(read_card(folder))


def test_an_interval_is_of_the_confidence_that_was_asked_for(small_model: Path) -> None:
    card = read_card(small_model)
    config = {**card.provenance.config, "evaluation": {**card.provenance.config["evaluation"], "confidence": 0.9}}
    auroc = Interval(value=0.8, low=0.7, high=0.9, method="", n=9, n_patients=9)
    update = {
        "provenance": card.provenance.model_copy(update={"config": config}),
        "metrics": {"disc": {"auroc": auroc}},
    }
    assert "0.800 (90 % interval 0.700–0.900)" in dict(card_facts(card.model_copy(update=update)))["AUROC, disc"]


def tf32() -> tuple[str, str]:
    """How a GPU would convolve and multiply float32 now."""
    return torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision


def test_what_a_model_says_is_computed_in_float32_whatever_the_process_allows(
    small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No GPU is needed to see what one would be told: TF32 moves logits by more than the self-check allows."""
    seen, before, stages = [], tf32(), RadiographNetwork.before

    def spied(network: RadiographNetwork, images: torch.Tensor, stages_left: int) -> torch.Tensor:
        seen.append(tf32())
        return stages(network, images, stages_left)

    monkeypatch.setattr(RadiographNetwork, "before", spied)
    model = Classifier.load(small_model, device="cpu")
    pixels = np.zeros((1, 64, 64), dtype=np.uint16)
    model.score(pixels)
    outputs(model.members[0].network, pixels, [0], device=torch.device("cpu"))
    assert seen == [("ieee", "ieee")] * 3  # self-check, score, and what the card was made of
    assert tf32() == before
    assert before[0] == "tf32"  # torch's default, or nothing was tested


def test_precision_is_restored_after_an_error() -> None:
    before = tf32()
    with pytest.raises(KeyError), full_precision():
        raise KeyError
    assert tf32() == before


def test_folds_are_judged_where_the_run_was_told_to_compute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class AskedError(Exception):
        """Carries the device."""

    def load(path: Path, *, device: str = "auto") -> None:
        raise AskedError(device)

    monkeypatch.setattr(folds.Classifier, "load", load)
    config = load_config("quick", ["training.device=cpu"])
    cohort = SimpleNamespace(places=lambda patients: [], data=None)
    setup = RunSetup(cohort, config, None, ALONE)  # type: ignore[arg-type]
    run = folds.Folds(tmp_path, 2, "", NetworkFitter(setup))
    with pytest.raises(AskedError, match="cpu"):
        run.score(Fold(0, (), (), ()))
