"""Patients in results carry a keyed pseudonym: the same patient the same name, no way back without the key."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from platformdirs import user_config_path

from medres.errors import UsageError

_LEAST_BYTES = 16


def pseudonym_key() -> bytes:
    """The key: from the environment's MEDRES_PSEUDONYM_KEY, else from a file of this user, made when first needed.

    Raises:
        UsageError: the key is shorter than 16 bytes.
    """
    given = os.environ.get("MEDRES_PSEUDONYM_KEY")
    if given is not None:
        key = given.encode()
    else:
        path = user_config_path("medres") / "pseudonym.key"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_private(path, secrets.token_hex(32))
        key = path.read_bytes().strip()
    if len(key) < _LEAST_BYTES:
        raise UsageError(f"the pseudonym key has {len(key)} bytes; at least {_LEAST_BYTES} are needed")
    return key


def _write_private(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)


def fingerprint(key: bytes) -> str:
    """What tells one key from another and reveals neither: sixteen hexadecimal digits of HMAC-SHA256 of a constant.

    >>> fingerprint(b"k" * 16) == fingerprint(b"k" * 16) != fingerprint(b"l" * 16)
    True
    """
    return hmac.new(key, b"\0medres: which key", hashlib.sha256).hexdigest()[:16]


def pseudonym(patient_id: str, key: bytes) -> str:
    """Twelve hexadecimal digits of HMAC-SHA256; "" for a missing PatientID.

    >>> pseudonym("0007", b"k" * 16) == pseudonym("0007", b"k" * 16) != pseudonym("007", b"k" * 16)
    True
    """
    return hmac.new(key, patient_id.encode(), hashlib.sha256).hexdigest()[:12] if patient_id else ""
