"""The second table of a scored folder: what may leave the site, for nothing in it joins a manifest or a file.

UIDs and paths are replaced by keyed ones (HMAC-SHA256 with the key of the pseudonyms): the same for the same, and no
way back without the key. What would join or compare files is left out: hashes of their bytes, and details, which name
other files. Rows are sorted by their keyed paths, so that their order tells nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path

from medres.scoring.rows import typed, write_parquet, write_rows
from medres.tables import named_path

DEIDENTIFIED = "predictions.deidentified.csv"
_PARQUET = "predictions.deidentified.parquet"
_LEFT_OUT = ("sha256", "pixels_sha256", "detail")

HOLDS = {
    "predictions.csv": "paths, hashes, SOPInstanceUID and StudyInstanceUID, which lead whoever has a manifest or the "
    "files to the patient; --resume and the app need them",
    DEIDENTIFIED: "keyed paths and UIDs: no way back without the pseudonym key, except by the figures for who has the "
    "other table, or scores the same images with the same model",
}
"""What each table holds, as `run.json` says it."""


def write_deidentified(out: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]], key: bytes) -> None:
    """Write `predictions.deidentified.csv` and `.parquet`: one row for each row of `predictions.csv`.

    Args:
        out: the output folder.
        columns: of the rows.
        rows: every cell as text.
        key: of the pseudonyms.
    """
    shown = [name for name in columns if name not in _LEFT_OUT]
    replaced = [
        {
            **{name: row[name] for name in shown},
            "path": keyed_path(named_path(row["path"]).removeprefix("./"), key),  # see `inert_path`
            "SOPInstanceUID": keyed_uid(row["SOPInstanceUID"], key),
            "StudyInstanceUID": keyed_uid(row["StudyInstanceUID"], key),
        }
        for row in rows
    ]
    replaced.sort(key=lambda row: row["path"])
    table = {name: typed(name, [row[name] for row in replaced]) for name in shown}
    lines = zip(*table.values(), strict=True)
    write_rows(out / DEIDENTIFIED, shown, [dict(zip(shown, line, strict=True)) for line in lines])
    write_parquet(out / _PARQUET, table)


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
