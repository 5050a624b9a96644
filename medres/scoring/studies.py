"""A scored folder by study: one row for each StudyInstanceUID, by a rule that the row names.

Made at the end from `predictions.parquet`, column by column. Images stay single images: nothing is stacked as a volume.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medres.files import replaced
from medres.scoring.columns import dense, known_numbers, number_array, numbers_in, row_numbers, text_array
from medres.scoring.deidentified import keyed_path, keyed_uid
from medres.scoring.known import GONE, SCORED
from medres.tables import inert, named_path

if TYPE_CHECKING:
    import pyarrow as pa

Rule = Literal["max", "mean", "frontal-first"]
RULES: tuple[Rule, ...] = get_args(Rule)
STUDIES = "studies.csv"
STUDIES_DEIDENTIFIED = "studies.deidentified.csv"

UNCALIBRATED = (
    "calibration and operating points are of single images: a study's probability is not calibrated at its own level"
)
"""What whoever reads a table of studies must know."""

_FRONTAL = ("AP", "PA")
_LINES = 8192  # rows of a table that are text at a time
_HOLDS = {
    STUDIES: "one row for each study; StudyInstanceUID, and paths of images without one, lead whoever has the files to "
    f"the patient; {UNCALIBRATED}",
    STUDIES_DEIDENTIFIED: "the same with keyed UIDs and paths: no way back without the pseudonym key",
}


@dataclass(frozen=True, slots=True)
class StudyTable:
    """How studies are judged, and who may read it.

    Args:
        rule: `max`, the highest probability of its images; `mean`; `frontal-first`, the mean of its frontal images (AP
            or PA), or of all where it has none.
        thresholds: each label's operating point.
        key: of the pseudonyms, where a table without identifiers is wanted as well.
    """

    rule: Rule
    thresholds: Mapping[str, float]
    key: bytes | None = None

    @property
    def holds(self) -> dict[str, str]:
        """What each table holds, as `run.json` says it."""
        return {name: text for name, text in _HOLDS.items() if name == STUDIES or self.key is not None}


def chosen_rule(asked: Rule | None, before: object) -> Rule | None:
    """The rule of a run: what is asked for, else what the results to resume were made with; None where nothing is.

    >>> chosen_rule(None, "mean"), chosen_rule("max", "mean"), chosen_rule(None, "no rule")
    ('mean', 'max', None)
    """
    return asked or next((rule for rule in RULES if rule == before), None)


def write_studies(out: Path, wanted: StudyTable) -> None:
    """Write `studies.csv` and `.parquet` beside `predictions.parquet`, and the same without identifiers.

    A study is judged by its scored images (`ok` or `review`); where all are gone, by these, with the status `gone`. An
    image without StudyInstanceUID is a study of its own, named by its path.

    Args:
        out: the folder that holds `predictions.parquet`.
        wanted: which rule, and for whom.
    """
    found = by_study(_read(out / "predictions.parquet", tuple(wanted.thresholds)), wanted)
    _write(out / STUDIES, found)
    if wanted.key is not None:
        _write(out / STUDIES_DEIDENTIFIED, _keyed(found, wanted.key))


def _read(path: Path, labels: tuple[str, ...]) -> pa.Table:
    from pyarrow import parquet

    texts_of = ["path", "status", "reason", "StudyInstanceUID", "PatientKey", "ViewPosition", "model_id"]
    columns = [*texts_of, *(f"prob_{label}" for label in labels)]
    with parquet.ParquetFile(path) as file:  # `read_table` would import pandas
        return file.read(columns=columns, use_threads=False)


def by_study(images: pa.Table, wanted: StudyTable) -> pa.Table:
    """The studies of a table of images, sorted by StudyInstanceUID and path.

    Args:
        images: path, status, reason, StudyInstanceUID, PatientKey, ViewPosition, model_id, and `prob_` of each label.
        wanted: the rule, and each label's operating point.
    """
    import pyarrow as pa

    uid = dense(images["StudyInstanceUID"])
    rows = np.arange(len(uid))
    path = picked(dense(images["path"]), rows, where=_lengths(uid) == 0)
    studies, count = _numbered(uid, path)
    status, patients = _Coded.of(dense(images["status"])), dense(images["PatientKey"])
    here = status.are(*SCORED)
    held = here | status.are(GONE)

    def counted(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(studies[chosen], minlength=count)

    def first(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The first chosen row of each study; the number of rows where there is none."""
        found = np.full(count, len(rows))
        np.minimum.at(found, studies[chosen], rows[chosen])
        return found

    present = counted(here) > 0  # else a study is judged by images that are gone
    answers = np.where(present[studies], here, held)
    frontal = answers & _Coded.of(dense(images["ViewPosition"])).are(*_FRONTAL)
    by_frontal = (counted(frontal) > 0) & (wanted.rule == "frontal-first")
    several = _several(studies, answers, _Coded.of(patients).codes, count)  # also where one of them is no frontal image
    answers &= frontal | ~by_frontal[studies]

    kept = np.flatnonzero(counted(answers) > 0)
    one, doubtful = first(answers)[kept], first(here & status.are("review"))[kept]
    mixed = several[kept]
    doubted, there = doubtful < len(rows), present[kept]
    reasons = pa.concat_arrays([dense(images["reason"]), text_array(["", "PATIENT_CONFLICT"])])
    why = np.where(mixed, len(rows) + 1, np.where(doubted & there, doubtful, len(rows)))
    state = np.where((mixed | doubted) & there, 2, there.astype(np.int64))
    columns: dict[str, Any] = {
        "StudyInstanceUID": picked(uid, one),
        "path": picked(path, one),
        "status": picked(text_array([GONE, "ok", "review"]), state),
        "reason": picked(reasons, why),
        "PatientKey": picked(patients, one, where=~mixed),
        "rule": picked(text_array([wanted.rule]), np.zeros(len(kept), dtype=np.int64)),
        "answered_by": picked(text_array(["all", "frontal"]), by_frontal[kept].astype(np.int64)),
        "images_answering": number_array(counted(answers)[kept]),
        "images_scored": number_array(counted(here)[kept]),
    }
    for name in ("refused", "duplicate", GONE):
        columns[f"images_{name}"] = number_array(counted(status.are(name))[kept])
    for label, threshold in wanted.thresholds.items():
        said = known_numbers(images[f"prob_{label}"])[answers]
        judged = (_highest if wanted.rule == "max" else _mean)(said, studies[answers], count)[kept]
        columns[f"prob_{label}"] = number_array(judged)
        columns[f"positive_{label}"] = number_array((judged >= threshold).astype(np.int64))
    columns["model_id"] = picked(dense(images["model_id"]), one)
    return pa.Table.from_arrays(list(columns.values()), names=list(columns))


