"""Files and folders are created here: as private as what they hold, and never through a link that somebody planted.

What holds identifiers, pixels or keys is for its owner alone (0600, folders 0700), whatever the umask allows; that is
the rule, and whoever writes something else says `private=False`: then the umask decides. `group_readable` lets the
group read, too, where the umask allows it.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from medres.errors import OutputExists

GROUP_READABLE = "MEDRES_GROUP_READABLE"
"""The environment's variable that lets the group read what is private; processes below this one inherit it."""

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_LONGEST = 50  # characters of a name that its temporary file repeats: four bytes each, and 255 are a name
_LEFTOVER = re.compile(r"\..*\.[0-9a-f]{16}\.partial")
_LINK = "is a link, and medres writes through none that lies where its own files belong: move it away"


@contextmanager
def group_readable(asked: bool = True) -> Iterator[None]:
    """Inside, the group may read what is private (0640, folders 0750), if the umask allows it."""
    before = os.environ.get(GROUP_READABLE)
    if asked:
        os.environ[GROUP_READABLE] = "1"
    try:
        yield
    finally:
        if asked:
            os.environ.pop(GROUP_READABLE)
            if before is not None:
                os.environ[GROUP_READABLE] = before


def _file_mode(private: bool) -> int:
    """What a new file's mode is before the umask."""
    return (0o640 if os.environ.get(GROUP_READABLE) == "1" else 0o600) if private else 0o666


def _folder_mode(private: bool) -> int:
    """What a new folder's mode is before the umask."""
    return (0o750 if os.environ.get(GROUP_READABLE) == "1" else 0o700) if private else 0o777


@contextmanager
def replaced(path: Path, *, private: bool = True) -> Iterator[IO[bytes]]:
    """A new file to fill, which takes the place of `path` when the block ends without an error.

    Readers see the old file or the new one, never half of one. A link that lies there is replaced, not followed.
    """
    temporary = path.with_name(f".{path.name[:_LONGEST]}.{secrets.token_hex(8)}.partial")
    try:
        with os.fdopen(_created(temporary, _file_mode(private)), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk names no file
        raise


def write_bytes(path: Path, content: bytes, *, private: bool = True) -> None:
    """Write a file atomically."""
    with replaced(path, private=private) as file:
        file.write(content)


def write_new(path: Path, content: bytes) -> None:
    """Write a private file that is not there yet, for the user alone: it appears whole, to one of several that try.

    Raises:
        FileExistsError: it is there already.
    """
    temporary = path.with_name(f".{path.name[:_LONGEST]}.{secrets.token_hex(8)}.partial")
    try:
        with os.fdopen(_created(temporary, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except (FileExistsError, FileNotFoundError):
            raise
        except OSError:  # a file system without hard links
            with os.fdopen(_created(path, 0o600), "wb") as file:
                file.write(content)
    finally:
        temporary.unlink(missing_ok=True)


def ensure_file(path: Path, *, private: bool = True) -> None:
    """Create an empty file, if there is none, for a library that opens it by its name.

    Raises:
        OutputExists: a link lies there.
    """
    refuse_link(path)
    try:
        os.close(_created(path, _file_mode(private)))
    except FileExistsError:
        refuse_link(path)


def open_to_append(path: Path, *, private: bool = True) -> IO[bytes]:
    """A file whose end is written to at once, each piece by itself, made where there is none.

    Raises:
        OutputExists: a link lies there, or something that is no file.
        OSError: it cannot be opened.
    """
    refuse_link(path)
    if path.exists() and not path.is_file():
        raise OutputExists(f"{path} is not a file, and one is needed there: name another")
    flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | _NO_FOLLOW | _BINARY
    return os.fdopen(os.open(path, flags, _file_mode(private)), "ab", buffering=0)


def make_folder(path: Path, *, private: bool = True) -> None:
    """Create a folder, if there is none; those above it that are missing are what the umask says.

    Raises:
        OutputExists: a link lies there, or something that is no folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=_folder_mode(private))
    except FileExistsError:
        refuse_link(path)
        if not path.is_dir():
            raise OutputExists(f"{path} is not a folder, and one is needed there: move it away") from None


def new_folder(parent: Path, prefix: str, *, private: bool = True) -> Path:
    """A folder of a name that nobody can foresee."""
    path = parent / f"{prefix}{secrets.token_hex(8)}"
    path.mkdir(mode=_folder_mode(private))
    return path


def refuse_link(path: Path) -> None:
    """Say no to a link.

    Raises:
        OutputExists: `path` is one.
    """
    if path.is_symlink():
        raise OutputExists(f"{path} {_LINK}")


def refuse_links(folder: Path) -> None:
    """Say no to a folder that is a link, or holds one at any depth.

    Raises:
        OutputExists: names the link.
    """
    refuse_link(folder)
    for home, folders, names in os.walk(folder):
        for name in (*folders, *names):
            refuse_link(Path(home, name))


def is_leftover(path: Path) -> bool:
    """Whether a file is what a write left behind that was killed.

    >>> is_leftover(Path("scores/.run.json.0123456789abcdef.partial")), is_leftover(Path("scores/run.json"))
    (True, False)
    """
    return _LEFTOVER.fullmatch(path.name) is not None


def remove_leftovers(folder: Path) -> None:
    """Delete what writes left behind that were killed: files that never took their place."""
    for home, _, names in os.walk(folder):
        for name in filter(_LEFTOVER.fullmatch, names):
            Path(home, name).unlink(missing_ok=True)


def _created(path: Path, mode: int) -> int:
    """A file that was not there, opened for writing; the umask takes from its mode."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _NO_FOLLOW | _BINARY, mode)
