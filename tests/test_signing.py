"""Who stands for a model: one that was altered, signed by somebody else or no longer signed is not trusted."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from medres.errors import MedresError, ModelError, OutputExists, UsageError
from medres.model import signing
from medres.model.attachments import attach, read_attachments
from medres.model.audit import audit_model
from medres.model.card import FORMAT
from medres.model.classifier import Classifier, read_card
from medres.model.inspection import verify_folder
from medres.model.signing import new_key, sign_model, signatures, verify_trust
from medres.tables import read_json, write_json
from tests.conftest import Medres
from tests.support.format3 import linked_copy
from tests.support.models import plant, run_saved_again, saved_again


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the key pairs `ours` and `theirs`."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        new_key(folder / f"{name}.pem")
    return folder


@pytest.fixture(scope="module")
def signed(format3_model: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed model in the newest format, with something attached; tests copy it."""
    folder = tmp_path_factory.mktemp("signed") / "model"
    saved_again(format3_model, folder)
    attach(folder, "accuracy-check", {"auroc": 0.9})
    sign_model(folder, keys / "ours.pem", signer="Radiology, St Elsewhere")
    return folder


@pytest.fixture
def model(signed: Path, tmp_path: Path) -> Path:
    return linked_copy(signed, tmp_path / "model")


def test_a_signed_model_is_trusted(model: Path, keys: Path) -> None:
    trust = [keys / "ours.pub.pem"]
    [found] = verify_trust(model, trust)
    assert (found.trusted, found.statement.signer) == (True, "Radiology, St Elsewhere")
    assert set(found.statement.files) == {
        "medres.json", *(f"attachments/{path.name}" for path in (model / "attachments").glob("accuracy-*")),
    }  # fmt: skip
    assert Classifier.load(model, device="cpu", trust=trust).model_id == found.statement.model_id


def _remove_signature(model: Path, _: Path) -> None:
    for path in (model / "attachments").glob("signature-*"):
        path.unlink()


def _sign_by_another(model: Path, keys: Path) -> None:
    _remove_signature(model, keys)
    sign_model(model, keys / "theirs.pem", signer="Radiology, St Elsewhere")


def _another_model(model: Path, _: Path) -> None:
    """A signature that is valid, on a model of another name: the card is a new one, and sound."""
    signature = next((model / "attachments").glob("signature-*"))
    content = signature.read_bytes()
    card = read_card(model)
    other = model.with_name("other")
    shutil.copytree(model, other, ignore=shutil.ignore_patterns("attachments"))
    from medres.model.card import identify

    changed = card.content() | {"limits": ["none at all"]}
    changed |= {"model_id": identify(changed)}
    shutil.rmtree(model)
    other.rename(model)
    (model / "medres.json").unlink()
    write_json(model / "medres.json", changed)
    (model / "attachments").mkdir()
    (model / "attachments" / signature.name).write_bytes(content)


def _attach_more(model: Path, _: Path) -> None:
    attach(model, "licence", {"heatmaps": ["disc"]})


def _attach_as_a_signature(model: Path, _: Path) -> None:
    path = attach(model, "licence", {"heatmaps": ["disc"]})
    path.rename(path.with_name("signature-0123456789ab.json"))


def _any_file(model: Path, _: Path) -> None:
    (model / "attachments" / "terms.txt").write_text("as you like")


def _remove_attachment(model: Path, _: Path) -> None:
    next((model / "attachments").glob("accuracy-*")).unlink()


def _change_attachment(model: Path, _: Path) -> None:
    path = next((model / "attachments").glob("accuracy-*"))
    path.unlink()
    attach(model, "accuracy-check", {"auroc": 0.99})


def _change_statement(model: Path, _: Path) -> None:
    path = next((model / "attachments").glob("signature-*"))
    content = read_json(path)["content"]
    path.unlink()
    statement = json.loads(content["statement"])
    statement["files"] = {"medres.json": statement["files"]["medres.json"]}
    attach(model, "signature", content | {"statement": json.dumps(statement, sort_keys=True)})


def _change_configuration(model: Path, _: Path) -> None:
    plant(model, model / "owned")


