"""Signatures of models: who stands for a model, which no hash in its own folder can say.

A signature is an attachment. It holds a statement (JSON: who signed which files, by SHA-256) and the Ed25519 signature
of exactly its bytes. The statement names the cards, whose hashes cover the rest of a model, every other attachment, and
of models of a format before 5 the files that their cards do not cover.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from medres.errors import ModelError, OutputExists, UsageError
from medres.files import refuse_link, write_bytes, write_new
from medres.model.attachments import FORMAT, Attachment, attach, read_attachments
from medres.model.card import CARD_FILE
from medres.model.ensemble import joint_card
from medres.model.inspection import ATTACHMENTS, model_folders, read_card, uncovered
from medres.model.saved_json import read_saved
from medres.provenance import now
from medres.tables import sha256_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

log = logging.getLogger(__name__)

KIND = "signature"
_MEANT = b"medres: signature of a model, format 1\n"  # before the statement: no other text can be taken for one


class Statement(BaseModel):
    """What a signature says."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_id: str
    signer: str  # in the signer's own words; only the key proves anything
    created: str  # ISO 8601, UTC
    files: dict[str, str]  # SHA-256 by path, relative to the model's or run's folder


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature of a model, which is that of its key over its statement."""

    key: str  # fingerprint
    statement: Statement
    trusted: bool  # the key is one that was given as trusted

    def __str__(self) -> str:
        """Who, when, and by which key."""
        who = f"{self.statement.signer!r}, " if self.statement.signer else ""
        return f"{who}{self.statement.created}, key {self.key}"


def new_key(path: Path) -> Path:
    """Make a key pair: `path` for its owner alone (0600, PKCS #8), and beside it `NAME.pub.pem`, which is returned.

    Raises:
        UsageError: `cryptography` is not installed.
        OutputExists: one of the two files is there already.
    """
    _need_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = path.with_name(f"{path.name.removesuffix('.pem')}.pub.pem")
    for place in (path, public):
        refuse_link(place)
        if place.exists():
            raise OutputExists(f"{place} already exists; a key is never replaced")
    if not path.parent.is_dir():
        raise UsageError(f"{path} cannot be written: {path.parent} is not a folder")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_new(path, secret)
    shown = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_bytes(public, shown, private=False)
    return public


def sign_model(model: Path, key: Path, *, signer: str = "") -> Path:
    """Sign a model (or the folds of a run) as it is now, with all that is attached to it; returns the new attachment.

    Whoever signs should have loaded the model before: see `Classifier.load`.

    Args:
        model: its folder.
        key: a private Ed25519 key in PEM.
        signer: who signs, in words.

    Raises:
        UsageError: no model, no such key, or `cryptography` is not installed.
        ModelError: a card or an attachment is not valid.
    """
    secret = _private_key(key)
    card = joint_card(tuple(read_card(home) for home in model_folders(model)))
    read_attachments(model, card.model_id)
    files = {name: sha256_file(model / name) for name in to_be_signed(model)}
    statement = Statement(model_id=card.model_id, signer=signer, created=now(), files=files)
    text = json.dumps(statement.model_dump(), sort_keys=True)
    content = {
        "statement": text,
        "public_key": secret.public_key().public_bytes_raw().hex(),
        "signature": secret.sign(_MEANT + text.encode()).hex(),
    }
    return attach(model, KIND, content)


def to_be_signed(model: Path) -> Iterator[str]:
    """The files that a signature names: cards, what they do not cover, and attachments that are no signatures."""
    for home in model_folders(model):
        above = home.relative_to(model)
        yield (above / CARD_FILE).as_posix()
        for name in uncovered(home, read_card(home)):
            if (home / name).is_file() and not (home / name).is_symlink():
                yield (above / name).as_posix()
        if home != model:
            yield from _attached(home, model)
    yield from _attached(model, model)


def _attached(home: Path, model: Path) -> Iterator[str]:
    folder = home / ATTACHMENTS
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if not path.is_dir() and not (path.parent == model / ATTACHMENTS and _is_signature(path)):
            yield path.relative_to(model).as_posix()


def _is_signature(path: Path) -> bool:
    """Whether a file of the model's attachments, which were all read and found whole, is one."""
    return path.suffix == ".json" and read_saved(path, oldest=1, newest=FORMAT)[1].get("kind") == KIND


def signatures(model: Path, *, trust: Sequence[Path] = ()) -> tuple[Signature, ...]:
    """All signatures of a model, oldest first, each that of its own key; whose key it is, only `trust` can tell.

    Args:
        model: its folder.
        trust: public keys in PEM.

    Raises:
        UsageError: no model, no such key, or `cryptography` is not installed.
        ModelError: a signature is not that of its key.
    """
    trusted = {_fingerprint(_public_key(path).public_bytes_raw()) for path in trust}
    card = joint_card(tuple(read_card(home) for home in model_folders(model)))
    found = [one for one in read_attachments(model, card.model_id) if one.kind == KIND]
    return tuple(_signature(one, card.model_id, trusted, model) for one in found)


def verify_trust(model: Path, trust: Sequence[Path]) -> tuple[Signature, ...]:
    """Make sure that keys one trusts stand for a model as it is now, and for all that is attached to it.

    The cards' own hashes are not verified here: see `verify_folder`.

    Args:
        model: its folder.
        trust: public keys in PEM; each thing must be signed by one of them.

    Returns:
        The signatures of these keys.

    Raises:
        UsageError: as `signatures`.
        ModelError: there is no signature of such a key; or a file is another one, or is gone, since it was signed; or
            nobody signed it.
    """
    every = signatures(model, trust=trust)
    found = tuple(one for one in every if one.trusted)
    if not found:
        others = f"; it is signed by {'; '.join(map(str, every))}" if every else ""
        raise ModelError(f"{model} is not signed by a key that you trust{others}")
    signed: set[str] = set()
    for one in found:
        for name, digest in one.statement.files.items():
            path = model / name
            if not path.is_file() or sha256_file(path) != digest:
                raise ModelError(f"{path} is not what it was when it was signed ({one})")
        signed |= one.statement.files.keys()
    for name in to_be_signed(model):
        if name not in signed:
            raise ModelError(f"{model / name} is signed by no key that you trust: sign again, or move it away")
    return found


def _signature(attachment: Attachment, model_id: str, trusted: set[str], model: Path) -> Signature:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    content = {name: str(value) for name, value in attachment.content.items()}
    try:
        raw = bytes.fromhex(content["public_key"])
        Ed25519PublicKey.from_public_bytes(raw).verify(
            bytes.fromhex(content["signature"]), _MEANT + content["statement"].encode()
        )
        statement = Statement.model_validate_json(content["statement"])
    except (KeyError, ValueError, InvalidSignature, ValidationError):
        raise ModelError(f"{model} has a signature of {attachment.created} that is not that of its key") from None
    if statement.model_id != model_id:
        raise ModelError(f"{model} has a signature that is about model {statement.model_id}, and this is {model_id}")
    key = _fingerprint(raw)
    return Signature(key, statement, key in trusted)


def _fingerprint(public_key: bytes) -> str:
    """What tells one key from another: the SHA-256 of its 32 bytes."""
    return f"SHA256:{sha256(public_key).hexdigest()}"


def _private_key(path: Path) -> Ed25519PrivateKey:
    _need_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            log.warning("%s can be read by others than its owner: chmod 600 %s", path, path)
        found = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise UsageError(f"the key {path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):
        raise UsageError(f"{path} is no private key in PEM without a password") from None
    if not isinstance(found, Ed25519PrivateKey):
        raise UsageError(f"{path} is a private key of another kind: medres signs with Ed25519")
    return found


def _public_key(path: Path) -> Ed25519PublicKey:
    _need_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        found = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise UsageError(f"the key {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"{path} is no public key in PEM") from None
    if not isinstance(found, Ed25519PublicKey):
        raise UsageError(f"{path} is a public key of another kind: medres signs with Ed25519")
    return found


def signing_is_there() -> bool:
    """Whether `cryptography` is installed."""
    return find_spec("cryptography") is not None


def _need_cryptography() -> None:
    if not signing_is_there():
        raise UsageError("signatures need the package cryptography: pip install 'medres[signing]'")
