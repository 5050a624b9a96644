"""Pseudonyms of patients in results: always the same for one patient, and no way back without the key."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress

from platformdirs import user_config_path

from medres.errors import UsageError
from medres.files import make_folder, write_new

_LEAST_BYTES = 16


def pseudonym_key() -> bytes:
    """The key: from the environment's MEDRES_PSEUDONYM_KEY, else from a file of this user, made when first needed.

    Raises:
        UsageError: the key is shorter than 16 bytes, or its file can be neither read nor made.
    """
    given = os.environ.get("MEDRES_PSEUDONYM_KEY")
    if given is not None:
        key, where = given.encode(), "in MEDRES_PSEUDONYM_KEY "
    else:
        path = user_config_path("medres") / "pseudonym.key"
        try:
            if not path.is_file():
                make_folder(path.parent)
                with suppress(FileExistsError):  # another first run was faster; its key is everybody's
                    write_new(path, secrets.token_hex(32).encode())
            key, where = path.read_bytes().strip(), f"in {path} "
        except OSError as error:
            raise UsageError(
                f"the pseudonym key cannot be kept in {path} ({error.strerror}): let MEDRES_PSEUDONYM_KEY hold one"
            ) from None
    if len(key) < _LEAST_BYTES:
        raise UsageError(
            f"the pseudonym key {where}has {len(key)} bytes; at least {_LEAST_BYTES} are needed"
            + (
                ": restore it, or delete the file to get a new one, with which patients get new names"
                if given is None
                else ""
            )
        )
    return key


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
