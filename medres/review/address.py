"""Where the review store is: an address that may hold a password, which no list of processes, message or log shows."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from medres.errors import StoreError, UsageError

VARIABLE = "MEDRES_STORE"
"""The variable of the environment that holds the address: others cannot read it, as they can a command line."""

_SCHEME = re.compile(r"[A-Za-z0-9+.-]*://")
_SECRET_KEYS = re.compile(r"[?&](?:[^=&]*(?:pass|secret|key|token)[^=&]*)=([^&]+)", re.IGNORECASE)
_MOST_CHARACTERS = 4096
log = logging.getLogger(__name__)


def chosen(given: str | None, file: Path | None, environment: Mapping[str, str]) -> str | None:
    """The address of the store: as it was given, else the first line of a file, else MEDRES_STORE; None without one.

    Raises:
        UsageError: two were given, or the file cannot be read or holds none.
    """
    if given is not None and file is not None:
        raise UsageError("--store and --store-file both name the review store: give one of the two")
    if given is not None:
        if secrets(given):
            log.warning(
                "everybody on this machine can read the password in --store (ps shows it): "
                "put the address into %s or a file for --store-file",
                VARIABLE,
            )
        return given
    return _first_line(file) if file is not None else environment.get(VARIABLE) or None


def _first_line(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as lines:
            mode = os.fstat(lines.fileno()).st_mode
            line = lines.readline(_MOST_CHARACTERS + 1).strip()
    except OSError as error:
        raise UsageError(f"--store-file {file} cannot be read: {error.strerror or type(error).__name__}") from None
    except ValueError:
        raise UsageError(f"--store-file {file} is not text in UTF-8, or no file's name") from None
    if not line or len(line) > _MOST_CHARACTERS:
        raise UsageError(f"--store-file {file} holds no address in its first line")
    if os.name == "posix" and mode & 0o044 and secrets(line):
        log.warning("%s can be read by other accounts of this machine: chmod 600 makes the password yours alone", file)
    return line


def secrets(url: str) -> tuple[str, ...]:
    """What of an address no message may show, the longest first: its password, as it is written and as it is meant.

    >>> secrets("postgresql://me:p%40ss@db/reviews"), secrets("sqlite:///reviews.db")
    (('p%40ss', 'p@ss'), ())
    """
    found = {match[1] for match in _SECRET_KEYS.finditer(url)}
    if scheme := _SCHEME.match(url):
        user, at, _ = url[scheme.end() :].rpartition("@")
        if at and ":" in user and not user.startswith("/"):
            found.add(user.partition(":")[2])
    found |= {unquote(secret) for secret in found}
    return tuple(sorted(filter(None, found), key=lambda secret: (-len(secret), secret)))


def without(text: str, hidden: tuple[str, ...]) -> str:
    """A message without these secrets."""
    for secret in hidden:
        text = text.replace(secret, "***")
    return text


def checked(url: str) -> str:
    """An address whose password cannot be taken for a part of something else, as of the host, which messages name.

    Raises:
        StoreError: the password holds `@`, `/`, `?` or `#` as they are.
    """
    if any(set(secret) & set("@/?#") for secret in secrets(url) if f":{secret}@" in url):
        raise StoreError(
            "the password in the review store's URL holds @, /, ? or #: write %40, %2F, %3F or %23 for them"
        )
    return url


def shown(url: str) -> str:
    """An address without what is secret in it.

    >>> shown("postgresql://me:secret@db/reviews")
    'postgresql://me:***@db/reviews'
    """
    return without(url, secrets(url))
