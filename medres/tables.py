"""Tables and files that other programs read: written whole or not at all, identifiers as text, cells inert."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from medres.errors import ManifestError, OutputExists, UsageError
from medres.files import new_folder, write_bytes
from medres.safe_text import UNSAFE

if TYPE_CHECKING:
    import pandas as pd

MARKER = "run.json"
"""Every output folder of medres holds this file; only such a folder is ever replaced by `--force`."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets execute at the start of a cell
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)? *")  # with its sign it is no formula

_ESCAPED = ".//"  # no path that was put together of names begins so
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def sha256_file(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """The SHA-256 of a value's canonical JSON (sorted keys, no spaces).

    >>> sha256_json({"b": 1, "a": 2}) == sha256_json({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_text(path: Path, text: str, *, private: bool = True) -> None:
    """Write a text file atomically: readers see the old file or the new one, never half of one.

    A name that is no UTF-8 is written with backslashes, which JSON reads back as it was.

    Args:
        path: the file.
        text: its content.
        private: it is for its owner alone; else the umask says whom it is for. See `medres.files`.
    """
    write_bytes(path, text.encode(errors="backslashreplace"), private=private)


def write_json(path: Path, value: Any, *, private: bool = True) -> None:
    """Write a value as readable JSON, atomically. NaN and infinity are refused: they are not JSON."""
    write_text(path, json_text(value), private=private)


def json_text(value: Any) -> str:
    """What `write_json` writes.

    >>> json_text({"a": [1]})
    '{\\n "a": [\\n  1\\n ]\\n}\\n'
    """
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_json_lines(path: Path) -> list[Any]:
    """Read a file of one JSON value per line.

    Raises:
        UsageError: it is missing, or a line is not JSON.
    """
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON lines: {error}") from None
    except RecursionError:
        raise UsageError(f"{path} is not valid JSON lines: one is nested too deeply") from None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UsageError: it is missing, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON: {error}") from None
    except RecursionError:
        raise UsageError(f"{path} is not valid JSON: it is nested too deeply") from None


def inert(cell: object) -> object:
    """The cell, or a text that a spreadsheet would execute made inert by a leading apostrophe. A number stays one.

    >>> inert("=1+1"), inert("-1+A2"), inert("CR"), inert(-1.5), inert("-1"), inert("+2e-3")
    ("'=1+1", "'-1+A2", 'CR', -1.5, '-1', '+2e-3')
    """
    if not isinstance(cell, str) or not cell.startswith((*FORMULA, "'")) or _NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"


def original(cell: str) -> str:
    """What `inert` was given.

    >>> original("'=1+1"), original("'tis")
    ('=1+1', "'tis")
    """
    return cell[1:] if cell.startswith("'") and cell[1:2] in {*FORMULA, "'"} else cell


def inert_path(path: str) -> str:
    r"""A path as the cell of a table: no spreadsheet executes it, any program can read it, `named_path` gives it back.

    A path with UNSAFE characters has them, and all that is not ASCII, percent-encoded after `.//`. Cells stay the same.

    >>> inert_path("=a.dcm"), inert_path("100%.dcm"), inert_path("Icon\r")
    ('./=a.dcm', '100%.dcm', './/Icon%0D')
    """
    if UNSAFE.search(path):
        return _ESCAPED + quote_from_bytes(os.fsencode(path), safe=_PRINTABLE)
    return f"./{path}" if path.startswith((*FORMULA, "'")) else path


def named_path(cell: str) -> str:
    r"""The path that a cell of a table names, to be opened: see `inert_path`.

    >>> named_path(".//Icon%0D"), named_path("a%20b.dcm")
    ('Icon\r', 'a%20b.dcm')
    """
    return os.fsdecode(unquote_to_bytes(cell.removeprefix(_ESCAPED))) if cell.startswith(_ESCAPED) else cell


def csv_text(table: pd.DataFrame) -> str:
    """A table as CSV, floats in full precision, text cells inert."""
    safe = table.copy()
    for name in safe.columns:
        if safe[name].dtype.kind not in "iufb":
            safe[name] = safe[name].map(inert)
    text = str(safe.to_csv(index=False, lineterminator="\n"))
    return text.replace("\r", " ")  # Python before 3.13 does not quote it, and a row would end there


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV (UTF-8, floats in full precision), atomically, text cells inert."""
    write_text(path, csv_text(table))


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV with every cell as text ("" where empty), as `write_csv` or any other program wrote it.

    Raises:
        ManifestError: it is missing, empty or not a CSV in UTF-8.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror or 'not a file'}") from None
    except pd.errors.EmptyDataError:
        raise ManifestError(f"{path} is empty; a manifest starts with a line of column names") from None
    except (UnicodeDecodeError, pd.errors.ParserError) as error:
        raise ManifestError(f"{path} is not a CSV file in UTF-8: {' '.join(str(error).split())}") from None
    return table.map(original)


def refuse_existing(path: Path, *, force: bool = False, marker: str = MARKER) -> None:
    """Say no where an output already lies.

    Raises:
        OutputExists: `path` exists and `force` is not set, or `force` is set on a link, or on a folder that medres did
            not write.
        UsageError: the folder that should hold it is missing or cannot be written.
    """
    if path.exists() or path.is_symlink():
        if not force:
            raise OutputExists(f"{path} already exists; choose another --out, or give --force to replace it")
        if path.is_symlink():
            raise OutputExists(f"{path} is a link, which --force does not replace; name what it leads to as --out")
        if path.is_dir() and any(path.iterdir()) and not (path / marker).is_file():
            raise OutputExists(f"{path} was not written by medres (it holds no {marker}); --force will not replace it")
    ancestor = path.parent
    while not ancestor.exists():
        ancestor = ancestor.parent
    if not ancestor.is_dir() or not os.access(ancestor, os.W_OK):
        raise UsageError(f"{path} cannot be written: {ancestor} is not a folder you may write to")


def refuse_inside(output: Path, inputs: Sequence[Path], *, option: str = "--out") -> None:
    """Say no to an output inside an input, or around one: medres never writes where it reads.

    Args:
        output: what is to be written.
        inputs: what is read.
        option: which names the output, for the refusal.

    Raises:
        UsageError: `output` lies in one of `inputs`, or would take its place.
    """
    for folder in inputs:
        if folder.resolve().is_relative_to(output.resolve()):
            raise UsageError(f"{output} holds the input {folder}; choose another {option}")
        if output.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{output} lies inside the input folder {folder}; let {option} name a place outside of it")


@contextmanager
def output_folder(path: Path, *, force: bool = False, private: bool = True) -> Iterator[Path]:
    """A folder to fill, which appears as `path` only when the block ends without an error; for its owner alone.

    Raises:
        OutputExists: as `refuse_existing`.
    """
    refuse_existing(path, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    building = new_folder(path.parent, f".{path.name}.partial-", private=private)
    try:
        yield building
        if path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        building.replace(path)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