def picked(column: Any, places: NDArray[np.integer], *, where: NDArray[np.bool_] | None = None) -> Any:
    """The cells at some places; "" where `where` is false."""
    if where is None:
        return column.take(row_numbers(places))
    import pyarrow as pa

    ended = pa.concat_arrays([column, text_array([""])])
    return ended.take(row_numbers(np.where(where, places, len(column))))


@dataclass(frozen=True, slots=True)
class _Coded:
    """A column of few texts as numbers of its values."""

    codes: NDArray[np.int32]
    values: tuple[str, ...]

    @classmethod
    def of(cls, column: Any) -> _Coded:
        found = column.dictionary_encode()
        return cls(numbers_in(found.indices), tuple(found.dictionary.to_pylist()))

    def are(self, *wanted: str) -> NDArray[np.bool_]:
        """Which cells hold one of some values; case does not matter."""
        chosen = np.array([value.upper() in {one.upper() for one in wanted} for value in self.values], dtype=bool)
        return chosen[self.codes] if len(chosen) else np.zeros(len(self.codes), dtype=bool)


def _numbered(uid: Any, path: Any) -> tuple[NDArray[np.int64], int]:
    """The number of each image's study, in the order of StudyInstanceUIDs and then of paths; and how many there are."""
    import pyarrow as pa
    from pyarrow import compute

    if not len(uid):
        return np.zeros(0, dtype=np.int64), 0
    keys = pa.Table.from_arrays([uid, path], names=["uid", "path"])
    sorted_keys = compute.sort_indices(keys, sort_keys=[("uid", "ascending"), ("path", "ascending")])
    order = numbers_in(sorted_keys).astype(np.int64)
    ordered = picked(uid, order)
    differs = numbers_in(compute.not_equal(ordered.slice(1), ordered.slice(0, len(uid) - 1)))
    starts = np.concatenate([[True], differs | (_lengths(ordered)[1:] == 0)])
    found = np.empty(len(uid), dtype=np.int64)
    found[order] = np.cumsum(starts) - 1
    return found, int(starts.sum())


def _lengths(column: Any) -> NDArray[np.int64]:
    """Bytes of each text."""
    from pyarrow import compute

    found: NDArray[np.int64] = numbers_in(compute.binary_length(column)).astype(np.int64)
    return found


def _several(
    studies: NDArray[np.int64], answers: NDArray[np.bool_], codes: NDArray[np.int32], count: int
) -> NDArray[np.bool_]:
    """Which studies are answered for by images of more than one patient."""
    least, most = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(least, studies[answers], codes[answers])
    np.maximum.at(most, studies[answers], codes[answers])
    return least < most


def _highest(said: NDArray[np.float64], studies: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    found = np.full(count, -np.inf)
    np.maximum.at(found, studies, said)
    return found


def _mean(said: NDArray[np.float64], studies: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Of the values of each study; it never leaves their range, whatever is rounded."""
    total = np.bincount(studies, weights=said, minlength=count)
    with np.errstate(invalid="ignore"):
        found = total / np.bincount(studies, minlength=count)
    return np.clip(found, -_highest(-said, studies, count), _highest(said, studies, count))


def _keyed(table: pa.Table, key: bytes) -> pa.Table:
    """The same without identifiers, in the order of keyed UIDs and paths, which tells nothing."""
    import pyarrow as pa
    from pyarrow import compute

    def keyed(name: str, replaced: Callable[[str, bytes], str]) -> Any:
        return text_array([replaced(str(cell), key) for cell in table[name]])

    columns = {name: table[name].combine_chunks() for name in table.column_names}
    columns["StudyInstanceUID"] = keyed("StudyInstanceUID", keyed_uid)
    columns["path"] = keyed(
        "path", lambda cell, key: keyed_path(named_path(cell).removeprefix("./"), key) if cell else ""
    )
    found = pa.Table.from_arrays(list(columns.values()), names=list(columns))
    order = compute.sort_indices(found, sort_keys=[("StudyInstanceUID", "ascending"), ("path", "ascending")])
    return found.take(order)


def _write(path: Path, table: pa.Table) -> None:
    """As CSV (floats in full precision, text cells inert), and beside it as Parquet."""
    from pyarrow import parquet

    with replaced(path) as file:
        file.write(_line(table.column_names))
        for batch in table.to_batches(max_chunksize=_LINES):
            columns = [column.to_pylist() for column in batch.columns]
            file.writelines(_line(map(inert, cells)) for cells in zip(*columns, strict=True))
    with replaced(path.with_suffix(".parquet")) as file:
        parquet.write_table(table, file)


def _line(cells: Iterable[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().replace("\r", " ").encode()
