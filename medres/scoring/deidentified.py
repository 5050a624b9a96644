"""The second table of a scored folder: what may leave the site, for nothing in it joins a manifest or a file.

UIDs and paths are replaced by keyed ones (HMAC-SHA256 with the key of the pseudonyms): the same for the same, and no
way back without the key. What would join or compare files is left out: hashes of their bytes, and details, which name
other files; and dates, by which somebody who knows when a patient came would find the row. Rows are sorted by their
keyed paths, so that their order tells nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medres.scoring.columns import slices
from medres.scoring.rows import write_tables
from medres.scoring.table import Selected
from medres.tables import named_path

_STEM = "predictions.deidentified"
DEIDENTIFIED = f"{_STEM}.csv"
_LEFT_OUT = ("sha256", "detail", "StudyDate")
_AT_A_TIME = 16_384  # rows

HOLDS = {
    "predictions.csv": "paths, hashes, SOPInstanceUID, StudyInstanceUID and StudyDate, which lead whoever has a "
    "manifest or the files to the patient; --resume and the app need them",
    DEIDENTIFIED: "keyed paths and UIDs: no way back without the pseudonym key, except by the figures for who has the "
    "other table, or scores the same images with the same model",
}
"""What each table holds, as `run.json` says it."""


def write_deidentified(out: Path, rows: Selected, columns: Sequence[str], key: bytes) -> None:
    """Write `predictions.deidentified.csv` and `.parquet`: one row for each row of `predictions.csv`.

    Args:
        out: the output folder.
        rows: of `predictions.csv`.
        columns: that it shows.
        key: of the pseudonyms.
    """
    shown = [name for name in columns if name not in _LEFT_OUT]
    keyed = np.empty(len(rows), "S32")
    for place, row in enumerate(rows.rows()):
        keyed[place] = keyed_path(named_path(row["path"]).removeprefix("./"), key).encode()  # see `inert_path`
    write_tables(out / _STEM, shown, _replaced(rows, keyed, shown, key))


def _replaced(rows: Selected, keyed: NDArray[np.bytes_], shown: Sequence[str], key: bytes) -> Iterator[Any]:
    """The table in order of keyed path, piece by piece."""
    order = np.argsort(keyed, kind="stable")
    for places in list(slices(order, _AT_A_TIME)) or [order]:
        numbers = rows.numbers[places]
        cells = {"path": [path.decode() for path in keyed[places]]}
        for name in ("SOPInstanceUID", "StudyInstanceUID"):
            cells[name] = [keyed_uid(uid, key) for uid in rows.table.text(name, numbers).to_pylist()]
        yield rows.table.changed(numbers, cells).select(shown)


def keyed_uid(uid: str, key: bytes) -> str:
    """A UID of 128 keyed bits under 2.25, the root of UIDs made from UUIDs; "" where there is none.

    Source: PS3.5 B.2.

    >>> keyed_uid("1.2.3", b"k" * 16) == keyed_uid("1.2.3", b"k" * 16) != keyed_uid("1.2.4", b"k" * 16)
    True
    >>> keyed_uid("1.2.3", b"k" * 16)[:5], keyed_uid("", b"k" * 16)
    ('2.25.', '')
    """
    return f"2.25.{int.from_bytes(_keyed('UID', uid, key)[:16])}" if uid else ""


def keyed_path(path: str, key: bytes) -> str:
    """A path that names no file: 32 keyed hexadecimal digits.

    >>> len(keyed_path("ward 3/Doe.dcm", b"k" * 16))
    32
    """
    return _keyed("path", path, key).hex()[:32]


def _keyed(kind: str, text: str, key: bytes) -> bytes:
    """HMAC-SHA256; the kind, which no PatientID can begin with, keeps apart what is made of equal texts."""
    return hmac.new(key, f"\0medres: {kind}\0{text}".encode(errors="surrogateescape"), hashlib.sha256).digest()