CHANGES = (
    _remove_signature, _sign_by_another, _another_model, _attach_more, _attach_as_a_signature, _any_file,
    _remove_attachment, _change_attachment, _change_statement, _change_configuration,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_what_is_not_as_it_was_signed_is_refused(model: Path, keys: Path, change: Callable[[Path, Path], None]) -> None:
    trust = [keys / "ours.pub.pem"]
    change(model, keys)
    assert audit_model(model, trust).problems
    with pytest.raises(ModelError):
        Classifier.load(model, device="cpu", trust=trust)


def test_the_command_line_signs_and_verifies(
    format3_model: Path, small_cohort: Path, medres: Medres, tmp_path: Path
) -> None:
    model, key = tmp_path / "model", tmp_path / "hospital.pem"
    saved_again(format3_model, model)
    assert medres("sign", model).returncode == 2
    made = medres("sign", model, "--new-key", key, "--signer", "A. Physicist")
    assert made.returncode == 0, made.stderr
    trust = ("--trust", tmp_path / "hospital.pub.pem")
    shown = medres("inspect", model, *trust)
    assert shown.returncode == 0, shown.stderr
    assert "'A. Physicist'" in shown.stdout
    assert "a key that you trust" in shown.stdout
    assert "only --trust can tell" in medres("inspect", model).stdout
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(small_cohort.parent / "images" / "0000.dcm", images)
    assert medres("score", model, images, "--out", tmp_path / "scored", *trust).returncode == 0
    foreign = tmp_path / "foreign.pem"
    new_key(foreign)
    other = ("--trust", tmp_path / "foreign.pub.pem")
    assert medres("inspect", model, *other).returncode == 1
    refused = medres("score", model, images, "--out", tmp_path / "again", *other)
    assert refused.returncode == 1
    assert "not signed by a key that you trust; it is signed by 'A. Physicist'" in refused.stderr
    assert not (tmp_path / "again").exists()


def test_each_of_several_keys_may_stand_for_a_part(model: Path, keys: Path) -> None:
    attach(model, "licence", {"heatmaps": ["disc"]})
    sign_model(model, keys / "theirs.pem")
    both = [keys / "ours.pub.pem", keys / "theirs.pub.pem"]
    assert len(verify_trust(model, both)) == 2
    with pytest.raises(ModelError, match="is signed by no key that you trust"):
        verify_trust(model, both[:1])
    assert [one.trusted for one in signatures(model, trust=both[1:])].count(True) == 1


def test_the_folds_of_a_run_are_signed_together(format3_run: Path, keys: Path, tmp_path: Path) -> None:
    run, trust = run_saved_again(format3_run, tmp_path / "run"), [keys / "ours.pub.pem"]
    sign_model(run, keys / "ours.pem")
    [found] = verify_trust(run, trust)
    assert set(found.statement.files) == {f"models/fold-{number}/medres.json" for number in (0, 1)}
    with pytest.raises(UsageError, match="holds no model"):
        verify_trust(run / "models", trust)
    with pytest.raises(ModelError, match="not signed"):
        verify_trust(run / "models" / "fold-0", trust)
    attach(run / "models" / "fold-0", "licence", {"heatmaps": []})
    with pytest.raises(ModelError, match="fold-0/attachments"):
        verify_trust(run, trust)


def test_a_signature_covers_what_an_early_card_does_not(format3_model: Path, keys: Path, tmp_path: Path) -> None:
    old, trust = linked_copy(format3_model, tmp_path / "old"), [keys / "ours.pub.pem"]
    sign_model(old, keys / "ours.pem")
    found = audit_model(old, trust)
    assert (found.problems, found.uncovered) == ((), 0)
    assert {one.path for one in found.files if one.state == "signed"} >= {"configs/inference.json", "docs/README.md"}
    plant(old, tmp_path / "owned")
    verify_folder(old, read_card(old))  # its hashes do not know
    with pytest.raises(ModelError, match=r"configs/inference\.json is not what it was when it was signed"):
        verify_trust(old, trust)


def test_a_private_key_is_for_its_owner_alone_and_no_key_is_replaced(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        public = new_key(tmp_path / "k.pem")
    finally:
        os.umask(before)
    assert public == tmp_path / "k.pub.pem"
    assert stat.S_IMODE((tmp_path / "k.pem").stat().st_mode) == 0o600
    assert "PRIVATE" not in public.read_text()
    with pytest.raises(OutputExists):
        new_key(tmp_path / "k.pem")
    (tmp_path / "l.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputExists):
        new_key(tmp_path / "l.pem")
    assert not (tmp_path / "elsewhere").exists()


def _other_kind(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(X25519PrivateKey.generate().private_bytes(*form))


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("x"), Path.mkdir, _other_kind])
def test_what_is_no_key_is_said_in_one_sentence(
    model: Path, keys: Path, make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "k.pem")
    for call in (lambda: sign_model(model, tmp_path / "k.pem"), lambda: verify_trust(model, [tmp_path / "k.pem"])):
        with pytest.raises(MedresError, match=r"k\.pem"):
            call()
    with pytest.raises(UsageError, match="no public key"):
        verify_trust(model, [keys / "ours.pem"])


def test_without_cryptography_a_signed_model_loads_and_nobody_claims_to_have_verified_it(
    model: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "find_spec", lambda name: None)
    assert Classifier.load(model, device="cpu").card.format == FORMAT
    found = audit_model(model)
    assert found.signatures == ()
    assert any("nobody verified that" in note for note in found.notes)
    with pytest.raises(UsageError, match=r"medres\[signing\]"):
        Classifier.load(model, trust=[keys / "ours.pub.pem"])


def test_a_signature_stays_an_attachment(model: Path) -> None:
    kinds = [one.kind for one in read_attachments(model, read_card(model).model_id)]
    assert sorted(kinds) == ["accuracy-check", "signature"]
