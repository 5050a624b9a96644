"""A manifest of what readers said, for a training: labels, whose word they are, and the patients of the files.

Scores never hold PatientID, so the files are read again, and only those are listed that are still what was scored.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medres.cohort.indexing import REFUSED, REFUSED_COLUMNS, index_folder, path_between
from medres.cohort.tasks import LABEL_PREFIX
from medres.config import Limits, load_gate
from medres.errors import REASONS, UsageError
from medres.review.schema import reader_of
from medres.review.verdicts.agreement import latest
from medres.review.verdicts.record import answer
from medres.review.verdicts.scored import Scored
from medres.tables import inert_path, named_path, write_csv

if TYPE_CHECKING:
    import pandas as pd

    from medres.review.verdicts.record import Verdict

MAJORITY = "majority"
MANIFEST = "manifest.csv"
PROVENANCE = "provenance"
"""The column of a manifest that says whose word each label is."""


def label_table(verdicts: Iterable[Verdict], scored: Scored, labels_by: str) -> pd.DataFrame:
    """The labels of a manifest, one row for each image that somebody said something of.

    Present is 1, absent 0, unsure −1 and unknown blank. By majority: what more readers say; −1 where as many say the
    one as the other, or all are unsure.

    Args:
        verdicts: of the model that scored; the latest of each reader counts.
        scored: the scored folder.
        labels_by: `majority`, or a reader's name.

    Returns:
        Columns `path`, `sha256`, `label_` of each label of the model, and `provenance`.

    Raises:
        UsageError: nobody, or not that reader, has said anything of these images.
    """
    import pandas as pd

    said: dict[str, dict[str, list[tuple[str, int]]]] = {}
    for verdict in latest(verdicts):
        image = scored.images.get(verdict.sop_instance_uid)
        wanted = labels_by == MAJORITY or reader_of(verdict.reviewer) == reader_of(labels_by)
        if not wanted or image is None or verdict.label not in scored.labels:
            continue
        found = answer(verdict, image.called[verdict.label])
        if found is not None:
            of_image = said.setdefault(verdict.sop_instance_uid, {})
            of_image.setdefault(verdict.label, []).append((verdict.reviewer, found))
    if not said:
        whose = "nobody" if labels_by == MAJORITY else f"no reader called {labels_by}"
        raise UsageError(f"{whose} has said of these images what is there: there is nothing to make a manifest of")
    rows = []
    for name, by_label in said.items():
        image = scored.images[name]
        cells = {f"{LABEL_PREFIX}{label}": _majority(by_label.get(label, [])) for label in scored.labels}
        rows.append({"path": image.path, "sha256": image.sha256, **cells, PROVENANCE: _told(by_label)})
    columns = ["path", "sha256", *(f"{LABEL_PREFIX}{label}" for label in scored.labels), PROVENANCE]
    return pd.DataFrame(rows, columns=columns, dtype=str)


def _majority(answers: Sequence[tuple[str, int]]) -> str:
    """
    >>> _majority([("A", 1), ("B", 0), ("C", 1)]), _majority([("A", 1), ("B", 0)]), _majority([("A", -1)])
    ('1', '-1', '-1')
    """
    counts = Counter(found for _, found in answers)
    if not counts:
        return ""
    return "-1" if counts[0] == counts[1] else "1" if counts[1] > counts[0] else "0"


def _told(by_label: Mapping[str, Sequence[tuple[str, int]]]) -> str:
    """Who said what, as JSON that a program can take apart."""
    return json.dumps({label: dict(answers) for label, answers in sorted(by_label.items())}, ensure_ascii=False)


def write_manifest(folder: Path, out: Path, labels: pd.DataFrame, scored: Scored) -> tuple[int, int]:
    """Write the manifest, and beside it what was left out; how many rows each has.

    Args:
        folder: where to write now.
        out: what the folder will be called; paths lead from there to the files.
        labels: of `label_table`.
        scored: the scored folder.

    Raises:
        UsageError: no image can be read again as it was scored.
    """
    import pandas as pd

    found, refused = index_folder(scored.root, gate=load_gate("grayscale"), limits=Limits(), names=list(labels["path"]))
    found["path"] = [named_path(path) for path in found["path"]]
    joined = found.merge(labels, on="path", how="inner", suffixes=("", "_scored"))
    changed = joined["sha256"] != joined["sha256_scored"]
    nobody = ~changed & (joined["PatientID"].str.strip() == "")
    others = [_refused(joined["path"][changed], "CHANGED"), _refused(joined["path"][nobody], "NO_PATIENT_ID")]
    kept = joined[~changed & ~nobody].drop(columns="sha256_scored")
    if kept.empty:
        raise UsageError("no image with a verdict can be read again as it was scored: there is no manifest")
    base = path_between(out.parent, scored.root)
    base = base if base.is_absolute() else Path("..") / base
    kept = kept.assign(path=[inert_path((base / path).as_posix()) for path in kept["path"]])
    left_out = pd.concat([refused, *others], ignore_index=True)
    write_csv(folder / MANIFEST, kept)
    write_csv(folder / REFUSED, left_out)
    return len(kept), len(left_out)


def _refused(paths: Iterable[str], code: str) -> pd.DataFrame:
    import pandas as pd

    rows = [{"path": inert_path(path), "status": "refused", "reason": code, "detail": REASONS[code]} for path in paths]
    return pd.DataFrame(rows, columns=list(REFUSED_COLUMNS), dtype=str)
